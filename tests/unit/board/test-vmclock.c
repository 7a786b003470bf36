/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's notice of a move, on a whole machine: what changes the marker and what does not. */
#include "board-test.h"

#include "base/bytes.h"
#include "board/machine.h"
#include "board/riscv-machine.h"

#define PAGE RISCV_VIRT_VMCLOCK_BASE
#define PLIC_SOURCE 12

static void boot(struct machine *m)
{
    struct board_config config = bare_config("count");
    config.vmclock = true;
    machine_new(m, &config);
    assert_int_equal(board_boot(m->board, NULL), 0);
    machine_start(m);
}

static uint64_t marker(struct machine *m)
{
    return guest_word(m, PAGE + VMCLOCK_FIELD_MARKER);
}

static uint32_t sequence(struct machine *m)
{
    return (uint32_t)(guest_word(m, PAGE + VMCLOCK_FIELD_VERSION) >> 32);
}

static bool notice_is_pending(const struct machine *m)
{
    return riscv_virt_of(m->board)->plic.pending[PLIC_SOURCE / 32] >> PLIC_SOURCE % 32 & 1;
}

static void stop_start_and_reset_do_not_change_the_marker(void **state)
{
    struct machine m;
    boot(&m);
    uint64_t before = marker(&m);
    uint32_t sequence_before = sequence(&m);
    for (unsigned i = 0; i < 3; i++) {
        board_stop(m.board);
        machine_start(&m);
    }
    assert_int_equal(board_reset(m.board, NULL), 0);
    assert_int_equal(marker(&m), before);
    assert_int_equal(sequence(&m), sequence_before);
    board_stop(m.board);
    assert_false(notice_is_pending(&m));
    machine_free(&m);
}

static void each_move_changes_the_marker_once_and_gives_notice(void **state)
{
    struct machine machines[4];
    boot(&machines[0]);
    for (unsigned i = 0; i < 3; i++) {
        struct machine *from = &machines[i], *to = &machines[i + 1];
        board_stop(from->board);
        uint64_t before = marker(from);
        uint32_t sequence_before = sequence(from);
        machine_move(from, to);
        assert_int_equal(marker(to), before); /* the guest has not run there yet */
        machine_start(to);
        assert_int_equal(marker(to), before + 1);
        assert_int_equal(sequence(to), sequence_before + 2);
        board_stop(to->board);
        machine_start(to);
        assert_int_equal(marker(to), before + 1);
        assert_true(notice_is_pending(to)); /* this guest takes no interrupts */
        assert_int_equal(marker(from), before);
    }
    for (unsigned i = 0; i < 4; i++)
        machine_free(&machines[i]);
}

static void rehearsal_changes_nothing_here_and_counts_for_nothing_there(void **state)
{
    struct machine m, there;
    struct gw_buf stream = {0};
    boot(&m);
    uint64_t before = marker(&m);
    board_stop(m.board);
    machine_move(&m, &there);
    machine_start(&m);
    assert_int_equal(marker(&m), before);
    board_stop(m.board);
    assert_false(notice_is_pending(&m));
    assert_int_equal(board_save(m.board, &stream, NULL), 0);
    assert_int_equal(board_load(there.board, stream.data, stream.length, NULL), 0);
    machine_start(&there);
    assert_int_equal(marker(&there), before + 1);
    gw_buf_fini(&stream);
    machine_free(&m);
    machine_free(&there);
}

static void machine_that_moves_on_without_having_run_is_disrupted_once(void **state)
{
    struct machine first, second, third;
    boot(&first);
    board_stop(first.board);
    uint64_t before = marker(&first);
    machine_move(&first, &second);
    machine_move(&second, &third);
    machine_start(&third);
    assert_int_equal(marker(&third), before + 1);
    machine_free(&first);
    machine_free(&second);
    machine_free(&third);
}

static void machine_without_it_has_neither_page_nor_state(void **state)
{
    struct machine with, without;
    uint64_t offset;
    boot(&with);
    machine_boot(&without, "count");
    assert_null(gw_memory_find(board_memory(without.board), PAGE, 1, &offset));
    assert_non_null(gw_memory_find(board_memory(with.board), PAGE, 1, &offset));
    assert_int_equal(with.board->item_count, without.board->item_count + 1);
    machine_free(&with);
    machine_free(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_start_and_reset_do_not_change_the_marker),
        cmocka_unit_test(each_move_changes_the_marker_once_and_gives_notice),
        cmocka_unit_test(rehearsal_changes_nothing_here_and_counts_for_nothing_there),
        cmocka_unit_test(machine_that_moves_on_without_having_run_is_disrupted_once),
        cmocka_unit_test(machine_without_it_has_neither_page_nor_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
