/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens trickle in with time and are kept for at most CAP seconds, so that a thread which the host
 * let sleep too long can catch up but no long silence is made up for. The bucket begins empty.
 * Grants are small slices of the limit: a channel that wants a megabyte under a limit of one
 * megabyte per second sends a hundred pieces spread over the second rather than all of it at its
 * beginning.
 */
#include "migrate/ratelimit.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"

#define CAP_SECONDS 0.1
#define SLICE_SECONDS 0.01
#define MAX_SLICE_BYTES 262144.0
#define MAX_NAP_NS 20000000u

void ratelimit_init(struct ratelimit *limiter, uint64_t bytes_per_second)
{
    *limiter = (struct ratelimit){.limit = bytes_per_second, .filled_ns = host_monotonic_ns()};
    pthread_mutex_init(&limiter->lock, NULL);
}

void ratelimit_fini(struct ratelimit *limiter)
{
    pthread_mutex_destroy(&limiter->lock);
}

void ratelimit_set(struct ratelimit *limiter, uint64_t bytes_per_second)
{
    pthread_mutex_lock(&limiter->lock);
    if (limiter->limit != bytes_per_second) {
        limiter->limit = bytes_per_second;
        limiter->tokens = 0;
        limiter->filled_ns = host_monotonic_ns();
    }
    pthread_mutex_unlock(&limiter->lock);
}

uint64_t ratelimit_get(struct ratelimit *limiter)
{
    pthread_mutex_lock(&limiter->lock);
    uint64_t limit = limiter->limit;
    pthread_mutex_unlock(&limiter->lock);
    return limit;
}

static void fill(struct ratelimit *limiter)
{
    uint64_t now = host_monotonic_ns();
    double rate = (double)limiter->limit;
    limiter->tokens += rate * (double)(now - limiter->filled_ns) / 1e9;
    limiter->filled_ns = now;
    double cap = rate * CAP_SECONDS > 1 ? rate * CAP_SECONDS : 1;
    if (limiter->tokens > cap)
        limiter->tokens = cap;
}

/* What a caller waits for before it gets anything: all of `want` or a slice of the limit. */
static double smallest_grant(const struct ratelimit *limiter, uint64_t want)
{
    double slice = (double)limiter->limit * SLICE_SECONDS;
    if (slice > MAX_SLICE_BYTES)
        slice = MAX_SLICE_BYTES;
    if (slice < 1)
        slice = 1;
    return (double)want < slice ? (double)want : slice;
}

/* Bytes granted now, or 0 and how long to wait before asking again. */
static uint64_t try_take(struct ratelimit *limiter, uint64_t want, uint64_t *ret_wait_ns)
{
    uint64_t granted = 0;
    pthread_mutex_lock(&limiter->lock);
    if (limiter->limit == 0) {
        granted = want;
    } else {
        fill(limiter);
        double least = smallest_grant(limiter, want);
        if (limiter->tokens >= least) {
            granted = limiter->tokens < (double)want ? (uint64_t)limiter->tokens : want;
            limiter->tokens -= (double)granted;
        } else {
            double wait_ns = (least - limiter->tokens) / (double)limiter->limit * 1e9;
            *ret_wait_ns = wait_ns < MAX_NAP_NS ? (uint64_t)wait_ns + 1 : MAX_NAP_NS;
        }
    }
    pthread_mutex_unlock(&limiter->lock);
    return granted;
}

static int nap(uint64_t wait_ns, int cancel_fd)
{
    struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};
    struct timespec timeout = {.tv_nsec = (long)wait_ns};
    return ppoll(&cancel, 1, &timeout, NULL) > 0 ? -ECANCELED : 0;
}

int ratelimit_take(struct ratelimit *limiter, uint64_t want, int cancel_fd, uint64_t *ret_granted)
{
    uint64_t granted, wait_ns = 0;
    while ((granted = try_take(limiter, want, &wait_ns)) == 0 && want > 0) {
        int r = nap(wait_ns, cancel_fd);
        if (r < 0)
            return r;
    }
    *ret_granted = granted;
    return 0;
}
