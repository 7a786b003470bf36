/* SPDX-License-Identifier: Apache-2.0 */
/* The block device's requests, on a disk in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "blk-driver.h"
#include "memory-block.h"
#include "virtio/blk.h"

#define DISK_BYTES (1u << 20)
#define SECTORS (DISK_BYTES / 512)

struct fixture {
    struct driver driver;
    struct memory_block disk;
    struct virtio_blk blk;
};

static void fixture_init(struct fixture *fixture, enum clock_mode mode, bool read_only)
{
    driver_init(&fixture->driver, mode);
    memory_block_init(&fixture->disk, DISK_BYTES, read_only);
    assert_int_equal(virtio_blk_init(&fixture->blk, &fixture->driver.host, &fixture->disk.block,
                                     "serial-0123456789-and-more", NULL),
                     0);
    fixture->driver.device = &fixture->blk;
}

static void fixture_fini(struct fixture *fixture)
{
    virtio_blk_fini(&fixture->blk);
    memory_block_fini(&fixture->disk);
    driver_fini(&fixture->driver);
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture, GW_CLOCK_HOST, false);
    driver_start(&fixture.driver, BLK_FEATURES, 64);
    *state = &fixture;
    return 0;
}

static int setup_read_only(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture, GW_CLOCK_HOST, true);
    driver_start(&fixture.driver, ALL_FEATURES | 1 << 5 | 1 << 9, 64);
    *state = &fixture;
    return 0;
}

static int setup_deterministic(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture, GW_CLOCK_INSTRUCTIONS, false);
    driver_start(&fixture.driver, BLK_FEATURES, 64);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_fini(*state);
    return 0;
}

/* Notifies, lets the disk do all it has, and returns the status of request 0. */
static uint8_t run(struct fixture *fixture)
{
    driver_kick(&fixture->driver);
    while (block_reap(&fixture->disk.block, false) > 0)
        ;
    return blk_status(&fixture->driver, 0);
}

static uint8_t run_one(struct fixture *fixture, uint32_t type, uint64_t sector, uint32_t bytes)
{
    blk_add(&fixture->driver, 0, type, sector, bytes);
    return run(fixture);
}

static void the_configuration_tells_capacity_and_limits(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    assert_int_equal(driver_get(driver, R_ID), VIRTIO_ID_BLOCK);
    assert_int_equal(virtio_mmio_ops.read(driver->device, R_CONFIG, 8), SECTORS);
    assert_int_equal(driver_get(driver, R_CONFIG), SECTORS);
    assert_int_equal(driver_get(driver, R_CONFIG + 12), 254); /* seg_max */
    assert_int_equal(driver_get(driver, R_CONFIG + 20), 512); /* blk_size */
    assert_int_equal(virtio_mmio_ops.read(driver->device, R_CONFIG + 56, 1), 1);
    assert_int_equal(driver_get(driver, R_CONFIG + 60), 0); /* past the end */
    assert_int_equal(virtio_mmio_ops.read(driver->device, R_CONFIG + 0xefc, 4), 0);
}

static void a_read_gives_the_sectors(void **state)
{
    struct fixture *fixture = *state;
    uint8_t got[4096];
    assert_int_equal(run_one(fixture, T_IN, 9, sizeof got), S_OK);
    driver_fetch(&fixture->driver, slot_data(0), got, sizeof got);
    assert_memory_equal(got, fixture->disk.bytes + 9 * 512, sizeof got);
    uint32_t id, bytes;
    assert_true(driver_collect(&fixture->driver, &id, &bytes));
    assert_int_equal(bytes, sizeof got + 1);
    assert_true(fixture->driver.irq);
}

