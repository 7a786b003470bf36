/* SPDX-License-Identifier: Apache-2.0 */
/* The computing instructions of F and D over the soft arithmetic: the exact path, for every mode
 * and host. */
#include <stddef.h>

#include "cpu/riscv/decode.h"
#include "cpu/riscv/fp.h"
#include "cpu/riscv/softfloat.h"

bool rv_fp_touch(struct rv_hart *hart)
{
    if (!hart->fp_on)
        return false;
    hart->state.mstatus |= RV_MSTATUS_FS;
    rv_context_update(hart);
    return true;
}

/* Operands of one instruction. */
struct call {
    struct rv_hart *hart;
    const struct rv_format *format;
    uint32_t raw;
    uint64_t a, b, c; /* of the format; or a is an integer */
    struct rv_float_context context;
};

typedef uint64_t operation(struct call *call);

static uint64_t sign_of(const struct rv_format *format)
{
    return 1ull << (format->exponent_bits + format->fraction_bits);
}

static uint64_t do_add(struct call *c)
{
    return rv_float_add(c->format, c->a, c->b, &c->context);
}

static uint64_t do_subtract(struct call *c)
{
    return rv_float_subtract(c->format, c->a, c->b, &c->context);
}

static uint64_t do_multiply(struct call *c)
{
    return rv_float_multiply(c->format, c->a, c->b, &c->context);
}

static uint64_t do_divide(struct call *c)
{
    return rv_float_divide(c->format, c->a, c->b, &c->context);
}

static uint64_t do_sqrt(struct call *c)
{
    return rv_float_sqrt(c->format, c->a, &c->context);
}

static uint64_t do_madd(struct call *c)
{
    return rv_float_fma(c->format, c->a, c->b, c->c, &c->context);
}

static uint64_t do_msub(struct call *c)
{
    return rv_float_fma(c->format, c->a, c->b, c->c ^ sign_of(c->format), &c->context);
}

static uint64_t do_nmsub(struct call *c)
{
    return rv_float_fma(c->format, c->a ^ sign_of(c->format), c->b, c->c, &c->context);
}

static uint64_t do_nmadd(struct call *c)
{
    uint64_t sign = sign_of(c->format);
    return rv_float_fma(c->format, c->a ^ sign, c->b, c->c ^ sign, &c->context);
}

static uint64_t do_sign(struct call *c)
{
    uint64_t sign = sign_of(c->format);
    return (c->a & ~sign) | (c->b & sign);
}

static uint64_t do_sign_not(struct call *c)
{
    uint64_t sign = sign_of(c->format);
    return (c->a & ~sign) | (~c->b & sign);
}

static uint64_t do_sign_xor(struct call *c)
{
    return c->a ^ (c->b & sign_of(c->format));
}

static uint64_t do_minimum(struct call *c)
{
    return rv_float_minimum(c->format, c->a, c->b, &c->context);
}

static uint64_t do_maximum(struct call *c)
{
    return rv_float_maximum(c->format, c->a, c->b, &c->context);
}

static uint64_t do_equal(struct call *c)
{
    return rv_float_equal(c->format, c->a, c->b, &c->context);
}

static uint64_t do_less(struct call *c)
{
    return rv_float_less(c->format, c->a, c->b, &c->context);
}

static uint64_t do_less_equal(struct call *c)
{
    return rv_float_less_equal(c->format, c->a, c->b, &c->context);
}

static uint64_t do_class(struct call *c)
{
    return rv_float_class(c->format, c->a);
}

/* Which integer a conversion means is in the place of rs2: bit 0 unsigned, bit 1 of 64 bits. */
static uint64_t do_to_integer(struct call *c)
{
    unsigned kind = c->raw >> 20 & 3;
    return rv_float_to_integer(c->format, c->a, kind & 2 ? 64 : 32, !(kind & 1), &c->context);
}

static uint64_t do_from_integer(struct call *c)
{
    unsigned kind = c->raw >> 20 & 3;
    return rv_float_from_integer(c->format, c->a, kind & 2 ? 64 : 32, !(kind & 1), &c->context);
}

static uint64_t do_widen(struct call *c)
{
    return rv_float_convert(&rv_single, &rv_double, c->a, &c->context);
}

static uint64_t do_narrow(struct call *c)
{
    return rv_float_convert(&rv_double, &rv_single, c->a, &c->context);
}

