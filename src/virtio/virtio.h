/* SPDX-License-Identifier: Apache-2.0 */
/* What all virtio devices share: the specification's numbers, and what the machine gives to each
 * device. */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include <stdint.h>

#include <godwit/memory.h>
#include "base/clock.h"
#include "device/device.h"

/* Device status, virtio 1.2 §2.1. */
enum {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

/* Device ids, virtio 1.2 §5. */
enum { VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK = 2, VIRTIO_ID_ENTROPY = 4, VIRTIO_ID_INPUT = 18 };

/* Feature bits that are no device's own, virtio 1.2 §6. */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

/* The machine's side of a device; all outlive it. */
struct virtio_host {
    struct gw_memory *memory;
    struct clock *clock; /* its mode decides whether anything of the host may reach the guest */
    struct irq_line irq;
};

#endif
