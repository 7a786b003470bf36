/* SPDX-License-Identifier: Apache-2.0 */
/* Boards with the instruction clock: exact stops, and runs that are equal however they are cut and
 * moved. */
#include "board-test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MARKS 24
#define MARK_STRIDE 20000

/* State at fixed instruction counts of the program "ticks", from a run that is never cut elsewhere.
 */
struct reference {
    uint64_t hash[MARKS];
    unsigned marks; /* reached before the end */
    uint64_t end_hash, end_instructions;
    char printed[4096];
};

static struct reference reference;

static void boot(struct machine *m)
{
    struct board_config config = bare_config("ticks");
    config.clock = GW_CLOCK_INSTRUCTIONS;
    config.seed = 7;
    machine_new(m, &config);
    assert_int_equal(board_boot(m->board, NULL), 0);
}

static int make_reference(void **state)
{
    struct machine m;
    boot(&m);
    while (reference.marks < MARKS &&
           machine_run_to(&m, (uint64_t)(reference.marks + 1) * MARK_STRIDE))
        reference.hash[reference.marks++] = board_state_hash(m.board);
    if (m.events[BOARD_EVENT_SHUTDOWN] == 0) {
        machine_start(&m);
        machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    }
    reference.end_hash = board_state_hash(m.board);
    reference.end_instructions = board_instructions(m.board);
    memcpy(reference.printed, m.printed, sizeof m.printed);
    machine_free(&m);
    return 0;
}

static void reference_is_long_enough_to_mean_something(void **state)
{
    assert_true(reference.marks >= 5);
    assert_int_equal(strlen(reference.printed), 299);
    for (unsigned i = 1; i < reference.marks; i++)
        assert_true(reference.hash[i] != reference.hash[i - 1]);
}

static void stops_at_exactly_the_instruction(void **state)
{
    struct machine m;
    boot(&m);
    static const uint64_t counts[] = {0, 1, 2, 3, 50, 51, 1000, 99999, 100000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        assert_true(machine_run_to(&m, counts[i]));
        assert_int_equal(m.reached, counts[i]);
        assert_int_equal(board_instructions(m.board), counts[i]);
        assert_false(board_running(m.board));
    }
    machine_free(&m);
}

static void past_counts_are_refused(void **state)
{
    struct machine m;
    struct gw_error error = {0};
    boot(&m);
    assert_true(machine_run_to(&m, 100));
    assert_int_equal(board_run_until(m.board, 99, NULL, NULL, &error), -EINVAL);
    assert_int_equal(error.code, GW_CODE_STATE);
    machine_free(&m);
}

static void add_printed(char *all, size_t room, const struct machine *m)
{
    size_t length = strlen(all);
    snprintf(all + length, room - length, "%s", m->printed);
}

/* Runs to the end in pieces; at each cut the machine is moved to a new one if `move` says so. */
static void run_in_pieces(uint64_t seed, uint64_t largest, bool move)
{
    struct machine m, moved;
    char printed[4096] = {0};
    uint64_t random = seed, next_mark = MARK_STRIDE;
    boot(&m);
    for (;;) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        uint64_t target = board_instructions(m.board) + 1 + random % largest;
        if (target > next_mark && next_mark <= (uint64_t)reference.marks * MARK_STRIDE)
            target = next_mark;
        if (!machine_run_to(&m, target))
            break;
        if (target == next_mark && next_mark <= (uint64_t)reference.marks * MARK_STRIDE) {
            if (board_state_hash(m.board) != reference.hash[next_mark / MARK_STRIDE - 1])
                fail_msg("seed %llu: another state at %llu", (unsigned long long)seed,
                         (unsigned long long)target);
            next_mark += MARK_STRIDE;
        }
        if (!move)
            continue;
        add_printed(printed, sizeof printed, &m);
        machine_move(&m, &moved);
        machine_free(&m);
        boot(&m); /* a frame of its own, so that callbacks keep their addresses */
        machine_free(&m);
        machine_move(&moved, &m);
        machine_free(&moved);
    }
    add_printed(printed, sizeof printed, &m);
    assert_int_equal(board_instructions(m.board), reference.end_instructions);
    assert_true(board_state_hash(m.board) == reference.end_hash);
    assert_string_equal(printed, reference.printed);
    machine_free(&m);
}

static void a_run_in_pieces_is_the_same_run(void **state)
{
    run_in_pieces(1, 5000, false);
    run_in_pieces(2, 300, false);
}

static void a_run_one_instruction_at_a_time_is_the_same_run(void **state)
{
    struct machine m, whole;
    boot(&m);
    boot(&whole);
    for (uint64_t i = 1; i <= 3000; i++)
        assert_true(machine_run_to(&m, i));
    assert_true(machine_run_to(&whole, 3000));
    assert_true(board_state_hash(m.board) == board_state_hash(whole.board));
    machine_free(&m);
    machine_free(&whole);
}

static void a_run_that_moves_is_the_same_run(void **state)
{
    run_in_pieces(3, 8000, true);
}

static void *stop_and_start_often(void *opaque)
{
    struct machine *m = opaque;
    while (m->events[BOARD_EVENT_SHUTDOWN] == 0) {
        board_stop(m->board);
        board_start(m->board, NULL);
    }
    return NULL;
}

/* Cuts wherever another thread happens to make them. */
static void a_run_that_is_stopped_at_random_is_the_same_run(void **state)
{
    struct machine m;
    pthread_t thread;
    boot(&m);
    machine_start(&m);
    assert_int_equal(pthread_create(&thread, NULL, stop_and_start_often, &m), 0);
    machine_wait(&m, BOARD_EVENT_SHUTDOWN, 1);
    pthread_join(thread, NULL);
    board_stop(m.board);
    assert_int_equal(board_instructions(m.board), reference.end_instructions);
    assert_true(board_state_hash(m.board) == reference.end_hash);
    machine_free(&m);
}

static void more_than_one_cpu_is_refused(void **state)
{
    struct board_config config = bare_config("ticks");
    struct board *board;
    struct gw_error error = {0};
    config.clock = GW_CLOCK_INSTRUCTIONS;
    config.cpus = 2;
    assert_int_equal(board_new(&config, NULL, NULL, false, &board, &error), -EINVAL);
    assert_string_equal(error.message, "the instruction clock needs a machine with one CPU");
}

static void host_clock_cannot_stop_at_an_instruction(void **state)
{
    struct machine m;
    machine_boot(&m, "ticks");
    assert_int_equal(board_run_until(m.board, 100, NULL, NULL, NULL), -EINVAL);
    machine_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_long_enough_to_mean_something),
        cmocka_unit_test(stops_at_exactly_the_instruction),
        cmocka_unit_test(past_counts_are_refused),
        cmocka_unit_test(a_run_in_pieces_is_the_same_run),
        cmocka_unit_test(a_run_one_instruction_at_a_time_is_the_same_run),
        cmocka_unit_test(a_run_that_moves_is_the_same_run),
        cmocka_unit_test(a_run_that_is_stopped_at_random_is_the_same_run),
        cmocka_unit_test(more_than_one_cpu_is_refused),
        cmocka_unit_test(host_clock_cannot_stop_at_an_instruction),
    };
    return cmocka_run_group_tests(tests, make_reference, NULL);
}
