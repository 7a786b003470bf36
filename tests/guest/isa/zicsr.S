/* SPDX-License-Identifier: Apache-2.0 */
/* Zicsr, and what the counters and the floating-point registers promise. */
#include "check.h"
    BEGIN
    li a1, 0x55
    csrw mscratch, a1
    li a2, 0xff
    csrrw a0, mscratch, a2
    EXPECT(0x55)
    li a2, 0x0f
    csrrc a0, mscratch, a2
    EXPECT(0xff)
    csrrs a0, mscratch, a1
    EXPECT(0xf0)
    csrrwi a0, mscratch, 31
    EXPECT(0xf5)
    csrrci a0, mscratch, 1
    EXPECT(31)
    csrrsi a0, mscratch, 0
    EXPECT(30)
    csrr a0, misa
    li a1, 1 << 63
    sub a0, a0, a1
    li a1, 0x14112d         /* A C D F I M S U; a peer may have more */
    and a0, a0, a1
    EXPECT(0x14112d)
    li a1, 0xffff
    fscsr a1
    frcsr a0
    EXPECT(0xff)
    frrm a0
    EXPECT(7)
    frflags a0
    EXPECT(31)
    fsflagsi 3
    frcsr a0
    EXPECT(0xe3)
    fsrmi 1
    frcsr a0
    EXPECT(0x23)
    fscsr zero
    csrw mcycle, zero
    csrr a1, mcycle
    csrr a2, mcycle
    sltu a0, a1, a2
    EXPECT(1)
    csrw minstret, zero
    csrr a0, minstret
    EXPECT(0)
    csrr a1, minstret
    nop
    csrr a2, minstret
    sub a0, a2, a1
    EXPECT(2)
    END
