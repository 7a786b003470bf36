/* SPDX-License-Identifier: Apache-2.0 */
/* The power button. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/input.h>
#include <string.h>

#include "base/bytes.h"
#include "driver.h"
#include "virtio/input.h"

enum { C_SELECT = R_CONFIG, C_SUBSELECT, C_SIZE, C_ANSWER = R_CONFIG + 8 };

struct fixture {
    struct driver driver;
    struct virtio_input input;
};

static void fixture_init(struct fixture *fixture, enum clock_mode mode)
{
    driver_init(&fixture->driver, mode);
    virtio_input_init(&fixture->input, &fixture->driver.host);
    fixture->driver.device = &fixture->input;
}

static void fixture_fini(struct fixture *fixture)
{
    virtio_input_fini(&fixture->input);
    driver_fini(&fixture->driver);
}

static int setup_mode(void **state, enum clock_mode mode)
{
    static struct fixture fixture;
    fixture_init(&fixture, mode);
    *state = &fixture;
    return 0;
}

static int setup(void **state)
{
    return setup_mode(state, GW_CLOCK_HOST);
}

static int setup_deterministic(void **state)
{
    return setup_mode(state, GW_CLOCK_INSTRUCTIONS);
}

static int teardown(void **state)
{
    fixture_fini(*state);
    return 0;
}

static uint8_t read_byte(struct fixture *fixture, uint32_t offset)
{
    return (uint8_t)virtio_mmio_ops.read(&fixture->input, offset, 1);
}

/* The size of the answer. */
static uint8_t ask(struct fixture *fixture, uint8_t select, uint8_t subselect)
{
    virtio_mmio_ops.write(&fixture->input, C_SELECT, select, 1);
    virtio_mmio_ops.write(&fixture->input, C_SUBSELECT, subselect, 1);
    return read_byte(fixture, C_SIZE);
}

/* The buffer goes where its descriptor is, so that events lie in the order in which they came. */
static void give_buffers(struct driver *driver, unsigned count, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        struct piece buffer = {DRIVER_BUFFERS + 8 * driver->next_descriptor, bytes, D_WRITE};
        driver_add(driver, &buffer, 1);
    }
    driver_kick(driver);
}

static void expect_event(struct driver *driver, uint16_t type, uint16_t code, uint32_t value)
{
    uint32_t head, bytes;
    uint8_t raw[8];
    assert_true(driver_collect(driver, &head, &bytes));
    assert_int_equal(bytes, sizeof raw);
    driver_fetch(driver, DRIVER_BUFFERS + 8 * head, raw, sizeof raw);
    assert_int_equal(get_le16(raw), type);
    assert_int_equal(get_le16(raw + 2), code);
    assert_int_equal(get_le32(raw + 4), value);
}

static void expect_press(struct driver *driver)
{
    expect_event(driver, EV_KEY, KEY_POWER, 1);
    expect_event(driver, EV_SYN, SYN_REPORT, 0);
    expect_event(driver, EV_KEY, KEY_POWER, 0);
    expect_event(driver, EV_SYN, SYN_REPORT, 0);
}

static void expect_no_event(struct driver *driver)
{
    assert_int_equal(driver_used_index(driver), driver->used);
}

static void it_says_its_name_and_who_made_it(void **state)
{
    struct fixture *fixture = *state;
    char name[65] = "";
    assert_int_equal(driver_get(&fixture->driver, R_ID), 18);
    uint8_t size = ask(fixture, 0x01, 0);
    for (uint32_t i = 0; i < size && i < 64; i++)
        name[i] = (char)read_byte(fixture, C_ANSWER + i);
    assert_string_equal(name, "godwit power button");
    assert_int_equal(ask(fixture, 0x03, 0), 8);
    assert_int_equal(virtio_mmio_ops.read(&fixture->input, C_ANSWER, 2), BUS_VIRTUAL);
}

static void its_only_key_is_the_power_key(void **state)
{
    struct fixture *fixture = *state;
    uint8_t size = ask(fixture, 0x11, EV_KEY);
    assert_int_equal(size, KEY_POWER / 8 + 1);
    for (uint32_t i = 0; i < 128; i++)
        assert_int_equal(read_byte(fixture, C_ANSWER + i), i == KEY_POWER / 8 ? 1 << 4 : 0);
}

static void what_it_does_not_have_is_of_no_size(void **state)
{
    struct fixture *fixture = *state;
    unsigned answered = 0;
    for (unsigned question = 0; question < 65536; question++)
        answered += ask(fixture, (uint8_t)(question >> 8), (uint8_t)question) != 0;
    assert_int_equal(answered, 4); /* name, ids, keys, reports */
}

