/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread per CPU, from the first start to the end of the board.
 *
 *              run_wanted and not halt
 *     parked ---------------------------> stepping
 *        ^                                   |
 *        +--------------- halt --------------+
 *
 * Whoever wants the CPUs to stop sets `halt`, then kicks every one; `halt` is looked at after each
 * step. A CPU may set it itself (power off, run-until reached).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "board/machine.h"

void board_notify_loop(struct board *board)
{
    uint64_t one = 1;
    ssize_t n = write(board->wake_fd, &one, sizeof one);
    (void)n; /* fails only when the counter is full, and then the loop is awake */
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

static void *cpu_thread(void *opaque)
{
    const struct board_cpu *cpu = opaque;
    struct board *board = cpu->board;
    char name[16]; /* what the kernel has room for */
    snprintf(name, sizeof name, "cpu %u", cpu->index);
    (void)pthread_setname_np(pthread_self(), name);
    if (board->kind->cpu_begin)
        board->kind->cpu_begin(board, cpu->index);
    while (wait_parked(board))
        while (!atomic_load(&board->halt))
            board->kind->cpu_step(board, cpu->index);
    return NULL;
}

/* ---- Control ---- */

void cpus_halt(struct board *board)
{
    atomic_store(&board->halt, true);
    for (unsigned i = 0; i < board->config.cpus; i++)
        board->kind->cpu_kick(board, i);
}

void cpus_park(struct board *board)
{
    if (!board->threads_started)
        return;
    pthread_mutex_lock(&board->run_lock);
    board->run_wanted = false;
    pthread_mutex_unlock(&board->run_lock);
    cpus_halt(board);
    pthread_mutex_lock(&board->run_lock);
    while (board->parked < board->config.cpus)
        pthread_cond_wait(&board->run_changed, &board->run_lock);
    pthread_mutex_unlock(&board->run_lock);
}

void cpus_unpark(struct board *board)
{
    pthread_mutex_lock(&board->run_lock);
    board->run_wanted = true;
    atomic_store(&board->halt, false);
    pthread_cond_broadcast(&board->run_changed);
    pthread_mutex_unlock(&board->run_lock);
}

int cpus_start_threads(struct board *board, struct gw_error *error)
{
    if (board->threads_started)
        return 0;
    board->threads_started = true;
    for (unsigned i = 0; i < board->config.cpus; i++) {
        struct board_cpu *cpu = &board->cpu[i];
        *cpu = (struct board_cpu){.board = board, .index = i};
        int r = pthread_create(&cpu->thread, NULL, cpu_thread, cpu);
        if (r != 0) {
            cpus_join_threads(board);
            return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -r,
                                "no thread for CPU %u: %s", i, strerror(r));
        }
        cpu->has_thread = true;
    }
    return 0;
}

void cpus_join_threads(struct board *board)
{
    if (!board->threads_started)
        return; /* a board whose building failed has no CPUs to wake */
    pthread_mutex_lock(&board->run_lock);
    board->exiting = true;
    pthread_cond_broadcast(&board->run_changed);
    pthread_mutex_unlock(&board->run_lock);
    cpus_halt(board);
    for (unsigned i = 0; i < board->config.cpus; i++) {
        if (board->cpu[i].has_thread)
            pthread_join(board->cpu[i].thread, NULL);
        board->cpu[i].has_thread = false;
    }
    board->exiting = false;
    board->threads_started = false;
}
