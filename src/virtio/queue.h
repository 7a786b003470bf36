/* SPDX-License-Identifier: Apache-2.0 */
/* The device's side of a split virtqueue (virtio 1.2 §2.7). Called with the lock that protects the
 * queue: the I/O lock, or that of a device which has a thread of its own. */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <godwit/memory.h>
#include <godwit/state.h>

#define VIRTIO_QUEUE_LIMIT 1024 /* entries of any queue */

struct virtio_queue {
    GW_SAVED(1) GW_MAX(1024) uint16_t size; /* as the driver wrote it: may be no power of two */
    GW_SAVED(1) bool ready;
    GW_SAVED(1) uint64_t descriptor_address;
    GW_SAVED(1) uint64_t driver_address; /* available ring */
    GW_SAVED(1) uint64_t device_address; /* used ring */
    GW_SAVED(1) uint16_t next_available; /* index of the next entry to take */
    GW_SAVED(1) uint16_t next_used;      /* index of the next entry to publish */
    GW_SAVED(1) uint16_t signalled;      /* next_used when the driver was last told */
    GW_SAVED(1) bool signalled_valid;
    /* set once by virtio_queue_init() */
    GW_HOST struct gw_memory *memory;
    GW_HOST const uint64_t *features; /* the negotiated ones */
    GW_HOST uint16_t size_max;
    /* host addresses of the rings, found at first use after setting up or loading; NULL: not yet */
    GW_DERIVED(virtio_queue_loaded) const uint8_t *descriptors;
    GW_HOST uint8_t *available;
    GW_HOST uint8_t *used;
} GW_PART;

int virtio_queue_loaded(struct virtio_queue *queue, struct gw_error *error);

/* One piece of guest memory. */
struct virtio_segment {
    uint64_t guest;
    uint8_t *host;
    uint32_t bytes; /* never 0 */
};

/* A descriptor chain: first what the device reads, then what it writes. */
struct virtio_chain {
    struct virtio_segment *segments; /* the device's array */
    unsigned segments_max;           /* a longer chain breaks the queue */
    unsigned readable, writable;     /* counts */
    uint64_t readable_bytes, writable_bytes;
    uint16_t head;
};

/* `size_max` is a power of two, VIRTIO_QUEUE_LIMIT at most. */
void virtio_queue_init(struct virtio_queue *queue, struct gw_memory *memory,
                       const uint64_t *features, uint16_t size_max);
void virtio_queue_reset(struct virtio_queue *queue); /* as after power-on, size = size_max */

/*
 * Takes the next available chain: 1, or 0 when there is none. A ring that breaks the rules gives a
 * negative errno, and the queue must not be used before the driver has reset the device: -EFAULT an
 * address outside RAM, -EINVAL an index out of range, more entries than the ring has, a writable
 * descriptor before a readable one, an empty one, wrong flags or alignment; -ELOOP a chain that is
 * a loop or longer than is allowed.
 */
int virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain);

/* Gives back the `count` chains that were taken last: they are available again, in their order. */
void virtio_queue_unpop(struct virtio_queue *queue, unsigned count);

/* How many entries are available, without taking one; -EFAULT, -EINVAL as above. */
int virtio_queue_waiting(struct virtio_queue *queue);

/* Publishes a chain, `written` bytes of its writable part being filled and marked. -EFAULT, -EINVAL
 * as above when the rings were never reached, which a popped chain rules out. */
int virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written);

/* The same in two steps, for chains that the driver must see all at once or not at all: each is
 * put `ahead` places behind the last one published, then `count` of them are published. Only for
 * chains that were popped. */
void virtio_queue_fill(struct virtio_queue *queue, unsigned ahead, uint16_t head, uint32_t written);
void virtio_queue_publish(struct virtio_queue *queue, unsigned count);

/* Whether the driver wants an interrupt for what was pushed since the last call (§2.7.7). */
bool virtio_queue_should_signal(struct virtio_queue *queue);

/* Asks for a notification of the next available entry. True: there is one already, go on taking. */
bool virtio_queue_rearm(struct virtio_queue *queue);

/*
 * Copies between a chain and memory of our own, whatever way the driver cut its segments (§2.7.4).
 * `offset` counts from the first readable (read) or writable (write) byte. False, and nothing is
 * copied, when the chain is too short. Writing marks the pages.
 */
bool virtio_chain_read(const struct virtio_chain *chain, uint64_t offset, void *to, size_t bytes);
bool virtio_chain_write(const struct virtio_chain *chain, struct gw_memory *memory, uint64_t offset,
                        const void *from, size_t bytes);
/* `bytes` from `offset` on of `count` segments, as a vector of at most `count` pieces: how many. */
unsigned virtio_segments_gather(const struct virtio_segment *segments, unsigned count,
                                uint64_t offset, uint64_t bytes, struct iovec *iov);
/* Marks the pages of the whole writable part. */
void virtio_chain_mark(const struct virtio_chain *chain, struct gw_memory *memory);

#endif