static void an_answer_leaves_nothing_of_the_one_before(void **state)
{
    struct fixture *fixture = *state;
    ask(fixture, 0x01, 0);
    ask(fixture, 0x02, 0);
    for (uint32_t i = 0; i < 128; i++)
        assert_int_equal(read_byte(fixture, C_ANSWER + i), 0);
    assert_int_equal(read_byte(fixture, C_SELECT), 0x02);
}

static void the_driver_writes_selectors_only(void **state)
{
    struct fixture *fixture = *state;
    virtio_mmio_ops.write(&fixture->input, C_SELECT, UINT64_C(0xffffffffffff0001), 8);
    assert_int_equal(read_byte(fixture, C_SIZE), strlen("godwit power button"));
    for (uint32_t offset = C_SIZE; offset < 0x1000; offset += 4) {
        virtio_mmio_ops.write(&fixture->input, offset, 0xa5a5a5a5, 4);
        assert_int_equal(read_byte(fixture, offset) == 0xa5, 0);
    }
    assert_int_equal(read_byte(fixture, C_ANSWER), 'g');
}

static void a_press_reaches_the_driver(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 64, 8);
    expect_no_event(&fixture->driver);
    assert_true(virtio_input_press(&fixture->input));
    assert_true(fixture->driver.irq);
    expect_press(&fixture->driver);
    expect_no_event(&fixture->driver);
}

static void nobody_hears_a_press_before_there_is_a_driver(void **state)
{
    struct fixture *fixture = *state;
    assert_false(virtio_input_press(&fixture->input));
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 4, 8);
    expect_no_event(&fixture->driver);
}

static void events_wait_for_buffers(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    assert_true(virtio_input_press(&fixture->input));
    give_buffers(&fixture->driver, 1, 8);
    expect_event(&fixture->driver, EV_KEY, KEY_POWER, 1);
    expect_no_event(&fixture->driver);
    give_buffers(&fixture->driver, 5, 8);
    expect_event(&fixture->driver, EV_SYN, SYN_REPORT, 0);
    expect_event(&fixture->driver, EV_KEY, KEY_POWER, 0);
    expect_event(&fixture->driver, EV_SYN, SYN_REPORT, 0);
    expect_no_event(&fixture->driver);
}

static void a_driver_that_is_to_give_buffers_is_asked_to_notify(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 3, 8);
    virtio_input_press(&fixture->input);
    assert_int_equal(driver_available_event(&fixture->driver), 3);
}

static void presses_that_nobody_takes_are_few(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(virtio_input_press(&fixture->input));
    give_buffers(&fixture->driver, 64, 8);
    for (unsigned i = 0; i < 4; i++)
        expect_press(&fixture->driver);
    expect_no_event(&fixture->driver);
}

static void a_reset_forgets_presses_and_the_question(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    ask(fixture, 0x01, 0);
    virtio_input_press(&fixture->input);
    driver_set(&fixture->driver, R_STATUS, 0);
    assert_int_equal(read_byte(fixture, C_SELECT), 0);
    assert_int_equal(read_byte(fixture, C_SIZE), 0);
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 8, 8);
    expect_no_event(&fixture->driver);
}

static void a_press_on_a_stopped_machine_waits_until_it_runs(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 8, 8);
    virtio_mmio_ops.drain(&fixture->input);
    uint64_t before = gw_memory_hash(fixture->driver.memory);
    assert_true(virtio_input_press(&fixture->input));
    assert_int_equal(gw_memory_hash(fixture->driver.memory), before);
    virtio_mmio_ops.resume(&fixture->input);
    expect_press(&fixture->driver);
}

static void with_the_instruction_clock_a_press_comes_by_guest_time(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 8, 8);
    clock_advance_ns(&fixture->driver.clock, VIRTIO_LATENCY_NS);
    clock_fire(&fixture->driver.clock);
    virtio_input_press(&fixture->input);
    clock_advance_ns(&fixture->driver.clock, VIRTIO_LATENCY_NS - 1);
    clock_fire(&fixture->driver.clock);
    expect_no_event(&fixture->driver);
    clock_advance_ns(&fixture->driver.clock, 1);
    clock_fire(&fixture->driver.clock);
    expect_press(&fixture->driver);
}

