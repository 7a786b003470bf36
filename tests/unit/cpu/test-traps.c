/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

TEST(ecall_names_the_mode_it_came_from)
{
    static const unsigned modes[] = {RV_PRIV_U, RV_PRIV_S, RV_PRIV_M};
    emit(machine, ECALL);
    for (unsigned i = 0; i < 3; i++) {
        enter(machine, modes[i], CODE);
        assert_int_equal(run(machine, 10), 1); /* the WFI of the handler */
        assert_int_equal(STATE.mcause, 8 + modes[i]);
        assert_int_equal(STATE.mepc, CODE);
        assert_int_equal((STATE.mstatus & RV_MSTATUS_MPP) >> 11, modes[i]);
        assert_int_equal(STATE.priv, RV_PRIV_M);
    }
}

TEST(a_delegated_exception_goes_to_s_mode_unless_it_comes_from_m_mode)
{
    STATE.medeleg = 1 << 8 | 1 << 2;
    emit(machine, ECALL);
    enter(machine, RV_PRIV_U, CODE);
    run(machine, 1);
    assert_int_equal(STATE.priv, RV_PRIV_S);
    assert_int_equal(STATE.scause, 8);
    assert_int_equal(STATE.sepc, CODE);
    assert_int_equal(STATE.pc, S_HANDLER + 4);
    emit_at(machine, CODE);
    emit(machine, 0xffffffff);
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(STATE.mcause, 2);
    assert_int_equal(STATE.mtval, 0xffffffff);
}

TEST(an_illegal_compressed_instruction_reports_its_16_bits)
{
    emit(machine, 0xffff0000);
    run(machine, 1);
    assert_int_equal(STATE.mcause, 2);
    assert_int_equal(STATE.mtval, 0);
    emit_at(machine, CODE);
    emit(machine, 0x00018002); /* c.jr x0 is reserved */
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(STATE.mtval, 0x8002);
}

TEST(ebreak_reports_its_address)
{
    emit(machine, NOP);
    emit(machine, EBREAK);
    assert_int_equal(run(machine, 2), 2);
    assert_int_equal(STATE.mcause, 3);
    assert_int_equal(STATE.mtval, CODE + 4);
    assert_int_equal(STATE.mepc, CODE + 4);
}

TEST(mret_and_sret_restore_the_stacked_mode)
{
    emit(machine, MRET);
    STATE.mepc = CODE + 0x100;
    STATE.mstatus = (uint64_t)RV_PRIV_S << 11 | RV_MSTATUS_MPIE | RV_MSTATUS_MPRV;
    assert_int_equal(run(machine, 1), 1);
    assert_int_equal(STATE.pc, CODE + 0x100);
    assert_int_equal(STATE.priv, RV_PRIV_S);
    assert_int_equal(STATE.mstatus, RV_MSTATUS_MIE | RV_MSTATUS_MPIE);
    emit_at(machine, CODE + 0x100);
    emit(machine, SRET);
    STATE.sepc = CODE + 0x200;
    STATE.mstatus = RV_MSTATUS_SPIE;
    run(machine, 1);
    assert_int_equal(STATE.priv, RV_PRIV_U);
    assert_int_equal(STATE.pc, CODE + 0x200);
    assert_int_equal(STATE.mstatus, RV_MSTATUS_SIE | RV_MSTATUS_SPIE);
}

/* Runs one instruction in a mode; whether it was illegal. */
static bool is_illegal(struct machine *machine, unsigned priv, uint64_t mstatus,
                       uint32_t instruction)
{
    emit_at(machine, CODE);
    emit(machine, instruction);
    STATE.mstatus = mstatus;
    STATE.mcause = 99;
    enter(machine, priv, CODE);
    run(machine, 1);
    return STATE.mcause == RV_CAUSE_ILLEGAL;
}

TEST(tvm_tw_and_tsr_take_their_instructions_away_from_s_mode)
{
    assert_false(is_illegal(machine, RV_PRIV_S, 0, SFENCE_VMA));
    assert_true(is_illegal(machine, RV_PRIV_S, RV_MSTATUS_TVM, SFENCE_VMA));
    assert_true(is_illegal(machine, RV_PRIV_U, 0, SFENCE_VMA));
    assert_false(is_illegal(machine, RV_PRIV_S, 0, CSRRS(1, 0x180, 0)));
    assert_true(is_illegal(machine, RV_PRIV_S, RV_MSTATUS_TVM, CSRRS(1, 0x180, 0)));
    assert_true(is_illegal(machine, RV_PRIV_S, RV_MSTATUS_TVM, CSRRW(0, 0x180, 0)));
    assert_false(is_illegal(machine, RV_PRIV_S, 0, WFI));
    assert_true(is_illegal(machine, RV_PRIV_S, RV_MSTATUS_TW, WFI));
    assert_true(is_illegal(machine, RV_PRIV_S, RV_MSTATUS_TSR, SRET));
    assert_false(is_illegal(machine, RV_PRIV_M, RV_MSTATUS_TSR | RV_MSTATUS_TVM, SRET));
    assert_true(is_illegal(machine, RV_PRIV_S, 0, MRET));
    assert_true(is_illegal(machine, RV_PRIV_U, 0, SRET));
}

