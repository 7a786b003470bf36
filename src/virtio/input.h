/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's power button: an input device (virtio 1.2 §5.8) that is a keyboard with one key,
 * KEY_POWER. */
#ifndef VIRTIO_INPUT_H
#define VIRTIO_INPUT_H

#include "virtio/mmio.h"

#define VIRTIO_INPUT_CONFIG_BYTES 136
#define VIRTIO_INPUT_PRESS_EVENTS 4 /* down, report, up, report */
#define VIRTIO_INPUT_PENDING_MAX (4 * VIRTIO_INPUT_PRESS_EVENTS)

struct virtio_input {
    GW_SAVED(1) struct virtio_mmio transport; /* first: the object of virtio_mmio_ops */
    GW_SAVED(1) struct virtio_queue queue[2]; /* events, status */
    GW_SAVED(1) uint8_t select;               /* what the driver asks the configuration for */
    GW_SAVED(1) uint8_t subselect;
    /* Events for which the driver gave no buffer yet; the last ones of that many presses. */
    GW_SAVED(1) GW_MAX(VIRTIO_INPUT_PENDING_MAX) uint8_t pending;
    GW_DERIVED(virtio_input_loaded) uint8_t config[VIRTIO_INPUT_CONFIG_BYTES]; /* the answer */
    GW_HOST struct virtio_chain chain;                                         /* the one at hand */
    GW_HOST struct virtio_segment segments[8];
} GW_DEVICE("virtio-input", 1, 1);

extern const struct gw_state_type virtio_input_state_type;

int virtio_input_loaded(struct virtio_input *input, struct gw_error *error);

/* On the caller's memory. */
void virtio_input_init(struct virtio_input *input, const struct virtio_host *host);
void virtio_input_fini(struct virtio_input *input);

/*
 * Presses the button and lets it go. False when no driver has started the device: nobody would ever
 * see it. A driver that gives no buffers gets the events when it does, even on another host; while
 * it has VIRTIO_INPUT_PENDING_MAX to get, one more press is not kept. I/O lock held.
 */
bool virtio_input_press(struct virtio_input *input);

#endif
