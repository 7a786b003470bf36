/* SPDX-License-Identifier: Apache-2.0 */
/* Boards with a host clock: start, stop, ends, save and load, watching, the serial port. */
#include "../patience.h"
#include "board-test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

static void program_prints_and_powers_off(void **state)
{
    struct machine m;
    machine_boot(&m, "hello");
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    assert_true(m.success);
    assert_false(board_running(m.board));
    assert_string_equal(m.printed, "hello\n");
    machine_free(&m);
}

static void failure_is_reported(void **state)
{
    struct machine m;
    machine_boot(&m, "fail");
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    assert_false(m.success);
    machine_free(&m);
}

static void reset_by_the_guest_boots_again(void **state)
{
    struct machine m;
    machine_boot(&m, "reset");
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    assert_int_equal(m.events[BOARD_EVENT_RESET], 1);
    machine_free(&m);
}

static void ended_machine_says_so_again_until_it_is_reset(void **state)
{
    struct machine m;
    machine_boot(&m, "hello");
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 2);
    assert_string_equal(m.printed, "hello\n");
    assert_int_equal(board_reset(m.board, NULL), 0);
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 3);
    assert_string_equal(m.printed, "hello\nhello\n");
    machine_free(&m);
}

static void running_machine_can_be_reset_from_outside(void **state)
{
    struct machine m;
    machine_boot(&m, "echo");
    machine_start(&m);
    machine_wait_printed(&m, 1);
    assert_int_equal(board_reset(m.board, NULL), 0);
    assert_true(board_running(m.board));
    machine_wait_printed(&m, 2);
    board_stop(m.board);
    assert_string_equal(m.printed, ">>");
    machine_free(&m);
}

static void boot_counting_harts(struct machine *m)
{
    struct board_config config = bare_config("count");
    config.cpus = 3;
    machine_new(m, &config);
    assert_int_equal(board_boot(m->board, NULL), 0);
}

static void wait_all_count(struct machine *m, const uint64_t above[3])
{
    uint64_t deadline_ns = patience_end_ns();
    for (unsigned hart = 0; hart < 3; hart++)
        while (guest_word(m, COUNTERS + hart * 4096) <= above[hart]) {
            assert_true(host_monotonic_ns() < deadline_ns);
            usleep(1000);
        }
}

static void read_counters(struct machine *m, uint64_t counters[3])
{
    for (unsigned hart = 0; hart < 3; hart++)
        counters[hart] = guest_word(m, COUNTERS + hart * 4096);
}

static void stopped_machine_writes_no_memory(void **state)
{
    struct machine m;
    uint64_t first[3] = {0}, then[3];
    boot_counting_harts(&m);
    for (unsigned round = 0; round < 20; round++) {
        machine_start(&m);
        wait_all_count(&m, first);
        board_stop(m.board);
        read_counters(&m, first);
        usleep(3000);
        read_counters(&m, then);
        assert_memory_equal(first, then, sizeof first);
    }
    machine_free(&m);
}

static void start_and_stop_are_idempotent(void **state)
{
    struct machine m;
    boot_counting_harts(&m);
    board_stop(m.board);
    machine_start(&m);
    machine_start(&m);
    board_stop(m.board);
    board_stop(m.board);
    assert_false(board_running(m.board));
    machine_free(&m);
}

/* The loop thread never turns here: stopping must not need it. */
static void *start_and_stop_often(void *opaque)
{
    struct machine *m = opaque;
    for (unsigned i = 0; i < 200; i++) {
        machine_start(m);
        board_stop(m->board);
    }
    return NULL;
}

static void threads_may_start_and_stop_against_each_other(void **state)
{
    struct machine m;
    pthread_t threads[3];
    boot_counting_harts(&m);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_and_stop_often, &m), 0);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    board_stop(m.board);
    assert_false(board_running(m.board));
    machine_free(&m);
}

static void moved_machine_goes_on(void **state)
{
    struct machine m, moved;
    uint64_t counted[3] = {0}, before[3];
    boot_counting_harts(&m);
    machine_start(&m);
    wait_all_count(&m, counted);
    board_stop(m.board);
    read_counters(&m, before);
    machine_move(&m, &moved);
    assert_true(board_state_hash(m.board) == board_state_hash(moved.board));
    machine_free(&m);
    machine_start(&moved);
    wait_all_count(&moved, before);
    machine_free(&moved);
}

