/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a thread steps a hart of the software CPU.
 *
 *     running <-----> asleep in WFI
 *
 * A step runs a budget, or sleeps until an interrupt, a kick or a halt ends it.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "board/riscv-machine.h"

#define HOST_CLOCK_BUDGET (UINT64_C(1) << 32)

/* ---- WFI ---- */

static void set_woken(struct riscv_hart *hart, bool woken)
{
    pthread_mutex_lock(&hart->sleep_lock);
    hart->woken = woken;
    pthread_cond_signal(&hart->sleep_wake);
    pthread_mutex_unlock(&hart->sleep_lock);
}

void hart_wake(struct riscv_hart *hart)
{
    atomic_thread_fence(memory_order_seq_cst); /* partner: sleep_until_woken() */
    if (atomic_load(&hart->sleeping))
        set_woken(hart, true);
}

void hart_set_irq(void *opaque, unsigned irq, bool level)
{
    struct riscv_hart *hart = opaque;
    rv_hart_set_irq(hart->cpu, irq, level);
    if (level)
        hart_wake(hart);
}

/* Instruction clock: a timer that somebody armed meanwhile ends the sleep too; time then skips to
 * it. */
static bool may_sleep(struct riscv_hart *hart)
{
    struct board *board = hart->board;
    if (atomic_load(&board->halt) || rv_hart_irq_pending(hart->cpu))
        return false;
    if (board->time.clock.mode == GW_CLOCK_HOST)
        return true;
    pthread_mutex_lock(&board->io_lock);
    bool armed = clock_deadline_ns(&board->time.clock) != CLOCK_NEVER;
    pthread_mutex_unlock(&board->io_lock);
    return !armed;
}

static void sleep_until_woken(struct riscv_hart *hart)
{
    atomic_store(&hart->sleeping, true);
    atomic_thread_fence(memory_order_seq_cst); /* partner: hart_wake() */
    for (;;) {
        set_woken(hart, false);
        if (!may_sleep(hart))
            break;
        pthread_mutex_lock(&hart->sleep_lock);
        while (!hart->woken)
            pthread_cond_wait(&hart->sleep_wake, &hart->sleep_lock);
        pthread_mutex_unlock(&hart->sleep_lock);
    }
    atomic_store(&hart->sleeping, false);
}

/* ---- Running ---- */

static void step_host_clock(struct riscv_hart *hart)
{
    bool *waiting = &hart->board->time.waiting[hart->index];
    uint64_t retired;
    if (*waiting)
        sleep_until_woken(hart);
    if (*waiting && !rv_hart_irq_pending(hart->cpu))
        return; /* halted in its sleep, which goes on at the next start */
    *waiting = rv_hart_run(hart->cpu, HOST_CLOCK_BUDGET, &retired) == RV_EXIT_WFI;
}

/* In WFI time skips to the next timer, again and again until one interrupts. */
static void skip_idle_time(struct riscv_hart *hart)
{
    struct board *board = hart->board;
    struct clock *clock = &board->time.clock;
    if (rv_hart_irq_pending(hart->cpu)) {
        board->time.waiting[hart->index] = false;
        return;
    }
    pthread_mutex_lock(&board->io_lock);
    uint64_t deadline_ns = clock_deadline_ns(clock);
    if (deadline_ns != CLOCK_NEVER) {
        uint64_t now_ns = clock_now_ns(clock);
        clock_advance_ns(clock, deadline_ns > now_ns ? deadline_ns - now_ns : 0);
        clock_fire(clock);
    }
    pthread_mutex_unlock(&board->io_lock);
    if (deadline_ns == CLOCK_NEVER)
        sleep_until_woken(hart);
}

static void hit_target(struct board *board)
{
    atomic_store(&board->target.hit, true);
    atomic_store(&board->halt, true);
    board_notify_loop(board);
}

static void step_instruction_clock(struct riscv_hart *hart)
{
    struct board *board = hart->board;
    bool *waiting = &board->time.waiting[hart->index];
    if (rv_hart_instructions(hart->cpu) == atomic_load(&board->target.instructions)) {
        hit_target(board);
        return;
    }
    if (*waiting) {
        skip_idle_time(hart);
        return;
    }
    uint64_t retired = 0;
    pthread_mutex_lock(&board->io_lock);
    clock_fire(&board->time.clock);
    uint64_t budget = instruction_clock_budget(hart);
    hart->accounted = 0;
    hart->in_run = true;
    pthread_mutex_unlock(&board->io_lock);

    enum rv_exit why = rv_hart_run(hart->cpu, budget, &retired);

    pthread_mutex_lock(&board->io_lock);
    hart->in_run = false;
    instruction_clock_account(hart, retired);
    clock_fire(&board->time.clock);
    pthread_mutex_unlock(&board->io_lock);
    *waiting = why == RV_EXIT_WFI;
}

void riscv_hart_step(struct board *board, unsigned index)
{
    struct riscv_hart *hart = &riscv_virt_of(board)->hart[index];
    if (board->time.clock.mode == GW_CLOCK_INSTRUCTIONS)
        step_instruction_clock(hart);
    else
        step_host_clock(hart);
}

void riscv_hart_kick(struct board *board, unsigned index)
{
    struct riscv_hart *hart = &riscv_virt_of(board)->hart[index];
    rv_hart_kick(hart->cpu);
    hart_wake(hart);
}

/* ---- Making them ---- */

int riscv_harts_new(struct board *board, struct gw_error *error)
{
    for (unsigned i = 0; i < board->config.cpus; i++) {
        struct riscv_hart *hart = &riscv_virt_of(board)->hart[i];
        hart->board = board;
        hart->index = i;
        hart->platform = riscv_bus;
        hart->platform.opaque = hart;
        pthread_mutex_init(&hart->sleep_lock, NULL);
        pthread_cond_init(&hart->sleep_wake, NULL);
        hart->cpu = rv_hart_new(board->memory, &hart->platform, i);
        if (!hart->cpu)
            return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                                "cannot make a hart: %s", strerror(ENOMEM));
    }
    return 0;
}

void riscv_harts_free(struct board *board)
{
    for (unsigned i = 0; i < board->config.cpus; i++)
        rv_hart_free(riscv_virt_of(board)->hart[i].cpu);
}
