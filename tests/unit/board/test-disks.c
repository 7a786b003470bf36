/* SPDX-License-Identifier: Apache-2.0 */
/* A board and its disks: held, handed over, refused with a sentence; and what stands on the bus. */
#include "board-test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "board/riscv-machine.h"

static char path[64];

static int set_up(void **state)
{
    strcpy(path, "/tmp/godwit-disk-XXXXXX");
    _cleanup_close_ int fd = mkstemp(path);
    return fd < 0 ? -1 : ftruncate(fd, 1 * MIB);
}

static int tear_down(void **state)
{
    return unlink(path);
}

static struct board_config disk_config(void)
{
    struct board_config config = bare_config("count");
    config.disk_count = 1;
    config.disks[0].path = path;
    return config;
}

/* A deferred board, as a destination has it. */
static struct board *deferred(const struct board_config *config)
{
    struct board *board;
    struct gw_error error = {0};
    sd_event *loop;
    assert_int_equal(sd_event_new(&loop), 0);
    if (board_new(config, loop, NULL, true, &board, &error) < 0)
        fail_msg("%s", error.message);
    sd_event_unref(loop); /* the board holds it */
    return board;
}

static void description_tells_the_size_of_the_file(void **state)
{
    struct machine m;
    struct board_config config = disk_config();
    machine_new(&m, &config);
    json_t *description = board_describe(m.board);
    json_t *disk = json_array_get(json_object_get(description, "disks"), 0);
    assert_int_equal(json_integer_value(json_object_get(disk, "size")), 1 * MIB);
    assert_string_equal(json_string_value(json_object_get(disk, "path_hint")), path);
    json_decref(description);
    machine_free(&m);
}

static void held_disk_is_refused_to_another_machine(void **state)
{
    struct machine m;
    struct board *other;
    struct board_config config = disk_config();
    struct gw_error error = {0};
    machine_new(&m, &config);
    assert_int_equal(board_new(&config, m.loop, NULL, false, &other, &error), -EBUSY);
    assert_int_equal(error.code, GW_CODE_BUSY);
    assert_non_null(strstr(error.message, path));
    machine_free(&m);
}

static void deferred_board_runs_only_with_its_disks(void **state)
{
    struct machine m;
    struct board_config config = disk_config();
    struct gw_error error = {0};
    machine_new(&m, &config);
    config.disks[0].size_bytes = 1 * MIB;
    struct board *other = deferred(&config);
    assert_int_equal(board_boot(other, NULL), 0);
    assert_int_equal(board_start(other, &error), -EBUSY);
    assert_int_equal(board_acquire_disks(other, &error), -EBUSY);
    assert_int_equal(board_release_disks(m.board, NULL), 0);
    assert_int_equal(board_acquire_disks(other, &error), 0);
    assert_int_equal(board_start(other, &error), 0);
    assert_int_equal(board_acquire_disks(m.board, &error), -EBUSY);
    board_free(other);
    assert_int_equal(board_acquire_disks(m.board, &error), 0);
    machine_free(&m);
}

static void disks_are_written_out_with_either_clock(void **state)
{
    static const enum clock_mode clocks[] = {GW_CLOCK_HOST, GW_CLOCK_INSTRUCTIONS};
    for (size_t i = 0; i < ARRAY_COUNT(clocks); i++) {
        struct machine m;
        struct board_config config = disk_config();
        config.clock = clocks[i];
        machine_new(&m, &config);
        assert_int_equal(board_sync_disks(m.board, NULL), 0);
        assert_int_equal(board_release_disks(m.board, NULL), 0);
        assert_int_equal(board_sync_disks(m.board, NULL), 0);
        machine_free(&m);
    }
}

static void disk_of_another_size_is_refused(void **state)
{
    struct board_config config = disk_config();
    struct gw_error error = {0};
    config.disks[0].size_bytes = 2 * MIB;
    struct board *board = deferred(&config);
    assert_true(board_acquire_disks(board, &error) < 0);
    assert_non_null(strstr(error.message, path));
    board_free(board);
}

static void disk_without_a_file_asks_for_one(void **state)
{
    struct board_config config = disk_config();
    struct board *board;
    struct gw_error error = {0};
    config.disks[0].path = NULL;
    sd_event *loop;
    assert_int_equal(sd_event_new(&loop), 0);
    assert_int_equal(board_new(&config, loop, NULL, true, &board, &error), -EINVAL);
    assert_string_equal(error.message,
                        "the machine has 1 disk and no file is given for disk 1; use --disk");
    sd_event_unref(loop);
}

static int bus_get(struct board *board, uint64_t address, unsigned size, uint64_t *ret_value)
{
    return riscv_bus.read(&riscv_virt_of(board)->hart[0], address, size, 0, ret_value);
}

static void slots_tell_what_is_in_them(void **state)
{
    static const uint32_t ids[RISCV_VIRT_SLOTS] = {4, 2, 0, 0, 0, 0, 0, 18};
    struct machine m;
    struct board_config config = disk_config();
    uint64_t value;
    machine_new(&m, &config);
    for (unsigned slot = 0; slot < RISCV_VIRT_SLOTS; slot++) {
        uint64_t base = 0x10001000 + slot * 0x1000;
        assert_int_equal(bus_get(m.board, base, 4, &value), 0);
        assert_int_equal(value, 0x74726976);
        assert_int_equal(bus_get(m.board, base + 4, 4, &value), 0);
        assert_int_equal(value, 2);
        assert_int_equal(bus_get(m.board, base + 8, 4, &value), 0);
        assert_int_equal(value, ids[slot]);
    }
    machine_free(&m);
}

static void nothing_stands_between_the_windows(void **state)
{
    static const struct {
        uint64_t address;
        unsigned size;
    } holes[] = {
        {0, 1},          {0xfffff, 1},    {0x102000, 8},       {0x1fffff8, 8},  {0x2010000, 4},
        {0xbfffffc, 4},  {0xc600000, 4},  {0x100000f8 + 4, 8}, {0x10000100, 1}, {0x10009000, 4},
        {0x7fffffff, 1}, {UINT64_MAX, 1}, {UINT64_MAX - 7, 8},
    };
    struct machine m;
    struct board_config config = disk_config();
    uint64_t value;
    machine_new(&m, &config);
    for (size_t i = 0; i < ARRAY_COUNT(holes); i++) {
        assert_int_equal(bus_get(m.board, holes[i].address, holes[i].size, &value), -EFAULT);
        assert_int_equal(riscv_bus.write(&riscv_virt_of(m.board)->hart[0], holes[i].address,
                                         holes[i].size, 0, 0),
                         -EFAULT);
    }
    assert_int_equal(bus_get(m.board, 0x100000f8, 8, &value), 0);
    machine_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(description_tells_the_size_of_the_file),
        cmocka_unit_test(held_disk_is_refused_to_another_machine),
        cmocka_unit_test(deferred_board_runs_only_with_its_disks),
        cmocka_unit_test(disk_of_another_size_is_refused),
        cmocka_unit_test(disks_are_written_out_with_either_clock),
        cmocka_unit_test(disk_without_a_file_asks_for_one),
        cmocka_unit_test(slots_tell_what_is_in_them),
        cmocka_unit_test(nothing_stands_between_the_windows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
