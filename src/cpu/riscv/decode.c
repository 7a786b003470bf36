/* SPDX-License-Identifier: Apache-2.0 */
/* Table-driven decoder: the rows of ops.h, entered at the first row of each major opcode. */
#include <stddef.h>

#include "cpu/riscv/decode.h"

enum format {
    FORMAT_U,
    FORMAT_UPC,
    FORMAT_J,
    FORMAT_I,
    FORMAT_B,
    FORMAT_S,
    FORMAT_R,
    FORMAT_SHIFT,
    FORMAT_NONE,
    FORMAT_CSR,
    FORMAT_FR,
    FORMAT_FX,
    FORMAT_FI,
    FORMAT_FSTORE,
    FORMAT_F4,
};

struct row {
    uint32_t mask, match;
    uint8_t op, format;
};

static const struct row rows[] = {
#define ROW(name, mask, match, format) {mask, match, RV_OP_##name, FORMAT_##format},
    RV_OPS_INTEGER(ROW) RV_OPS_FLOAT(ROW)
#undef ROW
};

static int32_t immediate_i(uint32_t raw)
{
    return (int32_t)raw >> 20;
}

static int32_t immediate_s(uint32_t raw)
{
    return ((int32_t)raw >> 25) * 32 + (int32_t)(raw >> 7 & 0x1f);
}

static int32_t immediate_b(uint32_t raw)
{
    return ((int32_t)raw >> 31) * 4096 +
           (int32_t)((raw >> 7 & 1) << 11 | (raw >> 25 & 0x3f) << 5 | (raw >> 8 & 0xf) << 1);
}

static int32_t immediate_j(uint32_t raw)
{
    return ((int32_t)raw >> 31) * 1048576 +
           (int32_t)((raw & 0xff000) | (raw >> 20 & 1) << 11 | (raw >> 21 & 0x3ff) << 1);
}

static int32_t immediate(enum format format, uint32_t raw)
{
    switch (format) {
    case FORMAT_U:
    case FORMAT_UPC:
        return (int32_t)(raw & 0xfffff000);
    case FORMAT_J:
        return immediate_j(raw);
    case FORMAT_I:
    case FORMAT_FI:
        return immediate_i(raw);
    case FORMAT_B:
        return immediate_b(raw);
    case FORMAT_S:
    case FORMAT_FSTORE:
        return immediate_s(raw);
    case FORMAT_SHIFT:
        return (int32_t)(raw >> 20 & 0x3f);
    case FORMAT_R:
    case FORMAT_NONE:
        return 0;
    case FORMAT_CSR:
    case FORMAT_FR:
    case FORMAT_FX:
    case FORMAT_F4:
        return (int32_t)raw;
    }
    return 0;
}

/* Whether bits 11:7 name an integer register that is written. */
static int writes_integer(enum format format)
{
    return format != FORMAT_FR && format != FORMAT_FI && format != FORMAT_F4 &&
           format != FORMAT_B && format != FORMAT_S && format != FORMAT_FSTORE;
}

static struct rv_decoded decode_row(const struct row *row, uint32_t raw)
{
    enum format format = (enum format)row->format;
    struct rv_decoded decoded = {
        .op = (enum rv_op)row->op,
        .rd = raw >> 7 & 31,
        .rs1 = raw >> 15 & 31,
        .rs2 = raw >> 20 & 31,
        .imm = immediate(format, raw),
    };
    if (writes_integer(format) && decoded.rd == 0)
        decoded.rd = RV_SINK;
    return decoded;
}

struct rv_decoded rv_decode(uint32_t raw)
{
    struct rv_decoded illegal = {.op = RV_OP_ILLEGAL, .imm = (int32_t)raw};
    if ((raw & 3) != 3)
        raw = rv_expand((uint16_t)raw);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((raw & rows[i].mask) == rows[i].match)
            return decode_row(&rows[i], raw);
    return illegal;
}
