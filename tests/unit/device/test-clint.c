/* SPDX-License-Identifier: Apache-2.0 */
#include "device-test.h"

#include "device/clint.h"

enum { MSIP = 0, MTIMECMP = 0x4000, MTIME = 0xbff8 };
enum { SOFTWARE = 0, TIMER = 8 }; /* line numbers: + hart */

struct fixture {
    struct clock clock;
    struct lines lines;
    struct clint clint;
};

static void make(struct fixture *fixture, unsigned harts)
{
    *fixture = (struct fixture){0};
    clock_init(&fixture->clock, GW_CLOCK_HOST);
    clint_init(&fixture->clint, &fixture->clock, harts);
    for (unsigned i = 0; i < harts; i++) {
        fixture->clint.hart[i].software_line = line_of(&fixture->lines, SOFTWARE + i);
        fixture->clint.hart[i].timer_line = line_of(&fixture->lines, TIMER + i);
    }
}

static int set_up(void **state)
{
    static struct fixture fixture;
    make(&fixture, 2);
    *state = &fixture;
    return 0;
}

static void mtime_counts_ticks_of_100_ns(void **state)
{
    struct fixture *f = *state;
    move_clock(&f->clock, 0x123456789ab * 100 + 99);
    assert_int_equal(clint_ops.read(&f->clint, MTIME, 8), 0x123456789ab);
    assert_int_equal(clint_ops.read(&f->clint, MTIME, 4), 0x456789ab);
    assert_int_equal(clint_ops.read(&f->clint, MTIME + 4, 4), 0x123);
}

static void mtime_ignores_writes(void **state)
{
    struct fixture *f = *state;
    move_clock(&f->clock, 1000);
    clint_ops.write(&f->clint, MTIME, 77, 8);
    assert_int_equal(clint_ops.read(&f->clint, MTIME, 8), 10);
}

static void timer_rises_exactly_at_compare(void **state)
{
    struct fixture *f = *state;
    clint_ops.write(&f->clint, MTIMECMP + 8, 50, 8);
    move_clock(&f->clock, 4999);
    assert_false(f->lines.level[TIMER + 1]);
    move_clock(&f->clock, 5000);
    assert_true(f->lines.level[TIMER + 1]);
    assert_false(f->lines.level[TIMER + 0]);
}

static void later_compare_lowers_timer(void **state)
{
    struct fixture *f = *state;
    move_clock(&f->clock, 5000);
    clint_ops.write(&f->clint, MTIMECMP, 50, 8);
    assert_true(f->lines.level[TIMER]);
    clint_ops.write(&f->clint, MTIMECMP, 51, 8);
    assert_false(f->lines.level[TIMER]);
}

static void compare_is_written_in_halves(void **state)
{
    struct fixture *f = *state;
    clint_ops.write(&f->clint, MTIMECMP + 4, 0x11223344, 4);
    clint_ops.write(&f->clint, MTIMECMP, 0x55667788, 4);
    assert_true(clint_ops.read(&f->clint, MTIMECMP, 8) == 0x1122334455667788);
    assert_int_equal(clint_ops.read(&f->clint, MTIMECMP + 4, 4), 0x11223344);
}

static void compare_beyond_the_clock_never_fires(void **state)
{
    struct fixture *f = *state;
    clint_ops.write(&f->clint, MTIMECMP, UINT64_MAX / 2, 8);
    assert_true(clock_deadline_ns(&f->clock) == CLOCK_NEVER);
}

static void software_interrupt_is_bit_0(void **state)
{
    struct fixture *f = *state;
    clint_ops.write(&f->clint, MSIP + 4, 0xffffffff, 4);
    assert_int_equal(clint_ops.read(&f->clint, MSIP + 4, 4), 1);
    assert_true(f->lines.level[SOFTWARE + 1]);
    clint_ops.write(&f->clint, MSIP + 4, 0xfffffffe, 4);
    assert_false(f->lines.level[SOFTWARE + 1]);
    assert_false(f->lines.level[SOFTWARE + 0]);
}

static void registers_of_absent_harts_read_0(void **state)
{
    struct fixture *f = *state;
    clint_ops.write(&f->clint, MSIP + 8, 1, 4);
    clint_ops.write(&f->clint, MTIMECMP + 16, 0, 8);
    assert_int_equal(clint_ops.read(&f->clint, MSIP + 8, 4), 0);
    assert_int_equal(clint_ops.read(&f->clint, MTIMECMP + 16, 8), 0);
    assert_int_equal(f->lines.changes, 0);
}

static void reset_lowers_everything(void **state)
{
    struct fixture *f = *state;
    clint_ops.write(&f->clint, MSIP, 1, 4);
    clint_ops.write(&f->clint, MTIMECMP, 0, 8);
    clint_ops.reset(&f->clint);
    assert_false(f->lines.level[SOFTWARE]);
    assert_false(f->lines.level[TIMER]);
    assert_true(clint_ops.read(&f->clint, MTIMECMP, 8) == UINT64_MAX);
}

static void loaded_state_arms_timers_and_drives_lines(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    make(&other, 2);
    clint_ops.write(&f->clint, MSIP, 1, 4);
    clint_ops.write(&f->clint, MTIMECMP, 0, 8);
    clint_ops.write(&f->clint, MTIMECMP + 8, 70, 8);
    copy_state(&clint_state_type, &f->clint, &other.clint);
    assert_true(other.lines.level[SOFTWARE]);
    assert_true(other.lines.level[TIMER]);
    assert_true(clock_deadline_ns(&other.clock) == 7000);
    move_clock(&other.clock, 7000);
    assert_true(other.lines.level[TIMER + 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(mtime_counts_ticks_of_100_ns, set_up),
        cmocka_unit_test_setup(mtime_ignores_writes, set_up),
        cmocka_unit_test_setup(timer_rises_exactly_at_compare, set_up),
        cmocka_unit_test_setup(later_compare_lowers_timer, set_up),
        cmocka_unit_test_setup(compare_is_written_in_halves, set_up),
        cmocka_unit_test_setup(compare_beyond_the_clock_never_fires, set_up),
        cmocka_unit_test_setup(software_interrupt_is_bit_0, set_up),
        cmocka_unit_test_setup(registers_of_absent_harts_read_0, set_up),
        cmocka_unit_test_setup(reset_lowers_everything, set_up),
        cmocka_unit_test_setup(loaded_state_arms_timers_and_drives_lines, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
