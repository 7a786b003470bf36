/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A finite number is unpacked to significand * 2^(exponent - 63) with bit 63 of the significand
 * set; bits that were shifted out stay as a one in bit 0 ("jam"), which is all that rounding needs
 * to know of them.
 */
#include <stddef.h>

#include "cpu/riscv/softfloat.h"

__extension__ typedef unsigned __int128 uint128;

const struct rv_format rv_single = {8, 23};
const struct rv_format rv_double = {11, 52};

enum kind { KIND_ZERO, KIND_FINITE, KIND_INFINITE, KIND_QUIET, KIND_SIGNALING };

struct number {
    enum kind kind;
    bool negative;
    int exponent;
    uint64_t significand;
};

static uint64_t exponent_ones(const struct rv_format *format)
{
    return (1ull << format->exponent_bits) - 1;
}

static int bias(const struct rv_format *format)
{
    return (1 << (format->exponent_bits - 1)) - 1;
}

static uint64_t pack(const struct rv_format *format, bool negative, uint64_t exponent,
                     uint64_t fraction)
{
    return (uint64_t)negative << (format->exponent_bits + format->fraction_bits) |
           exponent << format->fraction_bits | fraction;
}

static uint64_t canonical_nan(const struct rv_format *format)
{
    return pack(format, false, exponent_ones(format), 1ull << (format->fraction_bits - 1));
}

static uint64_t infinity(const struct rv_format *format, bool negative)
{
    return pack(format, negative, exponent_ones(format), 0);
}

static uint64_t invalid(const struct rv_format *format, struct rv_float_context *context)
{
    context->flags |= RV_FLAG_NV;
    return canonical_nan(format);
}

static struct number unpack(const struct rv_format *format, uint64_t bits)
{
    unsigned width = format->fraction_bits;
    uint64_t fraction = bits & ((1ull << width) - 1);
    uint64_t exponent = bits >> width & exponent_ones(format);
    struct number n = {.negative = bits >> (width + format->exponent_bits) & 1};
    if (exponent == exponent_ones(format)) {
        n.kind = !fraction ? KIND_INFINITE : fraction >> (width - 1) ? KIND_QUIET : KIND_SIGNALING;
    } else if (exponent) {
        n.kind = KIND_FINITE;
        n.exponent = (int)exponent - bias(format);
        n.significand = 1ull << 63 | fraction << (63 - width);
    } else if (fraction) {
        int shift = __builtin_clzll(fraction);
        n.kind = KIND_FINITE;
        n.exponent = 1 - bias(format) + (63 - (int)width) - shift;
        n.significand = fraction << shift;
    }
    return n;
}

static bool is_nan(struct number n)
{
    return n.kind >= KIND_QUIET;
}

/* The NaN that an operation on these gives. */
static uint64_t propagate(const struct rv_format *format, bool signaling,
                          struct rv_float_context *context)
{
    return signaling ? invalid(format, context) : canonical_nan(format);
}

static uint128 shift_right_jam(uint128 value, unsigned by)
{
    if (by == 0)
        return value;
    if (by > 127)
        return value != 0;
    return value >> by | ((value << (128 - by)) != 0);
}

/* What rounding adds to a kept value whose last bit is `odd`: `rest` of `2 * half` was cut off. */
static bool rounds_up(enum rv_rounding rounding, bool negative, bool odd, uint64_t rest,
                      uint64_t half)
{
    switch (rounding) {
    case RV_RNE:
        return rest > half || (rest == half && odd);
    case RV_RTZ:
        return false;
    case RV_RDN:
        return negative && rest;
    case RV_RUP:
        return !negative && rest;
    case RV_RMM:
        return rest >= half;
    }
    return false;
}

static uint64_t overflow(const struct rv_format *format, bool negative,
                         struct rv_float_context *context)
{
    bool to_infinity = rounds_up(context->rounding, negative, true, 3, 2);
    context->flags |= RV_FLAG_OF | RV_FLAG_NX;
    if (to_infinity)
        return infinity(format, negative);
    return pack(format, negative, exponent_ones(format) - 1, (1ull << format->fraction_bits) - 1);
}

