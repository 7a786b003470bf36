/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random straight-line code from the decoder's own rows: the fixed bits of a row, random bits
 * elsewhere, then what would leave the scratch memory or touch a reserved register is drawn again.
 * Branches go forward only.
 */
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "cpu/riscv/decode.h"
#include "generate.h"

struct row {
    uint32_t mask, match;
    enum rv_op op;
    bool is_float, writes_f, rounds;
};

/* By operand format: no integer destination. */
enum { NO_X_FR = 1, NO_X_FX = 0, NO_X_FI = 1, NO_X_FSTORE = 1, NO_X_F4 = 1 };

static const struct row rows[] = {
#define ROW_INTEGER(name, mask, match, format) {mask, match, RV_OP_##name, false, false, false},
#define ROW_FLOAT(name, mask, match, format)                                                       \
    {mask, match, RV_OP_##name, true, NO_X_##format, !((mask) >> 12 & 7)},
    RV_OPS_INTEGER(ROW_INTEGER) RV_OPS_FLOAT(ROW_FLOAT)};
#define ROWS (sizeof rows / sizeof *rows)

static uint64_t draw(uint64_t *random)
{
    uint64_t z = *random += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static unsigned below(uint64_t *random, unsigned limit)
{
    return (unsigned)(draw(random) >> 32) % limit;
}

static bool is_reserved(unsigned x)
{
    return x == 2 || x == 8 || x == 30 || x == 31;
}

/* By what an instruction needs to be safe in a sequence. */
enum shape { SHAPE_PLAIN, SHAPE_LOAD, SHAPE_STORE, SHAPE_ATOMIC, SHAPE_NEVER };

static enum shape shape_of(enum rv_op op)
{
    if ((op >= RV_OP_JAL && op <= RV_OP_BGEU) || (op >= RV_OP_ECALL && op <= RV_OP_CSRRCI))
        return SHAPE_NEVER; /* jumps and registers of the machine have generators of their own */
    if (op == RV_OP_LR_W || op == RV_OP_LR_D || op == RV_OP_SC_W || op == RV_OP_SC_D ||
        op == RV_OP_AUIPC || op >= RV_OP_ILLEGAL)
        return op == RV_OP_AUIPC ? SHAPE_PLAIN : SHAPE_NEVER;
    if ((op >= RV_OP_LB && op <= RV_OP_LWU) || op == RV_OP_FLW || op == RV_OP_FLD)
        return SHAPE_LOAD;
    if ((op >= RV_OP_SB && op <= RV_OP_SD) || op == RV_OP_FSW || op == RV_OP_FSD)
        return SHAPE_STORE;
    if (op >= RV_OP_LR_W && op <= RV_OP_AMOMAXU_D)
        return SHAPE_ATOMIC;
    return SHAPE_PLAIN;
}

static bool writes_f(enum rv_op op)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].op == op)
            return rows[i].writes_f;
    return false;
}

/* Whether a legal instruction may stand in a sequence. */
static bool is_safe(struct rv_decoded decoded)
{
    enum shape shape = shape_of(decoded.op);
    if (shape == SHAPE_NEVER)
        return false;
    if (shape != SHAPE_STORE && !writes_f(decoded.op) && is_reserved(decoded.rd))
        return false;
    if (shape == SHAPE_ATOMIC)
        return is_reserved(decoded.rs1) && decoded.rs1 != 31;
    if (shape != SHAPE_LOAD && shape != SHAPE_STORE)
        return true;
    if (decoded.rs1 == 30)
        return decoded.imm >= -DIFF_SCRATCH_BYTES / 2 && decoded.imm <= DIFF_SCRATCH_BYTES / 2 - 8;
    return (decoded.rs1 == 2 || decoded.rs1 == 8) && decoded.imm >= 0 &&
           decoded.imm <= DIFF_SCRATCH_BYTES - 8;
}

