/* SPDX-License-Identifier: Apache-2.0 */
/* Entropy device (virtio 1.2 §5.4): the host's in host-clock mode, from a seed in instruction-clock
 * mode. */
#ifndef VIRTIO_RNG_H
#define VIRTIO_RNG_H

#include "virtio/mmio.h"

struct virtio_rng {
    GW_SAVED(1) struct virtio_mmio transport; /* first: the object of virtio_mmio_ops */
    GW_SAVED(1) struct virtio_queue queue;
    GW_SAVED(1) uint64_t generator;    /* splitmix64; used in instruction-clock mode only */
    GW_HOST struct virtio_chain chain; /* the one at hand */
    GW_HOST struct virtio_segment segments[64];
} GW_DEVICE("virtio-rng", 1, 1);

extern const struct gw_state_type virtio_rng_state_type;

/* On the caller's memory. `seed` is for instruction-clock mode. */
void virtio_rng_init(struct virtio_rng *rng, const struct virtio_host *host, uint64_t seed);
void virtio_rng_fini(struct virtio_rng *rng);

#endif
