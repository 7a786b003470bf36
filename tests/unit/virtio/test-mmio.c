/* SPDX-License-Identifier: Apache-2.0 */
/* The transport, with the entropy device behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "driver.h"
#include "virtio/rng.h"

struct fixture {
    struct driver driver;
    struct virtio_rng rng;
};

static int setup_mode(void **state, enum clock_mode mode)
{
    static struct fixture fixture;
    driver_init(&fixture.driver, mode);
    virtio_rng_init(&fixture.rng, &fixture.driver.host, 42);
    fixture.driver.device = &fixture.rng;
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
    struct fixture *fixture = *state;
    virtio_rng_fini(&fixture->rng);
    driver_fini(&fixture->driver);
    return 0;
}

static struct driver *driver_of(void **state)
{
    return &((struct fixture *)*state)->driver;
}

static const struct piece one_buffer[] = {{DRIVER_BUFFERS, 16, D_WRITE}};

static void the_identity_registers_say_what_it_is(void **state)
{
    struct driver *driver = driver_of(state);
    assert_int_equal(driver_get(driver, R_MAGIC), 0x74726976);
    assert_int_equal(driver_get(driver, R_VERSION), 2);
    assert_int_equal(driver_get(driver, R_ID), VIRTIO_ID_ENTROPY);
    assert_int_equal(driver_offered(driver), ALL_FEATURES);
    driver_set(driver, R_FEATURES_SEL, 2);
    assert_int_equal(driver_get(driver, R_FEATURES), 0);
    assert_int_equal(driver_get(driver, 0xb0), UINT32_MAX);
    assert_int_equal(driver_get(driver, 0xfc), 0);
}

static void registers_answer_only_to_aligned_words(void **state)
{
    struct driver *driver = driver_of(state);
    assert_int_equal(virtio_mmio_ops.read(driver->device, R_MAGIC, 1), 0);
    assert_int_equal(virtio_mmio_ops.read(driver->device, R_MAGIC + 2, 4), 0);
    assert_int_equal(virtio_mmio_ops.read(driver->device, R_MAGIC, 8), 0);
    virtio_mmio_ops.write(driver->device, R_STATUS, 1, 1);
    assert_int_equal(driver_get(driver, R_STATUS), 0);
}

static void an_empty_slot_has_device_id_zero(void **state)
{
    assert_int_equal(virtio_mmio_empty_ops.read(NULL, R_MAGIC, 4), 0x74726976);
    assert_int_equal(virtio_mmio_empty_ops.read(NULL, R_ID, 4), 0);
    assert_int_equal(virtio_mmio_empty_ops.read(NULL, R_QUEUE_MAX, 4), 0);
}

static void features_need_version_1(void **state)
{
    struct driver *driver = driver_of(state);
    assert_false(driver_negotiate(driver, VIRTIO_F_EVENT_IDX) & VIRTIO_FEATURES_OK);
    assert_true(driver_negotiate(driver, VIRTIO_F_VERSION_1) & VIRTIO_FEATURES_OK);
}

static void features_not_offered_are_refused(void **state)
{
    struct driver *driver = driver_of(state);
    assert_false(driver_negotiate(driver, VIRTIO_F_VERSION_1 | 1) & VIRTIO_FEATURES_OK);
    assert_false(driver_negotiate(driver, VIRTIO_F_VERSION_1 | UINT64_C(1) << 63) &
                 VIRTIO_FEATURES_OK);
}

static void driver_ok_needs_features_ok(void **state)
{
    struct driver *driver = driver_of(state);
    driver_set(driver, R_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK);
    assert_int_equal(driver_get(driver, R_STATUS), VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
}

static void features_are_fixed_once_agreed(void **state)
{
    struct fixture *fixture = *state;
    driver_negotiate(&fixture->driver, VIRTIO_F_VERSION_1);
    driver_set(&fixture->driver, R_DRIVER_SEL, 0);
    driver_set(&fixture->driver, R_DRIVER, UINT32_MAX);
    driver_set(&fixture->driver, R_STATUS, 15);
    assert_int_equal(fixture->rng.transport.negotiated, VIRTIO_F_VERSION_1);
}

static void a_queue_that_is_not_there_has_size_zero(void **state)
{
    struct driver *driver = driver_of(state);
    driver_set(driver, R_QUEUE_SEL, 0);
    assert_int_equal(driver_get(driver, R_QUEUE_MAX), 64);
    driver_set(driver, R_QUEUE_SEL, 1);
    assert_int_equal(driver_get(driver, R_QUEUE_MAX), 0);
    driver_set(driver, R_QUEUE_READY, 1);
    assert_int_equal(driver_get(driver, R_QUEUE_READY), 0);
}

static void a_request_is_answered_and_interrupts(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    uint16_t head = driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    uint32_t id, bytes;
    assert_true(driver_collect(driver, &id, &bytes));
    assert_int_equal(id, head);
    assert_int_equal(bytes, 16);
    uint8_t got[16], zeroes[16] = {0};
    driver_fetch(driver, DRIVER_BUFFERS, got, sizeof got);
    assert_memory_not_equal(got, zeroes, sizeof got);
    assert_true(driver->irq);
    assert_int_equal(driver_get(driver, R_ISR), 1);
    driver_set(driver, R_ACK, 1);
    assert_false(driver->irq);
    assert_int_equal(driver_get(driver, R_ISR), 0);
}

static void nothing_is_taken_before_driver_ok(void **state)
{
    struct driver *driver = driver_of(state);
    driver_negotiate(driver, ALL_FEATURES);
    driver_setup_queue(driver, 64);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_used_index(driver), 0);
    driver_set(driver, R_STATUS, 15);
    assert_int_equal(driver_used_index(driver), 1);
}

static void what_is_written_is_marked_dirty(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    struct gw_bytemap_tracker *bytemap = gw_bytemap_tracker_new(driver->memory, NULL, NULL);
    struct gw_tracker tracker = gw_bytemap_tracker_interface(bytemap);
    driver_add(driver, one_buffer, 1);
    assert_int_equal(tracker.ops->start(tracker.opaque, NULL), 0);
    uint64_t bitmap[DRIVER_RAM_BYTES / GW_PAGE_BYTES / 64] = {0};
    tracker.ops->collect(tracker.opaque, 0, 0, DRIVER_RAM_BYTES / GW_PAGE_BYTES, bitmap);
    memset(bitmap, 0, sizeof bitmap);
    driver_kick(driver);
    assert_int_equal(
        tracker.ops->collect(tracker.opaque, 0, 0, DRIVER_RAM_BYTES / GW_PAGE_BYTES, bitmap), 2);
    assert_true(bitmap[0x100 / 64] & 1); /* the buffer's page, 0x100 */
    assert_true(bitmap[0] >> 0x30 & 1);  /* the used ring's, 0x30 */
    tracker.ops->stop(tracker.opaque);
    gw_bytemap_tracker_free(bytemap);
}

