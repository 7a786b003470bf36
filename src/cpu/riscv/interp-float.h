/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of floating-point arithmetic: a part of interpret() in interp.c, and of nothing else. */

#if RV_FP_HOST

#define DOUBLE(number)                                                                             \
    ({                                                                                             \
        double made_;                                                                              \
        __builtin_memcpy(&made_, &f[number], 8);                                                   \
        made_;                                                                                     \
    })
/* A register that is not boxed reads as the canonical NaN. */
#define SINGLE(number)                                                                             \
    ({                                                                                             \
        uint32_t bits_ = f[number] >> 32 == UINT32_MAX ? (uint32_t)f[number] : 0x7fc00000u;        \
        float made_;                                                                               \
        __builtin_memcpy(&made_, &bits_, 4);                                                       \
        made_;                                                                                     \
    })
#define SET_DOUBLE(expression)                                                                     \
    do {                                                                                           \
        double result_ = (expression);                                                             \
        uint64_t bits_;                                                                            \
        __builtin_memcpy(&bits_, &result_, 8);                                                     \
        f[insn->rd] = unlikely(result_ != result_) ? RV_FP_NAN_DOUBLE : bits_;                     \
    } while (0)
#define SET_SINGLE(expression)                                                                     \
    do {                                                                                           \
        float result_ = (expression);                                                              \
        uint32_t bits_;                                                                            \
        __builtin_memcpy(&bits_, &result_, 4);                                                     \
        f[insn->rd] = unlikely(result_ != result_) ? RV_FP_NAN_SINGLE : RV_FP_BOX(bits_);          \
    } while (0)

#define HOST_OR_SOFT(name, condition, statement)                                                   \
    op_##name : if (likely(condition))                                                             \
    {                                                                                              \
        statement;                                                                                 \
        NEXT;                                                                                      \
    }                                                                                              \
    SOFT(name);                                                                                    \
    goto float_soft;
#define FAST(name, statement) HOST_OR_SOFT(name, hart->fp_fast, statement)

#define D1 DOUBLE(insn->rs1)
#define D2 DOUBLE(insn->rs2)
#define S1 SINGLE(insn->rs1)
#define S2 SINGLE(insn->rs2)
FAST(FADD_D, SET_DOUBLE(rv_host_add_d(D1, D2)))
FAST(FSUB_D, SET_DOUBLE(rv_host_sub_d(D1, D2)))
FAST(FMUL_D, SET_DOUBLE(rv_host_mul_d(D1, D2)))
FAST(FDIV_D, SET_DOUBLE(rv_host_div_d(D1, D2)))
FAST(FSQRT_D, SET_DOUBLE(rv_host_sqrt_d(D1)))
FAST(FADD_S, SET_SINGLE(rv_host_add_s(S1, S2)))
FAST(FSUB_S, SET_SINGLE(rv_host_sub_s(S1, S2)))
FAST(FMUL_S, SET_SINGLE(rv_host_mul_s(S1, S2)))
FAST(FDIV_S, SET_SINGLE(rv_host_div_s(S1, S2)))
FAST(FSQRT_S, SET_SINGLE(rv_host_sqrt_s(S1)))
FAST(FCVT_D_S, SET_DOUBLE(rv_host_widen(S1)))
FAST(FCVT_S_D, SET_SINGLE(rv_host_narrow(D1)))
FAST(FEQ_D, RD = rv_host_equal_d(D1, D2))
FAST(FLT_D, RD = rv_host_less_d(D1, D2))
FAST(FLE_D, RD = rv_host_less_equal_d(D1, D2))
FAST(FEQ_S, RD = rv_host_equal_s(S1, S2))
FAST(FLT_S, RD = rv_host_less_s(S1, S2))
FAST(FLE_S, RD = rv_host_less_equal_s(S1, S2))
FAST(FCVT_D_W, SET_DOUBLE(rv_host_from_integer_d((int32_t)RS1)))
FAST(FCVT_D_WU, SET_DOUBLE(rv_host_from_integer_d((uint32_t)RS1)))
FAST(FCVT_D_L, SET_DOUBLE(rv_host_from_integer_d((int64_t)RS1)))
FAST(FCVT_S_W, SET_SINGLE(rv_host_from_integer_s((int32_t)RS1)))
FAST(FCVT_S_WU, SET_SINGLE(rv_host_from_integer_s((uint32_t)RS1)))
FAST(FCVT_S_L, SET_SINGLE(rv_host_from_integer_s((int64_t)RS1)))
HOST_OR_SOFT(FCVT_D_LU, hart->fp_fast && (int64_t)RS1 >= 0,
             SET_DOUBLE(rv_host_from_integer_d((int64_t)RS1)))
HOST_OR_SOFT(FCVT_S_LU, hart->fp_fast && (int64_t)RS1 >= 0,
             SET_SINGLE(rv_host_from_integer_s((int64_t)RS1)))

