/* SPDX-License-Identifier: Apache-2.0 */
#include "net.h"

static void fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void ring_fill(struct ring *ring, uint16_t head)
{
    ring->available.heads[ring->filled++ % RING_ENTRIES] = head;
}

bool ring_publish(struct ring *ring, bool has_events)
{
    uint16_t before = ring->published, now = ring->filled;
    if (before == now)
        return false;
    __atomic_store_n(&ring->available.index, now, __ATOMIC_RELEASE);
    ring->published = now;
    fence();
    if (!has_events)
        return !(ring->used.flags & 1);
    return (uint16_t)(now - ring->used.available_event - 1) < (uint16_t)(now - before);
}

bool ring_has_used(const struct ring *ring)
{
    return __atomic_load_n(&ring->used.index, __ATOMIC_ACQUIRE) != ring->taken;
}

uint16_t ring_take(struct ring *ring, uint32_t *ret_bytes)
{
    uint16_t slot = ring->taken++ % RING_ENTRIES;
    *ret_bytes = ring->used.entries[slot].bytes;
    return (uint16_t)ring->used.entries[slot].head;
}

bool ring_arm(struct ring *ring, uint16_t more, bool has_events)
{
    if (has_events)
        ring->available.used_event = (uint16_t)(ring->taken + more - 1);
    else
        ring->available.flags = 0;
    fence();
    return (uint16_t)(ring->used.index - ring->taken) >= more;
}

/* An index that was passed already is next met after a turn of all 65536. */
void ring_disarm(struct ring *ring, bool has_events)
{
    if (has_events)
        ring->available.used_event = (uint16_t)(ring->taken - 1);
    else
        ring->available.flags = 1;
}
