/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control and status registers (privileged ISA, chapter 2). One row per register or range: where
 * its bits are, which of them software may change, and for the few that are more than bits,
 * functions. The top bits of the number say who may access it and whether it is read-only (2.1).
 */
#include <stddef.h>

#include "cpu/riscv/block.h"
#include "cpu/riscv/fp.h"
#include "cpu/riscv/mmu.h"

/* An old value; false when this access is illegal now. */
typedef bool csr_read(struct rv_hart *hart, unsigned number, uint64_t *ret_value);
/* A new value, made legal; the result says whether the block must be left. */
typedef enum rv_csr_result csr_write(struct rv_hart *hart, unsigned number, uint64_t value);

struct csr {
    uint16_t first, last;
    csr_read *read;
    csr_write *write; /* NULL: writes are ignored */
    uint16_t offset;  /* for the plain ones: place in the state */
    uint64_t mask;    /* and the bits that can be written */
};

#define UXL_SXL (2ull << 32 | 2ull << 34)
#define MSTATUS_MASK 0x7e79aaull
#define SSTATUS_MASK 0x0c6122ull
#define STATUS_SD (1ull << 63)
#define MISA                                                                                       \
    (2ull << 62 | 1 << ('A' - 'A') | 1 << ('C' - 'A') | 1 << ('D' - 'A') | 1 << ('F' - 'A') |      \
     1 << ('I' - 'A') | 1 << ('M' - 'A') | 1 << ('S' - 'A') | 1 << ('U' - 'A'))
#define PENDING_WRITABLE 0x222u

static void *field(struct rv_hart *hart, const struct csr *csr)
{
    return (char *)&hart->state + csr->offset;
}

static bool read_zero(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = 0;
    return true;
}

static bool read_misa(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = MISA;
    return true;
}

static bool read_hart_id(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = hart->hart_id;
    return true;
}

static uint64_t status_value(const struct rv_hart *hart)
{
    uint64_t status = hart->state.mstatus;
    return status | ((status & RV_MSTATUS_FS) == RV_MSTATUS_FS ? STATUS_SD : 0);
}

static bool read_mstatus(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = status_value(hart) | UXL_SXL;
    return true;
}

static bool read_sstatus(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = (status_value(hart) & (SSTATUS_MASK | STATUS_SD)) | (UXL_SXL & 3ull << 32);
    return true;
}

static enum rv_csr_result set_status(struct rv_hart *hart, uint64_t mask, uint64_t value)
{
    uint64_t old = hart->state.mstatus;
    uint64_t status = (old & ~mask) | (value & mask);
    if ((status & RV_MSTATUS_MPP) >> RV_MSTATUS_MPP_SHIFT == 2)
        status = (status & ~(uint64_t)RV_MSTATUS_MPP) | (old & RV_MSTATUS_MPP);
    hart->state.mstatus = status;
    if ((old ^ status) & RV_MSTATUS_MXR)
        rv_tlb_flush(hart);
    rv_context_update(hart);
    return RV_CSR_LEAVE;
}

static enum rv_csr_result write_mstatus(struct rv_hart *hart, unsigned number, uint64_t value)
{
    return set_status(hart, MSTATUS_MASK, value);
}

static enum rv_csr_result write_sstatus(struct rv_hart *hart, unsigned number, uint64_t value)
{
    return set_status(hart, SSTATUS_MASK, value);
}

static bool read_fflags(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    if (!hart->fp_on)
        return false;
    uint64_t flags = rv_fp_flags(hart);
    static const uint8_t shift_of_frm[] = {[1] = 0, [2] = 0, [3] = 5};
    *ret_value = 0;
    if (number & 1)
        *ret_value |= flags;
    if (number & 2)
        *ret_value |= (uint64_t)hart->state.frm << shift_of_frm[number & 3];
    return true;
}

static enum rv_csr_result write_fflags(struct rv_hart *hart, unsigned number, uint64_t value)
{
    if (!hart->fp_on)
        return RV_CSR_ILLEGAL;
    uint8_t flags = number & 1 ? value & 31 : rv_fp_flags(hart);
    if (number == 2)
        value <<= 5;
    rv_fp_set(hart, number & 2 ? value >> 5 & 7 : hart->state.frm, flags);
    hart->state.mstatus |= RV_MSTATUS_FS;
    rv_context_update(hart);
    return RV_CSR_DONE;
}

