/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The software CPU: one RV64GC hart (I M A F D C, Zicsr, Zifencei; M/S/U; Sv39, Sv48; PMP).
 * Sources: RISC-V unprivileged ISA 20191213, privileged ISA 20211203.
 *
 * A hart is run by one thread at a time. rv_hart_set_irq(), rv_hart_kick() and
 * rv_hart_flush_later() may be called from any thread; everything else only while no thread is in
 * rv_hart_run().
 *
 * Exactness: rv_hart_run() retires at most `budget` instructions and stops exactly there. An
 * interrupt that is pending and enabled when run begins, or that an instruction of this hart itself
 * makes pending (a CSR write, a store to a device), is taken before the next instruction, whatever
 * the cached blocks look like. Interrupts raised by other threads are taken soon. So with one hart,
 * and all else deterministic, a run is the same bit by bit however it is cut into budgets.
 */
#ifndef CPU_RISCV_CPU_H
#define CPU_RISCV_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/memory.h>
#include <godwit/state.h>

struct rv_hart;

/* Interrupt bits of mip, by their number in the privileged specification (table 3.6). */
enum {
    RV_IRQ_SSIP = 1,
    RV_IRQ_MSIP = 3,
    RV_IRQ_STIP = 5,
    RV_IRQ_MTIP = 7,
    RV_IRQ_SEIP = 9,
    RV_IRQ_MEIP = 11
};

/*
 * The machine around the hart. Called on the hart's thread; the callee takes whatever lock it
 * needs. `retired` is the number of instructions retired since rv_hart_run() began, the one that
 * calls not counted, so that a clock which follows instructions is exact at every access.
 */
struct rv_platform {
    void *opaque;
    /* A naturally aligned access of 1, 2, 4 or 8 bytes outside RAM. 0, or -EFAULT for an access
     * fault. */
    int (*read)(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                uint64_t *ret_value);
    int (*write)(void *opaque, uint64_t address, unsigned size, uint64_t retired, uint64_t value);
    /* The `time` CSR, in ticks. */
    uint64_t (*time)(void *opaque, uint64_t retired);
};

enum rv_exit {
    RV_EXIT_BUDGET, /* retired exactly the budget */
    RV_EXIT_WFI, /* executed WFI (retired) and no enabled interrupt is pending; also when that was
                  * the last instruction of the budget, so that a cut there does not lose the wait
                  */
    RV_EXIT_KICKED, /* rv_hart_kick() was called; by a device access of this hart: before its next
                       instruction */
};

/* `memory` and `platform` outlive the hart. NULL without memory. */
struct rv_hart *rv_hart_new(struct gw_memory *memory, const struct rv_platform *platform,
                            uint64_t hart_id);
void rv_hart_free(struct rv_hart *hart);

/* Power-on state, M-mode, with pc and a0..a2 set. */
void rv_hart_reset(struct rv_hart *hart, uint64_t pc, uint64_t a0, uint64_t a1, uint64_t a2);

/* Runs until one of the exits. *ret_retired: instructions retired (a trapping instruction does not
 * retire; the same count that minstret sees). */
enum rv_exit rv_hart_run(struct rv_hart *hart, uint64_t budget, uint64_t *ret_retired);

/* Instructions retired since reset, and part of the state: the deterministic mode's ruler. */
uint64_t rv_hart_instructions(const struct rv_hart *hart);

void rv_hart_set_irq(struct rv_hart *hart, unsigned irq, bool level); /* RV_IRQ_*; any thread */
/* The run returns soon; any thread. A kick while no run is on makes the next one return at once. */
void rv_hart_kick(struct rv_hart *hart);
bool rv_hart_irq_pending(const struct rv_hart *hart); /* WFI would not wait; any thread */

/* Everything derived from memory or registers is thrown away before the next instruction: after
 * memory was loaded or changed behind the hart's back. Any thread. */
void rv_hart_flush_later(struct rv_hart *hart);

/* Whether stores mark region->dirty bytes (always after the store). Only while not running. */
void rv_hart_set_watching(struct rv_hart *hart, bool on);

/* For gw_state_item: type "riscv-hart" and its struct. */
extern const struct gw_state_type rv_hart_state_type;
void *rv_hart_state_object(struct rv_hart *hart);

#endif
