/* SPDX-License-Identifier: Apache-2.0 */
#include "../patience.h"
#include "device-test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "device/vmclock.h"

#define BASE UINT64_C(0x102000)
#define LINE 12
#define MARKER UINT64_C(0xfffffffffffffff0) /* passes through zero: it is no count */

struct fixture {
    struct vmclock vmclock;
    struct gw_memory *memory;
    struct lines lines;
    uint8_t *page;
};

static void make(struct fixture *f, bool notice)
{
    *f = (struct fixture){.memory = gw_memory_new()};
    assert_int_equal(gw_memory_add_region(f->memory, "vmclock", BASE, VMCLOCK_BYTES, NULL), 0);
    f->page = gw_memory_map(f->memory, BASE, VMCLOCK_BYTES);
    vmclock_init(&f->vmclock, f->memory, BASE,
                 notice ? line_of(&f->lines, LINE) : (struct irq_line){0});
    f->vmclock.disruption_marker = MARKER;
    vmclock_ops.reset(&f->vmclock);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    make(&fixture, true);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    gw_memory_free(((struct fixture *)*state)->memory);
    return 0;
}

static uint32_t sequence(const struct fixture *f)
{
    return get_le32(f->page + 0x0c);
}

static uint64_t marker(const struct fixture *f)
{
    return get_le64(f->page + 0x10);
}

/* What Linux's driver and programs for it look at, at the offsets of its header. */
static void check_layout(const struct fixture *f, uint64_t flags)
{
    static const uint8_t zeroes[VMCLOCK_BYTES];
    assert_memory_equal(f->page, "VCLK", 4);
    assert_int_equal(get_le32(f->page + 0x04), 0x1000);
    assert_int_equal(get_le16(f->page + 0x08), 1);
    assert_int_equal(f->page[0x0a], 0xff); /* no counter */
    assert_int_equal(f->page[0x0b], 1);    /* TAI */
    assert_int_equal(sequence(f) & 1, 0);
    assert_int_equal(get_le64(f->page + 0x18), flags);
    assert_int_equal(f->page[0x22], 0); /* status unknown */
    assert_memory_equal(f->page + 0x20, zeroes, VMCLOCK_BYTES - 0x20);
}

static void page_has_the_layout_of_the_interface(void **state)
{
    check_layout(*state, 1 << 9 /* notification */);
}

static void without_a_line_no_notification_is_promised(void **state)
{
    struct fixture f;
    make(&f, false);
    check_layout(&f, 0);
    vmclock_disrupt(&f.vmclock);
    check_layout(&f, 0);
    gw_memory_free(f.memory);
}

static void disruption_changes_marker_and_sequence_and_pulses_the_line(void **state)
{
    struct fixture *f = *state;
    uint32_t before = sequence(f);
    vmclock_disrupt(&f->vmclock);
    assert_int_equal(marker(f), MARKER + 1);
    assert_int_equal(sequence(f), before + 2);
    assert_int_equal(f->lines.changes, 2);
    assert_false(f->lines.level[LINE]);
}

static void machine_that_was_only_stopped_keeps_its_marker(void **state)
{
    struct fixture *f = *state;
    uint32_t before = sequence(f);
    for (unsigned i = 0; i < 3; i++)
        vmclock_ops.resume(&f->vmclock);
    assert_int_equal(marker(f), MARKER);
    assert_int_equal(sequence(f), before);
    assert_int_equal(f->lines.changes, 0);
}

/* As a destination does it: the page arrives as memory, the state on its own. */
static void arrive(struct fixture *from, struct fixture *to)
{
    memcpy(to->page, from->page, VMCLOCK_BYTES);
    copy_state(&vmclock_state_type, &from->vmclock, &to->vmclock);
}

static void machine_that_arrived_has_another_marker_once_it_runs(void **state)
{
    struct fixture *f = *state, there;
    make(&there, true);
    arrive(f, &there);
    assert_int_equal(marker(&there), MARKER);
    vmclock_ops.resume(&there.vmclock);
    assert_int_equal(marker(&there), MARKER + 1);
    assert_int_equal(sequence(&there), sequence(f) + 2);
    assert_int_equal(there.lines.changes, 2);
    vmclock_ops.resume(&there.vmclock);
    assert_int_equal(marker(&there), MARKER + 1);
    gw_memory_free(there.memory);
}

static void state_loaded_on_trial_and_again_is_one_disruption(void **state)
{
    struct fixture *f = *state, there;
    make(&there, true);
    for (unsigned i = 0; i < 3; i++)
        arrive(f, &there);
    vmclock_ops.resume(&f->vmclock); /* the trial was without it: the guest goes on here */
    assert_int_equal(marker(f), MARKER);
    assert_int_equal(f->lines.changes, 0);
    vmclock_ops.resume(&there.vmclock);
    assert_int_equal(marker(&there), MARKER + 1);
    gw_memory_free(there.memory);
}

