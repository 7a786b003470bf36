/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed instructions as their 32-bit equivalents (unprivileged ISA 20191213, tables 16.5
 * to 16.7). */
#include "cpu/riscv/decode.h"

/* Bits `high`..`low` of the parcel, moved to bit `to`. */
static uint32_t bits(uint16_t parcel, unsigned high, unsigned low, unsigned to)
{
    return (((uint32_t)parcel >> low) & ((1u << (high - low + 1)) - 1)) << to;
}

static uint32_t sign_extend(uint32_t value, unsigned width)
{
    uint32_t sign = 1u << (width - 1);
    return (value ^ sign) - sign;
}

static uint32_t make_i(uint32_t opcode, uint32_t funct3, uint32_t rd, uint32_t rs1, uint32_t imm)
{
    return imm << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}

static uint32_t make_r(uint32_t opcode, uint32_t funct3, uint32_t funct7, uint32_t rd, uint32_t rs1,
                       uint32_t rs2)
{
    return funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode;
}

static uint32_t make_s(uint32_t opcode, uint32_t funct3, uint32_t rs1, uint32_t rs2, uint32_t imm)
{
    return (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 0x1f) << 7 |
           opcode;
}

static uint32_t make_b(uint32_t funct3, uint32_t rs1, uint32_t imm)
{
    return (imm >> 12 & 1) << 31 | (imm >> 5 & 0x3f) << 25 | rs1 << 15 | funct3 << 12 |
           (imm >> 1 & 0xf) << 8 | (imm >> 11 & 1) << 7 | 0x63;
}

static uint32_t make_jal(uint32_t rd, uint32_t imm)
{
    return (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3ff) << 21 | (imm >> 11 & 1) << 20 |
           (imm >> 12 & 0xff) << 12 | rd << 7 | 0x6f;
}

static uint32_t low_register(uint16_t c, unsigned at)
{
    return 8 + (c >> at & 7);
}

static uint32_t offset_word(uint16_t c)
{
    return bits(c, 12, 10, 3) | bits(c, 6, 6, 2) | bits(c, 5, 5, 6);
}

static uint32_t offset_double(uint16_t c)
{
    return bits(c, 12, 10, 3) | bits(c, 6, 5, 6);
}

static uint32_t expand_quadrant_0(uint16_t c)
{
    uint32_t rd = low_register(c, 2), rs1 = low_register(c, 7);
    uint32_t wide = bits(c, 12, 11, 4) | bits(c, 10, 7, 6) | bits(c, 6, 6, 2) | bits(c, 5, 5, 3);
    switch (c >> 13) {
    case 0: /* c.addi4spn */
        return wide ? make_i(0x13, 0, rd, 2, wide) : 0;
    case 1: /* c.fld */
        return make_i(0x07, 3, rd, rs1, offset_double(c));
    case 2: /* c.lw */
        return make_i(0x03, 2, rd, rs1, offset_word(c));
    case 3: /* c.ld */
        return make_i(0x03, 3, rd, rs1, offset_double(c));
    case 5: /* c.fsd */
        return make_s(0x27, 3, rs1, rd, offset_double(c));
    case 6: /* c.sw */
        return make_s(0x23, 2, rs1, rd, offset_word(c));
    case 7: /* c.sd */
        return make_s(0x23, 3, rs1, rd, offset_double(c));
    default:
        return 0;
    }
}

static uint32_t expand_arithmetic(uint16_t c, uint32_t imm)
{
    static const struct {
        uint8_t opcode, funct3, funct7;
    } two_registers[8] = {
        {0x33, 0, 0x20}, {0x33, 4, 0}, {0x33, 6, 0}, {0x33, 7, 0}, {0x3b, 0, 0x20}, {0x3b, 0, 0},
    };
    uint32_t rd = low_register(c, 7), shift = imm & 0x3f;
    switch (c >> 10 & 3) {
    case 0: /* c.srli */
        return make_i(0x13, 5, rd, rd, shift);
    case 1: /* c.srai */
        return make_i(0x13, 5, rd, rd, shift | 0x400);
    case 2: /* c.andi */
        return make_i(0x13, 7, rd, rd, imm);
    }
    unsigned row = (c >> 12 & 1) << 2 | (c >> 5 & 3);
    if (!two_registers[row].opcode)
        return 0;
    return make_r(two_registers[row].opcode, two_registers[row].funct3, two_registers[row].funct7,
                  rd, rd, low_register(c, 2));
}

