/* SPDX-License-Identifier: Apache-2.0 */
/* Traps, their returns, and the choice of an interrupt (privileged ISA 3.1.6 to 3.1.9, 3.3.2, 4.1).
 */
#include "cpu/riscv/hart.h"

#define INTERRUPT (1ull << 63)

static uint64_t vector(uint64_t tvec, uint64_t cause)
{
    uint64_t base = tvec & ~3ull;
    bool vectored = (tvec & 1) && (cause & INTERRUPT);
    return vectored ? base + 4 * (cause & 63) : base;
}

static void trap_to_s(struct rv_hart *hart, uint64_t cause, uint64_t value)
{
    struct rv_hart_state *s = &hart->state;
    s->scause = cause;
    s->stval = value;
    s->sepc = s->pc & ~1ull;
    uint64_t status = s->mstatus & ~(uint64_t)(RV_MSTATUS_SPIE | RV_MSTATUS_SPP | RV_MSTATUS_SIE);
    if (s->mstatus & RV_MSTATUS_SIE)
        status |= RV_MSTATUS_SPIE;
    if (s->priv != RV_PRIV_U)
        status |= RV_MSTATUS_SPP;
    s->mstatus = status;
    s->priv = RV_PRIV_S;
    s->pc = vector(s->stvec, cause);
}

static void trap_to_m(struct rv_hart *hart, uint64_t cause, uint64_t value)
{
    struct rv_hart_state *s = &hart->state;
    s->mcause = cause;
    s->mtval = value;
    s->mepc = s->pc & ~1ull;
    uint64_t status = s->mstatus & ~(uint64_t)(RV_MSTATUS_MPIE | RV_MSTATUS_MPP | RV_MSTATUS_MIE);
    if (s->mstatus & RV_MSTATUS_MIE)
        status |= RV_MSTATUS_MPIE;
    s->mstatus = status | (uint64_t)s->priv << RV_MSTATUS_MPP_SHIFT;
    s->priv = RV_PRIV_M;
    s->pc = vector(s->mtvec, cause);
}

void rv_trap(struct rv_hart *hart, uint64_t cause, uint64_t value)
{
    const struct rv_hart_state *s = &hart->state;
    uint32_t delegated = cause & INTERRUPT ? s->mideleg : s->medeleg;
    if (s->priv <= RV_PRIV_S && (delegated >> (cause & 31) & 1))
        trap_to_s(hart, cause, value);
    else
        trap_to_m(hart, cause, value);
    hart->state.reserved = false;
    rv_context_update(hart);
}

void rv_return_m(struct rv_hart *hart)
{
    struct rv_hart_state *s = &hart->state;
    uint8_t to = (s->mstatus & RV_MSTATUS_MPP) >> RV_MSTATUS_MPP_SHIFT;
    uint64_t status = s->mstatus & ~(uint64_t)(RV_MSTATUS_MIE | RV_MSTATUS_MPP);
    if (s->mstatus & RV_MSTATUS_MPIE)
        status |= RV_MSTATUS_MIE;
    if (to != RV_PRIV_M)
        status &= ~(uint64_t)RV_MSTATUS_MPRV;
    s->mstatus = status | RV_MSTATUS_MPIE;
    s->priv = to;
    s->pc = s->mepc;
    s->reserved = false;
    rv_context_update(hart);
}

void rv_return_s(struct rv_hart *hart)
{
    struct rv_hart_state *s = &hart->state;
    uint8_t to = s->mstatus & RV_MSTATUS_SPP ? RV_PRIV_S : RV_PRIV_U;
    uint64_t status = s->mstatus & ~(uint64_t)(RV_MSTATUS_SIE | RV_MSTATUS_SPP | RV_MSTATUS_MPRV);
    if (s->mstatus & RV_MSTATUS_SPIE)
        status |= RV_MSTATUS_SIE;
    s->mstatus = status | RV_MSTATUS_SPIE;
    s->priv = to;
    s->pc = s->sepc;
    s->reserved = false;
    rv_context_update(hart);
}

uint32_t rv_pending(const struct rv_hart *hart)
{
    return __atomic_load_n(&hart->state.irq_lines, __ATOMIC_ACQUIRE) |
           __atomic_load_n(&hart->state.mip, __ATOMIC_RELAXED);
}

bool rv_take_interrupt(struct rv_hart *hart)
{
    static const uint8_t priority[] = {RV_IRQ_MEIP, RV_IRQ_MSIP, RV_IRQ_MTIP,
                                       RV_IRQ_SEIP, RV_IRQ_SSIP, RV_IRQ_STIP};
    const struct rv_hart_state *s = &hart->state;
    uint32_t pending = rv_pending(hart) & s->mie;
    bool machine = s->priv < RV_PRIV_M || (s->mstatus & RV_MSTATUS_MIE);
    bool supervisor =
        s->priv < RV_PRIV_S || (s->priv == RV_PRIV_S && (s->mstatus & RV_MSTATUS_SIE));
    uint32_t ready = (machine ? pending & ~s->mideleg : 0);
    if (!ready && supervisor)
        ready = pending & s->mideleg;
    for (unsigned i = 0; ready && i < sizeof priority; i++)
        if (ready >> priority[i] & 1) {
            rv_trap(hart, INTERRUPT | priority[i], 0);
            return true;
        }
    return false;
}
