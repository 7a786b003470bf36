/* SPDX-License-Identifier: Apache-2.0 */
/* A lock with a condition that counts in CLOCK_MONOTONIC: what the threads of one migration wait on. */
#ifndef MIGRATE_MONITOR_H
#define MIGRATE_MONITOR_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline void monotonic_cond_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* false when `until_ns` (CLOCK_MONOTONIC) has passed; UINT64_MAX waits for ever. */
static inline bool monotonic_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                       uint64_t until_ns)
{
    if (until_ns == UINT64_MAX)
        return pthread_cond_wait(condition, lock) == 0;
    struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    return pthread_cond_timedwait(condition, lock, &until) != ETIMEDOUT;
}

struct monitor {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static inline void monitor_init(struct monitor *monitor)
{
    pthread_mutex_init(&monitor->lock, NULL);
    monotonic_cond_init(&monitor->changed);
}

static inline void monitor_fini(struct monitor *monitor)
{
    pthread_cond_destroy(&monitor->changed);
    pthread_mutex_destroy(&monitor->lock);
}

static inline void monitor_enter(struct monitor *monitor)
{
    pthread_mutex_lock(&monitor->lock);
}

static inline void monitor_leave(struct monitor *monitor)
{
    pthread_mutex_unlock(&monitor->lock);
}

/* Inside: something changed that others may wait for. */
static inline void monitor_notify(struct monitor *monitor)
{
    pthread_cond_broadcast(&monitor->changed);
}

/* Inside: waits for a notification; false at the time limit. */
static inline bool monitor_wait(struct monitor *monitor, uint64_t until_ns)
{
    return monotonic_cond_wait(&monitor->changed, &monitor->lock, until_ns);
}

#endif
