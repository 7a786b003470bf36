/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/riscv/fp.h"

bool rv_fp_touch(struct rv_hart *hart)
{
    if (!hart->fp_on)
        return false;
    hart->state.mstatus |= RV_MSTATUS_FS;
    rv_context_update(hart);
    return true;
}

bool rv_fp_execute(struct rv_hart *hart, enum rv_op op, unsigned rd, uint32_t raw)
{
    return false;
}