static void a_write_changes_the_sectors_and_no_others(void **state)
{
    struct fixture *fixture = *state;
    uint8_t data[1024], before[DISK_BYTES / 512];
    memset(data, 0x5a, sizeof data);
    driver_put(&fixture->driver, slot_data(0), data, sizeof data);
    for (unsigned i = 0; i < SECTORS; i++)
        before[i] = fixture->disk.bytes[i * 512 + 511];
    assert_int_equal(run_one(fixture, T_OUT, SECTORS - 2, sizeof data), S_OK);
    assert_memory_equal(fixture->disk.bytes + DISK_BYTES - sizeof data, data, sizeof data);
    for (unsigned i = 0; i < SECTORS - 2; i++)
        assert_int_equal(fixture->disk.bytes[i * 512 + 511], before[i]);
    uint32_t id, bytes;
    assert_true(driver_collect(&fixture->driver, &id, &bytes));
    assert_int_equal(bytes, 1);
}

/* Header, data and status cut in any way, through an indirect table (§2.7.4: framing means
 * nothing). */
static void framing_does_not_matter(void **state)
{
    struct fixture *fixture = *state;
    struct piece usual[3];
    blk_lay_out(&fixture->driver, 0, T_IN, 3, 1024, usual);
    const struct piece pieces[] = {
        {usual[0].address, 1, 0},
        {usual[0].address + 1, 15, 0},
        {usual[1].address, 1, D_WRITE},
        {usual[1].address + 1, 700, D_WRITE},
        {usual[1].address + 701, 324, D_WRITE}, /* the rest and the status */
    };
    driver_add_indirect(&fixture->driver, pieces, 5);
    run(fixture);
    uint8_t got[1025];
    driver_fetch(&fixture->driver, usual[1].address, got, sizeof got);
    assert_memory_equal(got, fixture->disk.bytes + 3 * 512, 1024);
    assert_int_equal(got[1024], S_OK);
}

static void flush_comes_after_what_was_completed(void **state)
{
    struct fixture *fixture = *state;
    blk_add(&fixture->driver, 0, T_OUT, 0, 512);
    run(fixture);
    blk_add(&fixture->driver, 1, T_FLUSH, 0, 0);
    run(fixture);
    assert_int_equal(blk_status(&fixture->driver, 1), S_OK);
    assert_string_equal(fixture->disk.log, "WF");
}

static void without_flush_each_write_is_durable(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    assert_int_equal(run_one(fixture, T_OUT, 0, 512), S_OK);
    assert_string_equal(fixture->disk.log, "w");
}

static void get_id_gives_twenty_bytes(void **state)
{
    struct fixture *fixture = *state;
    char id[21] = {0};
    assert_int_equal(run_one(fixture, T_GET_ID, 0, 20), S_OK);
    driver_fetch(&fixture->driver, slot_data(0), id, 20);
    assert_string_equal(id, "serial-0123456789-an");
    assert_int_equal(run_one(fixture, T_GET_ID, 0, 19), S_IOERR);
}

static void outside_the_disk_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_one(fixture, T_IN, SECTORS - 1, 1024), S_IOERR);
    assert_int_equal(run_one(fixture, T_OUT, SECTORS, 512), S_IOERR);
    assert_int_equal(run_one(fixture, T_IN, UINT64_MAX, 512), S_IOERR);
    assert_int_equal(run_one(fixture, T_IN, (UINT64_MAX >> 9) + 1, 512), S_IOERR);
    assert_string_equal(fixture->disk.log, "");
}

static void part_of_a_sector_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_one(fixture, T_IN, 0, 511), S_IOERR);
    assert_int_equal(run_one(fixture, T_OUT, 0, 513), S_IOERR);
    assert_string_equal(fixture->disk.log, "");
}

static void an_unknown_type_is_unsupported(void **state)
{
    assert_int_equal(run_one(*state, 77, 0, 512), S_UNSUPP);
}

static void a_failing_disk_is_an_io_error(void **state)
{
    struct fixture *fixture = *state;
    fixture->disk.fail = -EIO;
    assert_int_equal(run_one(fixture, T_IN, 0, 512), S_IOERR);
    uint32_t id, bytes;
    assert_true(driver_collect(&fixture->driver, &id, &bytes));
    assert_int_equal(bytes, 0);
}

static uint8_t run_range(struct fixture *fixture, uint32_t type, uint64_t sector, uint32_t sectors,
                         uint32_t flags)
{
    blk_add_range(&fixture->driver, 0, type, sector, sectors, flags);
    return run(fixture);
}