/* Rounds significand * 2^(exponent - 63) to the format. */
static uint64_t round_pack(const struct rv_format *format, bool negative, int exponent,
                           uint64_t significand, struct rv_float_context *context)
{
    unsigned cut = 63 - format->fraction_bits;
    uint64_t unit = 1ull << cut, half = unit >> 1, rest = significand & (unit - 1);
    int least = 1 - bias(format);
    bool up = rounds_up(context->rounding, negative, significand >> cut & 1, rest, half);
    bool tiny = exponent < least;
    if (tiny) {
        bool carries = up && significand >> cut == (2ull << format->fraction_bits) - 1;
        if (exponent == least - 1 && carries)
            tiny = false;
        significand = (uint64_t)shift_right_jam(significand, (unsigned)(least - exponent));
        rest = significand & (unit - 1);
        up = rounds_up(context->rounding, negative, significand >> cut & 1, rest, half);
        exponent = least;
    }
    uint64_t kept = (significand >> cut) + up;
    if (rest)
        context->flags |= tiny ? RV_FLAG_UF | RV_FLAG_NX : RV_FLAG_NX;
    if (kept >> (format->fraction_bits + 1)) {
        kept >>= 1;
        exponent++;
    }
    if (exponent > bias(format))
        return overflow(format, negative, context);
    uint64_t hidden = 1ull << format->fraction_bits;
    uint64_t field = kept & hidden ? (uint64_t)(exponent + bias(format)) : 0;
    return pack(format, negative, field, kept & (hidden - 1));
}

/* The same from 128 bits, value * 2^(exponent - 126), not zero, any leading bit. */
static uint64_t round_pack_wide(const struct rv_format *format, bool negative, int exponent,
                                uint128 value, struct rv_float_context *context)
{
    uint64_t high = (uint64_t)(value >> 64);
    int zeros = high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)value);
    value <<= zeros;
    uint64_t significand = (uint64_t)(value >> 64) | ((uint64_t)value != 0);
    return round_pack(format, negative, exponent + 1 - zeros, significand, context);
}

/* The finite sum of two values significand * 2^(exponent - 126). */
static uint64_t add_wide(const struct rv_format *format, struct number a, uint128 wide_a,
                         struct number b, uint128 wide_b, struct rv_float_context *context)
{
    if (a.exponent < b.exponent) {
        struct number n = a;
        uint128 wide = wide_a;
        a = b;
        wide_a = wide_b;
        b = n;
        wide_b = wide;
    }
    wide_b = shift_right_jam(wide_b, (unsigned)(a.exponent - b.exponent));
    if (a.negative == b.negative)
        return round_pack_wide(format, a.negative, a.exponent, wide_a + wide_b, context);
    if (wide_a == wide_b)
        return pack(format, context->rounding == RV_RDN, 0, 0);
    if (wide_a > wide_b)
        return round_pack_wide(format, a.negative, a.exponent, wide_a - wide_b, context);
    return round_pack_wide(format, b.negative, a.exponent, wide_b - wide_a, context);
}

/* product + c, where `product` has its exact significand in `wide`. */
static uint64_t add_product(const struct rv_format *format, struct number product, uint128 wide,
                            struct number c, struct rv_float_context *context)
{
    if (product.kind == KIND_INFINITE) {
        if (c.kind == KIND_INFINITE && c.negative != product.negative)
            return invalid(format, context);
        return infinity(format, product.negative);
    }
    if (c.kind == KIND_INFINITE)
        return infinity(format, c.negative);
    if (product.kind == KIND_ZERO && c.kind == KIND_ZERO) {
        bool negative = product.negative == c.negative ? c.negative : context->rounding == RV_RDN;
        return pack(format, negative, 0, 0);
    }
    uint128 wide_c = (uint128)c.significand << 63;
    if (product.kind == KIND_ZERO)
        return round_pack_wide(format, c.negative, c.exponent, wide_c, context);
    if (c.kind == KIND_ZERO)
        return round_pack_wide(format, product.negative, product.exponent, wide, context);
    return add_wide(format, product, wide, c, wide_c, context);
}

