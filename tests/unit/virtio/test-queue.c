/* SPDX-License-Identifier: Apache-2.0 */
/* Broken rings: each makes the device need a reset, after which it works. The block device is
 * behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/bytes.h"
#include "blk-driver.h"
#include "memory-block.h"
#include "virtio/blk.h"

struct fixture {
    struct driver driver;
    struct memory_block disk;
    struct virtio_blk blk;
};

static int setup(void **state)
{
    static struct fixture fixture;
    driver_init(&fixture.driver, GW_CLOCK_HOST);
    memory_block_init(&fixture.disk, 1 << 20, false);
    if (virtio_blk_init(&fixture.blk, &fixture.driver.host, &fixture.disk.block, "s", NULL) < 0)
        return -1;
    fixture.driver.device = &fixture.blk;
    *state = &fixture;
    driver_start(&fixture.driver, BLK_FEATURES, 16);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    virtio_blk_fini(&fixture->blk);
    memory_block_fini(&fixture->disk);
    driver_fini(&fixture->driver);
    return 0;
}

static struct driver *driver_of(void **state)
{
    return &((struct fixture *)*state)->driver;
}

static void expect_works(struct fixture *fixture)
{
    struct driver *driver = &fixture->driver;
    uint32_t id, bytes;
    blk_add(driver, 0, T_IN, 0, 512);
    driver_kick(driver);
    block_reap(&fixture->disk.block, true);
    assert_true(driver_collect(driver, &id, &bytes));
    assert_int_equal(blk_status(driver, 0), S_OK);
    assert_int_equal(bytes, 513);
}

static void expect_broken(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    driver_kick(driver);
    assert_true(driver_get(driver, R_STATUS) & VIRTIO_NEEDS_RESET);
    assert_int_equal(driver_get(driver, R_ISR) & 2, 2);
    assert_true(driver->irq);
    assert_int_equal(fixture->disk.block.in_flight, 0);
    assert_int_equal(driver_used_index(driver), 0);
    driver_start(driver, BLK_FEATURES, 16);
    expect_works(fixture);
}

static void descriptor(void **state, unsigned index, uint64_t address, uint32_t bytes,
                       uint16_t flags, uint16_t next)
{
    driver_write_descriptor(driver_of(state), DRIVER_DESC, index, address, bytes, flags, next);
}

static void a_whole_ring_works(void **state)
{
    expect_works(*state);
}

static void a_head_out_of_range(void **state)
{
    driver_publish(driver_of(state), 16);
    expect_broken(state);
}

/* A good request in a table at `table`. */
static void write_flush(void **state, uint64_t table)
{
    struct piece pieces[3];
    blk_lay_out(driver_of(state), 0, T_FLUSH, 0, 0, pieces);
    driver_write_descriptor(driver_of(state), table, 0, pieces[0].address, 16, D_NEXT, 1);
    driver_write_descriptor(driver_of(state), table, 1, pieces[1].address, 1, D_WRITE, 0);
}

static void an_available_index_too_far_ahead(void **state)
{
    struct driver *driver = driver_of(state);
    write_flush(state, DRIVER_DESC); /* what all entries of the ring point at */
    driver->available = 16;
    driver_publish(driver, 0);
    expect_broken(state);
}

