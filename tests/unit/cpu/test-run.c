/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised of a run as a whole: exact budgets, coherent code, dirty marks, hostile states.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"

/*
 * A program with a loop, traps, device interrupts, an instruction that changes at every turn, and
 * misaligned stores: all that could tell one cut of a run from another.
 */
static void emit_everything(struct machine *machine)
{
    emit_at(machine,
            HANDLER); /* counts in x20, clears the interrupt through the device, steps over ECALL */
    emit(machine, ADDI(20, 20, 1));
    emit(machine, CSRRS(21, 0x342, 0));
    emit(machine, enc_b(0x4063, 21, 0, 16)); /* blt: an interrupt */
    emit(machine, CSRRS(21, 0x341, 0));
    emit(machine, ADDI(21, 21, 4));
    emit(machine, CSRRW(0, 0x341, 21));
    emit(machine, CSRRW(0, 0x344, 0));
    emit(machine, CSRRC(0, 0x304, 22));
    emit(machine, MRET);
    emit_at(machine, CODE);
    emit(machine, ADDI(1, 1, 1)); /* the changing instruction */
    emit(machine, LW(3, 5, 0));
    emit(machine, ADD(3, 3, 6)); /* add 1 << 20 to its immediate */
    emit(machine, SW(3, 5, 0));
    emit(machine, SD(3, 7, 3));
    emit(machine, AMOADD_D(4, 8, 1));
    emit(machine, ECALL);
    emit(machine, CSRRS(0, 0x304, 22));
    emit(machine, SD(1, 9, 0)); /* the device raises MEIP */
    emit(machine, CSRRS(10, 0xb02, 0));
    emit(machine, ADD(11, 11, 10));
    emit(machine, enc_b(0x5063, 1, 0, 8)); /* bge: skips one instruction in half of the turns */
    emit(machine, ADDI(12, 12, 1));
    emit(machine, jal(0, -52));
    X(5) = CODE;
    X(6) = 1 << 20;
    X(7) = DATA;
    X(8) = DATA + 64;
    X(9) = DEVICE;
    X(22) = 1 << RV_IRQ_MEIP;
    STATE.mstatus = RV_MSTATUS_MIE;
    machine->raise_on_write = RV_IRQ_MEIP;
}

TEST(a_run_in_random_pieces_equals_a_run_in_one)
{
    const uint64_t total = 20000;
    emit_everything(machine);
    assert_int_equal(run(machine, total), total);
    uint64_t whole = state_hash(machine), traps = X(20);
    assert_true(traps > 1000);
    for (unsigned seed = 1; seed <= 5; seed++) {
        struct machine other;
        machine_init(&other);
        emit_everything(&other);
        srand(seed);
        for (uint64_t done = 0; done < total;) {
            uint64_t piece = 1 + (uint64_t)rand() % (seed == 1 ? 1 : seed * seed);
            piece = piece > total - done ? total - done : piece;
            assert_int_equal(run(&other, piece), piece);
            done += piece;
            if (rand() % 50 == 0)
                rv_hart_flush_later(other.hart);
        }
        assert_int_equal(state_hash(&other), whole);
        machine_fini(&other);
    }
}

TEST(a_store_into_code_counts_for_the_very_next_instruction)
{
    emit(machine, SW(6, 5, 4));
    emit(machine, ADDI(1, 0, 1)); /* becomes li x1, 2 */
    emit(machine, jal(0, 8));
    emit(machine, NOP);
    emit(machine, WFI);
    X(5) = CODE;
    X(6) = ADDI(1, 0, 2);
    assert_int_equal(run(machine, 4), 4);
    assert_int_equal(X(1), 2);
}

TEST(fence_i_shows_code_that_a_device_has_written)
{
    emit(machine, ADDI(1, 1, 1));
    emit(machine, FENCE_I);
    emit(machine, jal(0, -8));
    assert_int_equal(run(machine, 3), 3);
    const uint32_t changed = ADDI(1, 1, 16);
    gw_memory_write(machine->memory, CODE, &changed, 4);
    run(machine, 3);
    run(machine, 3);
    assert_true(X(1) == 1 + 16 + 16 || X(1) == 1 + 1 + 16);
}

TEST(flush_later_shows_everything_that_was_changed_behind_the_hart)
{
    emit(machine, ADDI(1, 1, 1));
    emit(machine, jal(0, -4));
    run(machine, 4);
    emit_at(machine, CODE);
    emit(machine, ADDI(1, 1, 16));
    rv_hart_flush_later(machine->hart);
    run(machine, 2);
    assert_int_equal(X(1), 2 + 16);
}

