/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtqueue (virtio 1.2 §2.7, split) of our own, with one buffer for each descriptor, in memory
 * that is shared with a process that is not trusted: we are the driver. The other side may write
 * anywhere in the shared memory at any time. So nothing that is read from there is used before it
 * was checked, and nothing that we need is kept there.
 *
 * No I/O here. One thread at a time.
 */
#ifndef NET_RING_H
#define NET_RING_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/net.h"

#define RING_ENTRIES 256u
/* A whole frame with its header fits into one. An odd number of pages, so that equal places in
 * different buffers do not fall into the same sets of the CPU's caches. */
#define RING_BUFFER_BYTES (17u << 12)
_Static_assert(RING_BUFFER_BYTES >= NET_HEADER_BYTES + NET_FRAME_BYTES, "a frame has no room");

struct ring_shared {
    alignas(16) struct {
        uint64_t address;
        uint32_t bytes;
        uint16_t flags, next;
    } descriptor[RING_ENTRIES];
    struct {
        uint16_t flags, index, entry[RING_ENTRIES], used_event;
    } available;
    alignas(64) struct {
        uint16_t flags, index;
        struct {
            uint32_t id, bytes;
        } entry[RING_ENTRIES];
        uint16_t available_event;
    } used;
    alignas(4096) uint8_t buffer[RING_ENTRIES][RING_BUFFER_BYTES];
};

struct ring {
    struct ring_shared *shared;
    uint16_t available, used;    /* how far each side is, as we know it */
    unsigned lent;               /* buffers that the other side has */
    bool is_lent[RING_ENTRIES];  /* which */
    uint16_t free[RING_ENTRIES]; /* ours, of a ring that is given frames */
    unsigned free_count;
};

/* `address` is where `shared` begins for the other side. All buffers are ours afterwards; it must
 * not run the ring meanwhile. `writable`: for frames that it writes, else for frames that it
 * reads. */
void ring_init(struct ring *ring, struct ring_shared *shared, uint64_t address, bool writable);

/* Lends a buffer with `bytes` in it, or for as many; it must be ours. */
void ring_lend(struct ring *ring, uint16_t id, uint32_t bytes);

/* Takes the next buffer back: 1; 0: none has come back; -EPROTO: what is said there cannot be. The
 * bytes are at most RING_BUFFER_BYTES, whatever was lent. */
int ring_take(struct ring *ring, uint16_t *ret_id, uint32_t *ret_bytes);

/* Whether the other side is to tell when it gives a buffer back. After asking for it one has to
 * look once more. */
void ring_want_call(struct ring *ring, bool wanted);
/* Whether the other side wants to hear that buffers were lent. */
bool ring_wants_kick(const struct ring *ring);

#endif
