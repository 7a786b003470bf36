/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every instruction of RV64IMAFDC, once: name, mask, match and operand format. The decoder searches these
 * rows, the interpreter has one handler for each. Compressed instructions are expanded first and have no
 * rows of their own. Source: unprivileged ISA 20191213, chapter 24; privileged ISA 20211203, chapter 5.
 */
#ifndef CPU_RISCV_OPS_H
#define CPU_RISCV_OPS_H

/* clang-format off */
#define RV_OPS_INTEGER(X)                            \
    X(LUI,        0x0000007f, 0x00000037, U)         \
    X(AUIPC,      0x0000007f, 0x00000017, UPC)       \
    X(JAL,        0x0000007f, 0x0000006f, J)         \
    X(JALR,       0x0000707f, 0x00000067, I)         \
    X(BEQ,        0x0000707f, 0x00000063, B)         \
    X(BNE,        0x0000707f, 0x00001063, B)         \
    X(BLT,        0x0000707f, 0x00004063, B)         \
    X(BGE,        0x0000707f, 0x00005063, B)         \
    X(BLTU,       0x0000707f, 0x00006063, B)         \
    X(BGEU,       0x0000707f, 0x00007063, B)         \
    X(LB,         0x0000707f, 0x00000003, I)         \
    X(LH,         0x0000707f, 0x00001003, I)         \
    X(LW,         0x0000707f, 0x00002003, I)         \
    X(LD,         0x0000707f, 0x00003003, I)         \
    X(LBU,        0x0000707f, 0x00004003, I)         \
    X(LHU,        0x0000707f, 0x00005003, I)         \
    X(LWU,        0x0000707f, 0x00006003, I)         \
    X(SB,         0x0000707f, 0x00000023, S)         \
    X(SH,         0x0000707f, 0x00001023, S)         \
    X(SW,         0x0000707f, 0x00002023, S)         \
    X(SD,         0x0000707f, 0x00003023, S)         \
    X(ADDI,       0x0000707f, 0x00000013, I)         \
    X(SLTI,       0x0000707f, 0x00002013, I)         \
    X(SLTIU,      0x0000707f, 0x00003013, I)         \
    X(XORI,       0x0000707f, 0x00004013, I)         \
    X(ORI,        0x0000707f, 0x00006013, I)         \
    X(ANDI,       0x0000707f, 0x00007013, I)         \
    X(SLLI,       0xfc00707f, 0x00001013, SHIFT)     \
    X(SRLI,       0xfc00707f, 0x00005013, SHIFT)     \
    X(SRAI,       0xfc00707f, 0x40005013, SHIFT)     \
    X(ADD,        0xfe00707f, 0x00000033, R)         \
    X(SUB,        0xfe00707f, 0x40000033, R)         \
    X(SLL,        0xfe00707f, 0x00001033, R)         \
    X(SLT,        0xfe00707f, 0x00002033, R)         \
    X(SLTU,       0xfe00707f, 0x00003033, R)         \
    X(XOR,        0xfe00707f, 0x00004033, R)         \
    X(SRL,        0xfe00707f, 0x00005033, R)         \
    X(SRA,        0xfe00707f, 0x40005033, R)         \
    X(OR,         0xfe00707f, 0x00006033, R)         \
    X(AND,        0xfe00707f, 0x00007033, R)         \
    X(ADDIW,      0x0000707f, 0x0000001b, I)         \
    X(SLLIW,      0xfe00707f, 0x0000101b, SHIFT)     \
    X(SRLIW,      0xfe00707f, 0x0000501b, SHIFT)     \
    X(SRAIW,      0xfe00707f, 0x4000501b, SHIFT)     \
    X(ADDW,       0xfe00707f, 0x0000003b, R)         \
    X(SUBW,       0xfe00707f, 0x4000003b, R)         \
    X(SLLW,       0xfe00707f, 0x0000103b, R)         \
    X(SRLW,       0xfe00707f, 0x0000503b, R)         \
    X(SRAW,       0xfe00707f, 0x4000503b, R)         \
    X(FENCE,      0x0000707f, 0x0000000f, NONE)      \
    X(FENCE_I,    0x0000707f, 0x0000100f, NONE)      \
    X(ECALL,      0xffffffff, 0x00000073, NONE)      \
    X(EBREAK,     0xffffffff, 0x00100073, NONE)      \
    X(SRET,       0xffffffff, 0x10200073, NONE)      \
    X(MRET,       0xffffffff, 0x30200073, NONE)      \
    X(WFI,        0xffffffff, 0x10500073, NONE)      \
    X(SFENCE_VMA, 0xfe007fff, 0x12000073, R)         \
    X(CSRRW,      0x0000707f, 0x00001073, CSR)       \
    X(CSRRS,      0x0000707f, 0x00002073, CSR)       \
    X(CSRRC,      0x0000707f, 0x00003073, CSR)       \
    X(CSRRWI,     0x0000707f, 0x00005073, CSR)       \
    X(CSRRSI,     0x0000707f, 0x00006073, CSR)       \
    X(CSRRCI,     0x0000707f, 0x00007073, CSR)       \
    X(MUL,        0xfe00707f, 0x02000033, R)         \
    X(MULH,       0xfe00707f, 0x02001033, R)         \
    X(MULHSU,     0xfe00707f, 0x02002033, R)         \
    X(MULHU,      0xfe00707f, 0x02003033, R)         \
    X(DIV,        0xfe00707f, 0x02004033, R)         \
    X(DIVU,       0xfe00707f, 0x02005033, R)         \
    X(REM,        0xfe00707f, 0x02006033, R)         \
    X(REMU,       0xfe00707f, 0x02007033, R)         \
    X(MULW,       0xfe00707f, 0x0200003b, R)         \
    X(DIVW,       0xfe00707f, 0x0200403b, R)         \
    X(DIVUW,      0xfe00707f, 0x0200503b, R)         \
    X(REMW,       0xfe00707f, 0x0200603b, R)         \
    X(REMUW,      0xfe00707f, 0x0200703b, R)         \
    X(LR_W,       0xf9f0707f, 0x1000202f, R)         \
    X(SC_W,       0xf800707f, 0x1800202f, R)         \
    X(AMOSWAP_W,  0xf800707f, 0x0800202f, R)         \
    X(AMOADD_W,   0xf800707f, 0x0000202f, R)         \
    X(AMOXOR_W,   0xf800707f, 0x2000202f, R)         \
    X(AMOAND_W,   0xf800707f, 0x6000202f, R)         \
    X(AMOOR_W,    0xf800707f, 0x4000202f, R)         \
    X(AMOMIN_W,   0xf800707f, 0x8000202f, R)         \
    X(AMOMAX_W,   0xf800707f, 0xa000202f, R)         \
    X(AMOMINU_W,  0xf800707f, 0xc000202f, R)         \
    X(AMOMAXU_W,  0xf800707f, 0xe000202f, R)         \
    X(LR_D,       0xf9f0707f, 0x1000302f, R)         \
    X(SC_D,       0xf800707f, 0x1800302f, R)         \
    X(AMOSWAP_D,  0xf800707f, 0x0800302f, R)         \
    X(AMOADD_D,   0xf800707f, 0x0000302f, R)         \
    X(AMOXOR_D,   0xf800707f, 0x2000302f, R)         \
    X(AMOAND_D,   0xf800707f, 0x6000302f, R)         \
    X(AMOOR_D,    0xf800707f, 0x4000302f, R)         \
    X(AMOMIN_D,   0xf800707f, 0x8000302f, R)         \
    X(AMOMAX_D,   0xf800707f, 0xa000302f, R)         \
    X(AMOMINU_D,  0xf800707f, 0xc000302f, R)         \
    X(AMOMAXU_D,  0xf800707f, 0xe000302f, R)

