/* SPDX-License-Identifier: Apache-2.0 */
/* A: every AMO returns the old value and leaves the new one; LR/SC. */
#include "check.h"
#define AMO(instruction, load, old, operand, returned, left) \
    la a3, cell;                    \
    li a1, old;                     \
    sd a1, 0(a3);                   \
    li a2, operand;                 \
    instruction a0, a2, (a3);       \
    EXPECT(returned);               \
    ld a0, 0(a3);                   \
    EXPECT(left)
    BEGIN
    AMO(amoswap.d, ld, 1, 2, 1, 2)
    AMO(amoadd.d.aqrl, ld, -1, 2, -1, 1)
    AMO(amoxor.d, ld, 0xf0, 0xff, 0xf0, 0x0f)
    AMO(amoand.d, ld, 0xf0, 0x3c, 0xf0, 0x30)
    AMO(amoor.d, ld, 0xf0, 0x0f, 0xf0, 0xff)
    AMO(amomin.d, ld, -1, 1, -1, -1)
    AMO(amomax.d, ld, -1, 1, -1, 1)
    AMO(amominu.d, ld, -1, 1, -1, 1)
    AMO(amomaxu.d, ld, -1, 1, -1, -1)
    AMO(amoswap.w, ld, 0x5580000001, 2, 0xffffffff80000001, 0x5500000002)
    AMO(amoadd.w, ld, 0x55ffffffff, 2, -1, 0x5500000001)
    AMO(amoxor.w.rl, ld, 0x55000000f0, 0xff, 0xf0, 0x550000000f)
    AMO(amoand.w, ld, 0x55000000f0, 0x3c, 0xf0, 0x5500000030)
    AMO(amoor.w.aq, ld, 0x55000000f0, 0x0f, 0xf0, 0x55000000ff)
    AMO(amomin.w, ld, 0x5580000000, 1, 0xffffffff80000000, 0x5580000000)
    AMO(amomax.w, ld, 0x5580000000, 1, 0xffffffff80000000, 0x5500000001)
    AMO(amominu.w, ld, 0x5580000000, 1, 0xffffffff80000000, 0x5500000001)
    AMO(amomaxu.w, ld, 0x5580000000, 1, 0xffffffff80000000, 0x5580000000)

    la a3, cell
    li a1, 77
    sd a1, 0(a3)
    lr.d a0, (a3)
    EXPECT(77)
    li a1, 78
    sc.d a0, a1, (a3)
    EXPECT(0)
    ld a0, 0(a3)
    EXPECT(78)
    sc.d a0, a1, (a3)       /* the reservation is used up */
    EXPECT(1)
    lr.w a0, (a3)
    EXPECT(78)
    addi a4, a3, 8
    sc.w a0, a1, (a4)       /* and is for one address */
    EXPECT(1)
    sc.w a0, a1, (a3)
    EXPECT(1)
    lr.d a0, (a3)
    li a1, 80
    sd a1, 0(a3)            /* somebody else's value makes it fail */
    sc.d a0, zero, (a3)
    EXPECT(1)
    ld a0, 0(a3)
    EXPECT(80)
    END
    .balign 16
cell:
    .dword 0, 0