static void a_next_out_of_range(void **state)
{
    descriptor(state, 0, DRIVER_BUFFERS, 16, D_NEXT, 16);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void a_chain_that_is_a_loop(void **state)
{
    descriptor(state, 0, DRIVER_BUFFERS, 16, D_NEXT, 1);
    descriptor(state, 1, DRIVER_BUFFERS, 16, D_NEXT, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void a_buffer_outside_memory(void **state)
{
    descriptor(state, 0, DRIVER_RAM + DRIVER_RAM_BYTES - 8, 16, 0, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void a_buffer_that_wraps_the_address_space(void **state)
{
    descriptor(state, 0, UINT64_MAX - 7, 16, 0, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_empty_buffer(void **state)
{
    struct piece pieces[3];
    blk_lay_out(driver_of(state), 0, T_IN, 0, 512, pieces);
    pieces[1].bytes = 0;
    driver_add(driver_of(state), pieces, 3);
    expect_broken(state);
}

static void writable_before_readable(void **state)
{
    static const struct piece pieces[] = {{DRIVER_BUFFERS, 16, D_WRITE},
                                          {DRIVER_BUFFERS + 16, 16, 0}};
    driver_add(driver_of(state), pieces, 2);
    expect_broken(state);
}

static void a_request_without_room_for_the_status(void **state)
{
    static const struct piece pieces[] = {{DRIVER_BUFFERS, 16, 0}};
    driver_add(driver_of(state), pieces, 1);
    expect_broken(state);
}

static void a_request_with_half_a_header(void **state)
{
    static const struct piece pieces[] = {{DRIVER_BUFFERS, 15, 0}, {DRIVER_BUFFERS, 1, D_WRITE}};
    driver_add(driver_of(state), pieces, 2);
    expect_broken(state);
}

static void an_indirect_table_within_another(void **state)
{
    write_flush(state, DRIVER_INDIRECT + 0x1000);
    driver_write_descriptor(driver_of(state), DRIVER_INDIRECT, 0, DRIVER_INDIRECT + 0x1000, 32,
                            D_INDIRECT, 0);
    descriptor(state, 0, DRIVER_INDIRECT, 16, D_INDIRECT, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_indirect_table_with_a_successor(void **state)
{
    write_flush(state, DRIVER_INDIRECT);
    descriptor(state, 0, DRIVER_INDIRECT, 32, D_INDIRECT | D_NEXT, 1);
    descriptor(state, 1, DRIVER_BUFFERS, 1, D_WRITE, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_indirect_table_of_odd_length(void **state)
{
    write_flush(state, DRIVER_INDIRECT);
    descriptor(state, 0, DRIVER_INDIRECT, 40, D_INDIRECT, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_empty_indirect_table(void **state)
{
    descriptor(state, 0, DRIVER_INDIRECT, 0, D_INDIRECT, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_indirect_table_outside_memory(void **state)
{
    descriptor(state, 0, DRIVER_RAM - 16, 32, D_INDIRECT, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_indirect_next_out_of_range(void **state)
{
    descriptor(state, 0, DRIVER_INDIRECT, 32, D_INDIRECT, 0);
    driver_write_descriptor(driver_of(state), DRIVER_INDIRECT, 0, DRIVER_BUFFERS, 16, D_NEXT, 2);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_indirect_loop(void **state)
{
    descriptor(state, 0, DRIVER_INDIRECT, 16, D_INDIRECT, 0);
    driver_write_descriptor(driver_of(state), DRIVER_INDIRECT, 0, DRIVER_BUFFERS, 16, D_NEXT, 0);
    driver_publish(driver_of(state), 0);
    expect_broken(state);
}

static void an_indirect_table_that_was_not_negotiated(void **state)
{
    struct driver *driver = driver_of(state);
    driver_start(driver, VIRTIO_F_VERSION_1, 16);
    struct piece pieces[3];
    driver_add_indirect(driver, pieces, blk_lay_out(driver, 0, T_IN, 0, 512, pieces));
    expect_broken(state);
}

/* Sets queue 0 up again with one thing changed. */
static void start_with(void **state, uint32_t register_offset, uint64_t value)
{
    struct driver *driver = driver_of(state);
    driver_negotiate(driver, BLK_FEATURES);
    driver_setup_queue(driver, 16);
    driver_set(driver, R_QUEUE_READY, 0);
    driver_set(driver, R_QUEUE_NUM, 16);
    driver_set64(driver, R_DESC, DRIVER_DESC);
    driver_set64(driver, R_AVAIL, DRIVER_AVAIL);
    driver_set64(driver, R_USED, DRIVER_USED);
    if (register_offset == R_QUEUE_NUM)
        driver_set(driver, R_QUEUE_NUM, (uint32_t)value);
    else
        driver_set64(driver, register_offset, value);
    driver_set(driver, R_QUEUE_READY, 1);
    driver_set(driver, R_STATUS, 15);
    expect_broken(state);
}

static void a_queue_size_that_is_no_power_of_two(void **state)
{
    start_with(state, R_QUEUE_NUM, 12);
}

static void a_queue_size_above_the_maximum(void **state)
{
    start_with(state, R_QUEUE_NUM, 65536 + 16);
}

static void a_queue_size_of_zero(void **state)
{
    start_with(state, R_QUEUE_NUM, 0);
}

static void a_descriptor_table_outside_memory(void **state)
{
    start_with(state, R_DESC, DRIVER_RAM + DRIVER_RAM_BYTES - 16);
}

static void a_descriptor_table_out_of_alignment(void **state)
{
    start_with(state, R_DESC, DRIVER_DESC + 8);
}

static void an_available_ring_outside_memory(void **state)
{
    start_with(state, R_AVAIL, 0);
}

static void an_available_ring_out_of_alignment(void **state)
{
    start_with(state, R_AVAIL, DRIVER_AVAIL + 1);
}

static void a_used_ring_outside_memory(void **state)
{
    start_with(state, R_USED, UINT64_MAX - 3);
}

static void a_used_ring_out_of_alignment(void **state)
{
    start_with(state, R_USED, DRIVER_USED + 2);
}

static void a_broken_device_rests_until_reset(void **state)
{
    struct driver *driver = driver_of(state);
    driver_publish(driver, 99);
    driver_kick(driver);
    driver->available = 0;
    blk_add(driver, 0, T_IN, 0, 512);
    driver_kick(driver);
    driver_set(driver, R_STATUS, 15);
    assert_true(driver_get(driver, R_STATUS) & VIRTIO_NEEDS_RESET);
    assert_int_equal(((struct fixture *)*state)->disk.block.in_flight, 0);
}

static void requests_in_flight_are_not_published_once_broken(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    blk_add(driver, 0, T_IN, 0, 512);
    driver_kick(driver);
    driver_publish(driver, 99);
    driver_kick(driver);
    assert_int_equal(block_reap(&fixture->disk.block, true), 1);
    assert_int_equal(driver_used_index(driver), 0);
    driver_start(driver, BLK_FEATURES, 16);
    expect_works(fixture);
}

/* Of a large used ring the entry and the index are on two pages. */
static void the_page_of_a_used_entry_is_marked(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    uint64_t pages = DRIVER_RAM_BYTES / GW_PAGE_BYTES, bitmap[16] = {0};
    fixture->blk.queue.size_max = VIRTIO_QUEUE_LIMIT;
    driver_start(driver, BLK_FEATURES, VIRTIO_QUEUE_LIMIT);
    for (unsigned i = 0; i < 600; i++)
        expect_works(fixture);
    struct gw_bytemap_tracker *bytemap = gw_bytemap_tracker_new(driver->memory, NULL, NULL);
    struct gw_tracker tracker = gw_bytemap_tracker_interface(bytemap);
    assert_int_equal(tracker.ops->start(tracker.opaque, NULL), 0);
    tracker.ops->collect(tracker.opaque, 0, 0, pages, bitmap);
    memset(bitmap, 0, sizeof bitmap);
    expect_works(fixture);
    tracker.ops->collect(tracker.opaque, 0, 0, pages, bitmap);
    assert_true(bitmap[0] >> 0x30 & 1);
    assert_true(bitmap[0] >> 0x31 & 1);
    tracker.ops->stop(tracker.opaque);
    gw_bytemap_tracker_free(bytemap);
}

static void the_largest_queue_works(void **state)
{
    struct fixture *fixture = *state;
    fixture->blk.queue.size_max = VIRTIO_QUEUE_LIMIT;
    driver_start(&fixture->driver, BLK_FEATURES, VIRTIO_QUEUE_LIMIT);
    for (unsigned i = 0; i < VIRTIO_QUEUE_LIMIT; i++)
        expect_works(fixture);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_whole_ring_works),
        T(a_head_out_of_range),
        T(an_available_index_too_far_ahead),
        T(a_next_out_of_range),
        T(a_chain_that_is_a_loop),
        T(a_buffer_outside_memory),
        T(a_buffer_that_wraps_the_address_space),
        T(an_empty_buffer),
        T(writable_before_readable),
        T(a_request_without_room_for_the_status),
        T(a_request_with_half_a_header),
        T(an_indirect_table_within_another),
        T(an_indirect_table_with_a_successor),
        T(an_indirect_table_of_odd_length),
        T(an_empty_indirect_table),
        T(an_indirect_table_outside_memory),
        T(an_indirect_next_out_of_range),
        T(an_indirect_loop),
        T(an_indirect_table_that_was_not_negotiated),
        T(a_queue_size_that_is_no_power_of_two),
        T(a_queue_size_above_the_maximum),
        T(a_queue_size_of_zero),
        T(a_descriptor_table_outside_memory),
        T(a_descriptor_table_out_of_alignment),
        T(an_available_ring_outside_memory),
        T(an_available_ring_out_of_alignment),
        T(a_used_ring_outside_memory),
        T(a_used_ring_out_of_alignment),
        T(a_broken_device_rests_until_reset),
        T(requests_in_flight_are_not_published_once_broken),
        T(the_page_of_a_used_entry_is_marked),
        T(the_largest_queue_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
