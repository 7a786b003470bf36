/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#define ALL (PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D)
#define CODE_PAGE 0x400000ul /* where tests map CODE */
#define VIRTUAL 0x10000ul    /* and DATA */

enum { SV39 = 8, SV48 = 9 };

/* S-mode at CODE_PAGE, which is mapped to CODE; DATA is not mapped yet. */
static void start(struct machine *machine, unsigned mode)
{
    paging(machine, mode);
    set_page(machine, mode, CODE_PAGE, CODE, ALL, 0);
    STATE.mtvec = HANDLER;
}

/* One instruction in a mode; the cause of its exception, or 0. */
static uint64_t step(struct machine *machine, unsigned priv, uint32_t instruction)
{
    emit_at(machine, CODE);
    emit(machine, instruction);
    STATE.mcause = 0;
    enter(machine, priv, CODE_PAGE);
    run(machine, 1);
    return STATE.mcause;
}

TEST(sv39_and_sv48_translate_and_set_accessed_and_dirty)
{
    static const struct {
        unsigned mode;
        uint64_t address;
    } cases[] = {{SV39, VIRTUAL},
                 {SV39, 0xffffffffffff0000},
                 {SV48, 0x7fffffff0000},
                 {SV48, 0xffff800000010000}};
    for (unsigned i = 0; i < 4; i++) {
        start(machine, cases[i].mode);
        uint64_t entry = set_page(machine, cases[i].mode, cases[i].address, DATA, 7, 0);
        put64(machine, DATA + 16, 0x1234 + i);
        X(5) = cases[i].address;
        assert_int_equal(step(machine, RV_PRIV_S, LD(6, 5, 16)), 0);
        assert_int_equal(X(6), 0x1234 + i);
        assert_int_equal(get64(machine, entry) & 0xff, 7 | PTE_A);
        assert_int_equal(step(machine, RV_PRIV_S, SD(5, 5, 24)), 0);
        assert_int_equal(get64(machine, DATA + 24), cases[i].address);
        assert_int_equal(get64(machine, entry) & 0xff, 7 | PTE_A | PTE_D);
    }
}

TEST(a_store_after_a_load_of_the_same_page_still_sets_dirty)
{
    start(machine, SV39);
    uint64_t entry = set_page(machine, SV39, VIRTUAL, DATA, 7, 0);
    emit_at(machine, CODE);
    emit(machine, LD(6, 5, 0));
    emit(machine, SD(6, 5, 0));
    X(5) = VIRTUAL;
    enter(machine, RV_PRIV_S, CODE_PAGE);
    run(machine, 1);
    assert_int_equal(get64(machine, entry) & (PTE_A | PTE_D), PTE_A);
    run(machine, 1);
    assert_int_equal(get64(machine, entry) & (PTE_A | PTE_D), PTE_A | PTE_D);
}

TEST(superpages_translate_and_must_be_aligned)
{
    start(machine, SV39);
    set_page(machine, SV39, 0x40000000, RAM, 7, 2);
    X(5) = 0x40000000 + (DATA - RAM) + 8;
    put64(machine, DATA + 8, 77);
    assert_int_equal(step(machine, RV_PRIV_S, LD(6, 5, 0)), 0);
    assert_int_equal(X(6), 77);
    set_page(machine, SV39, 0x40000000, RAM + 0x200000, 7, 2);
    assert_int_equal(step(machine, RV_PRIV_S, LD(6, 5, 0)), RV_CAUSE_LOAD_PAGE);
}

TEST(permissions_follow_mode_sum_and_mxr)
{
    static const struct {
        unsigned priv;
        uint64_t mstatus, flags;
        unsigned read, write;
    } cases[] = {
        {RV_PRIV_S, 0, PTE_R | PTE_W, 0, 0},
        {RV_PRIV_S, 0, PTE_R, 0, RV_CAUSE_STORE_PAGE},
        {RV_PRIV_S, 0, PTE_R | PTE_W | PTE_U, RV_CAUSE_LOAD_PAGE, RV_CAUSE_STORE_PAGE},
        {RV_PRIV_S, RV_MSTATUS_SUM, PTE_R | PTE_W | PTE_U, 0, 0},
        {RV_PRIV_S, 0, PTE_X, RV_CAUSE_LOAD_PAGE, RV_CAUSE_STORE_PAGE},
        {RV_PRIV_S, RV_MSTATUS_MXR, PTE_X, 0, RV_CAUSE_STORE_PAGE},
        {RV_PRIV_S, 0, PTE_W, RV_CAUSE_LOAD_PAGE, RV_CAUSE_STORE_PAGE}, /* reserved */
        {RV_PRIV_S, 0, PTE_R | PTE_W | 1ull << 61, RV_CAUSE_LOAD_PAGE, RV_CAUSE_STORE_PAGE},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(machine, SV39);
        set_page(machine, SV39, VIRTUAL, DATA, PTE_V | cases[i].flags, 0);
        STATE.mstatus = cases[i].mstatus;
        X(5) = VIRTUAL + 8;
        assert_int_equal(step(machine, cases[i].priv, LD(6, 5, 0)), cases[i].read);
        STATE.mstatus = cases[i].mstatus;
        assert_int_equal(step(machine, cases[i].priv, SD(6, 5, 0)), cases[i].write);
        if (cases[i].write)
            assert_int_equal(STATE.mtval, VIRTUAL + 8);
    }
}