static void reset_forgets_everything(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    driver_set(driver, R_STATUS, 0);
    assert_false(driver->irq);
    assert_int_equal(driver_get(driver, R_STATUS), 0);
    assert_int_equal(driver_get(driver, R_ISR), 0);
    driver_set(driver, R_QUEUE_SEL, 0);
    assert_int_equal(driver_get(driver, R_QUEUE_READY), 0);
    driver_start(driver, VIRTIO_F_VERSION_1, 16);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_used_index(driver), 1);
}

static void a_queue_out_of_service_is_not_served(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    driver_set(driver, R_QUEUE_READY, 0);
    assert_int_equal(driver_get(driver, R_QUEUE_READY), 0);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_used_index(driver), 0);
}

static void event_index_suppresses_interrupts(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver->irq_rises, 1); /* the first is always told */
    driver_set(driver, R_ACK, 1);
    driver_set_used_event(driver, 2); /* tell me when entry 2 is used */
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver->irq_rises, 1);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver->irq_rises, 2);
}

static void event_index_says_when_to_notify(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    for (unsigned i = 0; i < 3; i++)
        driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_available_event(driver), 3);
}

static void without_event_index_the_flag_suppresses(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, VIRTIO_F_VERSION_1, 64);
    driver_put(driver, DRIVER_AVAIL, "\1\0", 2);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_used_index(driver), 1);
    assert_false(driver->irq);
    driver_put(driver, DRIVER_AVAIL, "\0\0", 2);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_true(driver->irq);
}

static void indices_wrap(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 4);
    uint32_t id, bytes;
    for (unsigned i = 0; i < 70000; i++) {
        driver_set_used_event(driver, driver->used);
        driver_add(driver, one_buffer, 1);
        driver_kick(driver);
        assert_true(driver->irq);
        driver_set(driver, R_ACK, 1);
        assert_true(driver_collect(driver, &id, &bytes));
        assert_int_equal(bytes, 16);
    }
}

