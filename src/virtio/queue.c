/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue (virtio 1.2 §2.7), seen from the device.
 *
 * Three areas in guest memory: the descriptor table and the available ring, which the driver
 * writes, and the used ring, which we write. All of it is hostile and may change under our hands,
 * so each field is read once into a variable of ours, checked there, and used from there.
 *
 * Ordering with the driver, which runs on other threads:
 * - the available index is loaded with acquire; its partner is the driver's barrier before it
 * raises the index, so ring entries and descriptors read afterwards are those it published;
 * - the used index is stored with release; its partner is the driver's barrier after it reads the
 * index;
 * - where both sides store one thing and then look at another (event index against ring index) only
 * a full fence keeps both from missing the other: in virtio_queue_should_signal() and
 * virtio_queue_rearm(), each with the same fence in the driver as its partner.
 */
#include "virtio/queue.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "virtio/virtio.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
#define AVAIL_NO_INTERRUPT 1

#define DESC_BYTES 16u
#define RING_HEAD_BYTES 4u /* flags and index, at the head of both rings */
#define USED_BYTES 8u

struct descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags;
    uint16_t next;
};

void virtio_queue_init(struct virtio_queue *queue, struct gw_memory *memory,
                       const uint64_t *features, uint16_t size_max)
{
    *queue = (struct virtio_queue){
        .memory = memory, .features = features, .size_max = size_max, .size = size_max};
}

void virtio_queue_reset(struct virtio_queue *queue)
{
    virtio_queue_init(queue, queue->memory, queue->features, queue->size_max);
}

int virtio_queue_loaded(struct virtio_queue *queue, struct gw_error *error)
{
    queue->descriptors = NULL;
    queue->available = NULL;
    queue->used = NULL;
    return 0;
}

static bool has_event_index(const struct virtio_queue *queue)
{
    return *queue->features & VIRTIO_F_EVENT_IDX;
}

static bool valid_shape(const struct virtio_queue *queue)
{
    return queue->size != 0 && queue->size <= queue->size_max &&
           (queue->size & (queue->size - 1)) == 0 && queue->descriptor_address % 16 == 0 &&
           queue->driver_address % 2 == 0 && queue->device_address % 4 == 0;
}

/* Host addresses of the three areas (sizes: §2.7, the two rings with their event field). */
static int reach_rings(struct virtio_queue *queue)
{
    if (queue->descriptors)
        return 0;
    if (!valid_shape(queue))
        return -EINVAL;
    const struct gw_memory *memory = queue->memory;
    uint32_t size = queue->size;
    uint8_t *descriptors = gw_memory_map(memory, queue->descriptor_address, DESC_BYTES * size);
    uint8_t *available =
        gw_memory_map(memory, queue->driver_address, RING_HEAD_BYTES + 2 * size + 2);
    uint8_t *used =
        gw_memory_map(memory, queue->device_address, RING_HEAD_BYTES + USED_BYTES * size + 2);
    if (!descriptors || !available || !used)
        return -EFAULT;
    queue->descriptors = descriptors;
    queue->available = available;
    queue->used = used;
    return 0;
}

static uint16_t load_le16(const uint8_t *from)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)from, __ATOMIC_RELAXED));
}

static uint16_t load_le16_acquire(const uint8_t *from)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)from, __ATOMIC_ACQUIRE));
}

static void store_le16_release(uint8_t *to, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)to, htole16(value), __ATOMIC_RELEASE);
}

static uint16_t available_index(const struct virtio_queue *queue)
{
    return load_le16_acquire(queue->available + 2);
}

static struct descriptor read_descriptor(const uint8_t *table, uint32_t index)
{
    const uint8_t *at = table + (size_t)index * DESC_BYTES;
    return (struct descriptor){get_le64(at), get_le32(at + 8), get_le16(at + 12),
                               get_le16(at + 14)};
}

