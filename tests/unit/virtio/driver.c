/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static void set_irq(void *opaque, unsigned number, bool level)
{
    struct driver *driver = opaque;
    driver->irq_rises += level && !driver->irq;
    driver->irq = level;
}

void driver_init(struct driver *driver, enum clock_mode mode)
{
    *driver = (struct driver){.memory = gw_memory_new()};
    if (!driver->memory ||
        gw_memory_add_region(driver->memory, "ram", DRIVER_RAM, DRIVER_RAM_BYTES, NULL) < 0)
        abort();
    clock_init(&driver->clock, mode);
    driver->host = (struct virtio_host){
        .memory = driver->memory,
        .clock = &driver->clock,
        .irq = {.set = set_irq, .opaque = driver, .number = 1},
    };
}

void driver_fini(struct driver *driver)
{
    gw_memory_free(driver->memory);
}

uint32_t driver_get(struct driver *driver, uint32_t offset)
{
    return (uint32_t)virtio_mmio_ops.read(driver->device, offset, 4);
}

void driver_set(struct driver *driver, uint32_t offset, uint32_t value)
{
    virtio_mmio_ops.write(driver->device, offset, value, 4);
}

void driver_set64(struct driver *driver, uint32_t offset, uint64_t value)
{
    driver_set(driver, offset, (uint32_t)value);
    driver_set(driver, offset + 4, (uint32_t)(value >> 32));
}

uint64_t driver_offered(struct driver *driver)
{
    driver_set(driver, R_FEATURES_SEL, 0);
    uint64_t low = driver_get(driver, R_FEATURES);
    driver_set(driver, R_FEATURES_SEL, 1);
    return low | (uint64_t)driver_get(driver, R_FEATURES) << 32;
}

uint32_t driver_negotiate(struct driver *driver, uint64_t features)
{
    driver_set(driver, R_STATUS, 0);
    driver_set(driver, R_STATUS, VIRTIO_ACKNOWLEDGE);
    driver_set(driver, R_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    driver_set(driver, R_DRIVER_SEL, 0);
    driver_set(driver, R_DRIVER, (uint32_t)features);
    driver_set(driver, R_DRIVER_SEL, 1);
    driver_set(driver, R_DRIVER, (uint32_t)(features >> 32));
    driver_set(driver, R_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    return driver_get(driver, R_STATUS);
}

static void clear(struct driver *driver, uint64_t address, size_t bytes)
{
    memset(gw_memory_map(driver->memory, address, bytes), 0, bytes);
}

void driver_setup_queue(struct driver *driver, uint16_t size)
{
    driver->queue_size = size;
    driver->available = driver->used = driver->next_descriptor = 0;
    clear(driver, DRIVER_DESC, 0x10000);
    clear(driver, DRIVER_AVAIL, 0x10000);
    clear(driver, DRIVER_USED, 0x10000);
    driver_set(driver, R_QUEUE_SEL, 0);
    driver_set(driver, R_QUEUE_NUM, size);
    driver_set64(driver, R_DESC, DRIVER_DESC);
    driver_set64(driver, R_AVAIL, DRIVER_AVAIL);
    driver_set64(driver, R_USED, DRIVER_USED);
    driver_set(driver, R_QUEUE_READY, 1);
}

void driver_start(struct driver *driver, uint64_t features, uint16_t queue_size)
{
    driver_negotiate(driver, features);
    driver_setup_queue(driver, queue_size);
    driver_set(driver, R_STATUS, driver_get(driver, R_STATUS) | VIRTIO_DRIVER_OK);
}

void driver_put(struct driver *driver, uint64_t address, const void *bytes, size_t length)
{
    if (gw_memory_write(driver->memory, address, bytes, length) < 0)
        abort();
}

void driver_fetch(struct driver *driver, uint64_t address, void *bytes, size_t length)
{
    if (gw_memory_read(driver->memory, address, bytes, length) < 0)
        abort();
}

static uint16_t fetch16(struct driver *driver, uint64_t address)
{
    uint8_t bytes[2];
    driver_fetch(driver, address, bytes, 2);
    return get_le16(bytes);
}

static void put16(struct driver *driver, uint64_t address, uint16_t value)
{
    uint8_t bytes[2];
    put_le16(bytes, value);
    driver_put(driver, address, bytes, 2);
}

void driver_write_descriptor(struct driver *driver, uint64_t table, unsigned index,
                             uint64_t address, uint32_t bytes, uint16_t flags, uint16_t next)
{
    uint8_t raw[16];
    put_le64(raw, address);
    put_le32(raw + 8, bytes);
    put_le16(raw + 12, flags);
    put_le16(raw + 14, next);
    driver_put(driver, table + 16 * (uint64_t)index, raw, sizeof raw);
}

void driver_publish(struct driver *driver, uint16_t head)
{
    put16(driver, DRIVER_AVAIL + 4 + 2u * (driver->available % driver->queue_size), head);
    /* The barrier of §2.7.13.3.1: who sees the index sees what it stands for. */
    uint16_t *index = gw_memory_map(driver->memory, DRIVER_AVAIL + 2, 2);
    if (!index)
        abort();
    __atomic_store_n(index, htole16(++driver->available), __ATOMIC_RELEASE);
}

static void write_chain(struct driver *driver, uint64_t table, uint16_t first, uint16_t modulo,
                        const struct piece *pieces, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        bool last = i + 1 == count;
        driver_write_descriptor(driver, table, (first + i) % modulo, pieces[i].address,
                                pieces[i].bytes, pieces[i].flags | (last ? 0 : D_NEXT),
                                (uint16_t)((first + i + 1) % modulo));
    }
}

uint16_t driver_add(struct driver *driver, const struct piece *pieces, unsigned count)
{
    uint16_t head = driver->next_descriptor;
    write_chain(driver, DRIVER_DESC, head, driver->queue_size, pieces, count);
    driver->next_descriptor = (uint16_t)((head + count) % driver->queue_size);
    driver_publish(driver, head);
    return head;
}

uint16_t driver_add_indirect(struct driver *driver, const struct piece *pieces, unsigned count)
{
    uint16_t head = driver->next_descriptor;
    uint64_t table = DRIVER_INDIRECT + 0x400 * (uint64_t)head;
    write_chain(driver, table, 0, UINT16_MAX, pieces, count);
    driver_write_descriptor(driver, DRIVER_DESC, head, table, 16 * count, D_INDIRECT, 0);
    driver->next_descriptor = (uint16_t)((head + 1) % driver->queue_size);
    driver_publish(driver, head);
    return head;
}

void driver_kick(struct driver *driver)
{
    driver_set(driver, R_NOTIFY, 0);
}

uint16_t driver_used_index(struct driver *driver)
{
    return fetch16(driver, DRIVER_USED + 2);
}

bool driver_collect(struct driver *driver, uint32_t *ret_head, uint32_t *ret_bytes)
{
    if (driver_used_index(driver) == driver->used)
        return false;
    uint8_t raw[8];
    driver_fetch(driver, DRIVER_USED + 4 + 8u * (driver->used % driver->queue_size), raw, 8);
    driver->used++;
    *ret_head = get_le32(raw);
    *ret_bytes = get_le32(raw + 4);
    return true;
}

void driver_set_used_event(struct driver *driver, uint16_t event)
{
    put16(driver, DRIVER_AVAIL + 4 + 2u * driver->queue_size, event);
}

uint16_t driver_available_event(struct driver *driver)
{
    return fetch16(driver, DRIVER_USED + 4 + 8u * driver->queue_size);
}
