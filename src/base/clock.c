/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <assert.h>
#include <stddef.h>
#include <time.h>

static uint64_t host_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t host_monotonic_ns(void)
{
    return host_ns(CLOCK_MONOTONIC);
}

uint64_t host_realtime_ns(void)
{
    return host_ns(CLOCK_REALTIME);
}

void clock_init(struct clock *clock, enum clock_mode mode)
{
    *clock = (struct clock){.mode = mode};
}

void clock_set_notify(struct clock *clock, void (*deadline_changed)(void *, uint64_t), void *opaque)
{
    clock->deadline_changed = deadline_changed;
    clock->opaque = opaque;
}

uint64_t clock_now_ns(const struct clock *clock)
{
    if (clock->mode == GW_CLOCK_INSTRUCTIONS)
        return atomic_load_explicit(&clock->base_ns, memory_order_relaxed);
    /* Reader of the seqlock written by set_base(). */
    for (;;) {
        unsigned before = atomic_load_explicit(&clock->sequence, memory_order_acquire);
        uint64_t now = atomic_load_explicit(&clock->base_ns, memory_order_relaxed);
        uint64_t start = atomic_load_explicit(&clock->host_start_ns, memory_order_relaxed);
        if (atomic_load_explicit(&clock->running, memory_order_relaxed))
            now += host_monotonic_ns() - start;
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && atomic_load_explicit(&clock->sequence, memory_order_relaxed) == before)
            return now;
    }
}

/* Writer of the seqlock read by clock_now_ns(); writers exclude each other by the I/O lock. */
static void set_base(struct clock *clock, uint64_t base_ns, uint64_t host_start_ns, bool running)
{
    atomic_fetch_add_explicit(&clock->sequence, 1, memory_order_acquire);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&clock->base_ns, base_ns, memory_order_relaxed);
    atomic_store_explicit(&clock->host_start_ns, host_start_ns, memory_order_relaxed);
    atomic_store_explicit(&clock->running, running, memory_order_relaxed);
    atomic_fetch_add_explicit(&clock->sequence, 1, memory_order_release);
}

static void notify(struct clock *clock)
{
    if (clock->deadline_changed)
        clock->deadline_changed(clock->opaque, clock_deadline_ns(clock));
}

void clock_start(struct clock *clock)
{
    if (clock->running)
        return;
    set_base(clock, clock->base_ns, host_monotonic_ns(), true);
    notify(clock);
}

void clock_stop(struct clock *clock)
{
    if (clock->running)
        set_base(clock, clock_now_ns(clock), 0, false);
}

void clock_set_ns(struct clock *clock, uint64_t now_ns)
{
    assert(!clock->running);
    set_base(clock, now_ns, 0, false);
}

void clock_advance_ns(struct clock *clock, uint64_t by_ns)
{
    assert(clock->mode == GW_CLOCK_INSTRUCTIONS);
    atomic_store_explicit(&clock->base_ns, clock->base_ns + by_ns, memory_order_relaxed);
}

uint64_t clock_deadline_ns(const struct clock *clock)
{
    return clock->first ? clock->first->deadline_ns : CLOCK_NEVER;
}

void clock_fire(struct clock *clock)
{
    uint64_t now = clock_now_ns(clock);
    while (clock->first && clock->first->deadline_ns <= now) {
        struct clock_timer *timer = clock->first;
        clock->first = timer->next;
        timer->next = NULL;
        timer->deadline_ns = CLOCK_NEVER;
        timer->expired(timer->opaque);
    }
    notify(clock);
}

void clock_timer_init(struct clock_timer *timer, struct clock *clock, void (*expired)(void *),
                      void *opaque)
{
    *timer = (struct clock_timer){
        .clock = clock,
        .expired = expired,
        .opaque = opaque,
        .order = clock->timer_count++,
        .deadline_ns = CLOCK_NEVER,
    };
}

static void unlink_timer(struct clock_timer *timer)
{
    for (struct clock_timer **at = &timer->clock->first; *at; at = &(*at)->next) {
        if (*at == timer) {
            *at = timer->next;
            timer->next = NULL;
            return;
        }
    }
}

static bool fires_before(const struct clock_timer *one, const struct clock_timer *other)
{
    if (one->deadline_ns != other->deadline_ns)
        return one->deadline_ns < other->deadline_ns;
    return one->order < other->order;
}

/* Not the order of arming: a machine that was saved and loaded arms its timers in another one, and must
 * still run as the machine that was not. */
static void link_timer(struct clock_timer *timer)
{
    struct clock_timer **at = &timer->clock->first;
    while (*at && fires_before(*at, timer))
        at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

static void move_timer(struct clock_timer *timer, uint64_t deadline_ns)
{
    if (timer->deadline_ns == deadline_ns)
        return;
    uint64_t before = clock_deadline_ns(timer->clock);
    if (timer->deadline_ns != CLOCK_NEVER)
        unlink_timer(timer);
    timer->deadline_ns = deadline_ns;
    if (deadline_ns != CLOCK_NEVER)
        link_timer(timer);
    if (clock_deadline_ns(timer->clock) != before)
        notify(timer->clock);
}

void clock_timer_arm(struct clock_timer *timer, uint64_t deadline_ns)
{
    move_timer(timer, deadline_ns);
}

void clock_timer_disarm(struct clock_timer *timer)
{
    move_timer(timer, CLOCK_NEVER);
}
