/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread per hart, from the first start to the end of the board.
 *
 *              run_wanted and not halt
 *     parked ---------------------------> running <-----> asleep in WFI
 *        ^                                   |                |
 *        +--------------- halt --------------+----------------+
 *
 * Whoever wants the harts to stop sets `halt`, then kicks and wakes every hart; a hart looks at
 * `halt` after each run and before each sleep. A hart may set it itself (power off, run-until
 * reached).
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "board/machine.h"

#define HOST_CLOCK_BUDGET (UINT64_C(1) << 32)

void board_notify_loop(struct board *board)
{
    uint64_t one = 1;
    ssize_t n = write(board->wake_fd, &one, sizeof one);
    (void)n; /* fails only when the counter is full, and then the loop is awake */
}

/* ---- WFI ---- */

static void set_woken(struct board_hart *hart, bool woken)
{
    pthread_mutex_lock(&hart->sleep_lock);
    hart->woken = woken;
    pthread_cond_signal(&hart->sleep_wake);
    pthread_mutex_unlock(&hart->sleep_lock);
}

void hart_wake(struct board_hart *hart)
{
    atomic_thread_fence(memory_order_seq_cst); /* partner: sleep_until_woken() */
    if (atomic_load(&hart->sleeping))
        set_woken(hart, true);
}

void hart_set_irq(void *opaque, unsigned irq, bool level)
{
    struct board_hart *hart = opaque;
    rv_hart_set_irq(hart->cpu, irq, level);
    if (level)
        hart_wake(hart);
}

/* Instruction clock: a timer that somebody armed meanwhile ends the sleep too; time then skips to
 * it. */
static bool may_sleep(struct board_hart *hart)
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

static void sleep_until_woken(struct board_hart *hart)
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

static void step_host_clock(struct board_hart *hart)
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
static void skip_idle_time(struct board_hart *hart)
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

static void step_instruction_clock(struct board_hart *hart)
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

/* Returns false when the thread is to end. */
static bool wait_parked(struct board *board)
{
    pthread_mutex_lock(&board->run_lock);
    board->parked++;
    pthread_cond_broadcast(&board->run_changed);
    while (!board->exiting && (!board->run_wanted || atomic_load(&board->halt)))
        pthread_cond_wait(&board->run_changed, &board->run_lock);
    board->parked--;
    bool go_on = !board->exiting;
    pthread_mutex_unlock(&board->run_lock);
    return go_on;
}

static void *hart_thread(void *opaque)
{
    struct board_hart *hart = opaque;
    struct board *board = hart->board;
    void (*step)(struct board_hart *) =
        board->time.clock.mode == GW_CLOCK_INSTRUCTIONS ? step_instruction_clock : step_host_clock;
    while (wait_parked(board))
        while (!atomic_load(&board->halt))
            step(hart);
    return NULL;
}

/* ---- Control ---- */

void harts_kick(struct board *board)
{
    for (unsigned i = 0; i < board->config.cpus; i++) {
        rv_hart_kick(board->hart[i].cpu);
        hart_wake(&board->hart[i]);
    }
}

void harts_halt(struct board *board)
{
    atomic_store(&board->halt, true);
    harts_kick(board);
}

void harts_park(struct board *board)
{
    if (!board->threads_started)
        return;
    pthread_mutex_lock(&board->run_lock);
    board->run_wanted = false;
    pthread_mutex_unlock(&board->run_lock);
    harts_halt(board);
    pthread_mutex_lock(&board->run_lock);
    while (board->parked < board->config.cpus)
        pthread_cond_wait(&board->run_changed, &board->run_lock);
    pthread_mutex_unlock(&board->run_lock);
}

void harts_unpark(struct board *board)
{
    pthread_mutex_lock(&board->run_lock);
    board->run_wanted = true;
    atomic_store(&board->halt, false);
    pthread_cond_broadcast(&board->run_changed);
    pthread_mutex_unlock(&board->run_lock);
}

int harts_start_threads(struct board *board, struct gw_error *error)
{
    if (board->threads_started)
        return 0;
    board->threads_started = true;
    for (unsigned i = 0; i < board->config.cpus; i++) {
        struct board_hart *hart = &board->hart[i];
        int r = pthread_create(&hart->thread, NULL, hart_thread, hart);
        if (r != 0) {
            harts_join_threads(board);
            return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -r,
                                "no thread for hart %u: %s", i, strerror(r));
        }
        hart->has_thread = true;
    }
    return 0;
}

void harts_join_threads(struct board *board)
{
    if (!board->threads_started)
        return; /* a board whose building failed has no harts to wake */
    pthread_mutex_lock(&board->run_lock);
    board->exiting = true;
    pthread_cond_broadcast(&board->run_changed);
    pthread_mutex_unlock(&board->run_lock);
    harts_halt(board);
    for (unsigned i = 0; i < board->config.cpus; i++) {
        if (board->hart[i].has_thread)
            pthread_join(board->hart[i].thread, NULL);
        board->hart[i].has_thread = false;
    }
    board->exiting = false;
    board->threads_started = false;
}
