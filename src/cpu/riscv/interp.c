/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter: direct-threaded code over decoded blocks (block.h). Each handler does one
 * instruction and jumps to the handler of the next.
 *
 * Counting. `left` is what remained of the budget when the block was entered; whoever leaves a
 * block takes off the index of the last instruction that retired. A block is entered only when the
 * budget covers all of it, else a cut copy is run, so no handler looks at the budget. The one
 * atomic word `attention` is looked at on every entry, and after everything that can raise it
 * within the block.
 *
 * pc exists only between blocks; within one it is `page_pc` plus the offset that the slot's origin
 * remembers.
 */
#include <endian.h>
#include <stddef.h>

#include "cpu/riscv/block.h"
#include "cpu/riscv/fp.h"
#include "cpu/riscv/interp.h"
#include "cpu/riscv/mmu.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Deals with everything that asked for attention. True: return to the caller of run with *ret_exit.
 */
static bool attend(struct rv_hart *hart, enum rv_exit *ret_exit)
{
    uint32_t attention = __atomic_exchange_n(&hart->attention, 0, __ATOMIC_SEQ_CST);
    if (attention & RV_ATTEND_FLUSH)
        rv_flush_all(hart);
    if (attention & RV_ATTEND_KICK) {
        *ret_exit = RV_EXIT_KICKED;
        return true;
    }
    if (hart->state.waiting) {
        if (!rv_hart_irq_pending(hart)) {
            *ret_exit = RV_EXIT_WFI;
            return true;
        }
        hart->state.waiting = false;
    }
    if (hart->left == 0) {
        *ret_exit = RV_EXIT_BUDGET;
        return true;
    }
    rv_take_interrupt(hart);
    return false;
}

/* WFI: false when it is illegal here (privileged ISA 3.1.6.5: TW; U-mode is refused at once). */
static bool wait_for_interrupt(struct rv_hart *hart)
{
    if (hart->state.priv == RV_PRIV_U ||
        (hart->state.priv != RV_PRIV_M && (hart->state.mstatus & RV_MSTATUS_TW)))
        return false;
    hart->state.waiting = true;
    rv_attend(hart, RV_ATTEND_IRQ);
    return true;
}

static bool fence_vma(struct rv_hart *hart, bool one_address, uint64_t address)
{
    const struct rv_hart_state *s = &hart->state;
    if (s->priv == RV_PRIV_U || (s->priv == RV_PRIV_S && (s->mstatus & RV_MSTATUS_TVM)))
        return false;
    if (one_address)
        rv_forget_translation(hart, address);
    else
        rv_forget_translations(hart);
    return true;
}

static bool return_from_trap(struct rv_hart *hart, enum rv_op op)
{
    const struct rv_hart_state *s = &hart->state;
    if (op == RV_OP_MRET) {
        if (s->priv != RV_PRIV_M)
            return false;
        rv_return_m(hart);
    } else {
        if (s->priv == RV_PRIV_U || (s->priv == RV_PRIV_S && (s->mstatus & RV_MSTATUS_TSR)))
            return false;
        rv_return_s(hart);
    }
    return true;
}

static uint64_t multiply_high_mixed(int64_t one, uint64_t other)
{
    return (uint64_t)(((__int128)one * (unsigned __int128)other) >> 64);
}

/* LR: the value is remembered with the address, SC compares it in memory. */
static bool load_reserved(struct rv_hart *hart, uint64_t address, unsigned bytes,
                          uint64_t *ret_value)
{
    struct rv_place place;
    void *host = rv_atomic_address(hart, address, bytes, false, &place);
    if (!host)
        return false;
    uint64_t value =
        bytes == 4 ? (uint64_t)(int32_t)le32toh(__atomic_load_n((uint32_t *)host, __ATOMIC_SEQ_CST))
                   : le64toh(__atomic_load_n((uint64_t *)host, __ATOMIC_SEQ_CST));
    hart->state.reserved = true;
    hart->state.reserved_address = address;
    hart->state.reserved_value = value;
    *ret_value = value;
    return true;
}

