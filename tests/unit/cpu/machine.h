/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hart with 2 MiB of RAM, a device of one page, and a small assembler. A test writes a program
 * with emit(), runs it and looks at registers. The device remembers the last write; reading gives
 * `device_value`.
 */
#ifndef TESTS_UNIT_CPU_MACHINE_H
#define TESTS_UNIT_CPU_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cpu/riscv/hart.h"

#define RAM 0x80000000ul
#define RAM_BYTES 0x200000ul
#define CODE RAM                 /* programs begin here */
#define HANDLER (RAM + 0x8000)   /* mtvec; holds WFI */
#define S_HANDLER (RAM + 0x9000) /* stvec; holds WFI, which S-mode may execute */
#define DATA (RAM + 0x100000)
#define TABLES (RAM + 0x180000) /* page tables */
#define DEVICE 0x10000000ul

struct machine {
    struct gw_memory *memory;
    struct gw_memory_region *ram;
    struct gw_bytemap_tracker *tracker; /* gives the region its dirty bytes */
    struct rv_hart *hart;
    uint64_t emit_at;
    uint64_t device_value, written_address, written_value;
    unsigned reads, writes;
    uint64_t retired_at_access;
    unsigned raise_on_write; /* interrupt that a device write raises, 0 for none */
    bool kick_on_write;
};

/* M-mode at CODE, PMP open for all, mtvec and stvec set. */
void machine_init(struct machine *machine);
void machine_fini(struct machine *machine);
void emit(struct machine *machine, uint32_t instruction);
void emit_at(struct machine *machine, uint64_t address);
void put64(struct machine *machine, uint64_t address, uint64_t value);
uint64_t get64(struct machine *machine, uint64_t address);
/* Runs at most `budget`; the number retired. */
uint64_t run(struct machine *machine, uint64_t budget);
enum rv_exit run_exit(struct machine *machine, uint64_t budget);
uint64_t state_hash(struct machine *machine);

/* A fresh table tree at TABLES for satp `mode` (8 or 9): set_page() adds leaves. */
void paging(struct machine *machine, unsigned mode);
/* Maps the page of `level` (0: 4 KiB) at `address`; returns the guest address of the entry. */
uint64_t set_page(struct machine *machine, unsigned mode, uint64_t address, uint64_t physical,
                  uint64_t flags, unsigned level);
/* Enters `priv` at pc, keeping everything else. */
void enter(struct machine *machine, unsigned priv, uint64_t pc);

enum {
    PTE_V = 1,
    PTE_R = 2,
    PTE_W = 4,
    PTE_X = 8,
    PTE_U = 16,
    PTE_G = 32,
    PTE_A = 64,
    PTE_D = 128
};

static inline uint32_t enc_r(uint32_t base, unsigned rd, unsigned rs1, unsigned rs2)
{
    return base | rd << 7 | rs1 << 15 | rs2 << 20;
}

static inline uint32_t enc_i(uint32_t base, unsigned rd, unsigned rs1, int imm)
{
    return base | rd << 7 | rs1 << 15 | (uint32_t)imm << 20;
}

static inline uint32_t enc_s(uint32_t base, unsigned rs1, unsigned rs2, int imm)
{
    return base | rs1 << 15 | rs2 << 20 | ((uint32_t)imm & 31) << 7 | ((uint32_t)imm >> 5) << 25;
}

static inline uint32_t enc_b(uint32_t base, unsigned rs1, unsigned rs2, int imm)
{
    uint32_t u = (uint32_t)imm;
    return base | rs1 << 15 | rs2 << 20 | (u >> 12 & 1) << 31 | (u >> 5 & 63) << 25 |
           (u >> 1 & 15) << 8 | (u >> 11 & 1) << 7;
}

static inline uint32_t jal(unsigned rd, int imm)
{
    uint32_t u = (uint32_t)imm;
    return 0x6f | rd << 7 | (u >> 20 & 1) << 31 | (u >> 1 & 0x3ff) << 21 | (u >> 11 & 1) << 20 |
           (u >> 12 & 0xff) << 12;
}

#define ADDI(rd, rs1, imm) enc_i(0x13, rd, rs1, imm)
#define ADD(rd, rs1, rs2) enc_r(0x33, rd, rs1, rs2)
#define LB(rd, rs1, imm) enc_i(0x0003, rd, rs1, imm)
#define LW(rd, rs1, imm) enc_i(0x2003, rd, rs1, imm)
#define LD(rd, rs1, imm) enc_i(0x3003, rd, rs1, imm)
#define SB(rs2, rs1, imm) enc_s(0x0023, rs1, rs2, imm)
#define SW(rs2, rs1, imm) enc_s(0x2023, rs1, rs2, imm)
#define SD(rs2, rs1, imm) enc_s(0x3023, rs1, rs2, imm)
#define FSD(rs2, rs1, imm) enc_s(0x3027, rs1, rs2, imm)
#define BNE(rs1, rs2, imm) enc_b(0x1063, rs1, rs2, imm)
#define JALR(rd, rs1, imm) enc_i(0x67, rd, rs1, imm)
#define CSRRW(rd, csr, rs1) enc_i(0x1073, rd, rs1, csr)
#define CSRRS(rd, csr, rs1) enc_i(0x2073, rd, rs1, csr)
#define CSRRC(rd, csr, rs1) enc_i(0x3073, rd, rs1, csr)
#define CSRRWI(rd, csr, imm) enc_i(0x5073, rd, imm, csr)
#define AMOADD_D(rd, rs1, rs2) enc_r(0x0000302f, rd, rs1, rs2)
#define LR_D(rd, rs1) enc_r(0x1000302f, rd, rs1, 0)
#define SC_D(rd, rs1, rs2) enc_r(0x1800302f, rd, rs1, rs2)
#define SFENCE_VMA 0x12000073u
#define FENCE_I 0x0000100fu
#define ECALL 0x00000073u
#define EBREAK 0x00100073u
#define MRET 0x30200073u
#define SRET 0x10200073u
#define WFI 0x10500073u
#define NOP 0x00000013u

/* One test with a machine of its own. */
#define TEST(name)                                                                                 \
    static void name##_body(struct machine *machine);                                              \
    static void name(void **unused)                                                                \
    {                                                                                              \
        struct machine machine;                                                                    \
        machine_init(&machine);                                                                    \
        name##_body(&machine);                                                                     \
        machine_fini(&machine);                                                                    \
    }                                                                                              \
    static void name##_body(struct machine *machine)

#define X(n) (machine->hart->state.x[n])
#define STATE (machine->hart->state)

#endif
