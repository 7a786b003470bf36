/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IEEE 754-2008 binary32 and binary64 arithmetic in integers, with the choices that RISC-V makes
 * (unprivileged ISA 20191213, 11.2 to 11.8): every NaN result is the canonical one, tininess is
 * detected after rounding. Exact on any host, in every rounding mode. Values are raw bits, a
 * binary32 in the low half; flags are or-ed into *flags.
 */
#ifndef CPU_RISCV_SOFTFLOAT_H
#define CPU_RISCV_SOFTFLOAT_H

#include <stdbool.h>
#include <stdint.h>

enum { RV_FLAG_NX = 1, RV_FLAG_UF = 2, RV_FLAG_OF = 4, RV_FLAG_DZ = 8, RV_FLAG_NV = 16 };
enum rv_rounding { RV_RNE, RV_RTZ, RV_RDN, RV_RUP, RV_RMM };

struct rv_format {
    uint8_t exponent_bits, fraction_bits;
};
extern const struct rv_format rv_single, rv_double;

/* What an operation needs beside its operands. */
struct rv_float_context {
    enum rv_rounding rounding;
    uint8_t flags;
};

uint64_t rv_float_add(const struct rv_format *format, uint64_t a, uint64_t b,
                      struct rv_float_context *context);
uint64_t rv_float_subtract(const struct rv_format *format, uint64_t a, uint64_t b,
                           struct rv_float_context *context);
uint64_t rv_float_multiply(const struct rv_format *format, uint64_t a, uint64_t b,
                           struct rv_float_context *context);
uint64_t rv_float_divide(const struct rv_format *format, uint64_t a, uint64_t b,
                         struct rv_float_context *context);
uint64_t rv_float_sqrt(const struct rv_format *format, uint64_t a,
                       struct rv_float_context *context);
/* a * b + c, rounded once. */
uint64_t rv_float_fma(const struct rv_format *format, uint64_t a, uint64_t b, uint64_t c,
                      struct rv_float_context *context);
uint64_t rv_float_convert(const struct rv_format *from, const struct rv_format *to, uint64_t a,
                          struct rv_float_context *context);

/* Integers of 32 or 64 bits, saturating; a 32-bit result is sign-extended, a 32-bit operand uses
 * the low half. */
uint64_t rv_float_to_integer(const struct rv_format *format, uint64_t a, unsigned bits,
                             bool is_signed, struct rv_float_context *context);
uint64_t rv_float_from_integer(const struct rv_format *format, uint64_t a, unsigned bits,
                               bool is_signed, struct rv_float_context *context);

uint64_t rv_float_minimum(const struct rv_format *format, uint64_t a, uint64_t b,
                          struct rv_float_context *context);
uint64_t rv_float_maximum(const struct rv_format *format, uint64_t a, uint64_t b,
                          struct rv_float_context *context);
bool rv_float_equal(const struct rv_format *format, uint64_t a, uint64_t b,
                    struct rv_float_context *context); /* quiet */
bool rv_float_less(const struct rv_format *format, uint64_t a, uint64_t b,
                   struct rv_float_context *context); /* signaling, as the next */
bool rv_float_less_equal(const struct rv_format *format, uint64_t a, uint64_t b,
                         struct rv_float_context *context);
uint64_t rv_float_class(const struct rv_format *format, uint64_t a); /* table 11.5 */

#endif
