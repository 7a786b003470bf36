/* SPDX-License-Identifier: Apache-2.0 */
/* The hart itself: its architectural state, and everything that is derived from state and memory.
 */
#ifndef CPU_RISCV_HART_H
#define CPU_RISCV_HART_H

#include "cpu/riscv/cpu.h"

enum { RV_PRIV_U = 0, RV_PRIV_S = 1, RV_PRIV_M = 3 };

#define RV_PMP_ENTRIES 16

/*
 * Everything that a program can see or that decides what happens next. A loaded state may hold any
 * value that the marks allow, so no other code relies on more than they promise. Names are those of
 * the privileged ISA.
 */
struct rv_hart_state {
    GW_SAVED(1) uint64_t x[32];
    GW_HOST uint64_t sink; /* x[RV_SINK], where writes to x0 go */
    GW_SAVED(1) uint64_t f[32];
    GW_SAVED(1) uint64_t pc;
    GW_SAVED(1) GW_MAX(3) uint8_t priv;
    GW_SAVED(1) GW_MAX(31) uint8_t fflags; /* without those that still wait in the host's FPU */
    GW_SAVED(1) GW_MAX(7) uint8_t frm;
    GW_SAVED(1) bool waiting;  /* in WFI */
    GW_SAVED(1) bool reserved; /* LR has reserved `reserved_address`, which held `reserved_value` */
    GW_SAVED(1) uint64_t reserved_address;
    GW_SAVED(1) uint64_t reserved_value;
    GW_SAVED(1) uint64_t instructions;    /* retired since reset */
    GW_SAVED(1) uint64_t minstret_offset; /* minstret = instructions + this; the same for mcycle */
    GW_SAVED(1) uint64_t mcycle_offset;
    GW_SAVED(1) GW_MASK(0xaaa) uint32_t irq_lines; /* levels from outside; any thread, atomically */
    GW_SAVED(1) GW_MASK(0x222) uint32_t mip;       /* the bits that software has set */
    GW_SAVED(1) GW_MASK(0xaaa) uint32_t mie;
    GW_SAVED(1) GW_MASK(0x222) uint32_t mideleg;
    GW_SAVED(1) GW_MASK(0xb3ff) uint32_t medeleg;
    GW_SAVED(1) GW_MASK(0x7e79aa) uint64_t mstatus; /* without the constant fields and SD */
    GW_SAVED(1) uint32_t mcounteren;
    GW_SAVED(1) uint32_t scounteren;
    GW_SAVED(1) GW_MAX(1) uint8_t menvcfg;
    GW_SAVED(1) GW_MAX(1) uint8_t senvcfg;
    GW_SAVED(1) GW_MASK(0xfffffffffffffffd) uint64_t mtvec;
    GW_SAVED(1) GW_MASK(0xfffffffffffffffd) uint64_t stvec;
    GW_SAVED(1) uint64_t mscratch;
    GW_SAVED(1) uint64_t sscratch;
    GW_SAVED(1) GW_MASK(0xfffffffffffffffe) uint64_t mepc;
    GW_SAVED(1) GW_MASK(0xfffffffffffffffe) uint64_t sepc;
    GW_SAVED(1) uint64_t mcause;
    GW_SAVED(1) uint64_t scause;
    GW_SAVED(1) uint64_t mtval;
    GW_SAVED(1) uint64_t stval;
    GW_SAVED(1) GW_MASK(0x90000fffffffffff) uint64_t satp;
    GW_SAVED(1) GW_MASK(0x9f) uint8_t pmpcfg[RV_PMP_ENTRIES];
    GW_SAVED(1) GW_MASK(0x3fffffffffffff) uint64_t pmpaddr[RV_PMP_ENTRIES];
} GW_PART;

#define RV_MSTATUS_SIE (1u << 1)
#define RV_MSTATUS_MIE (1u << 3)
#define RV_MSTATUS_SPIE (1u << 5)
#define RV_MSTATUS_MPIE (1u << 7)
#define RV_MSTATUS_SPP (1u << 8)
#define RV_MSTATUS_MPP (3u << 11)
#define RV_MSTATUS_MPP_SHIFT 11
#define RV_MSTATUS_FS (3u << 13)
#define RV_MSTATUS_MPRV (1u << 17)
#define RV_MSTATUS_SUM (1u << 18)
#define RV_MSTATUS_MXR (1u << 19)
#define RV_MSTATUS_TVM (1u << 20)
#define RV_MSTATUS_TW (1u << 21)
#define RV_MSTATUS_TSR (1u << 22)

/*
 * Software TLB. One set for each way in which data accesses can be meant (user; supervisor without
 * and with SUM; machine), so that changes of mode need no flush. A tag is a page address; the
 * access's address with its page bits and its misalignment bits kept is compared with it, so a
 * misaligned access always misses. A page with code that this hart has decoded never has a write
 * tag.
 */
#define RV_TLB_BITS 8
#define RV_TLB_ENTRIES (1u << RV_TLB_BITS)
#define RV_TLB_EMPTY UINT64_MAX
#define RV_PAGE_MASK (~(uint64_t)(GW_PAGE_BYTES - 1))

struct rv_tlb_entry {
    uint64_t read_tag;
    uint64_t write_tag;
    uintptr_t addend; /* host address = guest address + addend */
    uint8_t *dirty;   /* stored to with 1 after a write: the page's byte, or dirty_sink when nobody
                         watches */
};

struct rv_range {
    uint64_t first, last;
};

enum rv_tlb_set {
    RV_TLB_USER,
    RV_TLB_SUPERVISOR,
    RV_TLB_SUPERVISOR_SUM,
    RV_TLB_MACHINE,
    RV_TLB_SETS
};