static struct number product_of(struct number a, struct number b, uint128 *ret_wide)
{
    struct number product = {.negative = a.negative != b.negative,
                             .exponent = a.exponent + b.exponent};
    if (a.kind == KIND_INFINITE || b.kind == KIND_INFINITE)
        product.kind = KIND_INFINITE;
    else if (a.kind == KIND_ZERO || b.kind == KIND_ZERO)
        product.kind = KIND_ZERO;
    else
        product.kind = KIND_FINITE;
    *ret_wide = (uint128)a.significand * b.significand;
    if (*ret_wide >>
        127) { /* room for the carry of the sum; the lost bit is zero for both formats */
        *ret_wide = shift_right_jam(*ret_wide, 1);
        product.exponent++;
    }
    return product;
}

static bool is_invalid_product(struct number a, struct number b)
{
    return (a.kind == KIND_INFINITE && b.kind == KIND_ZERO) ||
           (a.kind == KIND_ZERO && b.kind == KIND_INFINITE);
}

uint64_t rv_float_add(const struct rv_format *format, uint64_t a, uint64_t b,
                      struct rv_float_context *context)
{
    struct number one = unpack(format, a), other = unpack(format, b);
    if (is_nan(one) || is_nan(other))
        return propagate(format, one.kind == KIND_SIGNALING || other.kind == KIND_SIGNALING,
                         context);
    return add_product(format, one, (uint128)one.significand << 63, other, context);
}

uint64_t rv_float_subtract(const struct rv_format *format, uint64_t a, uint64_t b,
                           struct rv_float_context *context)
{
    return rv_float_add(format, a, b ^ pack(format, true, 0, 0), context);
}

uint64_t rv_float_multiply(const struct rv_format *format, uint64_t a, uint64_t b,
                           struct rv_float_context *context)
{
    struct number one = unpack(format, a), other = unpack(format, b);
    uint128 wide;
    if (is_nan(one) || is_nan(other))
        return propagate(format, one.kind == KIND_SIGNALING || other.kind == KIND_SIGNALING,
                         context);
    if (is_invalid_product(one, other))
        return invalid(format, context);
    struct number product = product_of(one, other, &wide);
    if (product.kind == KIND_INFINITE)
        return infinity(format, product.negative);
    if (product.kind == KIND_ZERO)
        return pack(format, product.negative, 0, 0);
    return round_pack_wide(format, product.negative, product.exponent, wide, context);
}

uint64_t rv_float_fma(const struct rv_format *format, uint64_t a, uint64_t b, uint64_t c,
                      struct rv_float_context *context)
{
    struct number one = unpack(format, a), other = unpack(format, b), third = unpack(format, c);
    uint128 wide;
    if (is_invalid_product(one, other))
        return invalid(format, context);
    if (is_nan(one) || is_nan(other) || is_nan(third))
        return propagate(format,
                         one.kind == KIND_SIGNALING || other.kind == KIND_SIGNALING ||
                             third.kind == KIND_SIGNALING,
                         context);
    struct number product = product_of(one, other, &wide);
    return add_product(format, product, wide, third, context);
}