TEST(user_pages_are_for_user_code_alone_to_execute)
{
    start(machine, SV39);
    set_page(machine, SV39, CODE_PAGE, CODE, ALL | PTE_U, 0);
    assert_int_equal(step(machine, RV_PRIV_U, NOP), 0);
    STATE.mstatus = RV_MSTATUS_SUM;
    assert_int_equal(step(machine, RV_PRIV_S, NOP), RV_CAUSE_FETCH_PAGE);
    assert_int_equal(STATE.mtval, CODE_PAGE);
    set_page(machine, SV39, CODE_PAGE, CODE, ALL, 0);
    assert_int_equal(step(machine, RV_PRIV_U, NOP), RV_CAUSE_FETCH_PAGE);
    set_page(machine, SV39, CODE_PAGE, CODE, ALL & ~PTE_X, 0);
    assert_int_equal(step(machine, RV_PRIV_S, NOP), RV_CAUSE_FETCH_PAGE);
}

TEST(mprv_makes_m_mode_access_as_the_stacked_mode)
{
    paging(machine, SV39);
    set_page(machine, SV39, VIRTUAL, DATA, PTE_V | PTE_R | PTE_U, 0);
    put64(machine, DATA, 99);
    emit(machine, LD(6, 5, 0));
    X(5) = VIRTUAL;
    STATE.mstatus = RV_MSTATUS_MPRV | RV_PRIV_U << 11;
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(X(6), 99);
    STATE.mstatus = RV_MSTATUS_MPRV | RV_PRIV_S << 11;
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_LOAD_PAGE);
    STATE.mstatus = RV_MSTATUS_MPRV | RV_PRIV_M << 11;
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_LOAD_ACCESS);
}

TEST(addresses_that_are_not_sign_extended_fault)
{
    start(machine, SV39);
    set_page(machine, SV39, VIRTUAL, DATA, 7, 0);
    X(5) = 1ull << 39 | VIRTUAL;
    assert_int_equal(step(machine, RV_PRIV_S, LD(6, 5, 0)), RV_CAUSE_LOAD_PAGE);
    assert_int_equal(STATE.mtval, X(5));
    start(machine, SV48);
    X(5) = 0xffff000000000000;
    assert_int_equal(step(machine, RV_PRIV_S, LD(6, 5, 0)), RV_CAUSE_LOAD_PAGE);
}

TEST(a_page_table_outside_ram_is_an_access_fault)
{
    start(machine, SV39);
    STATE.satp = 8ull << 60 | DEVICE >> 12;
    assert_int_equal(step(machine, RV_PRIV_S, NOP), RV_CAUSE_FETCH_ACCESS);
    assert_int_equal(machine->reads, 0);
}

TEST(misaligned_accesses_work_also_across_pages)
{
    start(machine, SV39);
    set_page(machine, SV39, VIRTUAL, DATA, 7, 0);
    set_page(machine, SV39, VIRTUAL + 4096, DATA + 8192, 7, 0);
    X(5) = VIRTUAL + 4096;
    X(6) = 0x1122334455667788;
    assert_int_equal(step(machine, RV_PRIV_S, SD(6, 5, -3)), 0);
    assert_int_equal(get64(machine, DATA + 4088) >> 40, 0x667788);
    assert_int_equal(get64(machine, DATA + 8192) & 0xffffffffff, 0x1122334455);
    assert_int_equal(step(machine, RV_PRIV_S, LD(7, 5, -3)), 0);
    assert_int_equal(X(7), X(6));
    assert_int_equal(step(machine, RV_PRIV_S, LW(7, 5, -31)), 0);
    assert_int_equal(step(machine, RV_PRIV_S, SD(6, 5, -31)), 0);
    assert_int_equal(step(machine, RV_PRIV_S, LD(7, 5, -31)), 0);
    assert_int_equal(X(7), X(6));
}

