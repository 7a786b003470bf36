/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point on the host's own unit, where that gives exactly the results of RISC-V: on x86-64,
 * whose SSE arithmetic detects tininess after rounding too. While a hart runs, its thread's MXCSR
 * holds the guest's rounding mode, and its sticky bits are guest flags that state.fflags does not
 * have yet; every call to foreign code puts the host's own MXCSR back. Elsewhere all these are
 * empty, and softfloat.c does the work.
 *
 * Arithmetic is volatile assembly, so that no compiler moves it over a read of the flags. x86 keeps
 * NaN payloads where RISC-V wants the canonical NaN: callers look at the result.
 */
#ifndef CPU_RISCV_FP_HOST_H
#define CPU_RISCV_FP_HOST_H

#include <stdint.h>

#if defined(__x86_64__)
#define RV_FP_HOST 1

#define RV_MXCSR_MASKED 0x1f80u /* no exception traps */

static inline uint32_t rv_mxcsr_read(void)
{
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value) : : "memory");
    return value;
}

static inline void rv_mxcsr_write(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value) : "memory");
}

/* For a guest mode: nearest, zero, down, up; what the host lacks is never computed on it. */
static inline uint32_t rv_mxcsr_for(uint8_t frm)
{
    static const uint16_t rounding[8] = {0, 0x6000, 0x2000, 0x4000, 0, 0, 0, 0};
    return RV_MXCSR_MASKED | rounding[frm & 7];
}

/* Sticky bits IE, ZE, OE, UE, PE are 0, 2, 3, 4, 5 there; NV, DZ, OF, UF, NX are 4, 3, 2, 1, 0
 * here. */
static inline uint8_t rv_mxcsr_flags(uint32_t mxcsr)
{
    return (uint8_t)((mxcsr & 1) << 4 | (mxcsr >> 2 & 1) << 3 | (mxcsr >> 3 & 1) << 2 |
                     (mxcsr >> 4 & 1) << 1 | (mxcsr >> 5 & 1));
}

#define RV_HOST_BINARY(name, type, instruction)                                                    \
    static inline type rv_host_##name(type a, type b)                                              \
    {                                                                                              \
        __asm__ volatile(instruction " %1, %0" : "+x"(a) : "xm"(b));                               \
        return a;                                                                                  \
    }
RV_HOST_BINARY(add_d, double, "addsd")
RV_HOST_BINARY(sub_d, double, "subsd")
RV_HOST_BINARY(mul_d, double, "mulsd")
RV_HOST_BINARY(div_d, double, "divsd")
RV_HOST_BINARY(add_s, float, "addss")
RV_HOST_BINARY(sub_s, float, "subss")
RV_HOST_BINARY(mul_s, float, "mulss")
RV_HOST_BINARY(div_s, float, "divss")

#define RV_HOST_UNARY(name, from, to, instruction)                                                 \
    static inline to rv_host_##name(from a)                                                        \
    {                                                                                              \
        to result = 0;                                                                             \
        __asm__ volatile(instruction " %1, %0" : "+x"(result) : "xm"(a));                          \
        return result;                                                                             \
    }
RV_HOST_UNARY(sqrt_d, double, double, "sqrtsd")
RV_HOST_UNARY(sqrt_s, float, float, "sqrtss")
RV_HOST_UNARY(widen, float, double, "cvtss2sd")
RV_HOST_UNARY(narrow, double, float, "cvtsd2ss")

#define RV_HOST_FROM_INTEGER(name, to, instruction)                                                \
    static inline to rv_host_##name(int64_t a)                                                     \
    {                                                                                              \
        to result = 0;                                                                             \
        __asm__ volatile(instruction " %1, %0" : "+x"(result) : "rm"(a));                          \
        return result;                                                                             \
    }
RV_HOST_FROM_INTEGER(from_integer_d, double, "cvtsi2sdq")
RV_HOST_FROM_INTEGER(from_integer_s, float, "cvtsi2ssq")

/* Towards zero; the caller knows that the result fits. */
#define RV_HOST_TO_INTEGER(name, from, instruction)                                                \
    static inline int64_t rv_host_##name(from a)                                                   \
    {                                                                                              \
        int64_t result;                                                                            \
        __asm__ volatile(instruction " %1, %0" : "=r"(result) : "xm"(a));                          \
        return result;                                                                             \
    }
RV_HOST_TO_INTEGER(to_integer_d, double, "cvttsd2siq")
RV_HOST_TO_INTEGER(to_integer_s, float, "cvttss2siq")

/* Unordered operands give false; the quiet compare raises invalid for signaling NaNs only. */
#define RV_HOST_COMPARE(name, type, compare, test)                                                 \
    static inline uint64_t rv_host_##name(type a, type b)                                          \
    {                                                                                              \
        uint8_t result;                                                                            \
        __asm__ volatile(compare " %1, %2\n\t" test " %0" : "=q"(result) : "x"(a), "x"(b) : "cc"); \
        return result;                                                                             \
    }
RV_HOST_COMPARE(less_d, double, "comisd", "seta")
RV_HOST_COMPARE(less_equal_d, double, "comisd", "setae")
RV_HOST_COMPARE(less_s, float, "comiss", "seta")
RV_HOST_COMPARE(less_equal_s, float, "comiss", "setae")

#define RV_HOST_EQUAL(name, type, compare)                                                         \
    static inline uint64_t rv_host_##name(type a, type b)                                          \
    {                                                                                              \
        uint8_t equal, ordered;                                                                    \
        __asm__ volatile(compare " %2, %3\n\tsete %0\n\tsetnp %1"                                  \
                         : "=&q"(equal), "=&q"(ordered)                                            \
                         : "x"(a), "x"(b)                                                          \
                         : "cc");                                                                  \
        return equal & ordered;                                                                    \
    }
RV_HOST_EQUAL(equal_d, double, "ucomisd")
RV_HOST_EQUAL(equal_s, float, "ucomiss")

/* c becomes ±(a * b) ± c, rounded once. Only where the processor has FMA. */
#define RV_HOST_FUSED(name, type, instruction)                                                     \
    static inline type rv_host_##name(type a, type b, type c)                                      \
    {                                                                                              \
        __asm__ volatile(instruction " %2, %1, %0" : "+x"(c) : "x"(a), "xm"(b));                   \
        return c;                                                                                  \
    }
RV_HOST_FUSED(madd_d, double, "vfmadd231sd")
RV_HOST_FUSED(msub_d, double, "vfmsub231sd")
RV_HOST_FUSED(nmsub_d, double, "vfnmadd231sd")
RV_HOST_FUSED(nmadd_d, double, "vfnmsub231sd")
RV_HOST_FUSED(madd_s, float, "vfmadd231ss")
RV_HOST_FUSED(msub_s, float, "vfmsub231ss")
RV_HOST_FUSED(nmsub_s, float, "vfnmadd231ss")
RV_HOST_FUSED(nmadd_s, float, "vfnmsub231ss")

static inline int rv_host_has_fused(void)
{
    return __builtin_cpu_supports("fma");
}

#else
#define RV_FP_HOST 0
static inline uint32_t rv_mxcsr_read(void)
{
    return 0;
}
static inline void rv_mxcsr_write(uint32_t value)
{
    (void)value;
}
static inline uint32_t rv_mxcsr_for(uint8_t frm)
{
    (void)frm;
    return 0;
}
static inline uint8_t rv_mxcsr_flags(uint32_t mxcsr)
{
    (void)mxcsr;
    return 0;
}
static inline int rv_host_has_fused(void)
{
    return 0;
}
#endif

#endif
