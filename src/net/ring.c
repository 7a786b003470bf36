/* SPDX-License-Identifier: Apache-2.0 */
#include "net/ring.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum { DESCRIPTOR_WRITE = 2, NO_INTERRUPT = 1, NO_NOTIFY = 1 };

/* Each is read or written once: the compiler must not go there again. */
static uint16_t load16(const uint16_t *from, int order)
{
    return le16toh(__atomic_load_n(from, order));
}

static uint32_t load32(const uint32_t *from)
{
    return le32toh(__atomic_load_n(from, __ATOMIC_RELAXED));
}

static void store16(uint16_t *to, uint16_t value, int order)
{
    __atomic_store_n(to, htole16(value), order);
}

void ring_init(struct ring *ring, struct ring_shared *shared, uint64_t address, bool writable)
{
    *ring = (struct ring){.shared = shared, .free_count = RING_ENTRIES};
    memset(shared, 0, offsetof(struct ring_shared, buffer));
    for (unsigned i = 0; i < RING_ENTRIES; i++) {
        uint64_t buffer = address + offsetof(struct ring_shared, buffer) + i * RING_BUFFER_BYTES;
        shared->descriptor[i].address = htole64(buffer);
        shared->descriptor[i].bytes = htole32(RING_BUFFER_BYTES);
        shared->descriptor[i].flags = htole16(writable ? DESCRIPTOR_WRITE : 0);
        ring->free[i] = (uint16_t)(RING_ENTRIES - 1 - i);
    }
}

/* The entry first, then the index that makes it valid: its partner is the other side's read of the
 * index. */
void ring_lend(struct ring *ring, uint16_t id, uint32_t bytes)
{
    struct ring_shared *shared = ring->shared;
    assert(id < RING_ENTRIES && !ring->is_lent[id]);
    ring->is_lent[id] = true;
    ring->lent++;
    __atomic_store_n(&shared->descriptor[id].bytes, htole32(bytes), __ATOMIC_RELAXED);
    store16(&shared->available.entry[ring->available % RING_ENTRIES], id, __ATOMIC_RELAXED);
    store16(&shared->available.index, ++ring->available, __ATOMIC_RELEASE);
}

int ring_take(struct ring *ring, uint16_t *ret_id, uint32_t *ret_bytes)
{
    const struct ring_shared *shared = ring->shared;
    uint16_t waiting = (uint16_t)(load16(&shared->used.index, __ATOMIC_ACQUIRE) - ring->used);
    if (waiting == 0)
        return 0;
    if (waiting > ring->lent)
        return -EPROTO;
    unsigned at = ring->used % RING_ENTRIES;
    uint32_t id = load32(&shared->used.entry[at].id);
    uint32_t bytes = load32(&shared->used.entry[at].bytes);
    if (id >= RING_ENTRIES || !ring->is_lent[id] || bytes > RING_BUFFER_BYTES)
        return -EPROTO;
    ring->is_lent[id] = false;
    ring->lent--;
    ring->used++;
    *ret_id = (uint16_t)id;
    *ret_bytes = bytes;
    return 1;
}

/* The barrier's partner is the one between the other side's used index and its look at the flag. */
void ring_want_call(struct ring *ring, bool wanted)
{
    store16(&ring->shared->available.flags, wanted ? 0 : NO_INTERRUPT, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool ring_wants_kick(const struct ring *ring)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return !(load16(&ring->shared->used.flags, __ATOMIC_RELAXED) & NO_NOTIFY);
}
