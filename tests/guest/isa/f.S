/* SPDX-License-Identifier: Apache-2.0 */
/* F: results, flags, rounding modes, NaN boxing. Bits as in IEEE 754 binary32. */
#include "check.h"
    BEGIN
    fsflags zero
    F_SS(fadd.s, 0x3f800000, 0x40000000, 0x40400000, 0)             /* 1 + 2 */
    F_SS(fadd.s, 0x3f800000, 0x33000000, 0x3f800000, NX)            /* below half a unit */
    F_SS(fsub.s, 0x7f800000, 0x7f800000, 0x7fc00000, NV)            /* infinity - infinity */
    F_SS(fadd.s, 0x7f800001, 0x3f800000, 0x7fc00000, NV)            /* signaling NaN */
    F_SS(fadd.s, 0xffc12345, 0x3f800000, 0x7fc00000, 0)             /* quiet NaN: the canonical one */
    F_SS(fmul.s, 0x7f7fffff, 0x40000000, 0x7f800000, OF | NX)
    F_SS(fmul.s, 0x00800000, 0x3f000000, 0x00400000, 0)             /* subnormal but exact: no underflow */
    F_SS(fmul.s, 0x00800001, 0x3f000000, 0x00400000, UF | NX)
    F_SS(fmul.s, 0x00ffffff, 0x3f000000, 0x00800000, UF | NX)       /* tiny: 24 bits would hold it unrounded */
    F_SS(fmul.s, 0x007fffff, 0x3f800001, 0x00800000, NX)            /* not tiny after rounding */
    F_SS(fdiv.s, 0x3f800000, 0x00000000, 0x7f800000, DZ)
    F_SS(fdiv.s, 0x80000000, 0x00000000, 0x7fc00000, NV)
    F_SS(fdiv.s, 0x3f800000, 0x40400000, 0x3eaaaaab, NX)
    F_SS(fsgnj.s, 0x3f800000, 0x80000000, 0xffffffffbf800000, 0)
    F_SS(fsgnjn.s, 0x3f800000, 0x80000000, 0x3f800000, 0)
    F_SS(fsgnjx.s, 0xbf800000, 0x80000000, 0x3f800000, 0)
    F_SS(fmin.s, 0x80000000, 0x00000000, 0xffffffff80000000, 0)
    F_SS(fmax.s, 0x80000000, 0x00000000, 0x00000000, 0)
    F_SS(fmin.s, 0x7fc00000, 0x3f800000, 0x3f800000, 0)
    F_SS(fmax.s, 0x7f800001, 0x3f800000, 0x3f800000, NV)
    F_SS(fmax.s, 0x7fc00000, 0xffc00000, 0x7fc00000, 0)
    F_S3(fmadd.s, 0x40000000, 0x40400000, 0x3f800000, 0x40e00000, 0)    /* 2 * 3 + 1 */
    F_S3(fmsub.s, 0x40000000, 0x40400000, 0x3f800000, 0x40a00000, 0)
    F_S3(fnmsub.s, 0x40000000, 0x40400000, 0x3f800000, 0xffffffffc0a00000, 0)
    F_S3(fnmadd.s, 0x40000000, 0x40400000, 0x3f800000, 0xffffffffc0e00000, 0)
    F_S3(fmadd.s, 0x7f800000, 0x00000000, 0x7fc00000, 0x7fc00000, NV)   /* also with a quiet NaN added */
    F_S3(fmadd.s, 0x3f800001, 0x3f800001, 0xbf800002, 0x28800000, 0)    /* one rounding only */
    F_CMP_S(feq.s, 0x80000000, 0x00000000, 1, 0)
    F_CMP_S(feq.s, 0x7fc00000, 0x7fc00000, 0, 0)
    F_CMP_S(feq.s, 0x7f800001, 0x00000000, 0, NV)
    F_CMP_S(flt.s, 0xbf800000, 0x3f800000, 1, 0)
    F_CMP_S(flt.s, 0x7fc00000, 0x3f800000, 0, NV)
    F_CMP_S(fle.s, 0x3f800000, 0x3f800000, 1, 0)
    F_TO_S(fcvt.w.s, 0x40200000, rne, 2, NX)                            /* 2.5 in every mode */
    F_TO_S(fcvt.w.s, 0x40200000, rtz, 2, NX)
    F_TO_S(fcvt.w.s, 0x40200000, rdn, 2, NX)
    F_TO_S(fcvt.w.s, 0x40200000, rup, 3, NX)
    F_TO_S(fcvt.w.s, 0x40200000, rmm, 3, NX)
    F_TO_S(fcvt.w.s, 0xc0200000, rdn, -3, NX)
    F_TO_S(fcvt.w.s, 0x4f000000, rtz, 0x7fffffff, NV)
    F_TO_S(fcvt.w.s, 0xcf000000, rtz, 0xffffffff80000000, 0)
    F_TO_S(fcvt.w.s, 0xffc00000, rtz, 0x7fffffff, NV)
    F_TO_S(fcvt.wu.s, 0xbf000000, rtz, 0, NX)
    F_TO_S(fcvt.wu.s, 0xbf800000, rtz, 0, NV)
    F_TO_S(fcvt.wu.s, 0x4f800000, rtz, -1, NV)
    F_TO_S(fcvt.wu.s, 0x4f000000, rtz, 0xffffffff80000000, 0)
    F_TO_S(fcvt.l.s, 0xff800000, rtz, 0x8000000000000000, NV)
    F_TO_S(fcvt.lu.s, 0x5f800000, rtz, -1, NV)

    li a1, -1
    fcvt.s.w fa0, a1, rne
    fmv.x.w a0, fa0
    EXPECT(0xffffffffbf800000)
    fcvt.s.wu fa0, a1, rtz
    fmv.x.w a0, fa0
    EXPECT(0x4f7fffff)
    FLAGS(NX)
    fcvt.s.lu fa0, a1, rup
    fmv.x.w a0, fa0
    EXPECT(0x5f800000)
    FLAGS(NX)
    li a1, 0x40800000
    fmv.w.x fa1, a1
    fsqrt.s fa0, fa1
    fmv.x.w a0, fa0
    EXPECT(0x40000000)
    fneg.s fa1, fa1
    fsqrt.s fa0, fa1
    fmv.x.w a0, fa0
    EXPECT(0x7fc00000)
    FLAGS(NV)

    fsrmi 2                 /* the dynamic mode: down */
    F_SS(fadd.s, 0x3f800000, 0xb3000000, 0x3f7fffff, NX)
    F_SS(fsub.s, 0x3f800000, 0x3f800000, 0xffffffff80000000, 0)
    F_SS(fmul.s, 0x7f7fffff, 0x40000000, 0x7f7fffff, OF | NX)
    fsrmi 4                 /* nearest, ties away */
    F_SS(fadd.s, 0x3f800000, 0x33800000, 0x3f800001, NX)
    fsrmi 0
    F_SS(fadd.s, 0x3f800000, 0x33800000, 0x3f800000, NX)

#define CLASS(bits, expected)       \
    li a1, bits;                    \
    fmv.w.x fa1, a1;                \
    fclass.s a0, fa1;               \
    EXPECT(1 << expected)
    CLASS(0xff800000, 0)
    CLASS(0xbf800000, 1)
    CLASS(0x80000001, 2)
    CLASS(0x80000000, 3)
    CLASS(0x00000000, 4)
    CLASS(0x00000001, 5)
    CLASS(0x3f800000, 6)
    CLASS(0x7f800000, 7)
    CLASS(0x7f800001, 8)
    CLASS(0x7fc00000, 9)

    li a1, 0x3f800000       /* a single that is not boxed reads as NaN, and is moved as it is */
    fmv.d.x fa1, a1
    fclass.s a0, fa1
    EXPECT(1 << 9)
    fmv.x.w a0, fa1
    EXPECT(0x3f800000)
    la a3, cell
    fsw fa1, 0(a3)
    flw fa2, 0(a3)
    fmv.x.d a0, fa2
    EXPECT(0xffffffff3f800000)
    END
    .balign 8
cell:
    .dword 0
