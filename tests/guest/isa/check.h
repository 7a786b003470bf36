/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the instruction tests: bare programs at 0x80000000 in M-mode. Each check has a number, kept in gp; the first that
 * fails writes number << 16 | 0x3333 to the finisher at 0x100000, the end writes 0x5555.
 */
#define BEGIN                       \
    .option norelax;                \
    .option norvc;                  \
    .globl _start;                  \
_start:                             \
    la t0, trapped;                 \
    csrw mtvec, t0;                 \
    li t0, 0x6000;                  \
    csrs mstatus, t0;               \
    li gp, 0

#define END                         \
    li t1, 0x5555;                  \
    j finish;                       \
fail:                               \
    slli t1, gp, 16;                \
    li t0, 0x3333;                  \
    or t1, t1, t0;                  \
finish:                             \
    li t0, 0x100000;                \
    sw t1, 0(t0);                   \
1:  j 1b;                           \
    .balign 4;                      \
trapped:                            \
    j fail

/* The last result, in a0, must be `expected`. */
#define EXPECT(expected)            \
    addi gp, gp, 1;                 \
    li t0, expected;                \
    bne a0, t0, fail

#define RR(instruction, a, b, expected)  \
    li a1, a;                            \
    li a2, b;                            \
    instruction a0, a1, a2;              \
    EXPECT(expected)

#define RI(instruction, a, imm, expected) \
    li a1, a;                             \
    instruction a0, a1, imm;              \
    EXPECT(expected)

/* A branch that must be taken, or not. */
#define TAKEN(instruction, a, b)    \
    addi gp, gp, 1;                 \
    li a1, a;                       \
    li a2, b;                       \
    instruction a1, a2, 1f;         \
    j fail;                         \
1:

#define NOT_TAKEN(instruction, a, b) \
    addi gp, gp, 1;                  \
    li a1, a;                        \
    li a2, b;                        \
    instruction a1, a2, fail

/* Floating point from raw bits: the result's bits and the flags. */
#define FLAGS(expected)             \
    frflags a0;                     \
    EXPECT(expected);               \
    fsflags zero

#define F_SS(instruction, a, b, expected, flags) \
    li a1, a;                       \
    li a2, b;                       \
    fmv.w.x fa1, a1;                \
    fmv.w.x fa2, a2;                \
    instruction fa0, fa1, fa2;      \
    fmv.x.w a0, fa0;                \
    EXPECT(expected);               \
    FLAGS(flags)

#define F_DD(instruction, a, b, expected, flags) \
    li a1, a;                       \
    li a2, b;                       \
    fmv.d.x fa1, a1;                \
    fmv.d.x fa2, a2;                \
    instruction fa0, fa1, fa2;      \
    fmv.x.d a0, fa0;                \
    EXPECT(expected);               \
    FLAGS(flags)

#define F_S3(instruction, a, b, c, expected, flags) \
    li a1, a;                       \
    li a2, b;                       \
    li a3, c;                       \
    fmv.w.x fa1, a1;                \
    fmv.w.x fa2, a2;                \
    fmv.w.x fa3, a3;                \
    instruction fa0, fa1, fa2, fa3; \
    fmv.x.w a0, fa0;                \
    EXPECT(expected);               \
    FLAGS(flags)

#define F_D3(instruction, a, b, c, expected, flags) \
    li a1, a;                       \
    li a2, b;                       \
    li a3, c;                       \
    fmv.d.x fa1, a1;                \
    fmv.d.x fa2, a2;                \
    fmv.d.x fa3, a3;                \
    instruction fa0, fa1, fa2, fa3; \
    fmv.x.d a0, fa0;                \
    EXPECT(expected);               \
    FLAGS(flags)

/* To an integer register: a compare of two, or a conversion of one with a rounding mode. */
#define F_CMP_S(instruction, a, b, expected, flags) \
    li a1, a;                       \
    li a2, b;                       \
    fmv.w.x fa1, a1;                \
    fmv.w.x fa2, a2;                \
    instruction a0, fa1, fa2;       \
    EXPECT(expected);               \
    FLAGS(flags)

#define F_CMP_D(instruction, a, b, expected, flags) \
    li a1, a;                       \
    li a2, b;                       \
    fmv.d.x fa1, a1;                \
    fmv.d.x fa2, a2;                \
    instruction a0, fa1, fa2;       \
    EXPECT(expected);               \
    FLAGS(flags)

#define F_TO_S(instruction, a, mode, expected, flags) \
    li a1, a;                       \
    fmv.w.x fa1, a1;                \
    instruction a0, fa1, mode;      \
    EXPECT(expected);               \
    FLAGS(flags)

#define F_TO_D(instruction, a, mode, expected, flags) \
    li a1, a;                       \
    fmv.d.x fa1, a1;                \
    instruction a0, fa1, mode;      \
    EXPECT(expected);               \
    FLAGS(flags)

#define NX 1
#define UF 2
#define OF 4
#define DZ 8
#define NV 16
