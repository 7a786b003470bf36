/* SPDX-License-Identifier: Apache-2.0 */
/* RV64I. */
#include "check.h"
    BEGIN
    RR(add, 1, -2, -1)
    RR(add, 0x7fffffffffffffff, 1, 0x8000000000000000)
    RR(sub, 0, 1, -1)
    RR(addw, 0x7fffffff, 1, 0xffffffff80000000)
    RR(subw, 0xffffffff80000000, 1, 0x7fffffff)
    RR(sll, 1, 63, 0x8000000000000000)
    RR(sll, 1, 64, 1)
    RR(srl, -1, 60, 15)
    RR(sra, 0x8000000000000000, 63, -1)
    RR(sllw, 1, 31, 0xffffffff80000000)
    RR(sllw, 1, 32, 1)
    RR(srlw, 0xffffffff80000000, 31, 1)
    RR(sraw, 0x80000000, 31, -1)
    RR(slt, -1, 1, 1)
    RR(sltu, -1, 1, 0)
    RR(xor, 0xff00, 0x0ff0, 0xf0f0)
    RR(or, 0xff00, 0x0ff0, 0xfff0)
    RR(and, 0xff00, 0x0ff0, 0x0f00)
    RI(addi, 5, -2048, -2043)
    RI(addiw, 0x7fffffff, 1, 0xffffffff80000000)
    RI(slti, -5, -4, 1)
    RI(sltiu, 5, -1, 1)
    RI(xori, 0x55, -1, 0xffffffffffffffaa)
    RI(ori, 0x50, 0x0f, 0x5f)
    RI(andi, 0x5f, 0x0f, 0x0f)
    RI(slli, 3, 62, 0xc000000000000000)
    RI(srli, -1, 63, 1)
    RI(srai, -16, 2, -4)
    RI(slliw, 3, 31, 0xffffffff80000000)
    RI(srliw, -1, 31, 1)
    RI(sraiw, 0x80000000, 4, 0xfffffffff8000000)

    lui a0, 0x80000
    EXPECT(0xffffffff80000000)
here:
    auipc a0, 1
    la a1, here
    sub a0, a0, a1
    EXPECT(0x1000)
    jal a0, 1f
2:  j fail
1:  la a1, 2b
    sub a0, a0, a1
    EXPECT(0)
    la a1, 3f + 1           /* bit 0 of the target is dropped */
    jalr a0, a1, 0
    j fail
3:  la a1, 3b - 4
    sub a0, a0, a1
    EXPECT(0)
    addi zero, zero, 5      /* x0 stays 0 */
    mv a0, zero
    EXPECT(0)

    TAKEN(beq, 5, 5)
    NOT_TAKEN(beq, 5, 6)
    TAKEN(bne, 5, 6)
    NOT_TAKEN(bne, 5, 5)
    TAKEN(blt, -1, 1)
    NOT_TAKEN(blt, 1, 1)
    TAKEN(bge, 1, 1)
    NOT_TAKEN(bge, -1, 1)
    TAKEN(bltu, 1, -1)
    NOT_TAKEN(bltu, -1, 1)
    TAKEN(bgeu, -1, 1)
    NOT_TAKEN(bgeu, 1, -1)

    la a1, data
    lb a0, 0(a1)
    EXPECT(-120)
    lbu a0, 0(a1)
    EXPECT(0x88)
    lh a0, 0(a1)
    EXPECT(0xffffffffffff9988)
    lhu a0, 0(a1)
    EXPECT(0x9988)
    lw a0, 4(a1)
    EXPECT(0xffffffffffeeddcc)
    lwu a0, 4(a1)
    EXPECT(0xffeeddcc)
    ld a0, 0(a1)
    EXPECT(0xffeeddccbbaa9988)
    ld a0, 3(a1)            /* misaligned accesses work */
    EXPECT(0x332211ffeeddccbb)
    li a2, 0x1122334455667788
    sb a2, 16(a1)
    sh a2, 18(a1)
    sw a2, 20(a1)
    ld a0, 16(a1)
    EXPECT(0x5566778877880088)
    sd a2, 19(a1)
    ld a0, 19(a1)
    EXPECT(0x1122334455667788)
    fence
    fence.i
    END
    .balign 8
data:
    .dword 0xffeeddccbbaa9988, 0x7766554433332211 - 0x1100000000, 0, 0