/* cycle, time, instret and hpmcounter3 to 31 by the enables of the higher modes (3.1.11, 4.1.5). */
static bool read_user_counter(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    const struct rv_hart_state *s = &hart->state;
    unsigned bit = number & 31;
    if (s->priv < RV_PRIV_M && !(s->mcounteren >> bit & 1))
        return false;
    if (s->priv < RV_PRIV_S && !(s->scounteren >> bit & 1))
        return false;
    uint64_t now = hart->run_base + rv_retired(hart);
    switch (bit) {
    case 0:
        *ret_value = now + s->mcycle_offset;
        break;
    case 1:
        rv_fp_leave(hart);
        *ret_value =
            hart->platform.time ? hart->platform.time(hart->platform.opaque, rv_retired(hart)) : 0;
        rv_fp_enter(hart);
        break;
    case 2:
        *ret_value = now + s->minstret_offset;
        break;
    default:
        *ret_value = 0;
    }
    return true;
}

static bool read_machine_counter(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    uint64_t now = hart->run_base + rv_retired(hart);
    *ret_value = now + (number & 2 ? hart->state.minstret_offset : hart->state.mcycle_offset);
    return true;
}

/* The written value is what the next instruction reads. */
static enum rv_csr_result write_machine_counter(struct rv_hart *hart, unsigned number,
                                                uint64_t value)
{
    uint64_t offset = value - (hart->run_base + rv_retired(hart) + 1);
    if (number & 2)
        hart->state.minstret_offset = offset;
    else
        hart->state.mcycle_offset = offset;
    return RV_CSR_DONE;
}

static bool read_mip(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = rv_pending(hart);
    return true;
}

/* The external line of SEIP is no part of what a read-modify-write writes back (3.1.9). */
static enum rv_csr_result write_mip(struct rv_hart *hart, unsigned number, uint64_t value)
{
    __atomic_store_n(&hart->state.mip, (uint32_t)value & PENDING_WRITABLE, __ATOMIC_RELAXED);
    return RV_CSR_LEAVE;
}

static bool read_sip(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = rv_pending(hart) & hart->state.mideleg;
    return true;
}

static enum rv_csr_result write_sip(struct rv_hart *hart, unsigned number, uint64_t value)
{
    uint32_t mask = hart->state.mideleg & 1u << RV_IRQ_SSIP;
    uint32_t mip = (hart->state.mip & ~mask) | ((uint32_t)value & mask);
    __atomic_store_n(&hart->state.mip, mip, __ATOMIC_RELAXED);
    return RV_CSR_LEAVE;
}

static enum rv_csr_result set_mie(struct rv_hart *hart, uint32_t mie)
{
    __atomic_store_n(&hart->state.mie, mie, __ATOMIC_RELAXED);
    return RV_CSR_LEAVE;
}

static bool read_mie(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = hart->state.mie;
    return true;
}

static enum rv_csr_result write_mie(struct rv_hart *hart, unsigned number, uint64_t value)
{
    return set_mie(hart, (uint32_t)value & 0xaaa);
}

static bool read_sie(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = hart->state.mie & hart->state.mideleg;
    return true;
}

static enum rv_csr_result write_sie(struct rv_hart *hart, unsigned number, uint64_t value)
{
    uint32_t mask = hart->state.mideleg;
    return set_mie(hart, (hart->state.mie & ~mask) | ((uint32_t)value & mask));
}

static enum rv_csr_result write_mideleg(struct rv_hart *hart, unsigned number, uint64_t value)
{
    hart->state.mideleg = (uint32_t)value & PENDING_WRITABLE;
    return RV_CSR_LEAVE;
}

static bool read_satp(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    if (hart->state.priv == RV_PRIV_S && (hart->state.mstatus & RV_MSTATUS_TVM))
        return false;
    *ret_value = hart->state.satp;
    return true;
}

