/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point: F and D (unprivileged ISA 20191213, chapters 11 and 12). A single lives in a
 * 64-bit register with all upper bits set (NaN boxing, 12.2).
 */
#ifndef CPU_RISCV_FP_H
#define CPU_RISCV_FP_H

#include "cpu/riscv/fp-host.h"
#include "cpu/riscv/hart.h"
#include "cpu/riscv/ops.h"

#define RV_FP_BOX(single) ((uint64_t)(uint32_t)(single) | 0xffffffff00000000ull)

#define RV_FP_NAN_SINGLE RV_FP_BOX(0x7fc00000)
#define RV_FP_NAN_DOUBLE 0x7ff8000000000000ull

/* Foreign code is about to run, or the run ends: the flags go to the state, the host gets its mode
 * back. */
static inline void rv_fp_leave(struct rv_hart *hart)
{
    hart->state.fflags |= rv_mxcsr_flags(rv_mxcsr_read());
    rv_mxcsr_write(hart->host_mxcsr);
}

static inline void rv_fp_enter(struct rv_hart *hart)
{
    hart->host_mxcsr = rv_mxcsr_read();
    rv_mxcsr_write(rv_mxcsr_for(hart->state.frm));
}

/* All flags, while the hart runs. */
static inline uint8_t rv_fp_flags(struct rv_hart *hart)
{
    return hart->state.fflags |= rv_mxcsr_flags(rv_mxcsr_read());
}

static inline void rv_fp_set(struct rv_hart *hart, uint8_t frm, uint8_t fflags)
{
    hart->state.frm = frm;
    hart->state.fflags = fflags;
    rv_mxcsr_write(rv_mxcsr_for(frm));
}

/* Before an f register or fcsr changes: FS becomes Dirty; false when it is Off. */
bool rv_fp_touch(struct rv_hart *hart);

/* One computing instruction; `rd` is the decoded destination, the rest comes from the raw bits.
 * False: illegal. */
bool rv_fp_execute(struct rv_hart *hart, enum rv_op op, unsigned rd, uint32_t raw);

#endif