TEST(a_fault_in_the_second_page_names_its_address_and_writes_nothing)
{
    start(machine, SV39);
    set_page(machine, SV39, VIRTUAL, DATA, 7, 0);
    X(5) = VIRTUAL + 4096;
    X(6) = UINT64_MAX;
    assert_int_equal(step(machine, RV_PRIV_S, SD(6, 5, -3)), RV_CAUSE_STORE_PAGE);
    assert_int_equal(STATE.mtval, VIRTUAL + 4096);
    assert_int_equal(get64(machine, DATA + 4088), 0);
}

TEST(an_instruction_may_cross_pages_and_faults_with_the_second_address)
{
    start(machine, SV39);
    set_page(machine, SV39, CODE_PAGE + 4096, DATA, ALL, 0);
    emit_at(machine, CODE + 4094);
    emit(machine, ADDI(1, 1, 5)); /* the second half also lands in the next physical page, unused */
    emit_at(machine, DATA);
    uint32_t halves = ADDI(1, 1, 5) >> 16 | (WFI & 0xffff) << 16;
    put64(machine, DATA, halves | (uint64_t)(WFI >> 16) << 32);
    enter(machine, RV_PRIV_S, CODE_PAGE + 4094);
    assert_int_equal(run(machine, 2), 2);
    assert_int_equal(X(1), 5);
    set_page(machine, SV39, CODE_PAGE + 4096, DATA, 0, 0);
    enter(machine, RV_PRIV_S, CODE_PAGE + 4094);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_FETCH_PAGE);
    assert_int_equal(STATE.mtval, CODE_PAGE + 4096);
    assert_int_equal(STATE.mepc, CODE_PAGE + 4094);
}

TEST(sfence_vma_makes_a_changed_entry_count)
{
    for (unsigned with_address = 0; with_address < 2; with_address++) {
        start(machine, SV39);
        set_page(machine, SV39, VIRTUAL, DATA, 7, 0);
        uint64_t entry = set_page(machine, SV39, 0x20000, TABLES, 7, 0);
        (void)entry;
        uint64_t leaf =
            get64(machine, RAM + RAM_BYTES - 8); /* tables in use: the last holds both leaves */
        uint64_t at = TABLES + leaf * 4096 + (VIRTUAL >> 12 & 511) * 8;
        put64(machine, DATA, 1);
        put64(machine, DATA + 4096, 2);
        set_page(machine, SV39, 0x30000, TABLES + leaf * 4096, 7 | PTE_A | PTE_D, 0);
        emit_at(machine, CODE);
        emit(machine, LD(6, 5, 0));
        emit(machine, SD(8, 9, 0));
        emit(machine, with_address ? SFENCE_VMA | 5 << 15 : SFENCE_VMA);
        emit(machine, LD(7, 5, 0));
        X(5) = VIRTUAL;
        X(8) = (DATA + 4096) >> 12 << 10 | ALL;
        X(9) = 0x30000 + (at & 4095);
        enter(machine, RV_PRIV_S, CODE_PAGE);
        assert_int_equal(get64(machine, at) >> 10 << 12, DATA);
        assert_int_equal(run(machine, 4), 4);
        assert_int_equal(X(6), 1);
        assert_int_equal(X(7), 2);
    }
}

/* The instruction at `pc`, which retires `steps` until it is over; then, with `entry` taken out of
 * its table unseen, a fence for one address and the instruction again: the cause of its exception.
 */
static uint64_t step_around_fence(struct machine *machine, unsigned priv, uint32_t instruction,
                                  unsigned steps, uint64_t entry, uint64_t fenced)
{
    emit_at(machine, CODE);
    emit(machine, instruction);
    emit(machine, SFENCE_VMA | 9 << 15);
    emit(machine, instruction);
    X(9) = fenced;
    STATE.mcause = 0;
    enter(machine, priv, priv == RV_PRIV_M ? CODE : CODE_PAGE);
    assert_int_equal(run(machine, steps), steps);
    put64(machine, entry, 0);
    run(machine, 1 + steps);
    return STATE.mcause;
}