static bool take_mark(struct machine *machine, uint64_t address)
{
    bool marked = machine->ram->dirty[(address - RAM) >> 12];
    machine->ram->dirty[(address - RAM) >> 12] = 0;
    return marked;
}

/* Runs one instruction as often as a loop would, and tells whether DATA + 4096 (and only while
 * watched) is marked. */
static void check_marks(struct machine *machine, uint32_t instruction)
{
    emit_at(machine, CODE);
    emit(machine, instruction);
    emit(machine, instruction);
    STATE.mstatus = RV_MSTATUS_FS;
    for (unsigned watching = 0; watching < 3; watching++) {
        rv_hart_set_watching(machine->hart, watching == 1);
        for (unsigned i = 0; i < 2; i++) { /* the second finds the TLB filled */
            X(5) = DATA + 4096;
            STATE.reserved = true;
            STATE.reserved_address = X(5);
            STATE.reserved_value = get64(machine, X(5));
            STATE.pc = CODE;
            take_mark(machine, X(5));
            assert_int_equal(run(machine, 1), 1);
            assert_int_equal(take_mark(machine, DATA + 4096), watching == 1);
        }
    }
}

TEST(every_way_to_write_marks_its_page_while_watched)
{
    check_marks(machine, SB(1, 5, 0));
    check_marks(machine, SW(1, 5, 8));
    check_marks(machine, SD(1, 5, 4088));
    check_marks(machine, SD(1, 5, 1)); /* misaligned */
    check_marks(machine, FSD(1, 5, 16));
    check_marks(machine, AMOADD_D(6, 5, 1));
    check_marks(machine, SC_D(6, 5, 1));
    check_marks(machine, SD(1, 5, -3)); /* the second page of two */
}

/* ---- Loads and stores in a row, which are done together where they fall into one page ---- */

/* Up to five of a kind by one register, which a load may change. */
static void emit_row(struct machine *machine)
{
    unsigned base = 5 + (unsigned)rand() % 3, length = 1 + (unsigned)rand() % 5;
    bool load = rand() % 2;
    int imm = rand() % 64 - 32;
    if (rand() % 8)
        imm &= ~7;
    for (unsigned i = 0; i < length; i++) {
        unsigned other = rand() % 20 ? 8 + (unsigned)rand() % 8 : base;
        emit(machine, load ? LD(other, base, imm) : SD(other, base, imm));
        imm += rand() % 4 ? 8 : rand() % 2 ? -16 : 3;
    }
    emit(machine, ADD(16, 16, 8 + (unsigned)rand() % 8));
}

static void emit_rows(struct machine *machine, unsigned seed)
{
    const uint64_t places[] = {DATA + 256, DATA + 4096, DATA + 4088, DATA + 8192 + 3, DATA + 12288};
    srand(seed);
    for (unsigned i = 0; i < 64; i++)
        put64(machine, DATA + 8 * i, places[(unsigned)rand() % 5]);
    for (unsigned i = 0; i < 64; i++)
        put64(machine, DATA + 4096 - 256 + 8 * i, places[(unsigned)rand() % 5]);
    emit_at(machine, HANDLER);
    for (unsigned i = 5; i < 8; i++) { /* an address that leads nowhere was loaded */
        emit(machine, ADD(i, 20, 0));
        emit(machine, ADDI(20, 20, 8));
    }
    emit(machine, CSRRS(21, 0x341, 0));
    emit(machine, ADDI(21, 21, 4));
    emit(machine, CSRRW(0, 0x341, 21));
    emit(machine, MRET);
    emit_at(machine, CODE);
    for (unsigned i = 0; i < 40; i++)
        emit_row(machine);
    emit(machine, ADD(5, 17, 0));
    emit(machine, ADD(6, 18, 0));
    emit(machine, ADD(7, 19, 0));
    emit(machine, JALR(0, 22, 0));
    for (unsigned i = 0; i < 3; i++)
        X(5 + i) = X(17 + i) = places[(unsigned)rand() % 5];
    X(20) = DATA + 16384;
    X(22) = CODE;
}

