/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The byte-map tracker: one byte M per page, set by writers, cleared by the collector. Why no write
 * is lost.
 *
 * A writer stores data D into the page, then stores 1 into M with release order, always, whatever M
 * held. The collector exchanges M for 0 with acquire order, then reads the page. The changes of M
 * happen in one order, so a writer's mark is either
 *
 *   - after the collector's exchange: M stays 1 and the next collection finds the page again; or
 *   - before it: the exchange took this mark, or a later one that overwrote it. Took this one:
 * release pairs with acquire and the collector reads D. Took another writer's: D became visible
 * before its mark did, that mark before the one that replaced it, so the collector reads D as well.
 * The last step leans on stores becoming visible to all other CPUs at once, which x86, Armv8 and
 * RISC-V promise; the C memory model alone would ask for a read-modify-write in every guest store.
 *
 * Two shortcuts that would be wrong. Marking with a relaxed store: Arm and RISC-V could show the
 * mark before D. Testing M first and marking only when it is 0: the writer's test may see the old 1
 * while D still waits in its store buffer; the collector then clears M, reads the page without D,
 * and nothing marks it again.
 *
 * The collector first reads eight bytes of the map at once, relaxed, and skips them when all are 0.
 * A mark that this misses is simply collected the next time; once the writers have stopped, whoever
 * stopped them has synchronised with them and the read misses nothing. Only single bytes are ever
 * exchanged, so the byte stores of writers never meet a wider read-modify-write.
 *
 * A page that is read while it is written may be torn. That is harmless: its mark comes after the
 * write.
 */
#include <godwit/memory.h>

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

struct gw_bytemap_tracker {
    /* set once */
    struct gw_memory *memory;
    void (*set_watching)(void *opaque, bool on);
    void *opaque;
};

static uint64_t page_count(const struct gw_memory_region *region)
{
    return region->bytes >> GW_PAGE_SHIFT;
}

static void free_maps(struct gw_memory *memory)
{
    for (unsigned i = 0; i < gw_memory_region_count(memory); i++) {
        struct gw_memory_region *region = gw_memory_region(memory, i);
        free(region->dirty);
        region->dirty = NULL;
    }
}

/* calloc aligns to at least eight bytes; the map is padded to whole words. */
static int allocate_maps(struct gw_memory *memory)
{
    for (unsigned i = 0; i < gw_memory_region_count(memory); i++) {
        struct gw_memory_region *region = gw_memory_region(memory, i);
        region->dirty = calloc(1, align_up(page_count(region), 8));
        if (!region->dirty)
            return -ENOMEM;
    }
    return 0;
}

struct gw_bytemap_tracker *gw_bytemap_tracker_new(struct gw_memory *memory,
                                                  void (*set_watching)(void *opaque, bool on),
                                                  void *opaque)
{
    struct gw_bytemap_tracker *tracker = calloc(1, sizeof *tracker);
    if (!tracker)
        return NULL;
    *tracker = (struct gw_bytemap_tracker){memory, set_watching, opaque};
    if (allocate_maps(memory) < 0) {
        gw_bytemap_tracker_free(tracker);
        return NULL;
    }
    return tracker;
}

void gw_bytemap_tracker_free(struct gw_bytemap_tracker *tracker)
{
    if (!tracker)
        return;
    free_maps(tracker->memory);
    free(tracker);
}

static bool eight_are_clean(const uint8_t *map)
{
    return __atomic_load_n((const uint64_t *)(const void *)map, __ATOMIC_RELAXED) == 0;
}

/* Pairs with the release store in gw_memory_region_mark(). */
static bool take_mark(uint8_t *mark)
{
    return __atomic_load_n(mark, __ATOMIC_RELAXED) &&
           __atomic_exchange_n(mark, (uint8_t)0, __ATOMIC_ACQUIRE);
}

static int64_t bytemap_collect(void *opaque, unsigned index, uint64_t first, uint64_t count,
                               uint64_t *bitmap)
{
    struct gw_bytemap_tracker *tracker = opaque;
    struct gw_memory_region *region = gw_memory_region(tracker->memory, index);
    if (!region || first > page_count(region) || count > page_count(region) - first)
        return -EINVAL;
    int64_t found = 0;
    for (uint64_t i = 0; i < count;) {
        uint64_t page = first + i;
        if (page % 8 == 0 && count - i >= 8 && eight_are_clean(&region->dirty[page])) {
            i += 8;
            continue;
        }
        if (take_mark(&region->dirty[page])) {
            bitmap[i / 64] |= (uint64_t)1 << (i % 64);
            found++;
        }
        i++;
    }
    return found;
}

static uint64_t count_region(const struct gw_memory_region *region)
{
    uint64_t dirty = 0;
    for (uint64_t page = 0; page < page_count(region); page++) {
        if (page % 8 == 0 && eight_are_clean(&region->dirty[page]))
            page += 7;
        else
            dirty += __atomic_load_n(&region->dirty[page], __ATOMIC_RELAXED) != 0;
    }
    return dirty;
}

static uint64_t bytemap_count(void *opaque)
{
    struct gw_bytemap_tracker *tracker = opaque;
    uint64_t dirty = 0;
    for (unsigned i = 0; i < gw_memory_region_count(tracker->memory); i++)
        dirty += count_region(gw_memory_region(tracker->memory, i));
    return dirty;
}

/* Marks from before are dropped first: the engine's first round takes every page, after this
 * returned. */
static int bytemap_start(void *opaque, struct gw_error *error)
{
    struct gw_bytemap_tracker *tracker = opaque;
    for (unsigned i = 0; i < gw_memory_region_count(tracker->memory); i++) {
        struct gw_memory_region *region = gw_memory_region(tracker->memory, i);
        for (uint64_t page = 0; page < page_count(region); page++)
            (void)take_mark(&region->dirty[page]);
    }
    if (tracker->set_watching)
        tracker->set_watching(tracker->opaque, true);
    return 0;
}

static void bytemap_stop(void *opaque)
{
    struct gw_bytemap_tracker *tracker = opaque;
    if (tracker->set_watching)
        tracker->set_watching(tracker->opaque, false);
}

struct gw_tracker gw_bytemap_tracker_interface(struct gw_bytemap_tracker *tracker)
{
    static const struct gw_tracker_ops ops = {
        .name = "byte-map",
        .start = bytemap_start,
        .stop = bytemap_stop,
        .collect = bytemap_collect,
        .count = bytemap_count,
    };
    return (struct gw_tracker){.ops = &ops, .opaque = tracker};
}