/* The request is the machine's, not the loop's: it is acted on where the machine runs next. */
static void power_off_that_nobody_saw_travels(void **state)
{
    struct machine m, moved;
    machine_boot(&m, "hello");
    machine_start(&m);
    uint64_t deadline_ns = patience_end_ns();
    while (m.printed_length < 6)
        assert_true(host_monotonic_ns() < deadline_ns);
    usleep(20000);
    board_stop(m.board);
    sd_event_run(m.loop, 0);
    assert_int_equal(m.events[BOARD_EVENT_SHUTDOWN], 0);
    machine_move(&m, &moved);
    machine_free(&m);
    machine_start(&moved);
    machine_wait(&moved, BOARD_EVENT_SHUTDOWN, 1);
    assert_int_equal(moved.printed_length, 0);
    machine_free(&moved);
}

static void moved_machine_can_be_reset_without_its_files(void **state)
{
    struct machine m, moved;
    machine_boot(&m, "hello");
    machine_move(&m, &moved);
    machine_free(&m);
    memset(gw_memory_region(board_memory(moved.board), 0)->host, 0, MIB);
    assert_int_equal(board_reset(moved.board, NULL), 0);
    machine_start(&moved);
    machine_wait(&moved, BOARD_EVENT_SHUTDOWN, 1);
    assert_string_equal(moved.printed, "hello\n");
    machine_free(&moved);
}

static void damaged_boot_region_is_a_sentence(void **state)
{
    struct machine m;
    struct gw_error error = {0};
    machine_boot(&m, "hello");
    uint8_t *header = gw_memory_region(board_memory(m.board), 1)->host;
    for (unsigned byte = 0; byte < 64; byte++) {
        uint8_t good = header[byte];
        header[byte] ^= 0xff;
        int r = board_reset(m.board, &error);
        assert_true(r == 0 || (r == -EINVAL && error.code == GW_CODE_CORRUPT));
        if (byte < 8 || (byte >= 32 && byte < 40)) /* magic, number of segments */
            assert_int_equal(r, -EINVAL);
        header[byte] = good;
    }
    machine_free(&m);
}

static void state_is_refused_while_running(void **state)
{
    struct machine m;
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    boot_counting_harts(&m);
    assert_int_equal(board_save(m.board, &stream, &error), 0);
    machine_start(&m);
    assert_int_equal(board_load(m.board, stream.data, stream.length, &error), -EBUSY);
    assert_int_equal(board_save(m.board, &stream, &error), -EBUSY);
    assert_int_equal(error.code, GW_CODE_STATE);
    gw_buf_fini(&stream);
    machine_free(&m);
}

static void loading_twice_is_loading_once(void **state)
{
    struct machine m, moved;
    struct gw_buf stream = {0}, again = {0};
    machine_boot(&m, "echo");
    machine_start(&m);
    machine_wait_printed(&m, 1);
    board_stop(m.board);
    machine_move(&m, &moved);
    assert_int_equal(board_save(m.board, &stream, NULL), 0);
    assert_int_equal(board_load(moved.board, stream.data, stream.length, NULL), 0);
    assert_int_equal(board_save(moved.board, &again, NULL), 0);
    assert_int_equal(stream.length, again.length);
    assert_memory_equal(stream.data, again.data, stream.length);
    gw_buf_fini(&stream);
    gw_buf_fini(&again);
    machine_free(&m);
    machine_free(&moved);
}

static void state_of_another_shape_is_refused(void **state)
{
    struct machine one, three;
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    machine_boot(&one, "count");
    boot_counting_harts(&three);
    assert_int_equal(board_save(three.board, &stream, NULL), 0);
    assert_true(board_load(one.board, stream.data, stream.length, &error) < 0);
    assert_non_null(strstr(error.message, "riscv-hart"));
    gw_buf_fini(&stream);
    machine_free(&one);
    machine_free(&three);
}

static uint64_t page_of(uint64_t address)
{
    return (address - 0x80000000u) / GW_PAGE_BYTES;
}

static uint64_t collect_counters(struct machine *m)
{
    struct gw_tracker tracker = board_tracker(m->board);
    uint64_t bitmap[16 * MIB / GW_PAGE_BYTES / 64] = {0};
    assert_true(tracker.ops->collect(tracker.opaque, 0, 0, 16 * MIB / GW_PAGE_BYTES, bitmap) >= 0);
    return bitmap[page_of(COUNTERS) / 64] >> page_of(COUNTERS) % 64 & 7;
}