static int add_segment(const struct virtio_queue *queue, struct virtio_chain *chain,
                       const struct descriptor *from)
{
    unsigned count = chain->readable + chain->writable;
    bool writable = from->flags & DESC_WRITE;
    if (count == chain->segments_max)
        return -ELOOP;
    if (from->bytes == 0 || (!writable && chain->writable > 0))
        return -EINVAL;
    uint8_t *host = gw_memory_map(queue->memory, from->address, from->bytes);
    if (!host)
        return -EFAULT;
    chain->segments[count] = (struct virtio_segment){from->address, host, from->bytes};
    *(writable ? &chain->writable : &chain->readable) += 1;
    *(writable ? &chain->writable_bytes : &chain->readable_bytes) += from->bytes;
    return 0;
}

/* A table of descriptors that the walk is in: the queue's own, or an indirect one. */
struct table {
    const uint8_t *bytes;
    uint32_t count;
    bool indirect;
};

/* §2.7.5.3: a table of its own, not within another one, the last link of its chain. */
static int enter_indirect(const struct virtio_queue *queue, const struct descriptor *from,
                          struct table *table)
{
    if (table->indirect || !(*queue->features & VIRTIO_F_INDIRECT_DESC) || from->flags & DESC_NEXT)
        return -EINVAL;
    if (from->bytes == 0 || from->bytes % DESC_BYTES)
        return -EINVAL;
    const uint8_t *bytes = gw_memory_map(queue->memory, from->address, from->bytes);
    if (!bytes)
        return -EFAULT;
    *table = (struct table){bytes, from->bytes / DESC_BYTES, true};
    return 0;
}

/* Walks from `index` to the end of the chain. The chain's own limit ends every loop that adds
 * segments, and an indirect table is entered at most once, so the walk is bounded. */
static int walk_chain(const struct virtio_queue *queue, uint32_t index, struct virtio_chain *chain)
{
    struct table table = {queue->descriptors, queue->size, false};
    for (;;) {
        if (index >= table.count)
            return -EINVAL;
        struct descriptor descriptor = read_descriptor(table.bytes, index);
        if (descriptor.flags & DESC_INDIRECT) {
            int r = enter_indirect(queue, &descriptor, &table);
            if (r < 0)
                return r;
            index = 0;
            continue;
        }
        int r = add_segment(queue, chain, &descriptor);
        if (r < 0)
            return r;
        if (!(descriptor.flags & DESC_NEXT))
            return 0;
        index = descriptor.next;
    }
}

int virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain)
{
    int r = reach_rings(queue);
    if (r < 0)
        return r;
    uint16_t waiting = (uint16_t)(available_index(queue) - queue->next_available);
    if (waiting == 0)
        return 0;
    if (waiting > queue->size)
        return -EINVAL;
    uint32_t slot = queue->next_available % queue->size;
    uint16_t head = load_le16(queue->available + RING_HEAD_BYTES + 2 * slot);
    chain->head = head;
    chain->readable = chain->writable = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    r = walk_chain(queue, head, chain);
    if (r < 0)
        return r;
    queue->next_available++;
    return 1;
}

void virtio_queue_unpop(struct virtio_queue *queue, unsigned count)
{
    queue->next_available = (uint16_t)(queue->next_available - count);
}

int virtio_queue_waiting(struct virtio_queue *queue)
{
    int r = reach_rings(queue);
    if (r < 0)
        return r;
    uint16_t waiting = (uint16_t)(available_index(queue) - queue->next_available);
    return waiting > queue->size ? -EINVAL : waiting;
}

void virtio_queue_fill(struct virtio_queue *queue, unsigned ahead, uint16_t head, uint32_t written)
{
    uint16_t index = (uint16_t)(queue->next_used + ahead);
    uint32_t offset = RING_HEAD_BYTES + USED_BYTES * (index % queue->size);
    put_le32(queue->used + offset, head);
    put_le32(queue->used + offset + 4, written);
    gw_memory_mark(queue->memory, queue->device_address + offset, USED_BYTES);
}

void virtio_queue_publish(struct virtio_queue *queue, unsigned count)
{
    queue->next_used = (uint16_t)(queue->next_used + count);
    store_le16_release(queue->used + 2, queue->next_used);
    gw_memory_mark(queue->memory, queue->device_address, RING_HEAD_BYTES);
}

int virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written)
{
    int r = reach_rings(queue);
    if (r < 0)
        return r;
    virtio_queue_fill(queue, 0, head, written);
    virtio_queue_publish(queue, 1);
    return 0;
}