static bool store_conditional(struct rv_hart *hart, uint64_t address, unsigned bytes,
                              uint64_t value, uint64_t *ret_failed)
{
    struct rv_place place;
    bool reserved = hart->state.reserved && hart->state.reserved_address == address, stored = false;
    void *host = rv_atomic_address(hart, address, bytes, true, &place);
    if (!host)
        return false;
    hart->state.reserved = false;
    if (reserved && bytes == 4) {
        uint32_t expected = htole32((uint32_t)hart->state.reserved_value);
        stored = __atomic_compare_exchange_n((uint32_t *)host, &expected, htole32((uint32_t)value),
                                             false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else if (reserved) {
        uint64_t expected = htole64(hart->state.reserved_value);
        stored = __atomic_compare_exchange_n((uint64_t *)host, &expected, htole64(value), false,
                                             __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (stored)
        rv_atomic_written(hart, &place, bytes);
    *ret_failed = !stored;
    return true;
}

#define AMO_FUNCTION(bits, name, expression)                                                       \
    static bool amo_##name##_##bits(struct rv_hart *hart, uint64_t address, uint64_t operand,      \
                                    uint64_t *ret_old)                                             \
    {                                                                                              \
        struct rv_place place;                                                                     \
        uint##bits##_t *host = rv_atomic_address(hart, address, bits / 8, true, &place);           \
        if (!host)                                                                                 \
            return false;                                                                          \
        uint##bits##_t raw = __atomic_load_n(host, __ATOMIC_RELAXED), a,                           \
                       b = (uint##bits##_t)operand;                                                \
        int##bits##_t sa, sb = (int##bits##_t)b;                                                   \
        (void)sb;                                                                                  \
        do {                                                                                       \
            a = le##bits##toh(raw);                                                                \
            sa = (int##bits##_t)a;                                                                 \
            (void)sa;                                                                              \
        } while (!__atomic_compare_exchange_n(host, &raw, htole##bits(expression), false,          \
                                              __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));                \
        rv_atomic_written(hart, &place, bits / 8);                                                 \
        *ret_old = (uint64_t)(int64_t)(int##bits##_t)a;                                            \
        return true;                                                                               \
    }
#define AMO_FUNCTIONS(name, expression)                                                            \
    AMO_FUNCTION(32, name, expression)                                                             \
    AMO_FUNCTION(64, name, expression)
AMO_FUNCTIONS(swap, b)
AMO_FUNCTIONS(add, a + b)
AMO_FUNCTIONS(xor, a ^ b)
AMO_FUNCTIONS(and, a &b)
AMO_FUNCTIONS(or, a | b)
AMO_FUNCTIONS(min, sa < sb ? a : b)
AMO_FUNCTIONS(max, sa > sb ? a : b)
AMO_FUNCTIONS(minu, a < b ? a : b)
AMO_FUNCTIONS(maxu, a > b ? a : b)

/* With hart NULL it only publishes its labels. */
static enum rv_exit interpret(struct rv_hart *hart, const void *const **ret_handlers)
{
    static const void *const handlers[] = {
#define LABEL(name, ...) [RV_OP_##name] = &&op_##name,
        RV_OPS_INTEGER(LABEL) RV_OPS_FLOAT(LABEL) RV_OPS_PSEUDO(LABEL)
#undef LABEL
    };
    if (!hart) {
        *ret_handlers = handlers;
        return RV_EXIT_BUDGET;
    }

    struct rv_hart_state *const state = &hart->state;
    uint64_t *const x = state->x;
    uint64_t *const f = state->f;
    struct rv_jump *const jumps = rv_blocks_jumps(hart->blocks);
    const struct rv_tlb_entry *tlb = NULL;
    struct rv_block *block = NULL;
    union rv_slot *insn = NULL;
    int64_t left = hart->left;
    uint64_t page_pc = 0, pc, value;
    enum rv_exit exit;

#define RD x[insn->rd]
#define RS1 x[insn->rs1]
#define RS2 x[insn->rs2]
#define IMM ((uint64_t)(int64_t)insn->imm)
#define ORIGIN (block->origins[insn - block->slots])
#define ATTENTION __atomic_load_n(&hart->attention, __ATOMIC_RELAXED)
#define SKIP(slots)                                                                                \
    do {                                                                                           \
        insn += (slots);                                                                           \
        goto * insn->handler;                                                                      \
    } while (0)
#define NEXT SKIP(1)
/* Before a helper that may trap, call a device or read a counter. */
#define SYNC (hart->left = left - insn->index + 1)
#define DO(name, statement)                                                                        \
    op_##name:                                                                                     \
    {                                                                                              \
        statement;                                                                                 \
        NEXT;                                                                                      \
    }

resume:
    pc = state->pc;
    hart->left = left;
again:
    if (unlikely(left == 0) || ATTENTION) {
        state->pc = pc;
        hart->left = left;
        if (attend(hart, &exit))
            return exit;
        pc = state->pc;
    }
    state->pc = pc;
    hart->left = left;
    block = rv_block_find(hart, (uint64_t)left);
    if (unlikely(!block)) {
        rv_trap(hart, hart->trap_cause, hart->trap_value);
        goto resume;
    }
    tlb = hart->tlb[hart->data_set];
    page_pc = pc & RV_PAGE_MASK;
    insn = block->slots;
    goto * insn->handler;

jump : /* to pc, `left` exact */
{
    const struct rv_jump *jump = &jumps[rv_jump_index(pc)];
    if (unlikely(jump->pc != pc || jump->context != hart->fetch_context))
        goto again;
    block = jump->block;
    if (unlikely(left < block->count) || ATTENTION)
        goto again;
    page_pc = pc & RV_PAGE_MASK;
    insn = block->slots;
    goto * insn->handler;
}

near_jump : /* to insn->imm in this page or near it, remembered in the next slot; `left` exact */
{
    struct rv_block *target = insn[1].target;
    if (unlikely(!target)) {
        pc = page_pc + IMM;
        target = rv_block_beside(hart, block, (uint32_t)insn->imm);
        if (!target)
            goto jump;
        insn[1].target = target;
    }
    block = target;
    if (unlikely(left < block->count) || ATTENTION) {
        pc = page_pc + block->start;
        goto again;
    }
    insn = block->slots;
    goto * insn->handler;
}

trap: /* the instruction did not retire; trap_cause and trap_value are set */
    left -= insn->index - 1;
    state->pc = page_pc + ORIGIN.offset;
    hart->left = left;
    rv_trap(hart, hart->trap_cause, hart->trap_value);
    goto resume;

illegal:
    hart->trap_cause = RV_CAUSE_ILLEGAL;
    hart->trap_value = ORIGIN.raw;
    goto trap;

retire_and_leave: /* the instruction is done, the next one must be looked up */
    left -= insn->index;
    pc = page_pc + ORIGIN.offset + ORIGIN.length;
    goto again;

    DO(LUI, RD = IMM)
    DO(AUIPC, RD = page_pc + IMM)
    DO(ADDI, RD = RS1 + IMM)
    DO(SLTI, RD = (int64_t)RS1 < (int64_t)IMM)
    DO(SLTIU, RD = RS1 < IMM)
    DO(XORI, RD = RS1 ^ IMM)
    DO(ORI, RD = RS1 | IMM)
    DO(ANDI, RD = RS1 & IMM)
    DO(SLLI, RD = RS1 << (insn->imm & 63))
    DO(SRLI, RD = RS1 >> (insn->imm & 63))
    DO(SRAI, RD = (uint64_t)((int64_t)RS1 >> (insn->imm & 63)))
    DO(ADD, RD = RS1 + RS2)
    DO(SUB, RD = RS1 - RS2)
    DO(SLL, RD = RS1 << (RS2 & 63))
    DO(SLT, RD = (int64_t)RS1 < (int64_t)RS2)
    DO(SLTU, RD = RS1 < RS2)
    DO(XOR, RD = RS1 ^ RS2)
    DO(SRL, RD = RS1 >> (RS2 & 63))
    DO(SRA, RD = (uint64_t)((int64_t)RS1 >> (RS2 & 63)))
    DO(OR, RD = RS1 | RS2)
    DO(AND, RD = RS1 & RS2)
#define WORD(expression) (uint64_t)(int64_t)(int32_t)(expression)
#define LOW(value) ((uint32_t)(value))
    DO(ADDIW, RD = WORD(LOW(RS1) + LOW(IMM)))
    DO(SLLIW, RD = WORD(LOW(RS1) << (insn->imm & 31)))
    DO(SRLIW, RD = WORD(LOW(RS1) >> (insn->imm & 31)))
    DO(SRAIW, RD = WORD((int32_t)RS1 >> (insn->imm & 31)))
    DO(ADDW, RD = WORD(LOW(RS1) + LOW(RS2)))
    DO(SUBW, RD = WORD(LOW(RS1) - LOW(RS2)))
    DO(SLLW, RD = WORD(LOW(RS1) << (RS2 & 31)))
    DO(SRLW, RD = WORD(LOW(RS1) >> (RS2 & 31)))
    DO(SRAW, RD = WORD((int32_t)RS1 >> (RS2 & 31)))

    /* M: division by zero and overflow have results, no traps (unprivileged ISA, table 7.1). */
    DO(MUL, RD = RS1 * RS2)
    DO(MULH, RD = (uint64_t)(((__int128)(int64_t)RS1 * (int64_t)RS2) >> 64))
    DO(MULHSU, RD = multiply_high_mixed((int64_t)RS1, RS2))
    DO(MULHU, RD = (uint64_t)(((unsigned __int128)RS1 * RS2) >> 64))
    DO(MULW, RD = WORD(LOW(RS1) * LOW(RS2)))
#define DIVIDE(type, minimum, one, other)                                                          \
    ((other) == 0 ? (type)-1 : (one) == (minimum) && (other) == (type)-1 ? (one) : (one) / (other))
#define REMAINDER(type, minimum, one, other)                                                       \
    ((other) == 0 ? (one) : (one) == (minimum) && (other) == (type)-1 ? 0 : (one) % (other))
    DO(DIV, RD = (uint64_t)DIVIDE(int64_t, INT64_MIN, (int64_t)RS1, (int64_t)RS2))
    DO(REM, RD = (uint64_t)REMAINDER(int64_t, INT64_MIN, (int64_t)RS1, (int64_t)RS2))
    DO(DIVU, RD = RS2 ? RS1 / RS2 : UINT64_MAX)
    DO(REMU, RD = RS2 ? RS1 % RS2 : RS1)
    DO(DIVW, RD = WORD(DIVIDE(int32_t, INT32_MIN, (int32_t)RS1, (int32_t)RS2)))
    DO(REMW, RD = WORD(REMAINDER(int32_t, INT32_MIN, (int32_t)RS1, (int32_t)RS2)))
    DO(DIVUW, RD = WORD(LOW(RS2) ? LOW(RS1) / LOW(RS2) : UINT32_MAX))
    DO(REMUW, RD = WORD(LOW(RS2) ? LOW(RS1) % LOW(RS2) : LOW(RS1)))

#define BRANCH(name, condition)                                                                    \
    op_##name : if (condition)                                                                     \
    {                                                                                              \
        left -= insn->index;                                                                       \
        goto near_jump;                                                                            \
    }                                                                                              \
    SKIP(2);
    BRANCH(BEQ, RS1 == RS2)
    BRANCH(BNE, RS1 != RS2)
    BRANCH(BLT, (int64_t)RS1 < (int64_t)RS2)
    BRANCH(BGE, (int64_t)RS1 >= (int64_t)RS2)
    BRANCH(BLTU, RS1 < RS2)
    BRANCH(BGEU, RS1 >= RS2)

op_JAL:
    RD = page_pc + ORIGIN.offset + ORIGIN.length;
    left -= insn->index;
    goto near_jump;

op_JALR:
    pc = (RS1 + IMM) & ~1ull;
    RD = page_pc + ORIGIN.offset + ORIGIN.length;
    left -= insn->index;
    goto jump;

#define MATCHES(tag, address, bytes) (((address) & (RV_PAGE_MASK | ((bytes)-1))) == (tag))
#define ENTRY(address) (&tlb[(address) >> GW_PAGE_SHIFT & (RV_TLB_ENTRIES - 1)])
#define HOST(entry, address, type) ((type *)(uintptr_t)((entry)->addend + (uintptr_t)(address)))
#define LOAD(name, bits, type)                                                                     \
    op_##name:                                                                                     \
    {                                                                                              \
        uint64_t address = RS1 + IMM;                                                              \
        const struct rv_tlb_entry *entry = ENTRY(address);                                         \
        if (likely(MATCHES(entry->read_tag, address, bits / 8))) {                                 \
            RD = (uint64_t)(type)SWAP_##bits(                                                      \
                __atomic_load_n(HOST(entry, address, uint##bits##_t), __ATOMIC_RELAXED));          \
            NEXT;                                                                                  \
        }                                                                                          \
        SYNC;                                                                                      \
        if (unlikely(!rv_load_slow(hart, address, bits / 8, &value)))                              \
            goto trap;                                                                             \
        RD = (uint64_t)(type)value;                                                                \
        if (unlikely(ATTENTION))                                                                   \
            goto retire_and_leave;                                                                 \
        NEXT;                                                                                      \
    }
#define SWAP_8(value) (value)
#define SWAP_16(value) le16toh(value)
#define SWAP_32(value) le32toh(value)
#define SWAP_64(value) le64toh(value)
    LOAD(LB, 8, int8_t)
    LOAD(LH, 16, int16_t)
    LOAD(LW, 32, int32_t)
    LOAD(LD, 64, int64_t)
    LOAD(LBU, 8, uint8_t)
    LOAD(LHU, 16, uint16_t)
    LOAD(LWU, 32, uint32_t)

/* bench/cpu builds the CPU without the mark as well, to measure what it costs. */
#ifdef RV_WITHOUT_MARKS
#define MARK(entry) ((void)0)
#else
#define MARK(entry) __atomic_store_n((entry)->dirty, 1, __ATOMIC_RELEASE)
#endif

#define STORE_VALUE(bits, stored)                                                                  \
    {                                                                                              \
        uint64_t address = RS1 + IMM;                                                              \
        const struct rv_tlb_entry *entry = ENTRY(address);                                         \
        if (likely(MATCHES(entry->write_tag, address, bits / 8))) {                                \
            __atomic_store_n(HOST(entry, address, uint##bits##_t),                                 \
                             SWAP_##bits((uint##bits##_t)(stored)), __ATOMIC_RELAXED);             \
            MARK(entry);                                                                           \
            NEXT;                                                                                  \
        }                                                                                          \
        SYNC;                                                                                      \
        if (unlikely(!rv_store_slow(hart, address, bits / 8, stored)))                             \
            goto trap;                                                                             \
        if (unlikely(ATTENTION))                                                                   \
            goto retire_and_leave;                                                                 \
        NEXT;                                                                                      \
    }
op_SB:
    STORE_VALUE(8, RS2)
op_SH:
    STORE_VALUE(16, RS2)
op_SW:
    STORE_VALUE(32, RS2)
op_SD:
    STORE_VALUE(64, RS2)

/* Several accesses by one base register in one page (block.c). Else the first is done alone, and
 * the next slot is the second's own. */
#define IN_PAGE(bits) (((bits) & ~(uint64_t)(GW_PAGE_BYTES - 8)) == 0)
#define ADDRESS(slot) (RS1 + (uint64_t)(int64_t)insn[slot].imm)
#define LOADED(slot)                                                                               \
    x[insn[slot].rd] = le64toh(__atomic_load_n(HOST(entry, at##slot, uint64_t), __ATOMIC_RELAXED))
#define STORED(slot)                                                                               \
    __atomic_store_n(HOST(entry, at##slot, uint64_t), htole64(x[insn[slot].rs2]), __ATOMIC_RELAXED)
op_LD2 : {
    uint64_t at0 = ADDRESS(0), at1 = ADDRESS(1);
    const struct rv_tlb_entry *entry = ENTRY(at0);
    if (unlikely(!MATCHES(entry->read_tag, at0, 8) || !IN_PAGE(at0 ^ at1)))
        goto op_LD;
    LOADED(0);
    LOADED(1);
    SKIP(2);
}
op_LD4 : {
    uint64_t at0 = ADDRESS(0), at1 = ADDRESS(1), at2 = ADDRESS(2), at3 = ADDRESS(3);
    const struct rv_tlb_entry *entry = ENTRY(at0);
    if (unlikely(!MATCHES(entry->read_tag, at0, 8) ||
                 !IN_PAGE((at0 ^ at1) | (at0 ^ at2) | (at0 ^ at3))))
        goto op_LD;
    LOADED(0);
    LOADED(1);
    LOADED(2);
    LOADED(3);
    SKIP(4);
}
op_SD2 : {
    uint64_t at0 = ADDRESS(0), at1 = ADDRESS(1);
    const struct rv_tlb_entry *entry = ENTRY(at0);
    if (unlikely(!MATCHES(entry->write_tag, at0, 8) || !IN_PAGE(at0 ^ at1)))
        goto op_SD;
    STORED(0);
    STORED(1);
    MARK(entry);
    SKIP(2);
}
op_SD4 : {
    uint64_t at0 = ADDRESS(0), at1 = ADDRESS(1), at2 = ADDRESS(2), at3 = ADDRESS(3);
    const struct rv_tlb_entry *entry = ENTRY(at0);
    if (unlikely(!MATCHES(entry->write_tag, at0, 8) ||
                 !IN_PAGE((at0 ^ at1) | (at0 ^ at2) | (at0 ^ at3))))
        goto op_SD;
    STORED(0);
    STORED(1);
    STORED(2);
    STORED(3);
    MARK(entry);
    SKIP(4);
}

#define ATOMIC(name, call)                                                                         \
    op_##name : SYNC;                                                                              \
    if (unlikely(!(call)))                                                                         \
        goto trap;                                                                                 \
    RD = value;                                                                                    \
    if (unlikely(ATTENTION))                                                                       \
        goto retire_and_leave;                                                                     \
    NEXT;
    ATOMIC(LR_W, load_reserved(hart, RS1, 4, &value))
    ATOMIC(LR_D, load_reserved(hart, RS1, 8, &value))
    ATOMIC(SC_W, store_conditional(hart, RS1, 4, RS2, &value))
    ATOMIC(SC_D, store_conditional(hart, RS1, 8, RS2, &value))
#define AMO(NAME, name)                                                                            \
    ATOMIC(NAME##_W, amo_##name##_32(hart, RS1, RS2, &value))                                      \
    ATOMIC(NAME##_D, amo_##name##_64(hart, RS1, RS2, &value))
    AMO(AMOSWAP, swap)
    AMO(AMOADD, add)
    AMO(AMOXOR, xor)
    AMO(AMOAND, and)
    AMO(AMOOR, or)
    AMO(AMOMIN, min)
    AMO(AMOMAX, max)
    AMO(AMOMINU, minu)
    AMO(AMOMAXU, maxu)

op_FENCE:
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    NEXT;

op_FENCE_I:
    rv_blocks_fence_i(hart);
    goto retire_and_leave;

op_SFENCE_VMA:
    if (!fence_vma(hart, insn->rs1 != 0, RS1))
        goto illegal;
    goto retire_and_leave;

op_WFI:
    if (!wait_for_interrupt(hart))
        goto illegal;
    goto retire_and_leave;

op_MRET:
    if (!return_from_trap(hart, RV_OP_MRET))
        goto illegal;
    left -= insn->index;
    rv_attend(hart, RV_ATTEND_IRQ);
    goto resume;

op_SRET:
    if (!return_from_trap(hart, RV_OP_SRET))
        goto illegal;
    left -= insn->index;
    rv_attend(hart, RV_ATTEND_IRQ);
    goto resume;

op_ECALL:
    hart->trap_cause = RV_CAUSE_ECALL_U + (state->priv & 3);
    hart->trap_value = 0;
    goto trap;

op_EBREAK:
    hart->trap_cause = RV_CAUSE_BREAKPOINT;
    hart->trap_value = page_pc + ORIGIN.offset;
    goto trap;

op_ILLEGAL:
    goto illegal;

#define CSR(name, operand)                                                                         \
    op_##name : SYNC;                                                                              \
    switch (rv_csr_execute(hart, (uint32_t)insn->imm, operand, &value)) {                          \
    case RV_CSR_ILLEGAL:                                                                           \
        goto illegal;                                                                              \
    case RV_CSR_LEAVE:                                                                             \
        RD = value;                                                                                \
        rv_attend(hart, RV_ATTEND_IRQ);                                                            \
        goto retire_and_leave;                                                                     \
    case RV_CSR_DONE:                                                                              \
        RD = value;                                                                                \
        if (unlikely(ATTENTION))                                                                   \
            goto retire_and_leave;                                                                 \
        NEXT;                                                                                      \
    }
    CSR(CSRRW, RS1)
    CSR(CSRRS, RS1)
    CSR(CSRRC, RS1)
    CSR(CSRRWI, insn->rs1)
    CSR(CSRRSI, insn->rs1)
    CSR(CSRRCI, insn->rs1)

    /* Ends of blocks that are no instructions: nothing retires with them but what came before. */
op_FALL:
    left -= insn->index;
    goto near_jump;

op_STOP:
op_CROSS:
    left -= insn->index;
    pc = page_pc + IMM;
    goto again;

#define FP_READS                                                                                   \
    if (unlikely(!hart->fp_on))                                                                    \
    goto illegal
#define FP_WRITES                                                                                  \
    if (unlikely(!hart->fp_dirty) && !rv_fp_touch(hart))                                           \
    goto illegal

op_FSW:
    FP_READS;
    STORE_VALUE(32, f[insn->rs2])
op_FSD:
    FP_READS;
    STORE_VALUE(64, f[insn->rs2])

#define LOAD_FLOAT(name, bits, made)                                                               \
    op_##name:                                                                                     \
    {                                                                                              \
        FP_WRITES;                                                                                 \
        uint64_t address = RS1 + IMM;                                                              \
        const struct rv_tlb_entry *entry = ENTRY(address);                                         \
        if (likely(MATCHES(entry->read_tag, address, bits / 8))) {                                 \
            value = SWAP_##bits(                                                                   \
                __atomic_load_n(HOST(entry, address, uint##bits##_t), __ATOMIC_RELAXED));          \
            f[insn->rd] = made;                                                                    \
            NEXT;                                                                                  \
        }                                                                                          \
        SYNC;                                                                                      \
        if (unlikely(!rv_load_slow(hart, address, bits / 8, &value)))                              \
            goto trap;                                                                             \
        f[insn->rd] = made;                                                                        \
        if (unlikely(ATTENTION))                                                                   \
            goto retire_and_leave;                                                                 \
        NEXT;                                                                                      \
    }
    LOAD_FLOAT(FLW, 32, RV_FP_BOX(value))
    LOAD_FLOAT(FLD, 64, value)

#define MOVE(name, check, statement)                                                               \
    op_##name : check;                                                                             \
    statement;                                                                                     \
    NEXT;
    MOVE(FMV_X_W, FP_READS, RD = WORD(f[insn->rs1]))
    MOVE(FMV_X_D, FP_READS, RD = f[insn->rs1])
    MOVE(FMV_W_X, FP_WRITES, f[insn->rd] = RV_FP_BOX(RS1))
    MOVE(FMV_D_X, FP_WRITES, f[insn->rd] = RS1)

    /* What the host cannot do now, or not at all, is done in integers. */
#define SOFT(name) value = RV_OP_##name
float_soft:
    if (unlikely(!rv_fp_execute(hart, (enum rv_op)value, insn->rd, (uint32_t)insn->imm)))
        goto illegal;
    NEXT;

op_FLOAT: /* an operation whose rounding mode has no handler; rs2 has its number */
    value = insn->rs2;
    goto float_soft;

#include "cpu/riscv/interp-float.inc"
}

const void *const *rv_handlers(void)
{
    static const void *const *handlers;
    const void *const *known = __atomic_load_n(&handlers, __ATOMIC_ACQUIRE);
    if (!known) {
        interpret(NULL, &known);
        __atomic_store_n(&handlers, known, __ATOMIC_RELEASE);
    }
    return known;
}

enum rv_exit rv_interpret(struct rv_hart *hart)
{
    return interpret(hart, NULL);
}