static void watching_a_running_machine_sees_its_writes(void **state)
{
    struct machine m;
    uint64_t counters[3] = {0};
    boot_counting_harts(&m);
    struct gw_tracker tracker = board_tracker(m.board);
    machine_start(&m);
    wait_all_count(&m, counters);
    assert_int_equal(tracker.ops->start(tracker.opaque, NULL), 0);
    assert_true(board_running(m.board));
    for (unsigned round = 0; round < 3; round++) {
        read_counters(&m, counters);
        collect_counters(&m);
        wait_all_count(&m, counters);
        read_counters(&m, counters);
        wait_all_count(&m, counters);
        assert_int_equal(collect_counters(&m), 7);
    }
    board_stop(m.board);
    collect_counters(&m);
    assert_int_equal(collect_counters(&m), 0);
    machine_start(&m);
    tracker.ops->stop(tracker.opaque);
    read_counters(&m, counters);
    wait_all_count(&m, counters);
    machine_free(&m);
}

static void sleeping_guest_wakes_by_input_and_echoes(void **state)
{
    struct machine m;
    machine_boot(&m, "echo");
    machine_start(&m);
    machine_wait_printed(&m, 1);
    for (unsigned i = 0; i < 26; i++) {
        uint8_t byte = (uint8_t)('A' + i);
        assert_int_equal(board_serial_input(m.board, &byte, 1), 1);
        machine_wait_printed(&m, 2 + i);
    }
    assert_int_equal(board_serial_input(m.board, (const uint8_t *)"q", 1), 1);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    assert_string_equal(m.printed, ">ABCDEFGHIJKLMNOPQRSTUVWXYZq");
    machine_free(&m);
}

static void stopped_machine_takes_no_input_and_asks_when_it_runs(void **state)
{
    struct machine m;
    machine_boot(&m, "echo");
    machine_start(&m);
    machine_wait_printed(&m, 1);
    board_stop(m.board);
    uint64_t hash = board_state_hash(m.board);
    assert_int_equal(board_serial_input(m.board, (const uint8_t *)"x", 1), 0);
    assert_true(board_state_hash(m.board) == hash);
    assert_int_equal(m.rooms, 0);
    machine_start(&m);
    assert_int_equal(m.rooms, 1);
    machine_free(&m);
}

static void sleeping_machine_moves_with_its_sleep(void **state)
{
    struct machine m, moved;
    machine_boot(&m, "echo");
    machine_start(&m);
    machine_wait_printed(&m, 1);
    usleep(5000);
    board_stop(m.board);
    machine_move(&m, &moved);
    machine_free(&m);
    machine_start(&moved);
    assert_int_equal(board_serial_input(moved.board, (const uint8_t *)"q", 1), 1);
    machine_wait(&moved, BOARD_EVENT_SHUTDOWN, 1);
    assert_string_equal(moved.printed, "q");
    machine_free(&moved);
}

static void timers_of_the_host_clock_tick(void **state)
{
    struct machine m;
    machine_boot(&m, "ticks");
    machine_start(&m);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    assert_int_equal(m.printed_length, 299);
    machine_free(&m);
}

static void guest_time_stands_still_while_stopped(void **state)
{
    struct machine m;
    machine_boot(&m, "ticks");
    machine_start(&m);
    machine_wait_printed(&m, 1);
    board_stop(m.board);
    uint64_t hash = board_state_hash(m.board);
    usleep(20000);
    assert_true(board_state_hash(m.board) == hash);
    machine_free(&m);
}

static void free_stops_a_running_machine(void **state)
{
    struct machine m;
    boot_counting_harts(&m);
    machine_start(&m);
    machine_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_prints_and_powers_off),
        cmocka_unit_test(failure_is_reported),
        cmocka_unit_test(reset_by_the_guest_boots_again),
        cmocka_unit_test(ended_machine_says_so_again_until_it_is_reset),
        cmocka_unit_test(running_machine_can_be_reset_from_outside),
        cmocka_unit_test(stopped_machine_writes_no_memory),
        cmocka_unit_test(start_and_stop_are_idempotent),
        cmocka_unit_test(threads_may_start_and_stop_against_each_other),
        cmocka_unit_test(moved_machine_goes_on),
        cmocka_unit_test(power_off_that_nobody_saw_travels),
        cmocka_unit_test(moved_machine_can_be_reset_without_its_files),
        cmocka_unit_test(damaged_boot_region_is_a_sentence),
        cmocka_unit_test(state_is_refused_while_running),
        cmocka_unit_test(loading_twice_is_loading_once),
        cmocka_unit_test(state_of_another_shape_is_refused),
        cmocka_unit_test(watching_a_running_machine_sees_its_writes),
        cmocka_unit_test(sleeping_guest_wakes_by_input_and_echoes),
        cmocka_unit_test(stopped_machine_takes_no_input_and_asks_when_it_runs),
        cmocka_unit_test(sleeping_machine_moves_with_its_sleep),
        cmocka_unit_test(timers_of_the_host_clock_tick),
        cmocka_unit_test(guest_time_stands_still_while_stopped),
        cmocka_unit_test(free_stops_a_running_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
