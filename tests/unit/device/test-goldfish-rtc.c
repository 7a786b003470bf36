/* SPDX-License-Identifier: Apache-2.0 */
#include "device-test.h"

#include "device/goldfish-rtc.h"

enum { TIME_LOW = 0, TIME_HIGH = 4, ALARM_LOW = 8, ALARM_HIGH = 12 };
enum { IRQ_ENABLE = 16, CLEAR_ALARM = 20, ALARM_STATUS = 24, CLEAR_IRQ = 28 };

struct fixture {
    struct clock clock;
    struct lines lines;
    struct goldfish_rtc rtc;
};

static void make(struct fixture *f, enum clock_mode mode)
{
    *f = (struct fixture){0};
    clock_init(&f->clock, mode);
    goldfish_rtc_init(&f->rtc, &f->clock, line_of(&f->lines, 0));
}

static int set_up(void **state)
{
    static struct fixture fixture;
    make(&fixture, GW_CLOCK_INSTRUCTIONS);
    *state = &fixture;
    return 0;
}

static void put(struct fixture *f, unsigned offset, uint64_t value)
{
    goldfish_rtc_ops.write(&f->rtc, offset, (uint32_t)value, 4);
}

static uint64_t get(struct fixture *f, unsigned offset)
{
    return goldfish_rtc_ops.read(&f->rtc, offset, 4);
}

static uint64_t read_time(struct fixture *f)
{
    uint64_t low = get(f, TIME_LOW);
    return get(f, TIME_HIGH) << 32 | low;
}

static void set_time(struct fixture *f, uint64_t ns)
{
    put(f, TIME_HIGH, ns >> 32);
    put(f, TIME_LOW, ns);
}

static void set_alarm(struct fixture *f, uint64_t ns)
{
    put(f, ALARM_HIGH, ns >> 32);
    put(f, ALARM_LOW, ns);
    put(f, IRQ_ENABLE, 1);
}

static void instruction_clock_starts_at_the_epoch(void **state)
{
    struct fixture *f = *state;
    assert_true(read_time(f) == GOLDFISH_RTC_EPOCH_NS);
    move_clock(&f->clock, 12345);
    assert_true(read_time(f) == GOLDFISH_RTC_EPOCH_NS + 12345);
}

static void host_clock_follows_host_time(void **state)
{
    struct fixture f;
    make(&f, GW_CLOCK_HOST);
    uint64_t before = host_realtime_ns();
    uint64_t time = read_time(&f);
    assert_true(time >= before && time <= host_realtime_ns());
}

static void high_word_is_latched_by_the_low_one(void **state)
{
    struct fixture *f = *state;
    uint64_t boundary = (GOLDFISH_RTC_EPOCH_NS | 0xffffffff) + 1;
    move_clock(&f->clock, boundary - 1 - GOLDFISH_RTC_EPOCH_NS);
    assert_int_equal(get(f, TIME_LOW), 0xffffffff);
    move_clock(&f->clock, boundary + 5 - GOLDFISH_RTC_EPOCH_NS);
    assert_true(get(f, TIME_HIGH) == (boundary >> 32) - 1);
}

static void time_that_was_set_goes_on(void **state)
{
    struct fixture *f = *state;
    set_time(f, 1000000000000000000);
    assert_true(read_time(f) == 1000000000000000000);
    move_clock(&f->clock, 500);
    assert_true(read_time(f) == 1000000000000000500);
}

static void alarm_interrupts_at_its_time(void **state)
{
    struct fixture *f = *state;
    set_alarm(f, GOLDFISH_RTC_EPOCH_NS + 1000);
    assert_int_equal(get(f, ALARM_STATUS), 1);
    move_clock(&f->clock, 999);
    assert_false(f->lines.level[0]);
    move_clock(&f->clock, 1000);
    assert_true(f->lines.level[0]);
    assert_int_equal(get(f, ALARM_STATUS), 0);
    put(f, CLEAR_IRQ, 1);
    assert_false(f->lines.level[0]);
}

