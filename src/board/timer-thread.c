/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host clock: one thread sleeps until the earliest timer and fires what is due, with the I/O lock.
 * It is a thread of its own so that the guest's tick waits for no other work of the loop. An
 * earlier deadline wakes it; a later one does not, it then wakes for nothing once.
 */
#include <string.h>
#include <time.h>

#include "board/machine.h"

#define LONGEST_WAIT_NS (UINT64_C(3600) * 1000000000)

/* Waits until `deadline_ns` of guest time or timer_changed. The I/O lock is held on both sides of
 * the wait. */
static void wait_until(struct board *board, uint64_t deadline_ns)
{
    board->timer_wakes_ns = deadline_ns;
    if (deadline_ns == CLOCK_NEVER) {
        pthread_cond_wait(&board->timer_changed, &board->io_lock);
        return;
    }
    uint64_t now_ns = clock_now_ns(&board->time.clock); /* may be past the deadline by now */
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    uint64_t host_ns =
        host_monotonic_ns() + (wait_ns < LONGEST_WAIT_NS ? wait_ns : LONGEST_WAIT_NS);
    struct timespec until = {.tv_sec = (time_t)(host_ns / 1000000000u),
                             .tv_nsec = (long)(host_ns % 1000000000u)};
    pthread_cond_timedwait(&board->timer_changed, &board->io_lock, &until);
}

static void *timer_thread(void *opaque)
{
    struct board *board = opaque;
    struct clock *clock = &board->time.clock;
    pthread_mutex_lock(&board->io_lock);
    while (!board->timer_exiting) {
        uint64_t deadline_ns = clock->running ? clock_deadline_ns(clock) : CLOCK_NEVER;
        if (deadline_ns != CLOCK_NEVER && deadline_ns <= clock_now_ns(clock))
            clock_fire(clock);
        else
            wait_until(board, deadline_ns);
    }
    pthread_mutex_unlock(&board->io_lock);
    return NULL;
}

static void deadline_changed(void *opaque, uint64_t deadline_ns)
{
    struct board *board = opaque;
    if (deadline_ns < board->timer_wakes_ns)
        pthread_cond_signal(&board->timer_changed);
}

int timer_thread_start(struct board *board, struct gw_error *error)
{
    if (board->has_timer_thread)
        return 0;
    clock_set_notify(&board->time.clock, deadline_changed, board);
    int r = pthread_create(&board->timer_thread, NULL, timer_thread, board);
    if (r != 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -r,
                            "no thread for the machine's timers: %s", strerror(r));
    board->has_timer_thread = true;
    return 0;
}

void timer_thread_join(struct board *board)
{
    if (!board->has_timer_thread)
        return;
    pthread_mutex_lock(&board->io_lock);
    board->timer_exiting = true;
    pthread_cond_signal(&board->timer_changed);
    pthread_mutex_unlock(&board->io_lock);
    pthread_join(board->timer_thread, NULL);
    board->has_timer_thread = false;
}
