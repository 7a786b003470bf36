/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's clock: nanoseconds of guest time since power-on, and the timers of its devices.
 *
 * Two sources. GW_CLOCK_HOST follows CLOCK_MONOTONIC while the clock runs and stands still while the
 * machine is stopped. GW_CLOCK_INSTRUCTIONS moves only when the CPU says so, so that two runs are equal
 * bit by bit; no host time reaches the guest.
 *
 * Threads: clock_now_ns() may be called from anywhere without a lock. Everything else is called with
 * the machine's I/O lock held (or before its threads exist).
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CLOCK_NEVER UINT64_MAX

enum clock_mode { GW_CLOCK_HOST, GW_CLOCK_INSTRUCTIONS };

struct clock_timer {
    /* set once by clock_timer_init() */
    struct clock *clock;
    void (*expired)(void *opaque); /* called by clock_fire(), the timer already disarmed */
    void *opaque;
    unsigned order; /* among equal deadlines the timer that was initialised first fires first */
    /* under the machine's I/O lock */
    struct clock_timer *next; /* armed timers, earliest first */
    uint64_t deadline_ns;     /* CLOCK_NEVER while disarmed */
};

struct clock {
    /* set once */
    enum clock_mode mode;
    void (*deadline_changed)(void *opaque, uint64_t deadline_ns); /* may be NULL */
    void *opaque;
    /* written under the I/O lock, read by any thread */
    _Atomic bool running;
    _Atomic uint64_t base_ns; /* guest time when the clock last started (host) or now (instructions) */
    _Atomic uint64_t host_start_ns;
    _Atomic unsigned sequence; /* seqlock over the two above: odd while they change */
    /* under the I/O lock */
    struct clock_timer *first;
    unsigned timer_count; /* initialised so far */
};

void clock_init(struct clock *clock, enum clock_mode mode);

/* Called whenever the earliest deadline becomes another one, with the I/O lock held; the owner arms a
 * host timer from it, or shortens the CPU's budget. */
void clock_set_notify(struct clock *clock, void (*deadline_changed)(void *, uint64_t),
                      void *opaque);

uint64_t clock_now_ns(const struct clock *clock);
void clock_start(struct clock *clock); /* idempotent */
void clock_stop(struct clock *clock);  /* idempotent; now_ns stands still until clock_start() */
void clock_set_ns(struct clock *clock, uint64_t now_ns); /* loading a state; only while stopped */
void clock_advance_ns(struct clock *clock, uint64_t by_ns); /* GW_CLOCK_INSTRUCTIONS only, CPU thread */

uint64_t clock_deadline_ns(const struct clock *clock); /* earliest armed timer or CLOCK_NEVER */
void clock_fire(struct clock *clock); /* runs every timer whose deadline is not after now */

void clock_timer_init(struct clock_timer *timer, struct clock *clock, void (*expired)(void *),
                      void *opaque);
void clock_timer_arm(struct clock_timer *timer, uint64_t deadline_ns); /* moves it if armed already */
void clock_timer_disarm(struct clock_timer *timer);

/* Host CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
uint64_t host_monotonic_ns(void);
uint64_t host_realtime_ns(void);

#endif