static void alarm_in_the_past_interrupts_at_once(void **state)
{
    struct fixture *f = *state;
    move_clock(&f->clock, 5000);
    set_alarm(f, GOLDFISH_RTC_EPOCH_NS + 1000);
    assert_true(f->lines.level[0]);
}

static void cleared_alarm_stays_silent(void **state)
{
    struct fixture *f = *state;
    set_alarm(f, GOLDFISH_RTC_EPOCH_NS + 1000);
    put(f, CLEAR_ALARM, 1);
    move_clock(&f->clock, 2000);
    assert_false(f->lines.level[0]);
    assert_true(clock_deadline_ns(&f->clock) == CLOCK_NEVER);
}

static void masked_alarm_waits_for_the_mask(void **state)
{
    struct fixture *f = *state;
    set_alarm(f, GOLDFISH_RTC_EPOCH_NS + 1000);
    put(f, IRQ_ENABLE, 0);
    move_clock(&f->clock, 2000);
    assert_false(f->lines.level[0]);
    put(f, IRQ_ENABLE, 1);
    assert_true(f->lines.level[0]);
}

static void setting_the_time_moves_the_alarm(void **state)
{
    struct fixture *f = *state;
    set_alarm(f, GOLDFISH_RTC_EPOCH_NS + 1000000);
    set_time(f, GOLDFISH_RTC_EPOCH_NS + 999000);
    assert_true(clock_deadline_ns(&f->clock) == 1000);
}

static void loaded_state_keeps_set_time_and_alarm(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    make(&other, GW_CLOCK_INSTRUCTIONS);
    set_time(f, 1000000000000000000);
    set_alarm(f, 1000000000000000700);
    copy_state(&goldfish_rtc_state_type, &f->rtc, &other.rtc);
    assert_true(read_time(&other) == 1000000000000000000);
    move_clock(&other.clock, 700);
    assert_true(other.lines.level[0]);
}

/* Loading says what was, not what has become of it since: a rehearsal must not lose the alarm. */
static void loading_a_due_alarm_leaves_it_armed(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    make(&other, GW_CLOCK_INSTRUCTIONS);
    move_clock(&other.clock, 1000000);
    set_alarm(f, GOLDFISH_RTC_EPOCH_NS + 1000);
    copy_state(&goldfish_rtc_state_type, &f->rtc, &other.rtc);
    assert_int_equal(get(&other, ALARM_STATUS), 1);
    clock_fire(&other.clock);
    assert_true(other.lines.level[0]);
}

static void reset_keeps_the_time(void **state)
{
    struct fixture *f = *state;
    set_time(f, 1000000000000000000);
    set_alarm(f, 1000000000000000700);
    goldfish_rtc_ops.reset(&f->rtc);
    assert_true(read_time(f) == 1000000000000000000);
    move_clock(&f->clock, 5000);
    assert_false(f->lines.level[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(instruction_clock_starts_at_the_epoch, set_up),
        cmocka_unit_test(host_clock_follows_host_time),
        cmocka_unit_test_setup(high_word_is_latched_by_the_low_one, set_up),
        cmocka_unit_test_setup(time_that_was_set_goes_on, set_up),
        cmocka_unit_test_setup(alarm_interrupts_at_its_time, set_up),
        cmocka_unit_test_setup(alarm_in_the_past_interrupts_at_once, set_up),
        cmocka_unit_test_setup(cleared_alarm_stays_silent, set_up),
        cmocka_unit_test_setup(masked_alarm_waits_for_the_mask, set_up),
        cmocka_unit_test_setup(setting_the_time_moves_the_alarm, set_up),
        cmocka_unit_test_setup(loaded_state_keeps_set_time_and_alarm, set_up),
        cmocka_unit_test_setup(loading_a_due_alarm_leaves_it_armed, set_up),
        cmocka_unit_test_setup(reset_keeps_the_time, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
