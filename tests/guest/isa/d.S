/* SPDX-License-Identifier: Apache-2.0 */
/* D: results, flags, conversions between the formats. Bits as in IEEE 754 binary64. */
#include "check.h"
    BEGIN
    fsflags zero
    F_DD(fadd.d, 0x3ff0000000000000, 0x4000000000000000, 0x4008000000000000, 0)
    F_DD(fadd.d, 0x3ff0000000000000, 0x3c90000000000000, 0x3ff0000000000000, NX)
    F_DD(fsub.d, 0x7ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000, NV)
    F_DD(fadd.d, 0xfff0000000000001, 0x3ff0000000000000, 0x7ff8000000000000, NV)
    F_DD(fmul.d, 0x7fefffffffffffff, 0x4000000000000000, 0x7ff0000000000000, OF | NX)
    F_DD(fmul.d, 0x0010000000000001, 0x3fe0000000000000, 0x0008000000000000, UF | NX)
    F_DD(fmul.d, 0x0010000000000000, 0x3fe0000000000000, 0x0008000000000000, 0)
    F_DD(fdiv.d, 0x3ff0000000000000, 0x4008000000000000, 0x3fd5555555555555, NX)
    F_DD(fdiv.d, 0xbff0000000000000, 0x0000000000000000, 0xfff0000000000000, DZ)
    F_DD(fsgnj.d, 0x3ff0000000000000, 0x8000000000000000, 0xbff0000000000000, 0)
    F_DD(fsgnjn.d, 0x3ff0000000000000, 0x8000000000000000, 0x3ff0000000000000, 0)
    F_DD(fsgnjx.d, 0xbff0000000000000, 0x8000000000000000, 0x3ff0000000000000, 0)
    F_DD(fmin.d, 0x0000000000000000, 0x8000000000000000, 0x8000000000000000, 0)
    F_DD(fmax.d, 0x7ff0000000000001, 0x7ff8000000000000, 0x7ff8000000000000, NV)
    F_D3(fmadd.d, 0x3ff0000000000001, 0x3ff0000000000001, 0xbff0000000000002, 0x3970000000000000, 0)
    F_D3(fmsub.d, 0x4000000000000000, 0x4008000000000000, 0x3ff0000000000000, 0x4014000000000000, 0)
    F_D3(fnmsub.d, 0x4000000000000000, 0x4008000000000000, 0x3ff0000000000000, 0xc014000000000000, 0)
    F_D3(fnmadd.d, 0x4000000000000000, 0x4008000000000000, 0x3ff0000000000000, 0xc01c000000000000, 0)
    F_D3(fmadd.d, 0x0000000000000000, 0x7ff0000000000000, 0x7ff8000000000000, 0x7ff8000000000000, NV)
    F_CMP_D(feq.d, 0x7ff8000000000000, 0, 0, 0)
    F_CMP_D(fle.d, 0x7ff8000000000000, 0, 0, NV)
    F_CMP_D(flt.d, 0x8000000000000000, 0, 0, 0)
    F_TO_D(fcvt.w.d, 0x41dfffffffe00000, rmm, 0x7fffffff, NV)       /* 2^31 - 0.5 */
    F_TO_D(fcvt.w.d, 0x41dfffffffe00000, rtz, 0x7fffffff, NX)
    F_TO_D(fcvt.l.d, 0x43e0000000000000, rtz, 0x7fffffffffffffff, NV)
    F_TO_D(fcvt.l.d, 0xc3e0000000000000, rtz, 0x8000000000000000, 0)
    F_TO_D(fcvt.lu.d, 0x43e0000000000000, rtz, 0x8000000000000000, 0)
    F_TO_D(fcvt.lu.d, 0x43f0000000000000, rtz, -1, NV)
    F_TO_D(fcvt.wu.d, 0x7ff8000000000000, rtz, -1, NV)
    F_TO_D(fcvt.w.d, 0x4004000000000000, rne, 2, NX)

    li a1, 0x3ff0000010000000       /* to single: a tie, to even */
    fmv.d.x fa1, a1
    fcvt.s.d fa0, fa1, rne
    fmv.x.d a0, fa0
    EXPECT(0xffffffff3f800000)
    FLAGS(NX)
    fcvt.s.d fa0, fa1, rup
    fmv.x.d a0, fa0
    EXPECT(0xffffffff3f800001)
    FLAGS(NX)
    fcvt.d.s fa2, fa0
    fmv.x.d a0, fa2
    EXPECT(0x3ff0000020000000)
    fcvt.d.s fa2, fa1               /* not boxed: NaN, quietly */
    fmv.x.d a0, fa2
    EXPECT(0x7ff8000000000000)
    FLAGS(0)
    li a1, 0x7fefffffffffffff
    fmv.d.x fa1, a1
    fcvt.s.d fa0, fa1, rtz
    fmv.x.d a0, fa0
    EXPECT(0xffffffff7f7fffff)
    FLAGS(OF | NX)
    li a1, -1
    fcvt.d.l fa0, a1, rne
    fmv.x.d a0, fa0
    EXPECT(0xbff0000000000000)
    fcvt.d.lu fa0, a1, rne
    fmv.x.d a0, fa0
    EXPECT(0x43f0000000000000)
    FLAGS(NX)
    fcvt.d.wu fa0, a1
    fmv.x.d a0, fa0
    EXPECT(0x41efffffffe00000)
    FLAGS(0)
    li a1, 0x4000000000000000
    fmv.d.x fa1, a1
    fsqrt.d fa0, fa1, rdn
    fmv.x.d a0, fa0
    EXPECT(0x3ff6a09e667f3bcc)
    FLAGS(NX)
    fclass.d a0, fa1
    EXPECT(1 << 6)
    la a3, cell
    fsd fa1, 4(a3)                  /* misaligned */
    fld fa2, 4(a3)
    fmv.x.d a0, fa2
    EXPECT(0x4000000000000000)
    END
    .balign 8
cell:
    .dword 0, 0