uint64_t rv_float_divide(const struct rv_format *format, uint64_t a, uint64_t b,
                         struct rv_float_context *context)
{
    struct number one = unpack(format, a), other = unpack(format, b);
    bool negative = one.negative != other.negative;
    if (is_nan(one) || is_nan(other))
        return propagate(format, one.kind == KIND_SIGNALING || other.kind == KIND_SIGNALING,
                         context);
    if (one.kind == other.kind && one.kind != KIND_FINITE)
        return invalid(format, context);
    if (one.kind == KIND_INFINITE || other.kind == KIND_ZERO) {
        if (one.kind == KIND_FINITE)
            context->flags |= RV_FLAG_DZ;
        return infinity(format, negative);
    }
    if (one.kind == KIND_ZERO || other.kind == KIND_INFINITE)
        return pack(format, negative, 0, 0);
    uint128 dividend = (uint128)one.significand << 63;
    uint64_t quotient = (uint64_t)(dividend / other.significand);
    bool rest = dividend % other.significand != 0;
    int exponent = one.exponent - other.exponent;
    if (!(quotient >> 63)) {
        quotient <<= 1;
        exponent--;
    }
    return round_pack(format, negative, exponent, quotient | rest, context);
}

/* The integer root of a value that is at least 2^126; *ret_exact: nothing is left over. */
static uint64_t integer_root(uint128 value, bool *ret_exact)
{
    uint64_t root = 0;
    for (int bit = 63; bit >= 0; bit--) {
        uint64_t tried = root | 1ull << bit;
        if ((uint128)tried * tried <= value)
            root = tried;
    }
    *ret_exact = (uint128)root * root == value;
    return root;
}

uint64_t rv_float_sqrt(const struct rv_format *format, uint64_t a, struct rv_float_context *context)
{
    struct number n = unpack(format, a);
    if (is_nan(n))
        return propagate(format, n.kind == KIND_SIGNALING, context);
    if (n.kind == KIND_ZERO)
        return a;
    if (n.negative)
        return invalid(format, context);
    if (n.kind == KIND_INFINITE)
        return a;
    bool odd = n.exponent & 1, exact;
    uint64_t root = integer_root((uint128)n.significand << (odd ? 64 : 63), &exact);
    return round_pack(format, false, (n.exponent - odd) / 2, root | !exact, context);
}

uint64_t rv_float_convert(const struct rv_format *from, const struct rv_format *to, uint64_t a,
                          struct rv_float_context *context)
{
    struct number n = unpack(from, a);
    switch (n.kind) {
    case KIND_ZERO:
        return pack(to, n.negative, 0, 0);
    case KIND_FINITE:
        return round_pack(to, n.negative, n.exponent, n.significand, context);
    case KIND_INFINITE:
        return infinity(to, n.negative);
    case KIND_QUIET:
    case KIND_SIGNALING:
        break;
    }
    return propagate(to, n.kind == KIND_SIGNALING, context);
}

/* The magnitude as an integer in the high half, what is behind the point in the low half. */
static uint128 fixed_point(struct number n)
{
    return shift_right_jam((uint128)n.significand << 64, (unsigned)(63 - n.exponent));
}

uint64_t rv_float_to_integer(const struct rv_format *format, uint64_t a, unsigned bits,
                             bool is_signed, struct rv_float_context *context)
{
    struct number n = unpack(format, a);
    uint64_t ones = bits == 64 ? UINT64_MAX : UINT32_MAX;
    uint64_t most = is_signed ? ones >> 1 : ones;
    uint64_t least = is_signed ? most + 1 : 0; /* magnitude of the smallest */
    uint64_t magnitude = 0, limit = n.negative ? least : most;
    bool fits = n.kind == KIND_ZERO, inexact = false;
    if (n.kind == KIND_FINITE && n.exponent <= 63) {
        uint128 fixed = fixed_point(n);
        uint64_t whole = (uint64_t)(fixed >> 64), rest = (uint64_t)fixed;
        bool up = rounds_up(context->rounding, n.negative, whole & 1, rest, 1ull << 63);
        magnitude = whole + up;
        fits = !(up && magnitude == 0) && magnitude <= limit;
        inexact = rest != 0;
    }
    if (!fits) {
        context->flags |= RV_FLAG_NV;
        magnitude = is_nan(n) ? most : limit;
        n.negative = n.negative && !is_nan(n);
    } else if (inexact) {
        context->flags |= RV_FLAG_NX;
    }
    uint64_t result = n.negative ? 0 - magnitude : magnitude;
    return bits == 64 ? result : (uint64_t)(int64_t)(int32_t)result;
}