/* Bits of `attention`: reasons to leave the running block before the next instruction. */
enum {
    RV_ATTEND_IRQ = 1,   /* an interrupt may have become pending */
    RV_ATTEND_KICK = 2,  /* rv_hart_kick() */
    RV_ATTEND_FLUSH = 4, /* rv_hart_flush_later() */
    RV_ATTEND_CODE = 8,  /* this hart has written over code that it had decoded */
};

enum rv_access { RV_ACCESS_READ, RV_ACCESS_WRITE, RV_ACCESS_FETCH };

/* Exception codes (privileged ISA, table 3.6). */
enum rv_cause {
    RV_CAUSE_FETCH_ACCESS = 1,
    RV_CAUSE_ILLEGAL = 2,
    RV_CAUSE_BREAKPOINT = 3,
    RV_CAUSE_LOAD_MISALIGNED = 4,
    RV_CAUSE_LOAD_ACCESS = 5,
    RV_CAUSE_STORE_MISALIGNED = 6,
    RV_CAUSE_STORE_ACCESS = 7,
    RV_CAUSE_ECALL_U = 8,
    RV_CAUSE_ECALL_S = 9,
    RV_CAUSE_ECALL_M = 11,
    RV_CAUSE_FETCH_PAGE = 12,
    RV_CAUSE_LOAD_PAGE = 13,
    RV_CAUSE_STORE_PAGE = 15,
};

struct rv_blocks;

struct rv_hart {
    GW_SAVED(1) struct rv_hart_state state; /* the hart's thread; irq_lines any thread */
    /* set once by rv_hart_new() */
    GW_HOST struct gw_memory *memory;
    GW_HOST struct rv_platform platform;
    GW_HOST uint64_t hart_id;
    GW_HOST struct rv_blocks *blocks;
    /* any thread, atomically */
    GW_DERIVED(rv_hart_loaded) uint32_t attention;
    /* the hart's thread */
    GW_HOST bool watching;
    GW_HOST uint32_t host_mxcsr; /* fp-host.h */
    GW_HOST uint8_t dirty_sink;
    GW_HOST uint64_t run_base;   /* state.instructions when the run began */
    GW_HOST int64_t run_budget;  /* the run's budget */
    GW_HOST int64_t left;        /* of it, valid wherever the interpreter calls out */
    GW_HOST uint64_t trap_cause; /* of the exception that a failing helper reports */
    GW_HOST uint64_t trap_value;
    /* derived by rv_flush_all() and rv_context_update() */
    GW_HOST uint8_t data_priv; /* at which data accesses happen (MPRV) */
    GW_HOST bool fp_on;        /* FS is not Off */
    GW_HOST bool fp_dirty;     /* FS is Dirty */
    GW_HOST bool fp_fast;      /* and frm is a mode that the host has */
    GW_HOST bool fp_fused;     /* and the host multiplies and adds in one */
    GW_HOST enum rv_tlb_set data_set;
    GW_HOST uint64_t fetch_context; /* of the jump cache: epoch and privilege */
    GW_HOST uint64_t fetch_epoch;
    GW_HOST uint64_t pmp_first[RV_PMP_ENTRIES]; /* inclusive ranges; first > last: off */
    GW_HOST uint64_t pmp_last[RV_PMP_ENTRIES];
    GW_HOST struct gw_memory_region *region; /* the one last used */
    GW_HOST struct rv_tlb_entry tlb[RV_TLB_SETS][RV_TLB_ENTRIES];
    /* where superpages lie that the TLB or the fetch caches may know: in each half of the address
     * space from the lowest address to the highest; first > last: nowhere */
    GW_HOST struct rv_range superpages[2];
} GW_DEVICE("riscv-hart", 1, 1);

/* After loading: all that is derived is built again before the next instruction. */
int rv_hart_loaded(struct rv_hart *hart, struct gw_error *error);

static inline uint64_t rv_retired(const struct rv_hart *hart)
{
    return (uint64_t)(hart->run_budget - hart->left);
}

static inline void rv_attend(struct rv_hart *hart, uint32_t bits)
{
    __atomic_fetch_or(&hart->attention, bits, __ATOMIC_SEQ_CST);
}

/* hart.c: rebuilds what is derived from priv, mstatus and satp. */
void rv_context_update(struct rv_hart *hart);
void rv_flush_all(struct rv_hart *hart);

/* trap.c. A trap, or a return from one, changes pc and the context; the block must be left. */
void rv_trap(struct rv_hart *hart, uint64_t cause, uint64_t value);
void rv_return_m(struct rv_hart *hart);
void rv_return_s(struct rv_hart *hart);
uint32_t rv_pending(const struct rv_hart *hart); /* mip */
bool rv_take_interrupt(struct rv_hart *hart);    /* true: one was taken */

/* pmp.c */
void rv_pmp_update(struct rv_hart *hart);
/* Whether an access is allowed; *ret_whole_page: and would be for every byte of its page. */
bool rv_pmp_check(const struct rv_hart *hart, uint64_t physical, unsigned bytes,
                  enum rv_access access, unsigned priv, bool *ret_whole_page);

/* csr.c: one CSR instruction. */
enum rv_csr_result {
    RV_CSR_DONE,
    RV_CSR_LEAVE, /* done, and the context or the pending interrupts may have changed */
    RV_CSR_ILLEGAL,
};
enum rv_csr_result rv_csr_execute(struct rv_hart *hart, uint32_t raw, uint64_t operand,
                                  uint64_t *ret_old);

#endif
