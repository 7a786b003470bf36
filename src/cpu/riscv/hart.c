/* SPDX-License-Identifier: Apache-2.0 */
/* Birth, reset and running of a hart; its doors for other threads. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cpu/riscv/block.h"
#include "cpu/riscv/fp.h"
#include "cpu/riscv/interp.h"
#include "cpu/riscv/mmu.h"

struct rv_hart *rv_hart_new(struct gw_memory *memory, const struct rv_platform *platform,
                            uint64_t hart_id)
{
    struct rv_hart *hart = calloc(1, sizeof *hart);
    if (!hart)
        return NULL;
    hart->memory = memory;
    hart->platform = *platform;
    hart->hart_id = hart_id;
    hart->blocks = rv_blocks_new();
    if (!hart->blocks) {
        free(hart);
        return NULL;
    }
    rv_hart_reset(hart, 0, 0, 0, 0);
    return hart;
}

void rv_hart_free(struct rv_hart *hart)
{
    if (!hart)
        return;
    rv_blocks_free(hart->blocks);
    free(hart);
}

void rv_hart_reset(struct rv_hart *hart, uint64_t pc, uint64_t a0, uint64_t a1, uint64_t a2)
{
    uint32_t lines = __atomic_load_n(&hart->state.irq_lines, __ATOMIC_ACQUIRE);
    hart->state = (struct rv_hart_state){.pc = pc & ~1ull, .priv = RV_PRIV_M};
    __atomic_fetch_or(&hart->state.irq_lines, lines, __ATOMIC_SEQ_CST);
    hart->state.x[10] = a0;
    hart->state.x[11] = a1;
    hart->state.x[12] = a2;
    rv_flush_all(hart);
}

static enum rv_tlb_set data_set(const struct rv_hart *hart, uint8_t priv)
{
    static const enum rv_tlb_set sets[] = {RV_TLB_USER, RV_TLB_SUPERVISOR, RV_TLB_SUPERVISOR,
                                           RV_TLB_MACHINE};
    if (priv == RV_PRIV_S && (hart->state.mstatus & RV_MSTATUS_SUM))
        return RV_TLB_SUPERVISOR_SUM;
    return sets[priv & 3];
}

void rv_context_update(struct rv_hart *hart)
{
    const struct rv_hart_state *s = &hart->state;
    uint64_t fs = s->mstatus & RV_MSTATUS_FS;
    hart->data_priv = s->priv;
    if (s->priv == RV_PRIV_M && (s->mstatus & RV_MSTATUS_MPRV))
        hart->data_priv = (s->mstatus & RV_MSTATUS_MPP) >> RV_MSTATUS_MPP_SHIFT;
    hart->data_set = data_set(hart, hart->data_priv);
    hart->fp_on = fs != 0;
    hart->fp_dirty = fs == RV_MSTATUS_FS;
    hart->fp_fast = RV_FP_HOST && hart->fp_dirty && s->frm <= 3;
    hart->fp_fused = hart->fp_fast && rv_host_has_fused();
    hart->fetch_context = hart->fetch_epoch << 2 | (s->priv & 3);
}

void rv_flush_all(struct rv_hart *hart)
{
    hart->state.x[0] = 0;
    hart->region = NULL;
    rv_pmp_update(hart);
    rv_forget_translations(hart);
    rv_blocks_flush(hart); /* and rv_context_update() */
}

enum rv_exit rv_hart_run(struct rv_hart *hart, uint64_t budget, uint64_t *ret_retired)
{
    hart->run_base = hart->state.instructions;
    hart->run_budget = budget > INT64_MAX ? INT64_MAX : (int64_t)budget;
    hart->left = hart->run_budget;
    rv_attend(hart, RV_ATTEND_IRQ);
    rv_fp_enter(hart);
    enum rv_exit exit = rv_interpret(hart);
    rv_fp_leave(hart);
    hart->state.sink = 0;
    *ret_retired = rv_retired(hart);
    hart->state.instructions = hart->run_base + *ret_retired;
    return exit;
}

uint64_t rv_hart_instructions(const struct rv_hart *hart)
{
    return hart->state.instructions;
}

void rv_hart_set_irq(struct rv_hart *hart, unsigned irq, bool level)
{
    uint32_t bit = 1u << (irq & 31) & 0xaaa;
    if (level)
        __atomic_fetch_or(&hart->state.irq_lines, bit, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&hart->state.irq_lines, ~bit, __ATOMIC_SEQ_CST);
    rv_attend(hart, RV_ATTEND_IRQ);
}

void rv_hart_kick(struct rv_hart *hart)
{
    rv_attend(hart, RV_ATTEND_KICK);
}

bool rv_hart_irq_pending(const struct rv_hart *hart)
{
    return rv_pending(hart) & __atomic_load_n(&hart->state.mie, __ATOMIC_RELAXED);
}

void rv_hart_flush_later(struct rv_hart *hart)
{
    rv_attend(hart, RV_ATTEND_FLUSH);
}

void rv_hart_set_watching(struct rv_hart *hart, bool on)
{
    hart->watching = on;
    rv_tlb_flush(hart);
}

void *rv_hart_state_object(struct rv_hart *hart)
{
    return hart;
}

int rv_hart_loaded(struct rv_hart *hart, struct gw_error *error)
{
    rv_hart_flush_later(hart);
    return 0;
}