static void write_zeroes_makes_zeroes(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t zeroes[1024];
    uint8_t next = fixture->disk.bytes[10 * 512];
    assert_int_equal(run_range(fixture, T_WRITE_ZEROES, 8, 2, 0), S_OK);
    assert_memory_equal(fixture->disk.bytes + 8 * 512, zeroes, sizeof zeroes);
    assert_int_equal(fixture->disk.bytes[10 * 512], next);
    assert_int_equal(run_range(fixture, T_WRITE_ZEROES, 8, 2, 1), S_OK);
    assert_string_equal(fixture->disk.log, "ZZ");
}

static void discard_reaches_the_disk(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_range(fixture, T_DISCARD, 8, 8, 0), S_OK);
    assert_string_equal(fixture->disk.log, "D");
}

static void unknown_flags_of_a_range_are_unsupported(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_range(fixture, T_DISCARD, 8, 8, 1), S_UNSUPP);
    assert_int_equal(run_range(fixture, T_WRITE_ZEROES, 8, 8, 2), S_UNSUPP);
    assert_string_equal(fixture->disk.log, "");
}

static void a_bad_range_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(run_range(fixture, T_DISCARD, SECTORS - 1, 2, 0), S_IOERR);
    assert_int_equal(run_range(fixture, T_WRITE_ZEROES, UINT64_MAX, 2, 0), S_IOERR);
    assert_int_equal(run_range(fixture, T_WRITE_ZEROES, 0, UINT32_MAX, 0), S_IOERR);
    assert_int_equal(run_one(fixture, T_DISCARD, 0, 32), S_IOERR); /* two ranges, one is allowed */
    assert_int_equal(run_one(fixture, T_DISCARD, 0, 15), S_IOERR);
    assert_string_equal(fixture->disk.log, "");
}

static void ranges_need_their_feature(void **state)
{
    struct fixture *fixture = *state;
    driver_start(&fixture->driver, ALL_FEATURES, 64);
    assert_int_equal(run_range(fixture, T_DISCARD, 8, 8, 0), S_UNSUPP);
    assert_int_equal(run_range(fixture, T_WRITE_ZEROES, 8, 8, 0), S_UNSUPP);
}

static void a_read_only_disk_is_read_only(void **state)
{
    struct fixture *fixture = *state;
    assert_true(driver_offered(&fixture->driver) & 1 << 5);
    assert_false(driver_offered(&fixture->driver) & (1 << 13 | 1 << 14));
    assert_int_equal(run_one(fixture, T_OUT, 0, 512), S_IOERR);
    assert_int_equal(run_one(fixture, T_IN, 0, 512), S_OK);
    assert_string_equal(fixture->disk.log, "R");
}

static void more_requests_than_fit_in_flight_are_all_done(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    driver_start(driver, BLK_FEATURES, 256);
    for (unsigned i = 0; i < 100; i++) {
        struct piece pieces[3];
        driver_add_indirect(driver, pieces, blk_lay_out(driver, i % 64, T_IN, i, 512, pieces));
    }
    driver_kick(driver);
    assert_int_equal(fixture->disk.block.in_flight, BLOCK_DEPTH);
    run(fixture);
    assert_int_equal(driver_used_index(driver), 100);
}

static void drain_publishes_what_is_in_flight_and_takes_nothing_new(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    blk_add(driver, 0, T_IN, 0, 512);
    driver_kick(driver);
    blk_add(driver, 1, T_IN, 0, 512);
    virtio_mmio_ops.drain(driver->device);
    assert_int_equal(fixture->disk.block.in_flight, 0);
    assert_int_equal(driver_used_index(driver), 1);
    assert_int_equal(blk_status(driver, 1), S_NONE);
    virtio_mmio_ops.resume(driver->device);
    run(fixture);
    assert_int_equal(blk_status(driver, 1), S_OK);
}

