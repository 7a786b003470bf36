/* SPDX-License-Identifier: Apache-2.0 */
/* From instruction bits to operation and operands. Pure functions. */
#ifndef CPU_RISCV_DECODE_H
#define CPU_RISCV_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/riscv/ops.h"

/* An integer destination of x0 is renamed to this index, a place that nobody reads. */
#define RV_SINK 32

struct rv_decoded {
    enum rv_op op;
    uint8_t rd, rs1, rs2;
    int32_t imm; /* the immediate; the raw bits for CSR and floating point; rs3 is in bits 31:27 of
                    them */
};

/* Length in bytes from the first parcel (unprivileged ISA 1.5); longer encodings count as 4. */
static inline unsigned rv_length(uint16_t parcel)
{
    return (parcel & 3) == 3 ? 4 : 2;
}

/* Of floating-point operations: gives an integer; never rounds in truth; has a rounding mode. */
static inline bool rv_op_is_to_integer(enum rv_op op)
{
    return (op >= RV_OP_FCVT_W_S && op <= RV_OP_FCVT_LU_S) ||
           (op >= RV_OP_FCVT_W_D && op <= RV_OP_FCVT_LU_D);
}

static inline bool rv_op_is_exact(enum rv_op op)
{
    return op == RV_OP_FCVT_D_W || op == RV_OP_FCVT_D_WU || op == RV_OP_FCVT_D_S;
}

bool rv_op_rounds(enum rv_op op);

/* Decodes 16 (compressed) or 32 bits. Undefined encodings give RV_OP_ILLEGAL. */
struct rv_decoded rv_decode(uint32_t raw);

/* The 32-bit equivalent of a compressed instruction (chapter 16, RV64C), or 0 when it is illegal.
 */
uint32_t rv_expand(uint16_t parcel);

#endif