TEST(accesses_in_a_row_do_what_they_do_one_at_a_time)
{
    for (unsigned seed = 1; seed <= 50; seed++) {
        struct machine whole, pieces;
        machine_init(&whole);
        machine_init(&pieces);
        emit_rows(&whole, seed);
        emit_rows(&pieces, seed);
        rv_hart_set_watching(whole.hart, true);
        rv_hart_set_watching(pieces.hart, true);
        assert_int_equal(run(&whole, 1000), 1000);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(run(&pieces, 1), 1);
        assert_int_equal(state_hash(&whole), state_hash(&pieces));
        assert_memory_equal(whole.ram->dirty, pieces.ram->dirty, RAM_BYTES >> 12);
        machine_fini(&whole);
        machine_fini(&pieces);
    }
}

TEST(stores_in_a_row_mark_their_page_while_watched)
{
    for (int count = 2; count <= 4; count += 2) {
        emit_at(machine, CODE);
        for (int i = 0; i < count; i++)
            emit(machine, SD(6, 5, 8 * i));
        emit(machine, ADD(7, 7, 6));
        emit(machine, JALR(0, 8, 0));
        rv_hart_flush_later(machine->hart);
        X(8) = CODE;
        for (unsigned watching = 0; watching < 4; watching++) {
            rv_hart_set_watching(machine->hart, watching % 2);
            X(5) = DATA + 4096;
            STATE.pc = CODE;
            run(machine, 10 * ((unsigned)count + 2)); /* fills the TLB */
            take_mark(machine, DATA + 4096);
            STATE.pc = CODE;
            run(machine, (unsigned)count + 2);
            assert_int_equal(take_mark(machine, DATA + 4096), watching % 2);
        }
    }
}

TEST(of_stores_in_a_row_those_before_the_one_that_traps_are_done)
{
    paging(machine, 8);
    set_page(machine, 8, 0x400000, CODE, PTE_V | PTE_R | PTE_X | PTE_A, 0);
    set_page(machine, 8, 0x10000, DATA, PTE_V | PTE_R | PTE_W | PTE_A | PTE_D, 0);
    for (int third = 16; third >= 11; third -= 5) { /* in the next page, and on both */
        emit_at(machine, CODE);
        emit(machine, SD(0, 10, 0)); /* fills the TLB */
        emit(machine, SD(6, 5, 0));
        emit(machine, SD(7, 5, 8));
        emit(machine, SD(8, 5, third));
        emit(machine, SD(9, 5, 0));
        for (unsigned i = 0; i < 4; i++)
            X(6 + i) = 0x60 + i;
        X(5) = 0x10000 + 4096 - 16;
        X(10) = 0x10000;
        put64(machine, DATA + 4080, 0);
        put64(machine, DATA + 4088, 0);
        enter(machine, RV_PRIV_S, 0x400000);
        run(machine, 10);
        assert_int_equal(get64(machine, DATA + 4080), 0x60);
        assert_int_equal(get64(machine, DATA + 4088), 0x61);
        assert_int_equal(STATE.mcause, 15);
        assert_int_equal(STATE.mepc, 0x400000 + 12);
    }
}

TEST(stores_in_a_row_into_code_count_for_the_very_next_instruction)
{
    emit(machine, ADDI(1, 1, 1));
    emit(machine, jal(0, 8));
    emit(machine, NOP);
    emit(machine, SD(6, 5, 0));
    emit(machine, SD(7, 5, 8));
    emit(machine, ADDI(1, 1, 1)); /* becomes 64 more by the first */
    emit(machine, WFI);
    emit(machine, WFI);
    X(5) = CODE + 16;
    X(6) = SD(7, 5, 8) | (uint64_t)ADDI(1, 1, 64) << 32;
    X(7) = WFI | (uint64_t)WFI << 32;
    assert_int_equal(run(machine, 5), 5);
    assert_int_equal(X(1), 1 + 64);
}

TEST(accessed_and_dirty_bits_mark_the_page_of_the_table)
{
    paging(machine, 8);
    set_page(machine, 8, 0x400000, CODE, PTE_V | PTE_R | PTE_X | PTE_A, 0);
    uint64_t entry = set_page(machine, 8, 0x10000, DATA, PTE_V | PTE_R | PTE_W, 0);
    rv_hart_set_watching(machine->hart, true);
    emit_at(machine, CODE);
    emit(machine, LD(6, 5, 0));
    emit(machine, SD(6, 5, 0));
    X(5) = 0x10000;
    take_mark(machine, entry);
    enter(machine, RV_PRIV_S, 0x400000);
    run(machine, 1);
    assert_true(take_mark(machine, entry));
    assert_false(take_mark(machine, DATA));
    run(machine, 1);
    assert_true(take_mark(machine, entry));
    assert_true(take_mark(machine, DATA));
}