static void reset_drops_what_is_in_flight(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    blk_add(driver, 0, T_IN, 0, 512);
    driver_kick(driver);
    driver_set(driver, R_STATUS, 0);
    assert_int_equal(fixture->disk.block.in_flight, 0);
    assert_int_equal(driver_used_index(driver), 0);
    assert_int_equal(blk_status(driver, 0), S_NONE);
    assert_false(driver->irq);
    driver_start(driver, BLK_FEATURES, 64);
    assert_int_equal(run_one(fixture, T_IN, 0, 512), S_OK);
}

static void data_pages_are_marked_when_the_read_has_ended(void **state)
{
    struct fixture *fixture = *state;
    struct driver *driver = &fixture->driver;
    uint64_t pages = DRIVER_RAM_BYTES / GW_PAGE_BYTES, bitmap[16] = {0};
    struct gw_bytemap_tracker *bytemap = gw_bytemap_tracker_new(driver->memory, NULL, NULL);
    struct gw_tracker tracker = gw_bytemap_tracker_interface(bytemap);
    assert_int_equal(tracker.ops->start(tracker.opaque, NULL), 0);
    blk_add(driver, 0, T_IN, 0, 8192);
    driver_kick(driver);
    tracker.ops->collect(tracker.opaque, 0, 0, pages, bitmap);
    memset(bitmap, 0, sizeof bitmap);
    run(fixture);
    assert_int_equal(tracker.ops->collect(tracker.opaque, 0, 0, pages, bitmap), 4);
    /* two pages of data at 0x101, the status at 0x107, the used ring at 0x30 */
    assert_int_equal(bitmap[0x100 / 64], 1 << 1 | 1 << 2 | 1 << 7);
    assert_int_equal(bitmap[0], UINT64_C(1) << 0x30);
    tracker.ops->stop(tracker.opaque);
    gw_bytemap_tracker_free(bytemap);
}

/* ---- Instruction clock ---- */

static void advance(struct fixture *fixture, uint64_t by_ns)
{
    clock_advance_ns(&fixture->driver.clock, by_ns);
    clock_fire(&fixture->driver.clock);
}

static void instructions_complete_after_the_latency(void **state)
{
    struct fixture *fixture = *state;
    blk_add(&fixture->driver, 0, T_IN, 0, 512);
    driver_kick(&fixture->driver);
    advance(fixture, VIRTIO_LATENCY_NS - 1);
    blk_add(&fixture->driver, 1, T_IN, 0, 512);
    driver_kick(&fixture->driver);
    assert_int_equal(blk_status(&fixture->driver, 0), S_NONE);
    advance(fixture, 1);
    assert_int_equal(blk_status(&fixture->driver, 0), S_OK);
    assert_int_equal(blk_status(&fixture->driver, 1), S_OK); /* was available at that instant */
    assert_int_equal(fixture->driver.irq_rises, 1);
}

static void instructions_make_a_discarded_range_zero(void **state)
{
    struct fixture *fixture = *state;
    blk_add_range(&fixture->driver, 0, T_DISCARD, 0, 8, 0);
    driver_kick(&fixture->driver);
    advance(fixture, VIRTIO_LATENCY_NS);
    assert_string_equal(fixture->disk.log, "Z");
}

static void copy_ram(struct driver *to, struct driver *from)
{
    memcpy(gw_memory_map(to->memory, DRIVER_RAM, DRIVER_RAM_BYTES),
           gw_memory_map(from->memory, DRIVER_RAM, DRIVER_RAM_BYTES), DRIVER_RAM_BYTES);
}

/* Saves `from`, disk contents and clock included, and loads it as `to`. */
static void move(struct fixture *to, struct fixture *from)
{
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    fixture_init(to, GW_CLOCK_INSTRUCTIONS, false);
    clock_set_ns(&to->driver.clock, clock_now_ns(&from->driver.clock));
    virtio_mmio_ops.drain(&from->blk);
    const struct gw_state_item out = {&virtio_blk_state_type, 0, &from->blk};
    const struct gw_state_item in = {&virtio_blk_state_type, 0, &to->blk};
    assert_int_equal(gw_state_save(&out, 1, &stream, &error), 0);
    copy_ram(&to->driver, &from->driver);
    memcpy(to->disk.bytes, from->disk.bytes, DISK_BYTES);
    assert_int_equal(gw_state_load(&in, 1, stream.data, stream.length, &error), 0);
    to->driver.queue_size = from->driver.queue_size;
    virtio_mmio_ops.resume(&to->blk);
    gw_buf_fini(&stream);
}