TEST(csrs_are_illegal_where_they_do_not_exist_or_not_belong)
{
    assert_true(is_illegal(machine, RV_PRIV_M, 0, CSRRS(1, 0x5c0, 0))); /* unknown */
    assert_true(is_illegal(machine, RV_PRIV_M, 0, CSRRS(1, 0x3a1, 0))); /* pmpcfg1 is for RV32 */
    assert_true(is_illegal(machine, RV_PRIV_M, 0, CSRRW(1, 0xf14, 0))); /* read-only */
    assert_false(is_illegal(machine, RV_PRIV_M, 0, CSRRS(1, 0xf14, 0)));
    assert_int_equal(X(1), 7);
    assert_true(is_illegal(machine, RV_PRIV_S, 0, CSRRS(1, 0x300, 0)));
    assert_true(is_illegal(machine, RV_PRIV_U, 0, CSRRS(1, 0x100, 0)));
    assert_false(
        is_illegal(machine, RV_PRIV_M, 0, CSRRW(1, 0xb03, 2))); /* mhpmcounter3 reads as zero */
    assert_int_equal(X(1), 0);
}

TEST(floating_point_is_illegal_while_fs_is_off)
{
    assert_true(is_illegal(machine, RV_PRIV_M, 0, FSD(1, 2, 0)));
    assert_true(is_illegal(machine, RV_PRIV_M, 0, CSRRS(1, 3, 0)));
    assert_true(is_illegal(machine, RV_PRIV_M, 0, 0x02000053)); /* fadd.d f0, f0, f0 */
    assert_false(is_illegal(machine, RV_PRIV_M, 1 << 13, 0x02007053));
    assert_int_equal(STATE.mstatus & RV_MSTATUS_FS, RV_MSTATUS_FS);
    assert_true(is_illegal(machine, RV_PRIV_M, 1 << 13, 0x02005053)); /* rounding mode 5 */
    STATE.frm = 6;
    assert_true(is_illegal(machine, RV_PRIV_M, 1 << 13, 0x02007053)); /* dynamic, and frm is 6 */
}

TEST(counters_need_the_enables_of_the_higher_modes)
{
    uint32_t read_instret = CSRRS(1, 0xc02, 0);
    assert_false(is_illegal(machine, RV_PRIV_M, 0, read_instret));
    assert_true(is_illegal(machine, RV_PRIV_S, 0, read_instret));
    STATE.mcounteren = 4;
    assert_false(is_illegal(machine, RV_PRIV_S, 0, read_instret));
    assert_true(is_illegal(machine, RV_PRIV_U, 0, read_instret));
    STATE.scounteren = 4;
    assert_false(is_illegal(machine, RV_PRIV_U, 0, read_instret));
}

TEST(instret_counts_what_has_retired_before_and_takes_writes)
{
    emit(machine, NOP);
    emit(machine, NOP);
    emit(machine, CSRRS(1, 0xb02, 0));
    emit(machine, ADDI(2, 0, 100));
    emit(machine, CSRRW(0, 0xb02, 2));
    emit(machine, CSRRS(3, 0xb02, 0));
    emit(machine, CSRRS(4, 0xc01, 0));
    assert_int_equal(run(machine, 7), 7);
    assert_int_equal(X(1), 2);
    assert_int_equal(X(3), 100);
    assert_int_equal(X(4), 1000006);
    assert_int_equal(rv_hart_instructions(machine->hart), 7);
}

TEST(an_amo_that_is_not_aligned_traps)
{
    emit(machine, AMOADD_D(1, 5, 0));
    X(5) = DATA + 4;
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_STORE_MISALIGNED);
    assert_int_equal(STATE.mtval, DATA + 4);
    emit_at(machine, CODE);
    emit(machine, LR_D(1, 5));
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_LOAD_MISALIGNED);
}

TEST(an_address_without_memory_or_device_is_an_access_fault)
{
    emit(machine, LD(1, 5, 8));
    X(5) = 0x40000000;
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_LOAD_ACCESS);
    assert_int_equal(STATE.mtval, 0x40000008);
    enter(machine, RV_PRIV_M, 0x40000000);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_FETCH_ACCESS);
    assert_int_equal(STATE.mtval, 0x40000000);
    assert_int_equal(STATE.mepc, 0x40000000);
}

