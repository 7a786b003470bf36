/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash of guest RAM. Per region, in order, one XXH64 stream (seed 0, integers little-endian)
 * takes
 *
 *     name, zero-padded to 32 bytes | guest base, u64 | bytes, u64
 *     then for each page that is not all zeroes: page number, u64 | XXH64 of its 4096 bytes, u64
 *
 * Zero pages are told by their absence, so a hole and a page full of zeroes hash alike and holes
 * are stepped over unread. Hashing pages one by one leaves room for doing it on several threads.
 */
#include <godwit/memory.h>

#define XXH_INLINE_ALL /* the state on our stack is then of our own compilation */
#include <xxhash.h>

#include "base/bytes.h"

/* Not inline: where gcc sees that `bytes` are 8, but not that the state holds fewer than 32, it
 * takes xxhash's step back by 32 for one out of an array. */
__attribute__((noinline)) static void hash_bytes(XXH64_state_t *state, const void *bytes,
                                                 size_t length)
{
    XXH64_update(state, bytes, length);
}

static void hash_integer(XXH64_state_t *state, uint64_t value)
{
    uint8_t encoded[8];
    put_le64(encoded, value);
    hash_bytes(state, encoded, sizeof encoded);
}

static void hash_page(XXH64_state_t *state, const uint8_t *page, uint64_t number)
{
    if (gw_memory_is_zero(page, GW_PAGE_BYTES))
        return;
    hash_integer(state, number);
    hash_integer(state, XXH64(page, GW_PAGE_BYTES, 0));
}

static void hash_region(XXH64_state_t *state, const struct gw_memory_region *region)
{
    hash_bytes(state, region->name, sizeof region->name);
    hash_integer(state, region->guest_base);
    hash_integer(state, region->bytes);
    uint64_t at = gw_memory_next_data(region, 0);
    while (at < region->bytes) {
        uint64_t end = gw_memory_next_hole(region, at);
        for (; at < end; at += GW_PAGE_BYTES)
            hash_page(state, region->host + at, at >> GW_PAGE_SHIFT);
        at = gw_memory_next_data(region, at);
    }
}

uint64_t gw_memory_hash(const struct gw_memory *memory)
{
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    for (unsigned i = 0; i < gw_memory_region_count(memory); i++)
        hash_region(&state, gw_memory_region(memory, i));
    return XXH64_digest(&state);
}