static void a_machine_moved_within_a_request_goes_on_exactly(void **state)
{
    struct fixture *stays = *state;
    static struct fixture moves;
    memset(gw_memory_map(stays->driver.memory, slot_data(1), 512), 0x77, 512);
    blk_add(&stays->driver, 0, T_IN, 5, 4096);
    blk_add(&stays->driver, 1, T_OUT, 7, 512);
    driver_kick(&stays->driver);
    advance(stays, 20000);
    move(&moves, stays);
    assert_int_equal(clock_deadline_ns(&moves.driver.clock), VIRTIO_LATENCY_NS);
    for (unsigned step = 0; step < 2; step++) {
        struct gw_state_item one = {&virtio_blk_state_type, 0, &stays->blk};
        struct gw_state_item other = {&virtio_blk_state_type, 0, &moves.blk};
        assert_int_equal(gw_state_hash(&one, 1), gw_state_hash(&other, 1));
        assert_int_equal(gw_memory_hash(stays->driver.memory), gw_memory_hash(moves.driver.memory));
        assert_memory_equal(stays->disk.bytes, moves.disk.bytes, DISK_BYTES);
        advance(stays, 30000);
        advance(&moves, 30000);
    }
    assert_int_equal(blk_status(&moves.driver, 0), S_OK);
    assert_int_equal(moves.disk.bytes[7 * 512], 0x77);
    assert_true(moves.driver.irq);
    fixture_fini(&moves);
}

static void features_that_are_not_offered_here_do_not_load(void **state)
{
    struct fixture *fixture = *state;
    static struct fixture other;
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    const struct gw_state_item out = {&virtio_blk_state_type, 0, &fixture->blk};
    const struct gw_state_item in = {&virtio_blk_state_type, 0, &other.blk};
    fixture_init(&other, GW_CLOCK_HOST, true); /* offers no discard */
    assert_int_equal(gw_state_save(&out, 1, &stream, &error), 0);
    assert_int_equal(gw_state_load(&in, 1, stream.data, stream.length, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "features"));
    gw_buf_fini(&stream);
    fixture_fini(&other);
}

#define HOST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define READ_ONLY(name) cmocka_unit_test_setup_teardown(name, setup_read_only, teardown)
#define DETERMINISTIC(name) cmocka_unit_test_setup_teardown(name, setup_deterministic, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HOST(the_configuration_tells_capacity_and_limits),
        HOST(a_read_gives_the_sectors),
        HOST(a_write_changes_the_sectors_and_no_others),
        HOST(framing_does_not_matter),
        HOST(flush_comes_after_what_was_completed),
        HOST(without_flush_each_write_is_durable),
        HOST(get_id_gives_twenty_bytes),
        HOST(outside_the_disk_is_an_error),
        HOST(part_of_a_sector_is_an_error),
        HOST(an_unknown_type_is_unsupported),
        HOST(a_failing_disk_is_an_io_error),
        HOST(write_zeroes_makes_zeroes),
        HOST(discard_reaches_the_disk),
        HOST(unknown_flags_of_a_range_are_unsupported),
        HOST(a_bad_range_is_an_error),
        HOST(ranges_need_their_feature),
        READ_ONLY(a_read_only_disk_is_read_only),
        HOST(more_requests_than_fit_in_flight_are_all_done),
        HOST(drain_publishes_what_is_in_flight_and_takes_nothing_new),
        HOST(reset_drops_what_is_in_flight),
        HOST(data_pages_are_marked_when_the_read_has_ended),
        HOST(features_that_are_not_offered_here_do_not_load),
        DETERMINISTIC(instructions_complete_after_the_latency),
        DETERMINISTIC(instructions_make_a_discarded_range_zero),
        DETERMINISTIC(a_machine_moved_within_a_request_goes_on_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