static void reset_keeps_the_marker_and_tells_nobody(void **state)
{
    struct fixture *f = *state;
    vmclock_disrupt(&f->vmclock);
    uint32_t before = sequence(f);
    f->lines.changes = 0;
    vmclock_ops.reset(&f->vmclock);
    assert_int_equal(marker(f), MARKER + 1);
    assert_int_equal(sequence(f), before);
    assert_int_equal(f->lines.changes, 0);
}

static void what_the_guest_wrote_to_the_page_is_gone_after_an_update(void **state)
{
    struct fixture *f = *state;
    memset(f->page, 0x5a, VMCLOCK_FIELDS_END);
    vmclock_disrupt(&f->vmclock);
    check_layout(f, 1 << 9);
    assert_int_equal(marker(f), MARKER + 1);
}

static void update_marks_the_page_dirty(void **state)
{
    struct fixture *f = *state;
    struct gw_bytemap_tracker *bytemap = gw_bytemap_tracker_new(f->memory, NULL, NULL);
    struct gw_tracker tracker = gw_bytemap_tracker_interface(bytemap);
    uint64_t bits = 0;
    assert_int_equal(tracker.ops->start(tracker.opaque, NULL), 0);
    tracker.ops->collect(tracker.opaque, 0, 0, 1, &bits);
    assert_int_equal(tracker.ops->collect(tracker.opaque, 0, 0, 1, &bits), 0);
    vmclock_disrupt(&f->vmclock);
    assert_int_equal(tracker.ops->collect(tracker.opaque, 0, 0, 1, &bits), 1);
    tracker.ops->stop(tracker.opaque);
    gw_bytemap_tracker_free(bytemap);
}

/* ---- The sequence lock ---- */

#define UPDATES_SEEN 20000
#define ENOUGH_NS UINT64_C(1000000000) /* where one CPU has to do for both threads */

static uint64_t load_marker(const struct fixture *f)
{
    const _Atomic uint64_t *at = (const void *)(f->page + VMCLOCK_FIELD_MARKER);
    return atomic_load_explicit(at, memory_order_relaxed);
}

static uint32_t load_sequence(const struct fixture *f, memory_order order)
{
    const _Atomic uint32_t *at = (const void *)(f->page + VMCLOCK_FIELD_SEQUENCE);
    return atomic_load_explicit(at, order);
}

/* A read as a guest makes it; false when it met an update. */
static bool read_locked(const struct fixture *f, uint32_t *ret_sequence, uint64_t *ret_marker)
{
    *ret_sequence = load_sequence(f, memory_order_acquire);
    *ret_marker = load_marker(f);
    atomic_thread_fence(memory_order_acquire);
    return !(*ret_sequence & 1) && load_sequence(f, memory_order_relaxed) == *ret_sequence;
}

struct reader {
    const struct fixture *fixture;
    _Atomic bool done;
    uint64_t updates_seen, torn;
};

/* Marker and sequence go up together, so each tells what the other must be. */
static void *read_on(void *opaque)
{
    struct reader *reader = opaque;
    uint64_t enough_ns = host_monotonic_ns() + ENOUGH_NS, end_ns = patience_end_ns();
    uint32_t last = 0;
    while (reader->updates_seen < UPDATES_SEEN &&
           host_monotonic_ns() < (reader->updates_seen > 0 ? enough_ns : end_ns)) {
        uint32_t seen;
        uint64_t value;
        if (!read_locked(reader->fixture, &seen, &value))
            continue;
        reader->updates_seen += seen != last;
        reader->torn += value != MARKER + seen / 2;
        last = seen;
    }
    reader->done = true;
    return NULL;
}

static void reader_never_sees_half_an_update(void **state)
{
    struct fixture *f = *state;
    struct reader reader = {.fixture = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    while (!reader.done) {
        vmclock_disrupt(&f->vmclock);
        for (volatile unsigned pause = 0; pause < 50; pause++)
            ; /* so that some reads meet no update */
    }
    pthread_join(thread, NULL);
    assert_true(reader.updates_seen > 0);
    assert_int_equal(reader.torn, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(page_has_the_layout_of_the_interface, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_line_no_notification_is_promised, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(disruption_changes_marker_and_sequence_and_pulses_the_line,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(machine_that_was_only_stopped_keeps_its_marker, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(machine_that_arrived_has_another_marker_once_it_runs,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_loaded_on_trial_and_again_is_one_disruption, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reset_keeps_the_marker_and_tells_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_guest_wrote_to_the_page_is_gone_after_an_update,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(update_marks_the_page_dirty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reader_never_sees_half_an_update, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