/* Saves `from` and loads it as `to`, which does not run yet. */
static void move(struct fixture *to, struct fixture *from)
{
    struct gw_buf stream = {0};
    fixture_init(to, from->driver.clock.mode);
    virtio_mmio_ops.drain(&from->input);
    const struct gw_state_item out = {&virtio_input_state_type, 0, &from->input};
    const struct gw_state_item in = {&virtio_input_state_type, 0, &to->input};
    assert_int_equal(gw_state_save(&out, 1, &stream, NULL), 0);
    assert_int_equal(gw_state_load(&in, 1, stream.data, stream.length, NULL), 0);
    memcpy(gw_memory_map(to->driver.memory, DRIVER_RAM, DRIVER_RAM_BYTES),
           gw_memory_map(from->driver.memory, DRIVER_RAM, DRIVER_RAM_BYTES), DRIVER_RAM_BYTES);
    to->driver.queue_size = from->driver.queue_size;
    to->driver.available = from->driver.available;
    to->driver.used = from->driver.used;
    to->driver.next_descriptor = from->driver.next_descriptor;
    gw_buf_fini(&stream);
}

static void the_rest_of_a_press_comes_on_the_other_host(void **state)
{
    struct fixture *fixture = *state;
    static struct fixture other;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    ask(fixture, 0x01, 0);
    virtio_input_press(&fixture->input);
    give_buffers(&fixture->driver, 2, 8);
    expect_event(&fixture->driver, EV_KEY, KEY_POWER, 1);
    expect_event(&fixture->driver, EV_SYN, SYN_REPORT, 0);
    move(&other, fixture);
    virtio_mmio_ops.resume(&other.input);
    assert_int_equal(read_byte(&other, C_ANSWER), 'g');
    give_buffers(&other.driver, 4, 8);
    expect_event(&other.driver, EV_KEY, KEY_POWER, 0);
    expect_event(&other.driver, EV_SYN, SYN_REPORT, 0);
    expect_no_event(&other.driver);
    fixture_fini(&other);
}

static void a_press_on_a_machine_that_arrived_stopped_waits_too(void **state)
{
    struct fixture *fixture = *state;
    static struct fixture other;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 8, 8);
    move(&other, fixture);
    assert_true(virtio_input_press(&other.input));
    expect_no_event(&other.driver);
    virtio_mmio_ops.resume(&other.input);
    expect_press(&other.driver);
    fixture_fini(&other);
}

static void a_buffer_too_short_for_an_event_breaks_the_device(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    give_buffers(&fixture->driver, 1, 7);
    virtio_input_press(&fixture->input);
    assert_true(driver_get(&fixture->driver, R_STATUS) & VIRTIO_NEEDS_RESET);
    expect_no_event(&fixture->driver);
    assert_false(virtio_input_press(&fixture->input));
}

static void what_the_driver_tells_the_button_is_given_back(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    driver_negotiate(driver, ALL_FEATURES);
    driver_setup_queue(driver, 16); /* the rings, which queue 1 gets instead */
    driver_set(driver, R_QUEUE_READY, 0);
    driver_set(driver, R_QUEUE_SEL, 1);
    driver_set(driver, R_QUEUE_NUM, 16);
    driver_set64(driver, R_DESC, DRIVER_DESC);
    driver_set64(driver, R_AVAIL, DRIVER_AVAIL);
    driver_set64(driver, R_USED, DRIVER_USED);
    driver_set(driver, R_QUEUE_READY, 1);
    driver_set(driver, R_STATUS, 15);
    struct piece light = {DRIVER_BUFFERS, 8, 0};
    uint32_t head, bytes;
    for (unsigned i = 0; i < 40; i++) {
        uint16_t added = driver_add(driver, &light, 1);
        driver_set(driver, R_NOTIFY, 1);
        assert_true(driver_collect(driver, &head, &bytes));
        assert_int_equal(head, added);
        assert_int_equal(bytes, 0);
    }
}

#define HOST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define DETERMINISTIC(name) cmocka_unit_test_setup_teardown(name, setup_deterministic, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOST(it_says_its_name_and_who_made_it),
        HOST(its_only_key_is_the_power_key),
        HOST(what_it_does_not_have_is_of_no_size),
        HOST(an_answer_leaves_nothing_of_the_one_before),
        HOST(the_driver_writes_selectors_only),
        HOST(a_press_reaches_the_driver),
        HOST(nobody_hears_a_press_before_there_is_a_driver),
        HOST(events_wait_for_buffers),
        HOST(a_driver_that_is_to_give_buffers_is_asked_to_notify),
        HOST(presses_that_nobody_takes_are_few),
        HOST(a_reset_forgets_presses_and_the_question),
        HOST(a_press_on_a_stopped_machine_waits_until_it_runs),
        DETERMINISTIC(with_the_instruction_clock_a_press_comes_by_guest_time),
        HOST(the_rest_of_a_press_comes_on_the_other_host),
        HOST(a_press_on_a_machine_that_arrived_stopped_waits_too),
        HOST(a_buffer_too_short_for_an_event_breaks_the_device),
        HOST(what_the_driver_tells_the_button_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