/* Random bytes may be a loop of traps, which only a kick ends. */
static void *kick_until_told(void *argument)
{
    struct machine *machine = argument;
    while (!__atomic_load_n(&machine->kick_on_write, __ATOMIC_RELAXED)) {
        rv_hart_kick(machine->hart);
        usleep(200);
    }
    return NULL;
}

TEST(no_loaded_state_can_hurt_the_process)
{
    struct machine other;
    pthread_t kicker;
    machine_init(&other);
    struct gw_state_item from = {&rv_hart_state_type, 0, rv_hart_state_object(other.hart)};
    struct gw_state_item to = {&rv_hart_state_type, 0, rv_hart_state_object(machine->hart)};
    assert_int_equal(pthread_create(&kicker, NULL, kick_until_told, machine), 0);
    srand(1);
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        struct gw_buf stream = {0};
        gw_state_random(&rv_hart_state_type, rv_hart_state_object(other.hart), seed);
        other.hart->state.waiting = false;
        if (seed % 4) { /* most get as far as executing what is there */
            other.hart->state.pc = CODE + seed % 64 * 4;
            other.hart->state.mtvec = CODE + seed % 77 * 4;
            other.hart->state.stvec = CODE + seed % 99 * 4;
            other.hart->state.satp = (other.hart->state.satp & 0xfull << 60) | TABLES >> 12;
        }
        for (unsigned i = 0; i < 4096; i++)
            machine->ram->host[i] = (uint8_t)rand();
        assert_int_equal(gw_state_save(&from, 1, &stream, NULL), 0);
        assert_int_equal(gw_state_load(&to, 1, stream.data, stream.length, NULL), 0);
        gw_buf_fini(&stream);
        run(machine, 1000);
        run(machine, 1000);
    }
    __atomic_store_n(&machine->kick_on_write, true, __ATOMIC_RELAXED);
    pthread_join(kicker, NULL);
    machine_fini(&other);
}

static void *run_long(void *argument)
{
    uint64_t retired;
    rv_hart_run(argument, 1000000, &retired);
    return NULL;
}

TEST(atomics_of_two_harts_on_two_threads_lose_nothing)
{
    const struct rv_platform platform = {0};
    struct rv_hart *second = rv_hart_new(machine->memory, &platform, 1);
    emit(machine, AMOADD_D(0, 5, 6)); /* one counter by AMO */
    emit(machine, LR_D(7, 8));        /* another by LR and SC */
    emit(machine, ADDI(7, 7, 1));
    emit(machine, SC_D(9, 8, 7));
    emit(machine, BNE(9, 0, -12));
    emit(machine, ADDI(10, 10, 1));
    emit(machine, BNE(10, 11, -24));
    emit(machine, WFI);
    struct rv_hart *harts[] = {machine->hart, second};
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        rv_hart_reset(harts[i], CODE, 0, 50000, 0);
        harts[i]->state.x[5] = DATA;
        harts[i]->state.x[6] = 1;
        harts[i]->state.x[8] = DATA + 8;
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_long, harts[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(get64(machine, DATA), 100000);
    assert_int_equal(get64(machine, DATA + 8), 100000);
    rv_hart_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_in_random_pieces_equals_a_run_in_one),
        cmocka_unit_test(a_store_into_code_counts_for_the_very_next_instruction),
        cmocka_unit_test(fence_i_shows_code_that_a_device_has_written),
        cmocka_unit_test(flush_later_shows_everything_that_was_changed_behind_the_hart),
        cmocka_unit_test(every_way_to_write_marks_its_page_while_watched),
        cmocka_unit_test(accesses_in_a_row_do_what_they_do_one_at_a_time),
        cmocka_unit_test(stores_in_a_row_mark_their_page_while_watched),
        cmocka_unit_test(of_stores_in_a_row_those_before_the_one_that_traps_are_done),
        cmocka_unit_test(stores_in_a_row_into_code_count_for_the_very_next_instruction),
        cmocka_unit_test(accessed_and_dirty_bits_mark_the_page_of_the_table),
        cmocka_unit_test(no_loaded_state_can_hurt_the_process),
        cmocka_unit_test(atomics_of_two_harts_on_two_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
