/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static char order[16];

static void note_a(void *opaque)
{
    strcat(order, "a");
}

static void note_b(void *opaque)
{
    strcat(order, "b");
}

static void timers_fire_by_deadline_then_by_birth(void **state)
{
    struct clock clock;
    struct clock_timer a, b, a2;
    clock_init(&clock, GW_CLOCK_INSTRUCTIONS);
    clock_timer_init(&a, &clock, note_a, NULL);
    clock_timer_init(&b, &clock, note_b, NULL);
    clock_timer_init(&a2, &clock, note_a, NULL);
    clock_timer_arm(&a, 20);
    clock_timer_arm(&a2, 10);
    clock_timer_arm(&b, 10);
    assert_int_equal(clock_deadline_ns(&clock), 10);
    clock_advance_ns(&clock, 9);
    clock_fire(&clock);
    assert_string_equal(order, "");
    clock_advance_ns(&clock, 11);
    clock_fire(&clock);
    assert_string_equal(order, "baa");
    assert_int_equal(clock_deadline_ns(&clock), CLOCK_NEVER);
}

static uint64_t told;

static void changed(void *opaque, uint64_t deadline_ns)
{
    told = deadline_ns;
}

static void the_owner_hears_of_every_new_earliest_deadline(void **state)
{
    struct clock clock;
    struct clock_timer timer;
    clock_init(&clock, GW_CLOCK_INSTRUCTIONS);
    clock_set_notify(&clock, changed, NULL);
    clock_timer_init(&timer, &clock, note_a, NULL);
    clock_timer_arm(&timer, 5);
    assert_int_equal(told, 5);
    clock_timer_arm(&timer, 7);
    assert_int_equal(told, 7);
    clock_timer_disarm(&timer);
    assert_int_equal(told, CLOCK_NEVER);
}

static void a_stopped_host_clock_stands_still(void **state)
{
    struct clock clock;
    clock_init(&clock, GW_CLOCK_HOST);
    clock_set_ns(&clock, 1000);
    assert_int_equal(clock_now_ns(&clock), 1000);
    clock_start(&clock);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(clock_now_ns(&clock) >= 1001000);
    clock_stop(&clock);
    uint64_t stopped = clock_now_ns(&clock);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(clock_now_ns(&clock), stopped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_by_deadline_then_by_birth),
        cmocka_unit_test(the_owner_hears_of_every_new_earliest_deadline),
        cmocka_unit_test(a_stopped_host_clock_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