/* Whether `event` is one of the indices from `before` to `now` - 1, modulo 2^16 (§2.7.10). */
static bool passed_event(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

bool virtio_queue_should_signal(struct virtio_queue *queue)
{
    if (reach_rings(queue) < 0)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t now = queue->next_used, before = queue->signalled;
    bool valid = queue->signalled_valid;
    if (!has_event_index(queue))
        return !(load_le16(queue->available) & AVAIL_NO_INTERRUPT);
    queue->signalled = now;
    queue->signalled_valid = true;
    uint16_t event = load_le16(queue->available + RING_HEAD_BYTES + 2u * queue->size);
    return !valid || passed_event(event, now, before);
}

bool virtio_queue_rearm(struct virtio_queue *queue)
{
    if (reach_rings(queue) < 0)
        return false;
    if (has_event_index(queue)) {
        uint32_t offset = RING_HEAD_BYTES + USED_BYTES * queue->size;
        store_le16_release(queue->used + offset, queue->next_available);
        gw_memory_mark(queue->memory, queue->device_address + offset, 2);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return available_index(queue) != queue->next_available;
}

static bool copy_part(const struct virtio_segment *segments, unsigned count, uint64_t offset,
                      size_t bytes,
                      void (*copy)(const struct virtio_segment *, uint64_t, size_t, void *),
                      void *opaque)
{
    for (unsigned i = 0; i < count && bytes > 0; i++) {
        const struct virtio_segment *segment = &segments[i];
        if (offset >= segment->bytes) {
            offset -= segment->bytes;
            continue;
        }
        size_t piece = segment->bytes - offset < bytes ? segment->bytes - offset : bytes;
        copy(segment, offset, piece, opaque);
        bytes -= piece;
        offset = 0;
    }
    return bytes == 0;
}

struct reader {
    uint8_t *to;
};

static void copy_out(const struct virtio_segment *segment, uint64_t offset, size_t bytes,
                     void *opaque)
{
    struct reader *reader = opaque;
    memcpy(reader->to, segment->host + offset, bytes);
    reader->to += bytes;
}

struct writer {
    const uint8_t *from;
    struct gw_memory *memory;
};

static void copy_in(const struct virtio_segment *segment, uint64_t offset, size_t bytes,
                    void *opaque)
{
    struct writer *writer = opaque;
    memcpy(segment->host + offset, writer->from, bytes);
    gw_memory_mark(writer->memory, segment->guest + offset, bytes);
    writer->from += bytes;
}

static bool fits(uint64_t offset, size_t bytes, uint64_t available)
{
    return offset <= available && bytes <= available - offset;
}

bool virtio_chain_read(const struct virtio_chain *chain, uint64_t offset, void *to, size_t bytes)
{
    struct reader reader = {to};
    return fits(offset, bytes, chain->readable_bytes) &&
           copy_part(chain->segments, chain->readable, offset, bytes, copy_out, &reader);
}

bool virtio_chain_write(const struct virtio_chain *chain, struct gw_memory *memory, uint64_t offset,
                        const void *from, size_t bytes)
{
    struct writer writer = {from, memory};
    return fits(offset, bytes, chain->writable_bytes) &&
           copy_part(chain->segments + chain->readable, chain->writable, offset, bytes, copy_in,
                     &writer);
}

unsigned virtio_segments_gather(const struct virtio_segment *segments, unsigned count,
                                uint64_t offset, uint64_t bytes, struct iovec *iov)
{
    unsigned used = 0;
    for (unsigned i = 0; i < count && bytes > 0; i++) {
        if (offset >= segments[i].bytes) {
            offset -= segments[i].bytes;
            continue;
        }
        uint64_t piece = segments[i].bytes - offset;
        if (piece > bytes)
            piece = bytes;
        iov[used++] = (struct iovec){segments[i].host + offset, piece};
        bytes -= piece;
        offset = 0;
    }
    return used;
}

void virtio_chain_mark(const struct virtio_chain *chain, struct gw_memory *memory)
{
    for (unsigned i = 0; i < chain->writable; i++) {
        const struct virtio_segment *segment = &chain->segments[chain->readable + i];
        gw_memory_mark(memory, segment->guest, segment->bytes);
    }
}