enum {
    ROUNDS = 1,      /* has a rounding mode */
    TO_INTEGER = 2,  /* writes an x register */
    FROM_INTEGER = 4 /* reads one */
};

struct row {
    operation *run;
    uint8_t source_is_double, result_is_double, how;
};

#define BOTH(name, run, how)                                                                       \
    [RV_OP_##name##_S] = {run, 0, 0, how}, [RV_OP_##name##_D] = {run, 1, 1, how}
static const struct row rows[RV_OP_COUNT] = {
    BOTH(FADD, do_add, ROUNDS),
    BOTH(FSUB, do_subtract, ROUNDS),
    BOTH(FMUL, do_multiply, ROUNDS),
    BOTH(FDIV, do_divide, ROUNDS),
    BOTH(FSQRT, do_sqrt, ROUNDS),
    BOTH(FMADD, do_madd, ROUNDS),
    BOTH(FMSUB, do_msub, ROUNDS),
    BOTH(FNMSUB, do_nmsub, ROUNDS),
    BOTH(FNMADD, do_nmadd, ROUNDS),
    BOTH(FSGNJ, do_sign, 0),
    BOTH(FSGNJN, do_sign_not, 0),
    BOTH(FSGNJX, do_sign_xor, 0),
    BOTH(FMIN, do_minimum, 0),
    BOTH(FMAX, do_maximum, 0),
    BOTH(FEQ, do_equal, TO_INTEGER),
    BOTH(FLT, do_less, TO_INTEGER),
    BOTH(FLE, do_less_equal, TO_INTEGER),
    BOTH(FCLASS, do_class, TO_INTEGER),
    BOTH(FCVT_W, do_to_integer, ROUNDS | TO_INTEGER),
    BOTH(FCVT_WU, do_to_integer, ROUNDS | TO_INTEGER),
    BOTH(FCVT_L, do_to_integer, ROUNDS | TO_INTEGER),
    BOTH(FCVT_LU, do_to_integer, ROUNDS | TO_INTEGER),
    [RV_OP_FCVT_S_W] = {do_from_integer, 0, 0, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_S_WU] = {do_from_integer, 0, 0, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_S_L] = {do_from_integer, 0, 0, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_S_LU] = {do_from_integer, 0, 0, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_D_W] = {do_from_integer, 1, 1, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_D_WU] = {do_from_integer, 1, 1, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_D_L] = {do_from_integer, 1, 1, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_D_LU] = {do_from_integer, 1, 1, ROUNDS | FROM_INTEGER},
    [RV_OP_FCVT_S_D] = {do_narrow, 1, 0, ROUNDS},
    [RV_OP_FCVT_D_S] = {do_widen, 0, 1, ROUNDS},
};
#undef BOTH

bool rv_op_rounds(enum rv_op op)
{
    return op < RV_OP_COUNT && rows[op].how & ROUNDS;
}

/* A register that does not hold a properly boxed single counts as the canonical NaN (12.2). */
static uint64_t operand(const struct rv_hart *hart, unsigned number, bool is_double)
{
    uint64_t bits = hart->state.f[number & 31];
    if (is_double)
        return bits;
    return bits >> 32 == UINT32_MAX ? (uint32_t)bits : 0x7fc00000u;
}

bool rv_fp_execute(struct rv_hart *hart, enum rv_op op, unsigned rd, uint32_t raw)
{
    const struct row *row = &rows[op];
    unsigned rounding = raw >> 12 & 7;
    if (rounding == 7)
        rounding = hart->state.frm;
    if ((row->how & ROUNDS) && rounding > RV_RMM)
        return false;
    if (!hart->fp_dirty && !rv_fp_touch(hart))
        return false;
    bool wide = row->source_is_double;
    struct call call = {
        .hart = hart,
        .format = wide ? &rv_double : &rv_single,
        .raw = raw,
        .a = row->how & FROM_INTEGER ? hart->state.x[raw >> 15 & 31]
                                     : operand(hart, raw >> 15, wide),
        .b = operand(hart, raw >> 20, wide),
        .c = operand(hart, raw >> 27, wide),
        .context = {.rounding = (enum rv_rounding)rounding},
    };
    uint64_t result = row->run(&call);
    hart->state.fflags |= call.context.flags;
    if (row->how & TO_INTEGER)
        *(rd < 32 ? &hart->state.x[rd] : &hart->state.sink) = result;
    else
        hart->state.f[rd & 31] = row->result_is_double ? result : RV_FP_BOX(result);
    return true;
}
