/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of riscv-virt-1: its harts and the devices that only it has. */
#ifndef BOARD_RISCV_MACHINE_H
#define BOARD_RISCV_MACHINE_H

#include "board/machine.h"
#include "board/riscv-virt.h"
#include "cpu/riscv/cpu.h"
#include "device/clint.h"
#include "device/goldfish-rtc.h"
#include "device/plic.h"
#include "device/test-finisher.h"
#include "virtio/input.h"

struct riscv_hart {
    /* set once */
    struct board *board;
    struct rv_hart *cpu;
    unsigned index;
    struct rv_platform platform;
    /* the hart's thread only */
    uint64_t
        accounted; /* instruction clock: retired instructions of this run that the clock has seen */
    bool in_run;   /* instruction clock; under the I/O lock: a budget is being used up */
    /* A hart in WFI sleeps here. Its partner is hart_wake(): each side writes its own flag, fences,
     * and then reads the other's, so that one of them sees the other. */
    pthread_mutex_t sleep_lock; /* protects `woken` */
    pthread_cond_t sleep_wake;
    bool woken;
    _Atomic bool sleeping;
};

struct riscv_virt {
    /* set once */
    struct riscv_hart hart[RISCV_VIRT_MAX_HARTS];
    struct gw_bytemap_tracker *tracker;
    /* under the I/O lock */
    struct clint clint;
    struct plic plic;
    struct goldfish_rtc rtc;
    struct test_finisher finisher;
    struct virtio_input button;
    bool button_ready;
};

static inline struct riscv_virt *riscv_virt_of(const struct board *board)
{
    return board->machine;
}

/* riscv-hart.c */
int riscv_harts_new(struct board *board, struct gw_error *error);
void riscv_harts_free(struct board *board);
void riscv_hart_step(struct board *board, unsigned index);
void riscv_hart_kick(struct board *board, unsigned index);
void hart_wake(struct riscv_hart *hart);                 /* from WFI; any lock may be held */
void hart_set_irq(void *hart, unsigned irq, bool level); /* for irq_line */

/* riscv-bus.c: what the harts see outside RAM. */
extern const struct rv_platform riscv_bus; /* opaque: struct riscv_hart */

/* instruction-clock.c: hart 0's thread, in instruction-clock mode. Nanoseconds of guest time. */
#define INSTRUCTION_NS 10
void instruction_clock_attach(
    struct board *board); /* shortens a run when an earlier timer is armed */
/* What to run before the next timer or target; I/O lock held, no timer is due. 0: at the target. */
uint64_t instruction_clock_budget(struct riscv_hart *hart);
/* Moves the clock to where the hart is, `retired` instructions after the run began; I/O lock held.
 */
void instruction_clock_account(struct riscv_hart *hart, uint64_t retired);
uint64_t instruction_clock_now_ns(const struct riscv_hart *hart, uint64_t retired);

#endif
