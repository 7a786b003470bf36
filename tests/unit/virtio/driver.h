/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's side for tests: a driver that lays out one split ring in guest memory and talks
 * registers. */
#ifndef TEST_VIRTIO_DRIVER_H
#define TEST_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/mmio.h"

#define DRIVER_RAM UINT64_C(0x80000000)
#define DRIVER_RAM_BYTES UINT64_C(0x400000)
#define DRIVER_DESC (DRIVER_RAM + 0x10000)
#define DRIVER_AVAIL (DRIVER_RAM + 0x20000)
#define DRIVER_USED (DRIVER_RAM + 0x30000)
#define DRIVER_INDIRECT (DRIVER_RAM + 0x40000)
#define DRIVER_BUFFERS (DRIVER_RAM + 0x100000)

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4 };

#define ALL_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)

enum {
    R_MAGIC = 0x00,
    R_VERSION = 0x04,
    R_ID = 0x08,
    R_VENDOR = 0x0c,
    R_FEATURES = 0x10,
    R_FEATURES_SEL = 0x14,
    R_DRIVER = 0x20,
    R_DRIVER_SEL = 0x24,
    R_QUEUE_SEL = 0x30,
    R_QUEUE_MAX = 0x34,
    R_QUEUE_NUM = 0x38,
    R_QUEUE_READY = 0x44,
    R_NOTIFY = 0x50,
    R_ISR = 0x60,
    R_ACK = 0x64,
    R_STATUS = 0x70,
    R_DESC = 0x80,
    R_AVAIL = 0x90,
    R_USED = 0xa0,
    R_CONFIG = 0x100,
};

struct piece {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags; /* D_WRITE or 0 */
};

struct driver {
    struct gw_memory *memory;
    struct clock clock;
    struct virtio_host host; /* for the device's init */
    bool irq;                /* level of the line */
    unsigned irq_rises;
    void *device;
    uint16_t queue_size;
    uint16_t available, used; /* indices */
    uint16_t next_descriptor;
};

/* Memory, clock and interrupt line; then the test makes its device and sets driver->device. */
void driver_init(struct driver *driver, enum clock_mode mode);
void driver_fini(struct driver *driver);

uint32_t driver_get(struct driver *driver, uint32_t offset);
void driver_set(struct driver *driver, uint32_t offset, uint32_t value);
void driver_set64(struct driver *driver, uint32_t offset, uint64_t value); /* low and high */
uint64_t driver_offered(struct driver *driver);

/* Status up to FEATURES_OK; returns the status that the device shows. */
uint32_t driver_negotiate(struct driver *driver, uint64_t features);
void driver_setup_queue(struct driver *driver, uint16_t size);
/* All of it: reset, negotiate, queue 0, DRIVER_OK. */
void driver_start(struct driver *driver, uint64_t features, uint16_t queue_size);

void driver_write_descriptor(struct driver *driver, uint64_t table, unsigned index,
                             uint64_t address, uint32_t bytes, uint16_t flags, uint16_t next);
void driver_publish(struct driver *driver, uint16_t head); /* one entry of the available ring */
uint16_t driver_add(struct driver *driver, const struct piece *pieces, unsigned count);
uint16_t driver_add_indirect(struct driver *driver, const struct piece *pieces, unsigned count);
void driver_kick(struct driver *driver);
/* Takes one used entry: false when there is none. */
bool driver_collect(struct driver *driver, uint32_t *ret_head, uint32_t *ret_bytes);
uint16_t driver_used_index(struct driver *driver);
void driver_set_used_event(struct driver *driver, uint16_t event); /* in the available ring */
uint16_t driver_available_event(struct driver *driver);            /* in the used ring */

void driver_put(struct driver *driver, uint64_t address, const void *bytes, size_t length);
void driver_fetch(struct driver *driver, uint64_t address, void *bytes, size_t length);

#endif