static uint32_t set_field(uint32_t raw, unsigned at, unsigned width, uint32_t value)
{
    uint32_t mask = ((1u << width) - 1) << at;
    return (raw & ~mask) | (value << at & mask);
}

static uint32_t draw_wide(uint64_t *random, enum diff_kind kind)
{
    static const uint8_t roundings[] = {0, 1, 2, 3, 4, 7, 7, 7};
    for (;;) {
        const struct row *row = &rows[below(random, ROWS)];
        enum shape shape = shape_of(row->op);
        if (shape == SHAPE_NEVER || (kind == DIFF_FLOAT && !row->is_float) ||
            (kind == DIFF_INTEGER && row->is_float))
            continue;
        uint32_t raw = row->match | ((uint32_t)draw(random) & ~row->mask);
        if (row->rounds)
            raw = set_field(raw, 12, 3, roundings[below(random, 8)]);
        if (shape == SHAPE_ATOMIC || shape == SHAPE_LOAD || shape == SHAPE_STORE)
            raw = set_field(raw, 15, 5, 30);
        int32_t offset = (int32_t)below(random, DIFF_SCRATCH_BYTES - 8) - DIFF_SCRATCH_BYTES / 2;
        if (shape == SHAPE_LOAD)
            raw = set_field(raw, 20, 12, (uint32_t)offset);
        if (shape == SHAPE_STORE)
            raw = set_field(set_field(raw, 7, 5, (uint32_t)offset), 25, 7, (uint32_t)offset >> 5);
        if (rv_decode(raw).op == row->op && is_safe(rv_decode(raw)))
            return raw;
    }
}

static uint32_t draw_compressed(uint64_t *random)
{
    for (;;) {
        uint32_t raw = draw(random) & 0xffff;
        if ((raw & 3) != 3 && rv_expand((uint16_t)raw) && is_safe(rv_decode(raw)))
            return raw;
    }
}

/* fflags with anything, frm with legal modes, fcsr only read: an illegal mode would end the
 * program. */
static uint32_t draw_csr(uint64_t *random)
{
    uint32_t rd;
    do
        rd = below(random, 32);
    while (is_reserved(rd));
    switch (below(random, 3)) {
    case 0:
        return 1u << 20 | below(random, 32) << 15 | (1 + below(random, 3)) << 12 | rd << 7 | 0x73;
    case 1:
        return 2u << 20 | below(random, 5) << 15 | 5u << 12 | rd << 7 | 0x73;
    default:
        return 3u << 20 | 2u << 12 | rd << 7 | 0x73;
    }
}

/* LR and SC of one size, next to each other. */
static unsigned put_reserved_pair(uint64_t *random, uint8_t *to)
{
    uint32_t size = 2 + below(random, 2), one, other, value = below(random, 32);
    do {
        one = below(random, 32);
        other = below(random, 32);
    } while (is_reserved(one) || is_reserved(other));
    put_le32(to, 0x1000002f | size << 12 | 30u << 15 | one << 7);
    put_le32(to + 4, 0x1800002f | size << 12 | 30u << 15 | value << 20 | other << 7);
    return 8;
}

/* A branch over `bytes` bytes. */
static void put_branch(uint64_t *random, uint8_t *to, uint32_t bytes)
{
    static const uint8_t functions[] = {0, 1, 4, 5, 6, 7};
    uint32_t raw = 0x63 | (uint32_t)functions[below(random, 6)] << 12 | below(random, 30) << 15 |
                   below(random, 30) << 20;
    bytes += 4;
    put_le32(to, raw | (bytes >> 1 & 0xf) << 8 | (bytes >> 5 & 0x3f) << 25);
}

static unsigned put_any(uint64_t *random, enum diff_kind kind, uint8_t *to)
{
    unsigned choice = below(random, 100);
    if (choice < 15 && kind != DIFF_FLOAT) {
        put_le16(to, (uint16_t)draw_compressed(random));
        return 2;
    }
    if (choice < 20 && kind != DIFF_INTEGER)
        put_le32(to, draw_csr(random));
    else if (choice < 22 && kind != DIFF_FLOAT)
        return put_reserved_pair(random, to);
    else
        put_le32(to, draw_wide(random, kind));
    return 4;
}