TEST(sfence_vma_of_one_address_reaches_all_of_its_superpage)
{
    static const uint64_t bases[] = {0x40000000, 0xffffffc000000000};
    for (unsigned i = 0; i < 2; i++) {
        start(machine, SV39);
        uint64_t entry = set_page(machine, SV39, bases[i], RAM, 7 | PTE_A | PTE_D, 2);
        X(5) = bases[i] + DATA - RAM;
        assert_int_equal(
            step_around_fence(machine, RV_PRIV_S, LD(6, 5, 0), 1, entry, bases[i] + 0x3fffffff),
            RV_CAUSE_LOAD_PAGE);
    }
}

/* M-mode accesses as the stacked mode, so that the mode need not change for the fence. */
TEST(sfence_vma_of_one_address_reaches_accesses_in_every_mode)
{
    static const struct {
        uint64_t mstatus, flags;
    } cases[] = {{RV_MSTATUS_MPRV, PTE_U},
                 {RV_MSTATUS_MPRV | RV_PRIV_S << RV_MSTATUS_MPP_SHIFT, 0},
                 {RV_MSTATUS_MPRV | RV_PRIV_S << RV_MSTATUS_MPP_SHIFT | RV_MSTATUS_SUM, PTE_U}};
    const uint32_t accesses[] = {LD(6, 5, 0), SD(6, 5, 0)};
    static const uint64_t causes[] = {RV_CAUSE_LOAD_PAGE, RV_CAUSE_STORE_PAGE};
    for (unsigned i = 0; i < 6; i++) {
        start(machine, SV39);
        uint64_t flags = 7 | PTE_A | PTE_D | cases[i / 2].flags;
        uint64_t entry = set_page(machine, SV39, VIRTUAL, DATA, flags, 0);
        X(5) = VIRTUAL;
        STATE.mstatus = cases[i / 2].mstatus;
        assert_int_equal(
            step_around_fence(machine, RV_PRIV_M, accesses[i % 2], 1, entry, VIRTUAL + 4095),
            causes[i % 2]);
    }
}

/* A function of two instructions is called, unmapped, and called again. */
TEST(sfence_vma_of_one_address_reaches_code)
{
    static const struct {
        uint64_t address, physical, fenced;
        unsigned level;
    } cases[] = {{VIRTUAL, DATA, VIRTUAL + 4095, 0},
                 {0x600000 + DATA - RAM, RAM, 0x600000, 1},
                 {0xffffffffffe00000 + DATA - RAM, RAM, UINT64_MAX, 1}};
    for (unsigned i = 0; i < 3; i++) {
        start(machine, SV39);
        uint64_t entry =
            set_page(machine, SV39, cases[i].address, cases[i].physical, ALL, cases[i].level);
        emit_at(machine, DATA);
        emit(machine, ADDI(1, 1, 1));
        emit(machine, JALR(0, 2, 0));
        X(1) = 0;
        X(8) = cases[i].address;
        assert_int_equal(
            step_around_fence(machine, RV_PRIV_S, JALR(2, 8, 0), 3, entry, cases[i].fenced),
            RV_CAUSE_FETCH_PAGE);
        assert_int_equal(X(1), 1);
    }
}

static void set_pmp(struct machine *machine, unsigned i, uint8_t config, uint64_t address)
{
    STATE.pmpcfg[i] = config;
    STATE.pmpaddr[i] = address >> 2;
    rv_hart_flush_later(machine->hart);
}

static uint64_t bare_step(struct machine *machine, unsigned priv, uint32_t instruction)
{
    emit_at(machine, CODE);
    emit(machine, instruction);
    STATE.mcause = 0;
    enter(machine, priv, CODE);
    run(machine, 1);
    return STATE.mcause;
}

TEST(pmp_without_a_match_denies_all_modes_but_m)
{
    set_pmp(machine, 0, 0, 0);
    assert_int_equal(bare_step(machine, RV_PRIV_M, NOP), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_S, NOP), RV_CAUSE_FETCH_ACCESS);
}