/* Modes other than Bare, Sv39 and Sv48 leave the register alone (4.1.11); there are no ASIDs. */
static enum rv_csr_result write_satp(struct rv_hart *hart, unsigned number, uint64_t value)
{
    unsigned mode = value >> 60;
    if (hart->state.priv == RV_PRIV_S && (hart->state.mstatus & RV_MSTATUS_TVM))
        return RV_CSR_ILLEGAL;
    if (mode != 0 && mode != 8 && mode != 9)
        return RV_CSR_DONE;
    hart->state.satp = value & 0xf0000fffffffffffull;
    rv_forget_translations(hart);
    return RV_CSR_LEAVE;
}

static bool pmp_locked(const struct rv_hart *hart, unsigned i)
{
    return hart->state.pmpcfg[i] & 0x80;
}

static enum rv_csr_result pmp_changed(struct rv_hart *hart)
{
    rv_pmp_update(hart);
    rv_forget_translations(hart);
    return RV_CSR_LEAVE;
}

static bool read_pmpcfg(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    unsigned first = (number & 15) * 4;
    if (number & 1)
        return false;
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)hart->state.pmpcfg[first + i] << 8 * i;
    *ret_value = value;
    return true;
}

/* W without R is reserved (3.7.1): such an entry is left as it was. */
static enum rv_csr_result write_pmpcfg(struct rv_hart *hart, unsigned number, uint64_t value)
{
    unsigned first = (number & 15) * 4;
    if (number & 1)
        return RV_CSR_ILLEGAL;
    for (unsigned i = 0; i < 8; i++) {
        uint8_t config = (uint8_t)(value >> 8 * i) & 0x9f;
        if (!pmp_locked(hart, first + i) && (config & 3) != 2)
            hart->state.pmpcfg[first + i] = config;
    }
    return pmp_changed(hart);
}

static bool read_pmpaddr(struct rv_hart *hart, unsigned number, uint64_t *ret_value)
{
    *ret_value = hart->state.pmpaddr[number & 15];
    return true;
}

static enum rv_csr_result write_pmpaddr(struct rv_hart *hart, unsigned number, uint64_t value)
{
    unsigned i = number & 15;
    bool next_is_tor = i + 1 < RV_PMP_ENTRIES && pmp_locked(hart, i + 1) &&
                       (hart->state.pmpcfg[i + 1] & 0x18) == 0x08;
    if (pmp_locked(hart, i) || next_is_tor)
        return RV_CSR_DONE;
    hart->state.pmpaddr[i] = value & 0x3fffffffffffffull;
    return pmp_changed(hart);
}

#define PLAIN(bits)                                                                                \
    static bool read_plain##bits(struct rv_hart *hart, unsigned number, uint64_t *ret_value);      \
    static enum rv_csr_result write_plain##bits(struct rv_hart *hart, unsigned number,             \
                                                uint64_t value);
PLAIN(8)
PLAIN(32)
PLAIN(64)
#undef PLAIN