static uint32_t expand_quadrant_1(uint16_t c)
{
    uint32_t rd = c >> 7 & 31;
    uint32_t imm = sign_extend(bits(c, 12, 12, 5) | bits(c, 6, 2, 0), 6);
    uint32_t jump = sign_extend(bits(c, 12, 12, 11) | bits(c, 11, 11, 4) | bits(c, 10, 9, 8) |
                                    bits(c, 8, 8, 10) | bits(c, 7, 7, 6) | bits(c, 6, 6, 7) |
                                    bits(c, 5, 3, 1) | bits(c, 2, 2, 5),
                                12);
    uint32_t branch = sign_extend(bits(c, 12, 12, 8) | bits(c, 11, 10, 3) | bits(c, 6, 5, 6) |
                                      bits(c, 4, 3, 1) | bits(c, 2, 2, 5),
                                  9);
    uint32_t stack = sign_extend(bits(c, 12, 12, 9) | bits(c, 6, 6, 4) | bits(c, 5, 5, 6) |
                                     bits(c, 4, 3, 7) | bits(c, 2, 2, 5),
                                 10);
    switch (c >> 13) {
    case 0: /* c.addi, c.nop */
        return make_i(0x13, 0, rd, rd, imm);
    case 1: /* c.addiw; x0 is reserved */
        return rd ? make_i(0x1b, 0, rd, rd, imm) : 0;
    case 2: /* c.li */
        return make_i(0x13, 0, rd, 0, imm);
    case 3: /* c.addi16sp, c.lui; a zero immediate is reserved */
        if (rd == 2)
            return stack ? make_i(0x13, 0, 2, 2, stack) : 0;
        return imm ? imm << 12 | rd << 7 | 0x37 : 0;
    case 4:
        return expand_arithmetic(c, imm);
    case 5: /* c.j */
        return make_jal(0, jump);
    case 6: /* c.beqz */
        return make_b(0, low_register(c, 7), branch);
    default: /* c.bnez */
        return make_b(1, low_register(c, 7), branch);
    }
}

static uint32_t expand_jumps(uint16_t c)
{
    uint32_t rd = c >> 7 & 31, rs2 = c >> 2 & 31;
    if (c >> 12 & 1) {
        if (rs2) /* c.add */
            return make_r(0x33, 0, 0, rd, rd, rs2);
        return rd ? make_i(0x67, 0, 1, rd, 0) : 0x00100073; /* c.jalr, c.ebreak */
    }
    if (rs2) /* c.mv */
        return make_r(0x33, 0, 0, rd, 0, rs2);
    return rd ? make_i(0x67, 0, 0, rd, 0) : 0; /* c.jr */
}

static uint32_t expand_quadrant_2(uint16_t c)
{
    uint32_t rd = c >> 7 & 31, rs2 = c >> 2 & 31;
    uint32_t load_word = bits(c, 12, 12, 5) | bits(c, 6, 4, 2) | bits(c, 3, 2, 6);
    uint32_t load_double = bits(c, 12, 12, 5) | bits(c, 6, 5, 3) | bits(c, 4, 2, 6);
    uint32_t store_word = bits(c, 12, 9, 2) | bits(c, 8, 7, 6);
    uint32_t store_double = bits(c, 12, 10, 3) | bits(c, 9, 7, 6);
    switch (c >> 13) {
    case 0: /* c.slli */
        return make_i(0x13, 1, rd, rd, bits(c, 12, 12, 5) | bits(c, 6, 2, 0));
    case 1: /* c.fldsp */
        return make_i(0x07, 3, rd, 2, load_double);
    case 2: /* c.lwsp; x0 is reserved */
        return rd ? make_i(0x03, 2, rd, 2, load_word) : 0;
    case 3: /* c.ldsp; x0 is reserved */
        return rd ? make_i(0x03, 3, rd, 2, load_double) : 0;
    case 4:
        return expand_jumps(c);
    case 5: /* c.fsdsp */
        return make_s(0x27, 3, 2, rs2, store_double);
    case 6: /* c.swsp */
        return make_s(0x23, 2, 2, rs2, store_word);
    default: /* c.sdsp */
        return make_s(0x23, 3, 2, rs2, store_double);
    }
}

uint32_t rv_expand(uint16_t parcel)
{
    switch (parcel & 3) {
    case 0:
        return expand_quadrant_0(parcel);
    case 1:
        return expand_quadrant_1(parcel);
    case 2:
        return expand_quadrant_2(parcel);
    default:
        return 0;
    }
}