/* FR: floating result, imm is the raw instruction. FX: integer result. FI: load. FSTORE: store. F4: rs3. */
#define RV_OPS_FLOAT_MOVE(X)                         \
    X(FLW,        0x0000707f, 0x00002007, FI)        \
    X(FLD,        0x0000707f, 0x00003007, FI)        \
    X(FSW,        0x0000707f, 0x00002027, FSTORE)    \
    X(FSD,        0x0000707f, 0x00003027, FSTORE)    \
    X(FMV_X_W,    0xfff0707f, 0xe0000053, FX)        \
    X(FMV_W_X,    0xfff0707f, 0xf0000053, FR)        \
    X(FMV_X_D,    0xfff0707f, 0xe2000053, FX)        \
    X(FMV_D_X,    0xfff0707f, 0xf2000053, FR)

#define RV_OPS_FLOAT_COMPUTE(X)                      \
    X(FMADD_S,    0x0600007f, 0x00000043, F4)        \
    X(FMSUB_S,    0x0600007f, 0x00000047, F4)        \
    X(FNMSUB_S,   0x0600007f, 0x0000004b, F4)        \
    X(FNMADD_S,   0x0600007f, 0x0000004f, F4)        \
    X(FADD_S,     0xfe00007f, 0x00000053, FR)        \
    X(FSUB_S,     0xfe00007f, 0x08000053, FR)        \
    X(FMUL_S,     0xfe00007f, 0x10000053, FR)        \
    X(FDIV_S,     0xfe00007f, 0x18000053, FR)        \
    X(FSQRT_S,    0xfff0007f, 0x58000053, FR)        \
    X(FSGNJ_S,    0xfe00707f, 0x20000053, FR)        \
    X(FSGNJN_S,   0xfe00707f, 0x20001053, FR)        \
    X(FSGNJX_S,   0xfe00707f, 0x20002053, FR)        \
    X(FMIN_S,     0xfe00707f, 0x28000053, FR)        \
    X(FMAX_S,     0xfe00707f, 0x28001053, FR)        \
    X(FCVT_W_S,   0xfff0007f, 0xc0000053, FX)        \
    X(FCVT_WU_S,  0xfff0007f, 0xc0100053, FX)        \
    X(FCVT_L_S,   0xfff0007f, 0xc0200053, FX)        \
    X(FCVT_LU_S,  0xfff0007f, 0xc0300053, FX)        \
    X(FCLASS_S,   0xfff0707f, 0xe0001053, FX)        \
    X(FEQ_S,      0xfe00707f, 0xa0002053, FX)        \
    X(FLT_S,      0xfe00707f, 0xa0001053, FX)        \
    X(FLE_S,      0xfe00707f, 0xa0000053, FX)        \
    X(FCVT_S_W,   0xfff0007f, 0xd0000053, FR)        \
    X(FCVT_S_WU,  0xfff0007f, 0xd0100053, FR)        \
    X(FCVT_S_L,   0xfff0007f, 0xd0200053, FR)        \
    X(FCVT_S_LU,  0xfff0007f, 0xd0300053, FR)        \
    X(FMADD_D,    0x0600007f, 0x02000043, F4)        \
    X(FMSUB_D,    0x0600007f, 0x02000047, F4)        \
    X(FNMSUB_D,   0x0600007f, 0x0200004b, F4)        \
    X(FNMADD_D,   0x0600007f, 0x0200004f, F4)        \
    X(FADD_D,     0xfe00007f, 0x02000053, FR)        \
    X(FSUB_D,     0xfe00007f, 0x0a000053, FR)        \
    X(FMUL_D,     0xfe00007f, 0x12000053, FR)        \
    X(FDIV_D,     0xfe00007f, 0x1a000053, FR)        \
    X(FSQRT_D,    0xfff0007f, 0x5a000053, FR)        \
    X(FSGNJ_D,    0xfe00707f, 0x22000053, FR)        \
    X(FSGNJN_D,   0xfe00707f, 0x22001053, FR)        \
    X(FSGNJX_D,   0xfe00707f, 0x22002053, FR)        \
    X(FMIN_D,     0xfe00707f, 0x2a000053, FR)        \
    X(FMAX_D,     0xfe00707f, 0x2a001053, FR)        \
    X(FCVT_S_D,   0xfff0007f, 0x40100053, FR)        \
    X(FCVT_D_S,   0xfff0007f, 0x42000053, FR)        \
    X(FEQ_D,      0xfe00707f, 0xa2002053, FX)        \
    X(FLT_D,      0xfe00707f, 0xa2001053, FX)        \
    X(FLE_D,      0xfe00707f, 0xa2000053, FX)        \
    X(FCLASS_D,   0xfff0707f, 0xe2001053, FX)        \
    X(FCVT_W_D,   0xfff0007f, 0xc2000053, FX)        \
    X(FCVT_WU_D,  0xfff0007f, 0xc2100053, FX)        \
    X(FCVT_L_D,   0xfff0007f, 0xc2200053, FX)        \
    X(FCVT_LU_D,  0xfff0007f, 0xc2300053, FX)        \
    X(FCVT_D_W,   0xfff0007f, 0xd2000053, FR)        \
    X(FCVT_D_WU,  0xfff0007f, 0xd2100053, FR)        \
    X(FCVT_D_L,   0xfff0007f, 0xd2200053, FR)        \
    X(FCVT_D_LU,  0xfff0007f, 0xd2300053, FR)

#define RV_OPS_FLOAT(X) RV_OPS_FLOAT_MOVE(X) RV_OPS_FLOAT_COMPUTE(X)
/* clang-format on */

/* What a block needs beside real instructions; see block.h. */
#define RV_OPS_PSEUDO(X)                                                                           \
    X(FLOAT)                                                                                       \
    X(ILLEGAL)                                                                                     \
    X(FALL)                                                                                        \
    X(STOP)                                                                                        \
    X(CROSS)                                                                                       \
    X(LD2)                                                                                         \
    X(LD4)                                                                                         \
    X(SD2)                                                                                         \
    X(SD4)

enum rv_op {
#define RV_ENUM(name, ...) RV_OP_##name,
    RV_OPS_INTEGER(RV_ENUM) RV_OPS_FLOAT(RV_ENUM) RV_OPS_PSEUDO(RV_ENUM)
#undef RV_ENUM
        RV_OP_COUNT
};

#endif