static void draw_code(uint64_t *random, enum diff_kind kind, uint8_t code[DIFF_CODE_BYTES])
{
    unsigned at = 0, instructions = 1 + below(random, 40);
    memset(code, 0, DIFF_CODE_BYTES);
    while (instructions-- && at < DIFF_CODE_BYTES - 32) {
        if (kind != DIFF_FLOAT && below(random, 12) == 0) {
            unsigned branch = at;
            at += 4;
            for (unsigned skipped = below(random, 2) + 1; skipped; skipped--)
                at += put_any(random, kind, code + at);
            put_branch(random, code + branch, at - branch - 4);
        } else {
            at += put_any(random, kind, code + at);
        }
    }
    put_le32(code + at, DIFF_DONE | 31 << 7 | 0x37); /* lui x31 */
    put_le32(code + at + 4, 31 << 15 | 0x67);        /* jr x31 */
}

static uint64_t draw_integer(uint64_t *random)
{
    static const uint64_t special[] = {0,
                                       1,
                                       2,
                                       UINT64_MAX,
                                       INT64_MAX,
                                       1ull << 63,
                                       INT32_MAX,
                                       0x80000000ull,
                                       UINT32_MAX,
                                       0xffffffff80000000ull,
                                       0x100000000ull,
                                       0x3fffffffffffff,
                                       0x1fffffffffffff,
                                       0xffffff};
    uint64_t value = draw(random);
    switch (below(random, 4)) {
    case 0:
        return special[value % (sizeof special / sizeof *special)];
    case 1:
        return value >> below(random, 64);
    case 2:
        return (uint64_t)((int64_t)value >> below(random, 64));
    default:
        return value;
    }
}

/* Bits of a float with `fraction` fraction bits and `exponent` exponent bits, often a corner. */
static uint64_t draw_float(uint64_t *random, unsigned fraction, unsigned exponent)
{
    uint64_t bits = draw(random), ones = (1ull << exponent) - 1, middle = ones >> 1;
    uint64_t field[] = {
        0,        0,    1,          middle, middle + below(random, 70), middle - below(random, 70),
        ones - 1, ones, bits & ones};
    uint64_t low = draw(random) & ((1ull << fraction) - 1);
    uint64_t fractions[] = {0,
                            low,
                            low >> below(random, fraction),
                            1,
                            (1ull << fraction) - 1,
                            1ull << (fraction - 1),
                            low & ~((1ull << fraction / 2) - 1)};
    return (bits >> 63) << (fraction + exponent) | field[below(random, 9)] << fraction |
           fractions[below(random, 7)];
}

static uint64_t draw_register(uint64_t *random)
{
    unsigned choice = below(random, 16);
    if (choice < 8)
        return draw_float(random, 52, 11);
    if (choice < 15)
        return draw_float(random, 23, 8) | 0xffffffff00000000ull;
    return draw(random);
}

void diff_generate(uint64_t seed, enum diff_kind kind, uint8_t code[DIFF_CODE_BYTES],
                   struct diff_state *ret_state)
{
    uint64_t random = seed * 0x2545f4914f6cdd1dull;
    draw_code(&random, kind, code);
    for (unsigned i = 0; i < 32; i++) {
        ret_state->x[i] = draw_integer(&random);
        ret_state->f[i] = draw_register(&random);
    }
    ret_state->x[0] = 0;
    ret_state->x[2] = ret_state->x[8] = DIFF_SCRATCH;
    ret_state->x[30] = DIFF_SCRATCH + DIFF_SCRATCH_BYTES / 2;
    ret_state->fcsr = below(&random, 5) << 5 | below(&random, 32);
}