#define AT(member) offsetof(struct rv_hart_state, member)
static const struct csr csrs[] = {
    {0x001, 0x003, read_fflags, write_fflags, 0, 0},
    {0xc00, 0xc1f, read_user_counter, NULL, 0, 0},
    {0x100, 0x100, read_sstatus, write_sstatus, 0, 0},
    {0x104, 0x104, read_sie, write_sie, 0, 0},
    {0x105, 0x105, read_plain64, write_plain64, AT(stvec), ~2ull},
    {0x106, 0x106, read_plain32, write_plain32, AT(scounteren), UINT32_MAX},
    {0x10a, 0x10a, read_plain8, write_plain8, AT(senvcfg), 1},
    {0x140, 0x140, read_plain64, write_plain64, AT(sscratch), UINT64_MAX},
    {0x141, 0x141, read_plain64, write_plain64, AT(sepc), ~1ull},
    {0x142, 0x142, read_plain64, write_plain64, AT(scause), UINT64_MAX},
    {0x143, 0x143, read_plain64, write_plain64, AT(stval), UINT64_MAX},
    {0x144, 0x144, read_sip, write_sip, 0, 0},
    {0x180, 0x180, read_satp, write_satp, 0, 0},
    {0xf11, 0xf13, read_zero, NULL, 0, 0},
    {0xf14, 0xf14, read_hart_id, NULL, 0, 0},
    {0xf15, 0xf15, read_zero, NULL, 0, 0},
    {0x300, 0x300, read_mstatus, write_mstatus, 0, 0},
    {0x301, 0x301, read_misa, NULL, 0, 0},
    {0x302, 0x302, read_plain32, write_plain32, AT(medeleg), 0xb3ff},
    {0x303, 0x303, read_plain32, write_mideleg, AT(mideleg), 0},
    {0x304, 0x304, read_mie, write_mie, 0, 0},
    {0x305, 0x305, read_plain64, write_plain64, AT(mtvec), ~2ull},
    {0x306, 0x306, read_plain32, write_plain32, AT(mcounteren), UINT32_MAX},
    {0x30a, 0x30a, read_plain8, write_plain8, AT(menvcfg), 1},
    {0x320, 0x320, read_zero, NULL, 0, 0},
    {0x323, 0x33f, read_zero, NULL, 0, 0},
    {0x340, 0x340, read_plain64, write_plain64, AT(mscratch), UINT64_MAX},
    {0x341, 0x341, read_plain64, write_plain64, AT(mepc), ~1ull},
    {0x342, 0x342, read_plain64, write_plain64, AT(mcause), UINT64_MAX},
    {0x343, 0x343, read_plain64, write_plain64, AT(mtval), UINT64_MAX},
    {0x344, 0x344, read_mip, write_mip, 0, 0},
    {0x3a0, 0x3a3, read_pmpcfg, write_pmpcfg, 0, 0},
    {0x3b0, 0x3bf, read_pmpaddr, write_pmpaddr, 0, 0},
    {0xb00, 0xb00, read_machine_counter, write_machine_counter, 0, 0},
    {0xb02, 0xb02, read_machine_counter, write_machine_counter, 0, 0},
    {0xb03, 0xb1f, read_zero, NULL, 0, 0},
};
#undef AT

static const struct csr *find(unsigned number)
{
    for (size_t i = 0; i < sizeof csrs / sizeof *csrs; i++)
        if (number >= csrs[i].first && number <= csrs[i].last)
            return &csrs[i];
    return NULL;
}

#define PLAIN(bits)                                                                                \
    static bool read_plain##bits(struct rv_hart *hart, unsigned number, uint64_t *ret_value)       \
    {                                                                                              \
        *ret_value = *(const uint##bits##_t *)field(hart, find(number));                           \
        return true;                                                                               \
    }                                                                                              \
    static enum rv_csr_result write_plain##bits(struct rv_hart *hart, unsigned number,             \
                                                uint64_t value)                                    \
    {                                                                                              \
        const struct csr *csr = find(number);                                                      \
        *(uint##bits##_t *)field(hart, csr) = (uint##bits##_t)(value & csr->mask);                 \
        return RV_CSR_DONE;                                                                        \
    }
PLAIN(8)
PLAIN(32)
PLAIN(64)
#undef PLAIN

/* CSRRW always writes, the other two only when their source is not x0 or 0 (unprivileged ISA 9.1).
 */
enum rv_csr_result rv_csr_execute(struct rv_hart *hart, uint32_t raw, uint64_t operand,
                                  uint64_t *ret_old)
{
    unsigned number = raw >> 20, function = raw >> 12 & 3;
    bool writes = function == 1 || (raw >> 15 & 31) != 0;
    bool read_only = number >> 10 == 3;
    const struct csr *csr = find(number);
    uint64_t old;
    if (!csr || (writes && read_only) || hart->state.priv < (number >> 8 & 3))
        return RV_CSR_ILLEGAL;
    if (!csr->read(hart, number, &old))
        return RV_CSR_ILLEGAL;
    *ret_old = old;
    if (!writes || !csr->write)
        return RV_CSR_DONE;
    if (csr->write == write_mip)
        old = hart->state.mip; /* so that the lines from outside are not written back */
    uint64_t value = function == 1 ? operand : function == 2 ? old | operand : old & ~operand;
    return csr->write(hart, number, value);
}