TEST(devices_see_width_and_time_and_refuse_misalignment)
{
    emit(machine, NOP);
    emit(machine, SW(6, 5, 8));
    emit(machine, LB(7, 5, 1));
    emit(machine, LW(8, 5, 2));
    X(5) = DEVICE;
    X(6) = 0x1122334455667788;
    machine->device_value = 0xfff1;
    assert_int_equal(run(machine, 3), 3);
    assert_int_equal(machine->written_address, DEVICE + 8);
    assert_int_equal(machine->written_value, 0x55667788);
    assert_int_equal(machine->retired_at_access, 2);
    assert_int_equal(X(7), (uint64_t)-15);
    run(machine, 1);
    assert_int_equal(STATE.mcause, RV_CAUSE_LOAD_ACCESS);
    assert_int_equal(machine->reads, 1);
}

TEST(an_interrupt_raised_by_a_device_access_is_taken_before_the_next_instruction)
{
    machine->raise_on_write = RV_IRQ_MEIP;
    STATE.mie = 1 << RV_IRQ_MEIP;
    STATE.mstatus = RV_MSTATUS_MIE;
    emit(machine, SD(6, 5, 0));
    emit(machine, ADDI(7, 0, 1));
    X(5) = DEVICE;
    assert_int_equal(run(machine, 2), 2); /* the store, and WFI in the handler */
    assert_int_equal(STATE.mcause, 1ull << 63 | RV_IRQ_MEIP);
    assert_int_equal(STATE.mepc, CODE + 4);
    assert_int_equal(X(7), 0);
}

TEST(an_interrupt_enabled_by_a_csr_write_is_taken_before_the_next_instruction)
{
    rv_hart_set_irq(machine->hart, RV_IRQ_MTIP, true);
    STATE.mie = 1 << RV_IRQ_MTIP;
    emit(machine, ADDI(6, 0, RV_MSTATUS_MIE));
    emit(machine, CSRRS(0, 0x300, 6));
    emit(machine, ADDI(7, 0, 1));
    run(machine, 3);
    assert_int_equal(STATE.mepc, CODE + 8);
    assert_int_equal(X(7), 0);
}

TEST(vectored_interrupts_go_to_base_plus_four_times_cause_and_by_priority)
{
    STATE.mtvec = HANDLER | 1;
    STATE.mie = 0xaaa;
    STATE.mstatus = RV_MSTATUS_MIE;
    for (unsigned i = 0; i < 16; i++) {
        emit_at(machine, HANDLER + 4 * i);
        emit(machine, WFI);
    }
    rv_hart_set_irq(machine->hart, RV_IRQ_MTIP, true);
    rv_hart_set_irq(machine->hart, RV_IRQ_MSIP, true);
    run(machine, 1);
    assert_int_equal(STATE.mcause, 1ull << 63 | RV_IRQ_MSIP);
    assert_int_equal(STATE.pc, HANDLER + 4 * RV_IRQ_MSIP + 4);
    emit_at(machine, HANDLER);
    emit(machine, WFI);
    emit_at(machine, CODE);
    emit(machine, EBREAK);
    STATE.mstatus = 0;
    enter(machine, RV_PRIV_M, CODE);
    run(machine, 1);
    assert_int_equal(STATE.pc, HANDLER + 4);
}

TEST(a_delegated_interrupt_waits_for_sie_in_s_mode_and_never_stops_m_mode)
{
    STATE.mideleg = 1 << RV_IRQ_SSIP;
    STATE.mie = 1 << RV_IRQ_SSIP;
    STATE.mip = 1 << RV_IRQ_SSIP;
    STATE.mstatus = RV_MSTATUS_MIE;
    emit(machine, NOP);
    assert_int_equal(run(machine, 1), 1);
    assert_int_equal(STATE.pc, CODE + 4);
    enter(machine, RV_PRIV_S, CODE);
    run(machine, 1);
    assert_int_equal(STATE.pc, CODE + 4);
    STATE.mstatus = RV_MSTATUS_SIE;
    enter(machine, RV_PRIV_S, CODE);
    run(machine, 1);
    assert_int_equal(STATE.scause, 1ull << 63 | RV_IRQ_SSIP);
    enter(machine, RV_PRIV_U, CODE);
    STATE.mstatus = 0;
    STATE.scause = 0;
    run(machine, 1);
    assert_int_equal(STATE.scause, 1ull << 63 | RV_IRQ_SSIP);
}

