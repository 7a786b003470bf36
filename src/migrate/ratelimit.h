/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket that any number of channels share. All functions may be called from any thread. */
#ifndef MIGRATE_RATELIMIT_H
#define MIGRATE_RATELIMIT_H

#include <pthread.h>
#include <stdint.h>

struct ratelimit {
    pthread_mutex_t lock; /* protects everything below */
    uint64_t limit;       /* bytes per second; 0: none */
    double tokens;        /* bytes that may be sent now */
    uint64_t filled_ns;   /* when tokens were last added, CLOCK_MONOTONIC */
};

void ratelimit_init(struct ratelimit *limiter, uint64_t bytes_per_second);
void ratelimit_fini(struct ratelimit *limiter);

/* Waiting callers follow the new limit within 20 ms. */
void ratelimit_set(struct ratelimit *limiter, uint64_t bytes_per_second);
uint64_t ratelimit_get(struct ratelimit *limiter);

/*
 * Waits until at least a small part of `want` may be sent and says how much: between 1 and `want`
 * bytes, all of it without a limit. Callers loop; small grants are what keeps the average exact
 * however large the pieces are. -ECANCELED when `cancel_fd` (-1: none) becomes readable.
 */
int ratelimit_take(struct ratelimit *limiter, uint64_t want, int cancel_fd, uint64_t *ret_granted);

#endif
