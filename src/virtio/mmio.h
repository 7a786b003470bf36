/* SPDX-License-Identifier: Apache-2.0 */
/* The MMIO transport (virtio 1.2 §4.2, version 2 only) and the part of a device that is the same in
 * all. */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "virtio/queue.h"
#include "virtio/virtio.h"

struct virtio_mmio;

/* What a kind of device is. The functions get the device's struct, whose first member is the
 * transport. */
struct virtio_device_ops {
    uint32_t id;
    /* Where the next chain of queue `index` shall go, with segments and segments_max set, or NULL
     * while the device has no room; it then calls virtio_mmio_run() when it has. */
    struct virtio_chain *(*room)(struct virtio_mmio *device, unsigned index);
    /* Does the chain that room() gave, now filled, or begins to do it. */
    void (*handle)(struct virtio_mmio *device, unsigned index, struct virtio_chain *chain);
    /* After some chains were handled. May be NULL. */
    void (*handled)(struct virtio_mmio *device);
    /* Ends everything in flight without publishing it; the device is being reset. May be NULL. */
    void (*reset)(struct virtio_mmio *device);
    /* Ends everything in flight and publishes it. May be NULL. */
    void (*drain)(struct virtio_mmio *device);
    /* Status, features or queues may have changed, the driver has notified, or the machine goes on:
     * before queues are run, also when none may be. May be NULL. */
    void (*prepare)(struct virtio_mmio *device);
    /* Whether the device runs this queue itself, on a thread of its own. The transport then never
     * touches it but for its registers, while it is not ready, and in resets, after reset() was
     * called. NULL: it has no such queue. */
    bool (*runs_itself)(const struct virtio_mmio *device, unsigned index);
    /* Refuses to load a driver that uses `missing`, which is not offered: a sentence in the terms
     * of the device, and -EOPNOTSUPP. NULL: a general one. */
    int (*refuse_features)(const struct virtio_mmio *device, uint64_t missing,
                           struct gw_error *error);
    /* The driver writes a byte of the configuration; NULL: it is read-only. */
    void (*write_config)(struct virtio_mmio *device, uint64_t offset, uint8_t value);
};

/*
 * Work that is put off by a timer. In instruction-clock mode each notification is, by a fixed time
 * of the guest, so that the moment at which a device acts is the guest's own and part of the state.
 * In host mode only a device that has done its share in one go while the driver adds more.
 */
struct virtio_work {
    GW_SAVED(1) uint64_t deadline_ns; /* CLOCK_NEVER: nothing to do */
    GW_DERIVED(virtio_work_loaded) struct clock_timer timer;
} GW_PART;

int virtio_work_loaded(struct virtio_work *work, struct gw_error *error); /* arms the timer */

/* From a notification to the work that it asks for, in instruction-clock mode. */
#define VIRTIO_LATENCY_NS 50000u

struct virtio_mmio {
    GW_SAVED(1) GW_MASK(0xcf) uint32_t status;
    GW_SAVED(1) GW_MASK(3) uint32_t interrupt_status;
    GW_SAVED(1) uint32_t device_features_select;
    GW_SAVED(1) uint32_t driver_features_select;
    GW_SAVED(1) uint32_t queue_select;
    GW_SAVED(1) uint64_t driver_features;
    GW_SAVED(1) struct virtio_work work;
    GW_DERIVED(virtio_mmio_loaded)
    uint64_t negotiated; /* driver_features once FEATURES_OK stands, else 0 */
    /* set once by virtio_mmio_init() */
    GW_HOST const struct virtio_device_ops *ops;
    GW_HOST struct virtio_host host;
    GW_HOST uint64_t offered;
    GW_HOST const uint8_t *config; /* device configuration, little-endian */
    GW_HOST unsigned config_bytes;
    GW_HOST const uint32_t *config_generation; /* NULL: only the driver changes the configuration */
    GW_HOST struct virtio_queue *queues;
    GW_HOST unsigned queue_count;
    /* under the I/O lock */
    /* host-clock mode, between drain or loading and resume: no queue is run */
    GW_HOST bool stopped;
} GW_PART;

/* Refuses features that this device does not offer, as a machine of another release or other
 * settings has. */
int virtio_mmio_loaded(struct virtio_mmio *mmio, struct gw_error *error);

/* The window of a device that is in no slot: there is a transport and nothing behind it
 * (§4.2.3.1.1). The object of its row is NULL. */
extern const struct device_ops virtio_mmio_empty_ops;

/* Offset of the register to which the driver writes the number of a queue with something new; a
 * board may have the store delivered by other means and then calls virtio_mmio_notify(). */
#define VIRTIO_MMIO_QUEUE_NOTIFY 0x050

/* For a board's row of any virtio device: `object` is the device itself, `state` its own type.
 * drain and resume are called with the I/O lock held, as all others. */
extern const struct device_ops virtio_mmio_ops;

/* For devices. `queues` are initialised, with &mmio->negotiated; VERSION_1, EVENT_IDX and
 * INDIRECT_DESC are offered besides `features`. */
struct virtio_mmio_config {
    const struct virtio_device_ops *ops;
    uint64_t features;
    const void *space; /* device configuration; outlives the device */
    unsigned space_bytes;
    /* Counts the changes to `space` that are not the driver's doing (§4.2.2.1); NULL: none. */
    const uint32_t *generation;
    struct virtio_queue *queues;
    unsigned queue_count;
};
void virtio_mmio_init(struct virtio_mmio *mmio, const struct virtio_host *host,
                      const struct virtio_mmio_config *config);
void virtio_mmio_fini(struct virtio_mmio *mmio); /* disarms the timer */

/* Whether the driver may be served: DRIVER_OK and not NEEDS_RESET. */
bool virtio_mmio_live(const struct virtio_mmio *mmio);
/* Publishes a chain. virtio_mmio_signal() then interrupts the driver if it asks for that; chains
 * that handle() publishes before it returns are signalled together by the caller. */
void virtio_mmio_push(struct virtio_mmio *mmio, struct virtio_queue *queue, uint16_t head,
                      uint32_t written);
void virtio_mmio_signal(struct virtio_mmio *mmio, struct virtio_queue *queue);
/* Interrupts for used chains, by a device that has asked virtio_queue_should_signal() itself. */
void virtio_mmio_interrupt(struct virtio_mmio *mmio);
/* Interrupts because the configuration has changed. */
void virtio_mmio_config_changed(struct virtio_mmio *mmio);
/* The driver broke the rules: DEVICE_NEEDS_RESET and a configuration change interrupt (§2.1.2). */
void virtio_mmio_break(struct virtio_mmio *mmio);
/* Takes what is available. For devices that have room again. */
void virtio_mmio_run(struct virtio_mmio *mmio);
/* As if the driver had notified. For devices to which something happened that is not the driver's
 * doing; may be called while the machine is stopped, and then acts when it runs. */
void virtio_mmio_notify(struct virtio_mmio *mmio);

#endif