TEST(wfi_waits_until_an_enabled_interrupt_is_pending)
{
    emit(machine, WFI);
    emit(machine, ADDI(1, 0, 1));
    STATE.mie = 1 << RV_IRQ_MTIP; /* enabled, though MIE is off: no trap */
    assert_int_equal(run_exit(machine, 1), RV_EXIT_WFI);
    assert_int_equal(run(machine, 100), 0);
    rv_hart_set_irq(machine->hart, RV_IRQ_MSIP, true);
    assert_false(rv_hart_irq_pending(machine->hart));
    assert_int_equal(run_exit(machine, 100), RV_EXIT_WFI);
    rv_hart_set_irq(machine->hart, RV_IRQ_MTIP, true);
    assert_true(rv_hart_irq_pending(machine->hart));
    assert_int_equal(run(machine, 1), 1);
    assert_int_equal(X(1), 1);
}

TEST(a_kick_ends_the_run_also_before_it_begins_and_in_a_loop_of_traps)
{
    emit(machine, jal(0, 0));
    rv_hart_kick(machine->hart);
    assert_int_equal(run_exit(machine, 100), RV_EXIT_KICKED);
    assert_int_equal(run_exit(machine, 100), RV_EXIT_BUDGET);
    emit_at(machine, CODE + 0x100);
    emit(machine, SD(6, 5, 0));
    emit(machine, NOP);
    X(5) = DEVICE;
    machine->kick_on_write = true;
    enter(machine, RV_PRIV_M, CODE + 0x100);
    assert_int_equal(run_exit(machine, 100), RV_EXIT_KICKED);
    assert_int_equal(STATE.pc, CODE + 0x104);
}

TEST(reserved_values_of_warl_fields_do_not_stick)
{
    emit(machine, CSRRW(0, 0x180, 5)); /* satp: Sv57 */
    emit(machine, CSRRW(0, 0x300, 6)); /* mstatus.MPP = 2 */
    emit(machine, CSRRW(0, 0x303, 7)); /* mideleg: all ones */
    emit(machine, CSRRW(0, 0x302, 7)); /* medeleg */
    emit(machine, CSRRW(0, 0x305, 7)); /* mtvec */
    emit(machine, CSRRW(0, 0x341, 7)); /* mepc */
    X(5) = 10ull << 60 | 1;
    X(6) = 2 << 11;
    X(7) = UINT64_MAX;
    STATE.mstatus = (uint64_t)RV_PRIV_S << 11;
    run(machine, 6);
    assert_int_equal(STATE.satp, 0);
    assert_int_equal(STATE.mstatus & RV_MSTATUS_MPP, RV_PRIV_S << 11);
    assert_int_equal(STATE.mideleg, 0x222);
    assert_int_equal(STATE.medeleg, 0xb3ff);
    assert_int_equal(STATE.mtvec, UINT64_MAX - 2);
    assert_int_equal(STATE.mepc, UINT64_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ecall_names_the_mode_it_came_from),
        cmocka_unit_test(a_delegated_exception_goes_to_s_mode_unless_it_comes_from_m_mode),
        cmocka_unit_test(an_illegal_compressed_instruction_reports_its_16_bits),
        cmocka_unit_test(ebreak_reports_its_address),
        cmocka_unit_test(mret_and_sret_restore_the_stacked_mode),
        cmocka_unit_test(tvm_tw_and_tsr_take_their_instructions_away_from_s_mode),
        cmocka_unit_test(csrs_are_illegal_where_they_do_not_exist_or_not_belong),
        cmocka_unit_test(floating_point_is_illegal_while_fs_is_off),
        cmocka_unit_test(counters_need_the_enables_of_the_higher_modes),
        cmocka_unit_test(instret_counts_what_has_retired_before_and_takes_writes),
        cmocka_unit_test(an_amo_that_is_not_aligned_traps),
        cmocka_unit_test(an_address_without_memory_or_device_is_an_access_fault),
        cmocka_unit_test(devices_see_width_and_time_and_refuse_misalignment),
        cmocka_unit_test(
            an_interrupt_raised_by_a_device_access_is_taken_before_the_next_instruction),
        cmocka_unit_test(an_interrupt_enabled_by_a_csr_write_is_taken_before_the_next_instruction),
        cmocka_unit_test(vectored_interrupts_go_to_base_plus_four_times_cause_and_by_priority),
        cmocka_unit_test(a_delegated_interrupt_waits_for_sie_in_s_mode_and_never_stops_m_mode),
        cmocka_unit_test(wfi_waits_until_an_enabled_interrupt_is_pending),
        cmocka_unit_test(a_kick_ends_the_run_also_before_it_begins_and_in_a_loop_of_traps),
        cmocka_unit_test(reserved_values_of_warl_fields_do_not_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