uint64_t rv_float_from_integer(const struct rv_format *format, uint64_t a, unsigned bits,
                               bool is_signed, struct rv_float_context *context)
{
    if (bits == 32)
        a = is_signed ? (uint64_t)(int64_t)(int32_t)a : (uint32_t)a;
    if (a == 0)
        return 0;
    bool negative = is_signed && a >> 63;
    uint64_t magnitude = negative ? 0 - a : a;
    int zeros = __builtin_clzll(magnitude);
    return round_pack(format, negative, 63 - zeros, magnitude << zeros, context);
}

/* -1, 0 or 1; for numbers, not NaNs. Zeros are equal. */
static int compare(const struct rv_format *format, uint64_t a, uint64_t b)
{
    uint64_t sign = pack(format, true, 0, 0);
    int64_t one = (int64_t)(a & ~sign), other = (int64_t)(b & ~sign);
    one = a & sign ? -one : one;
    other = b & sign ? -other : other;
    return (one > other) - (one < other);
}

static uint64_t choose(const struct rv_format *format, uint64_t a, uint64_t b, int order,
                       struct rv_float_context *context)
{
    struct number one = unpack(format, a), other = unpack(format, b);
    if (one.kind == KIND_SIGNALING || other.kind == KIND_SIGNALING)
        context->flags |= RV_FLAG_NV;
    if (is_nan(one))
        return is_nan(other) ? canonical_nan(format) : b;
    if (is_nan(other))
        return a;
    int result = compare(format, a, b);
    if (result == 0 && one.negative != other.negative) /* -0 is below +0 here */
        result = one.negative ? -1 : 1;
    return result == order ? a : b;
}

uint64_t rv_float_minimum(const struct rv_format *format, uint64_t a, uint64_t b,
                          struct rv_float_context *context)
{
    return choose(format, a, b, -1, context);
}

uint64_t rv_float_maximum(const struct rv_format *format, uint64_t a, uint64_t b,
                          struct rv_float_context *context)
{
    return choose(format, a, b, 1, context);
}

bool rv_float_equal(const struct rv_format *format, uint64_t a, uint64_t b,
                    struct rv_float_context *context)
{
    struct number one = unpack(format, a), other = unpack(format, b);
    if (one.kind == KIND_SIGNALING || other.kind == KIND_SIGNALING)
        context->flags |= RV_FLAG_NV;
    return !is_nan(one) && !is_nan(other) && compare(format, a, b) == 0;
}

static bool ordered(const struct rv_format *format, uint64_t a, uint64_t b,
                    struct rv_float_context *context)
{
    if (!is_nan(unpack(format, a)) && !is_nan(unpack(format, b)))
        return true;
    context->flags |= RV_FLAG_NV;
    return false;
}

bool rv_float_less(const struct rv_format *format, uint64_t a, uint64_t b,
                   struct rv_float_context *context)
{
    return ordered(format, a, b, context) && compare(format, a, b) < 0;
}

bool rv_float_less_equal(const struct rv_format *format, uint64_t a, uint64_t b,
                         struct rv_float_context *context)
{
    return ordered(format, a, b, context) && compare(format, a, b) <= 0;
}

uint64_t rv_float_class(const struct rv_format *format, uint64_t a)
{
    struct number n = unpack(format, a);
    bool subnormal = n.kind == KIND_FINITE && n.exponent < 1 - bias(format);
    unsigned distance = 0; /* from zero: 0 zero, 1 subnormal, 2 normal, 3 infinite */
    switch (n.kind) {
    case KIND_SIGNALING:
        return 1u << 8;
    case KIND_QUIET:
        return 1u << 9;
    case KIND_INFINITE:
        distance = 3;
        break;
    case KIND_FINITE:
        distance = subnormal ? 1 : 2;
        break;
    case KIND_ZERO:
        break;
    }
    return n.negative ? 1u << (3 - distance) : 1u << (4 + distance);
}