static void a_drained_device_waits_for_resume(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    virtio_mmio_ops.drain(driver->device);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_used_index(driver), 0);
    virtio_mmio_ops.resume(driver->device);
    assert_int_equal(driver_used_index(driver), 1);
}

/* A device whose driver, on another hart, adds a chain whenever one is taken. */
struct endless {
    struct virtio_mmio transport;
    struct virtio_queue queue;
    struct virtio_chain chain;
    struct virtio_segment segments[4];
    struct driver *driver;
};

static struct virtio_chain *endless_room(struct virtio_mmio *device, unsigned index)
{
    struct endless *endless = (struct endless *)device;
    endless->chain = (struct virtio_chain){.segments = endless->segments, .segments_max = 4};
    return &endless->chain;
}

static void endless_handle(struct virtio_mmio *device, unsigned index, struct virtio_chain *chain)
{
    struct endless *endless = (struct endless *)device;
    virtio_mmio_push(device, &endless->queue, chain->head, 0);
    driver_publish(endless->driver, 0);
}

static void a_driver_that_never_ends_does_not_hold_the_device(void **state)
{
    struct driver *driver = driver_of(state);
    static const struct virtio_device_ops ops = {.room = endless_room, .handle = endless_handle};
    struct endless endless = {.driver = driver};
    virtio_mmio_init(
        &endless.transport, &driver->host,
        &(struct virtio_mmio_config){.ops = &ops, .queues = &endless.queue, .queue_count = 1});
    virtio_queue_init(&endless.queue, driver->memory, &endless.transport.negotiated, 16);
    driver->device = &endless;
    driver_start(driver, ALL_FEATURES, 16);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(driver_used_index(driver), 16);
    assert_int_not_equal(clock_deadline_ns(&driver->clock), CLOCK_NEVER); /* goes on later */
    virtio_mmio_fini(&endless.transport);
}

static void instructions_delay_the_answer_by_guest_time(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, ALL_FEATURES, 64);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    assert_int_equal(clock_deadline_ns(&driver->clock), VIRTIO_LATENCY_NS);
    clock_advance_ns(&driver->clock, VIRTIO_LATENCY_NS - 1);
    clock_fire(&driver->clock);
    assert_int_equal(driver_used_index(driver), 0);
    clock_advance_ns(&driver->clock, 1);
    clock_fire(&driver->clock);
    assert_int_equal(driver_used_index(driver), 1);
    assert_int_equal(clock_deadline_ns(&driver->clock), CLOCK_NEVER);
}

static void the_same_seed_gives_the_same_entropy(void **state)
{
    struct driver *driver = driver_of(state);
    /* First two words of splitmix64 from 42. */
    static const uint8_t expected[16] = {0x95, 0x6e, 0xeb, 0x2f, 0x26, 0x32, 0xd7, 0xbd,
                                         0x03, 0xf1, 0x66, 0xb2, 0x33, 0xe3, 0xef, 0x28};
    driver_start(driver, ALL_FEATURES, 64);
    driver_add(driver, one_buffer, 1);
    driver_kick(driver);
    clock_advance_ns(&driver->clock, VIRTIO_LATENCY_NS);
    clock_fire(&driver->clock);
    uint8_t got[16];
    driver_fetch(driver, DRIVER_BUFFERS, got, sizeof got);
    assert_memory_equal(got, expected, sizeof got);
}

#define HOST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define DETERMINISTIC(name) cmocka_unit_test_setup_teardown(name, setup_deterministic, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOST(the_identity_registers_say_what_it_is),
        HOST(registers_answer_only_to_aligned_words),
        HOST(an_empty_slot_has_device_id_zero),
        HOST(features_need_version_1),
        HOST(features_not_offered_are_refused),
        HOST(driver_ok_needs_features_ok),
        HOST(features_are_fixed_once_agreed),
        HOST(a_queue_that_is_not_there_has_size_zero),
        HOST(a_request_is_answered_and_interrupts),
        HOST(nothing_is_taken_before_driver_ok),
        HOST(what_is_written_is_marked_dirty),
        HOST(reset_forgets_everything),
        HOST(a_queue_out_of_service_is_not_served),
        HOST(event_index_suppresses_interrupts),
        HOST(event_index_says_when_to_notify),
        HOST(without_event_index_the_flag_suppresses),
        HOST(indices_wrap),
        HOST(a_drained_device_waits_for_resume),
        HOST(a_driver_that_never_ends_does_not_hold_the_device),
        DETERMINISTIC(instructions_delay_the_answer_by_guest_time),
        DETERMINISTIC(the_same_seed_gives_the_same_entropy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
