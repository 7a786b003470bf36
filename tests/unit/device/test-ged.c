/* SPDX-License-Identifier: Apache-2.0 */
#include "device-test.h"

#include "device/ged.h"

#define LINE 9

struct fixture {
    struct ged ged;
    struct lines lines;
    unsigned requests;
};

static void requested(void *opaque)
{
    ((struct fixture *)opaque)->requests++;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    ged_init(&fixture.ged, line_of(&fixture.lines, LINE), requested, &fixture);
    *state = &fixture;
    return 0;
}

static uint64_t read_events(struct fixture *f)
{
    return ged_ops.read(&f->ged, 0, 4);
}

static void press_raises_the_line_until_events_are_read(void **state)
{
    struct fixture *f = *state;
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    assert_true(f->lines.level[LINE]);
    assert_int_equal(read_events(f), GED_EVENT_POWER_BUTTON);
    assert_false(f->lines.level[LINE]);
    assert_int_equal(read_events(f), 0);
}

static void two_presses_before_a_read_are_one(void **state)
{
    struct fixture *f = *state;
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    assert_int_equal(f->lines.changes, 1);
    assert_int_equal(read_events(f), GED_EVENT_POWER_BUTTON);
    assert_int_equal(read_events(f), 0);
}

static void events_of_several_kinds_are_read_together(void **state)
{
    struct fixture *f = *state;
    ged_tell(&f->ged, GED_EVENT_VMCLOCK);
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    assert_true(f->lines.level[LINE]);
    assert_int_equal(read_events(f), GED_EVENT_POWER_BUTTON | GED_EVENT_VMCLOCK);
    assert_false(f->lines.level[LINE]);
}

static void narrow_reads_take_no_event(void **state)
{
    struct fixture *f = *state;
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    assert_int_equal(ged_ops.read(&f->ged, 0, 1), 0);
    assert_int_equal(ged_ops.read(&f->ged, 2, 2), 0);
    ged_ops.write(&f->ged, 0, 0xffffffff, 4);
    assert_true(f->lines.level[LINE]);
    assert_int_equal(read_events(f), GED_EVENT_POWER_BUTTON);
}

static void stores_ask_for_what_the_fadt_says(void **state)
{
    static const struct {
        uint64_t offset, value;
        enum ged_request request;
    } cases[] = {
        {0, 0x34, GED_REQUEST_POWER_OFF}, /* SLP_EN, SLP_TYP 5 */
        {2, 0x42, GED_REQUEST_RESET},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_up(state);
        ged_register_ops.write(&f->ged, cases[i].offset, cases[i].value, 1);
        assert_int_equal(f->ged.request, cases[i].request);
        assert_int_equal(f->requests, 1);
    }
}

static void other_stores_ask_for_nothing(void **state)
{
    struct fixture *f = *state;
    ged_register_ops.write(&f->ged, 0, 0x14, 1); /* not enabled */
    ged_register_ops.write(&f->ged, 0, 0x24, 1); /* another state */
    ged_register_ops.write(&f->ged, 1, 0x80, 1); /* wake status */
    ged_register_ops.write(&f->ged, 1, 0x34, 1);
    ged_register_ops.write(&f->ged, 2, 0x41, 1);
    ged_register_ops.write(&f->ged, 0, 0x34, 2);
    assert_int_equal(f->ged.request, GED_REQUEST_NONE);
    assert_int_equal(f->requests, 0);
    assert_int_equal(ged_register_ops.read(&f->ged, 1, 1), 0);
}

static void first_request_counts(void **state)
{
    struct fixture *f = *state;
    ged_register_ops.write(&f->ged, 2, 0x42, 1);
    ged_register_ops.write(&f->ged, 0, 0x34, 1);
    ged_ask(&f->ged, GED_REQUEST_POWER_OFF);
    assert_int_equal(f->ged.request, GED_REQUEST_RESET);
    assert_int_equal(f->requests, 1);
}

static void reset_forgets_requests_and_events(void **state)
{
    struct fixture *f = *state;
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    ged_ask(&f->ged, GED_REQUEST_RESET);
    ged_ops.reset(&f->ged);
    assert_int_equal(f->ged.request, GED_REQUEST_NONE);
    assert_false(f->lines.level[LINE]);
    assert_int_equal(read_events(f), 0);
}

static void loaded_press_raises_the_line(void **state)
{
    struct fixture *f = *state;
    struct ged other;
    struct lines lines = {0};
    ged_init(&other, line_of(&lines, LINE), NULL, NULL);
    ged_tell(&f->ged, GED_EVENT_POWER_BUTTON);
    ged_ask(&f->ged, GED_REQUEST_POWER_OFF);
    copy_state(&ged_state_type, &f->ged, &other);
    assert_true(lines.level[LINE]);
    assert_int_equal(other.request, GED_REQUEST_POWER_OFF);
    assert_int_equal(ged_ops.read(&other, 0, 4), GED_EVENT_POWER_BUTTON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(press_raises_the_line_until_events_are_read, set_up),
        cmocka_unit_test_setup(two_presses_before_a_read_are_one, set_up),
        cmocka_unit_test_setup(events_of_several_kinds_are_read_together, set_up),
        cmocka_unit_test_setup(narrow_reads_take_no_event, set_up),
        cmocka_unit_test_setup(stores_ask_for_what_the_fadt_says, set_up),
        cmocka_unit_test_setup(other_stores_ask_for_nothing, set_up),
        cmocka_unit_test_setup(first_request_counts, set_up),
        cmocka_unit_test_setup(reset_forgets_requests_and_events, set_up),
        cmocka_unit_test_setup(loaded_press_raises_the_line, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
