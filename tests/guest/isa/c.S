/* SPDX-License-Identifier: Apache-2.0 */
/* C: each form, written as such. */
#include "check.h"
    BEGIN
    .option rvc
    la s0, cell
    la sp, cell
    c.li a0, -32
    EXPECT(-32)
    c.addi a0, 31
    EXPECT(-1)
    c.lui a0, 0xfffe1
    EXPECT(0xfffffffffffe1000)
    li a0, 0x7fffffff
    c.addiw a0, 1
    EXPECT(0xffffffff80000000)
    c.slli a0, 33
    EXPECT(0)
    li s1, -16
    c.srli s1, 60
    c.mv a0, s1
    EXPECT(15)
    li s1, -16
    c.srai s1, 4
    c.mv a0, s1
    EXPECT(-1)
    c.andi s1, 5
    c.mv a0, s1
    EXPECT(5)
    li a5, 3
    c.add a0, a5
    EXPECT(8)
    c.sub a0, a5
    EXPECT(5)
    c.xor a0, a5
    EXPECT(6)
    c.or a0, a5
    EXPECT(7)
    c.and a0, a5
    EXPECT(3)
    li a0, 0x80000000
    c.addw a0, a5
    EXPECT(0xffffffff80000003)
    c.subw a0, a5
    EXPECT(0xffffffff80000000)
    li a1, 0x1122334455667788
    c.sd a1, 16(s0)
    c.ld a0, 16(s0)
    EXPECT(0x1122334455667788)
    c.lw a0, 16(s0)
    EXPECT(0x55667788)
    c.sw a1, 20(s0)
    c.ld a0, 16(s0)
    EXPECT(0x5566778855667788)
    c.sdsp a1, 504(sp)
    c.ldsp a0, 504(sp)
    EXPECT(0x1122334455667788)
    c.lwsp a0, 508 - 256(sp)
    EXPECT(0)
    c.swsp a1, 252(sp)
    c.lwsp a0, 252(sp)
    EXPECT(0x55667788)
    c.fld fa0, 16(s0)
    c.fsd fa0, 24(s0)
    c.ld a0, 24(s0)
    EXPECT(0x5566778855667788)
    c.fldsp fa1, 504(sp)
    c.fsdsp fa1, 32(sp)
    c.ldsp a0, 32(sp)
    EXPECT(0x1122334455667788)
    c.addi4spn a0, sp, 1020
    c.sub a0, s0
    EXPECT(1020)
    c.mv a1, sp
    c.addi16sp sp, -512
    c.mv a0, sp
    c.sub a0, a1
    EXPECT(-512)
    c.li a0, 0
    c.beqz a0, 1f
    j fail
1:  c.bnez a0, 2f
    c.j 3f
2:  j fail
3:  la a1, 4f
    c.jalr a1
5:  j fail
4:  la a1, 5b
    c.mv a0, ra
    c.sub a0, a1
    EXPECT(0)
    la a1, 6f
    c.jr a1
    j fail
6:  c.nop
    .option norvc
    END
    .balign 16
cell:
    .skip 1024
