/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <godwit/memory.h>

#define BASE 0x80000000u
#define PAGES 200u

struct fixture {
    struct gw_memory *memory;
    struct gw_bytemap_tracker *owner;
    struct gw_tracker tracker;
    int watching_changes;
    bool watching;
};

static void set_watching(void *opaque, bool on)
{
    struct fixture *fixture = opaque;
    fixture->watching = on;
    fixture->watching_changes++;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.memory = gw_memory_new()};
    assert_int_equal(gw_memory_add_region(fixture.memory, "ram", BASE, PAGES * GW_PAGE_BYTES, NULL),
                     0);
    fixture.owner = gw_bytemap_tracker_new(fixture.memory, set_watching, &fixture);
    assert_non_null(fixture.owner);
    fixture.tracker = gw_bytemap_tracker_interface(fixture.owner);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    gw_bytemap_tracker_free(fixture->owner);
    gw_memory_free(fixture->memory);
    return 0;
}

static int64_t collect(struct fixture *fixture, uint64_t first, uint64_t count, uint64_t *bitmap)
{
    return fixture->tracker.ops->collect(fixture->tracker.opaque, 0, first, count, bitmap);
}

static uint64_t count_dirty(struct fixture *fixture)
{
    return fixture->tracker.ops->count(fixture->tracker.opaque);
}

static void a_write_marks_every_page_that_it_touches(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t bytes[2 * GW_PAGE_BYTES];
    gw_memory_write(fixture->memory, BASE + 2 * GW_PAGE_BYTES - 1, bytes, GW_PAGE_BYTES + 2);
    gw_memory_mark(fixture->memory, BASE + 130 * GW_PAGE_BYTES, 1);
    gw_memory_mark(fixture->memory, BASE + 140 * GW_PAGE_BYTES, 0);
    assert_int_equal(count_dirty(fixture), 4);
    uint64_t bitmap[4] = {0};
    assert_int_equal(collect(fixture, 0, PAGES, bitmap), 4);
    assert_int_equal(bitmap[0], 0xe);
    assert_int_equal(bitmap[2], 4);
    assert_int_equal(bitmap[1] | bitmap[3], 0);
}

static void collecting_clears_only_its_own_range(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned page = 0; page < PAGES; page++)
        gw_memory_mark(fixture->memory, BASE + page * GW_PAGE_BYTES, 1);
    uint64_t bitmap[4] = {0};
    assert_int_equal(collect(fixture, 3, 70, bitmap), 70);
    assert_int_equal(bitmap[0], UINT64_MAX);
    assert_int_equal(bitmap[1], 0x3f);
    assert_int_equal(count_dirty(fixture), PAGES - 70);
    assert_int_equal(collect(fixture, 3, 70, bitmap), 0);
    assert_int_equal(collect(fixture, 0, 3, bitmap), 3);
    assert_int_equal(collect(fixture, 73, PAGES - 73, bitmap), PAGES - 73);
    assert_int_equal(count_dirty(fixture), 0);
}

static void found_pages_are_added_to_the_bitmap(void **state)
{
    struct fixture *fixture = *state;
    gw_memory_mark(fixture->memory, BASE, 1);
    uint64_t bitmap[4] = {0x80};
    assert_int_equal(collect(fixture, 0, PAGES, bitmap), 1);
    assert_int_equal(bitmap[0], 0x81);
}

static void ranges_outside_the_region_are_refused(void **state)
{
    struct fixture *fixture = *state;
    uint64_t bitmap[4] = {0};
    assert_int_equal(collect(fixture, 1, PAGES, bitmap), -EINVAL);
    assert_int_equal(collect(fixture, UINT64_MAX, 2, bitmap), -EINVAL);
    assert_int_equal(fixture->tracker.ops->collect(fixture->tracker.opaque, 1, 0, 1, bitmap),
                     -EINVAL);
}

static void starting_forgets_old_marks_and_tells_the_cpu(void **state)
{
    struct fixture *fixture = *state;
    gw_memory_mark(fixture->memory, BASE, 10 * GW_PAGE_BYTES);
    assert_int_equal(fixture->tracker.ops->start(fixture->tracker.opaque, NULL), 0);
    assert_int_equal(count_dirty(fixture), 0);
    assert_true(fixture->watching);
    fixture->tracker.ops->stop(fixture->tracker.opaque);
    assert_false(fixture->watching);
    assert_int_equal(fixture->watching_changes, 2);
}

/*
 * Writers store ever larger counters into words of random pages and mark afterwards; the collector
 * copies each page that it finds. When everybody has stopped and a last collection was made, the
 * copy must equal memory: a page whose last write was neither copied nor left marked is a lost
 * page.
 */
#define WRITERS 2
#define COPIES (2000 * PAGES) /* pages copied while the writers run */

struct stress {
    struct fixture *fixture;
    bool enough; /* atomic: the writers end */
    uint64_t copy[PAGES][WRITERS];
    uint64_t copies;
};

struct writer {
    struct stress *stress;
    unsigned index;
};

/* The word of writer `index` in a page: each writer has its own, on its own cache line. */
static uint64_t *word_of(const struct gw_memory_region *region, uint64_t page, unsigned index)
{
    return (uint64_t *)(void *)(region->host + page * GW_PAGE_BYTES + 64 * index);
}

static void *write_and_mark(void *argument)
{
    struct writer *writer = argument;
    struct gw_memory_region *region = gw_memory_region(writer->stress->fixture->memory, 0);
    uint32_t random = 12345 + writer->index;
    for (uint64_t counter = 1; !__atomic_load_n(&writer->stress->enough, __ATOMIC_ACQUIRE);
         counter++) {
        random = random * 1664525u + 1013904223u;
        uint64_t page = (random >> 8) % PAGES;
        __atomic_store_n(word_of(region, page, writer->index), counter, __ATOMIC_RELAXED);
        gw_memory_region_mark(region, page);
    }
    return NULL;
}

static void copy_dirty_pages(struct stress *stress)
{
    const struct gw_memory_region *region = gw_memory_region(stress->fixture->memory, 0);
    uint64_t bitmap[4] = {0};
    assert_true(collect(stress->fixture, 0, PAGES, bitmap) >= 0);
    for (unsigned page = 0; page < PAGES; page++) {
        if (!(bitmap[page / 64] >> (page % 64) & 1))
            continue;
        stress->copies++;
        for (unsigned i = 0; i < WRITERS; i++)
            stress->copy[page][i] = __atomic_load_n(word_of(region, page, i), __ATOMIC_RELAXED);
    }
}

static void no_write_is_lost_while_writers_race_the_collector(void **state)
{
    static struct stress stress;
    stress = (struct stress){.fixture = *state};
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){&stress, i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_mark, &writers[i]), 0);
    }
    while (stress.copies < COPIES)
        copy_dirty_pages(&stress);
    __atomic_store_n(&stress.enough, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    copy_dirty_pages(&stress);

    const struct gw_memory_region *region = gw_memory_region(stress.fixture->memory, 0);
    unsigned lost = 0;
    for (unsigned page = 0; page < PAGES; page++)
        for (unsigned i = 0; i < WRITERS; i++)
            lost += stress.copy[page][i] != *word_of(region, page, i);
    assert_int_equal(lost, 0);
    assert_int_equal(count_dirty(stress.fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_write_marks_every_page_that_it_touches, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(collecting_clears_only_its_own_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(found_pages_are_added_to_the_bitmap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ranges_outside_the_region_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(starting_forgets_old_marks_and_tells_the_cpu, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_write_is_lost_while_writers_race_the_collector, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