/* Below 2^power in magnitude, and for unsigned results not negative: these fit, so that the host's
 * flags are right. The sign bit is above the exponent's and makes the field too large. */
#define FITS_D(power) ((f[insn->rs1] >> 52 & 0x7ff) < 1023u + (power))
#define FITS_POSITIVE_D(power) (f[insn->rs1] >> 52 < 1023u + (power))
#define BOXED (f[insn->rs1] >> 32 == UINT32_MAX)
#define FITS_S(power) (BOXED && (f[insn->rs1] >> 23 & 0xff) < 127u + (power))
#define FITS_POSITIVE_S(power) (BOXED && (uint32_t)f[insn->rs1] >> 23 < 127u + (power))
#define TO_INTEGER(name, fits, expression)                                                         \
    HOST_OR_SOFT(name, hart->fp_fast && (fits), RD = (uint64_t)(expression))
TO_INTEGER(FCVT_W_D, FITS_D(31), rv_host_to_integer_d(D1))
TO_INTEGER(FCVT_L_D, FITS_D(63), rv_host_to_integer_d(D1))
TO_INTEGER(FCVT_WU_D, FITS_POSITIVE_D(32), WORD(rv_host_to_integer_d(D1)))
TO_INTEGER(FCVT_LU_D, FITS_POSITIVE_D(63), rv_host_to_integer_d(D1))
TO_INTEGER(FCVT_W_S, FITS_S(31), rv_host_to_integer_s(S1))
TO_INTEGER(FCVT_L_S, FITS_S(63), rv_host_to_integer_s(S1))
TO_INTEGER(FCVT_WU_S, FITS_POSITIVE_S(32), WORD(rv_host_to_integer_s(S1)))
TO_INTEGER(FCVT_LU_S, FITS_POSITIVE_S(63), rv_host_to_integer_s(S1))

/* A NaN result is computed again in integers: the host raises no invalid for 0 * infinity + NaN. */
#define D3 DOUBLE((uint32_t)insn->imm >> 27)
#define S3 SINGLE((uint32_t)insn->imm >> 27)
#define FUSED_D(name, host)                                                                        \
    op_##name : if (likely(hart->fp_fused))                                                        \
    {                                                                                              \
        double result = rv_host_##host(D1, D2, D3);                                                \
        if (likely(result == result)) {                                                            \
            SET_DOUBLE(result);                                                                    \
            NEXT;                                                                                  \
        }                                                                                          \
    }                                                                                              \
    SOFT(name);                                                                                    \
    goto float_soft;
#define FUSED_S(name, host)                                                                        \
    op_##name : if (likely(hart->fp_fused))                                                        \
    {                                                                                              \
        float result = rv_host_##host(S1, S2, S3);                                                 \
        if (likely(result == result)) {                                                            \
            SET_SINGLE(result);                                                                    \
            NEXT;                                                                                  \
        }                                                                                          \
    }                                                                                              \
    SOFT(name);                                                                                    \
    goto float_soft;
FUSED_D(FMADD_D, madd_d)
FUSED_D(FMSUB_D, msub_d)
FUSED_D(FNMSUB_D, nmsub_d)
FUSED_D(FNMADD_D, nmadd_d)
FUSED_S(FMADD_S, madd_s)
FUSED_S(FMSUB_S, msub_s)
FUSED_S(FNMSUB_S, nmsub_s)
FUSED_S(FNMADD_S, nmadd_s)

#define SIGN_D (1ull << 63)
HOST_OR_SOFT(FSGNJ_D, hart->fp_dirty,
             f[insn->rd] = (f[insn->rs1] & ~SIGN_D) | (f[insn->rs2] & SIGN_D))
HOST_OR_SOFT(FSGNJN_D, hart->fp_dirty,
             f[insn->rd] = (f[insn->rs1] & ~SIGN_D) | (~f[insn->rs2] & SIGN_D))
HOST_OR_SOFT(FSGNJX_D, hart->fp_dirty, f[insn->rd] = f[insn->rs1] ^ (f[insn->rs2] & SIGN_D))

#define ALWAYS_SOFT(name, ...)                                                                     \
    op_##name : SOFT(name);                                                                        \
    goto float_soft;
ALWAYS_SOFT(FSGNJ_S)
ALWAYS_SOFT(FSGNJN_S)
ALWAYS_SOFT(FSGNJX_S)
ALWAYS_SOFT(FMIN_S)
ALWAYS_SOFT(FMAX_S)
ALWAYS_SOFT(FMIN_D)
ALWAYS_SOFT(FMAX_D)
ALWAYS_SOFT(FCLASS_S)
ALWAYS_SOFT(FCLASS_D)

#else
#define ALWAYS_SOFT(name, ...)                                                                     \
    op_##name : SOFT(name);                                                                        \
    goto float_soft;
RV_OPS_FLOAT_COMPUTE(ALWAYS_SOFT)
#endif