TEST(pmp_takes_the_first_match_and_splits_within_a_page)
{
    set_pmp(machine, 0, 0x11, DATA);             /* NA4, read only: four bytes */
    set_pmp(machine, 1, 0x18, DATA | 0x1fc);     /* NAPOT, nothing: the 1 KiB around them */
    set_pmp(machine, 2, 0x1f, 0xfffffffffffffc); /* all the rest */
    X(5) = DATA;
    assert_int_equal(bare_step(machine, RV_PRIV_S, LW(6, 5, 0)), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_S, LW(6, 5, 4)), RV_CAUSE_LOAD_ACCESS);
    assert_int_equal(bare_step(machine, RV_PRIV_S, LD(6, 5, 0)), RV_CAUSE_LOAD_ACCESS);
    assert_int_equal(bare_step(machine, RV_PRIV_S, SW(6, 5, 0)), RV_CAUSE_STORE_ACCESS);
    assert_int_equal(bare_step(machine, RV_PRIV_S, LW(6, 5, 0x400)), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_S, LW(6, 5, 0x3fc)), RV_CAUSE_LOAD_ACCESS);
    assert_int_equal(bare_step(machine, RV_PRIV_M, SW(6, 5, 0)), 0);
}

TEST(a_locked_pmp_entry_binds_m_mode_and_cannot_be_written)
{
    set_pmp(machine, 0, 0, DATA);
    set_pmp(machine, 1, 0x89, DATA + 0x100); /* locked, TOR, read only, from pmpaddr0 */
    X(5) = DATA;
    assert_int_equal(bare_step(machine, RV_PRIV_M, LD(6, 5, 0xf8)), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_M, SD(6, 5, 0xf8)), RV_CAUSE_STORE_ACCESS);
    assert_int_equal(bare_step(machine, RV_PRIV_M, SD(6, 5, 0x100)), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_M, CSRRW(0, 0x3b0, 0)), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_M, CSRRW(0, 0x3b1, 0)), 0);
    assert_int_equal(bare_step(machine, RV_PRIV_M, CSRRW(0, 0x3a0, 0)), 0);
    assert_int_equal(STATE.pmpaddr[0], DATA >> 2);
    assert_int_equal(STATE.pmpaddr[1], (DATA + 0x100) >> 2);
    assert_int_equal(STATE.pmpcfg[1], 0x89);
}

TEST(code_in_a_page_that_pmp_splits_is_checked_at_each_instruction)
{
    set_pmp(machine, 0, 0x0f, CODE + 8); /* TOR, everything below */
    emit(machine, NOP);
    emit(machine, NOP);
    emit(machine, NOP);
    enter(machine, RV_PRIV_S, CODE);
    assert_int_equal(run(machine, 2), 2);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_FETCH_ACCESS);
    assert_int_equal(STATE.mepc, CODE + 8);
}

TEST(page_table_walks_are_checked_by_pmp)
{
    start(machine, SV39);
    set_pmp(machine, 0, 0x18, TABLES | 0x3fffc); /* none of 512 KiB */
    set_pmp(machine, 1, 0x1f, 0xfffffffffffffc);
    assert_int_equal(step(machine, RV_PRIV_S, NOP), RV_CAUSE_FETCH_ACCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sv39_and_sv48_translate_and_set_accessed_and_dirty),
        cmocka_unit_test(a_store_after_a_load_of_the_same_page_still_sets_dirty),
        cmocka_unit_test(superpages_translate_and_must_be_aligned),
        cmocka_unit_test(permissions_follow_mode_sum_and_mxr),
        cmocka_unit_test(user_pages_are_for_user_code_alone_to_execute),
        cmocka_unit_test(mprv_makes_m_mode_access_as_the_stacked_mode),
        cmocka_unit_test(addresses_that_are_not_sign_extended_fault),
        cmocka_unit_test(a_page_table_outside_ram_is_an_access_fault),
        cmocka_unit_test(misaligned_accesses_work_also_across_pages),
        cmocka_unit_test(a_fault_in_the_second_page_names_its_address_and_writes_nothing),
        cmocka_unit_test(an_instruction_may_cross_pages_and_faults_with_the_second_address),
        cmocka_unit_test(sfence_vma_makes_a_changed_entry_count),
        cmocka_unit_test(sfence_vma_of_one_address_reaches_all_of_its_superpage),
        cmocka_unit_test(sfence_vma_of_one_address_reaches_accesses_in_every_mode),
        cmocka_unit_test(sfence_vma_of_one_address_reaches_code),
        cmocka_unit_test(pmp_without_a_match_denies_all_modes_but_m),
        cmocka_unit_test(pmp_takes_the_first_match_and_splits_within_a_page),
        cmocka_unit_test(a_locked_pmp_entry_binds_m_mode_and_cannot_be_written),
        cmocka_unit_test(code_in_a_page_that_pmp_splits_is_checked_at_each_instruction),
        cmocka_unit_test(page_table_walks_are_checked_by_pmp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
