/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "migrate/ratelimit.h"

#define SECOND 1000000000ull
#define MEGABYTE 1000000ull

/* ---- A clock of the test's own: exact on any host ---- */

#define WORK_NS 100u /* what looking at the clock costs, for whatever is done between two looks */

static _Atomic uint64_t now_ns = SECOND;
static _Atomic unsigned naps;
static void (*at_nap)(unsigned number); /* what others do meanwhile */

uint64_t __wrap_host_monotonic_ns(void);
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask);

uint64_t __wrap_host_monotonic_ns(void)
{
    return atomic_fetch_add(&now_ns, WORK_NS);
}

static void pass_ns(uint64_t ns)
{
    atomic_fetch_add(&now_ns, ns);
}

/* A nap of the limiter, as long as it asks for; only the descriptor is looked at for real. */
int __wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask)
{
    unsigned number = atomic_fetch_add(&naps, 1);
    pass_ns((uint64_t)timeout->tv_sec * SECOND + (uint64_t)timeout->tv_nsec);
    if (at_nap)
        at_nap(number);
    return poll(fds, count, 0);
}

static int begin(void **state)
{
    at_nap = NULL;
    atomic_store(&naps, 0);
    return 0;
}

/* ---- Rates ---- */

struct channel {
    struct ratelimit *limiter;
    uint64_t piece, until_ns, taken;
};

/* Takes pieces until the time is over; a piece in the middle is left unfinished. */
static void *take_until(void *argument)
{
    struct channel *channel = argument;
    while (host_monotonic_ns() < channel->until_ns) {
        for (uint64_t left = channel->piece; left > 0 && host_monotonic_ns() < channel->until_ns;) {
            uint64_t granted;
            assert_int_equal(ratelimit_take(channel->limiter, left, -1, &granted), 0);
            assert_true(granted > 0 && granted <= left);
            left -= granted;
            channel->taken += granted;
        }
    }
    return NULL;
}

struct load {
    uint64_t limit, piece, time_ns;
    unsigned channels;
};

static void assert_load_is_near(struct load load)
{
    struct ratelimit limiter;
    struct channel of[4];
    pthread_t threads[4];
    uint64_t began = host_monotonic_ns(), taken = 0;
    ratelimit_init(&limiter, load.limit);
    for (unsigned i = 0; i < load.channels; i++) {
        of[i] = (struct channel){&limiter, load.piece, began + load.time_ns, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, take_until, &of[i]), 0);
    }
    for (unsigned i = 0; i < load.channels; i++) {
        pthread_join(threads[i], NULL);
        taken += of[i].taken;
    }
    ratelimit_fini(&limiter);
    double rate = (double)taken * 1e9 / (double)(host_monotonic_ns() - began);
    print_message("%.4f of the limit\n", rate / (double)load.limit);
    assert_true(rate <= (double)load.limit);
    assert_true(rate >= 0.95 * (double)load.limit);
}

static void a_small_limit_holds_for_large_pieces(void **state)
{
    assert_load_is_near((struct load){MEGABYTE, 1 << 20, SECOND, 1});
}

static void a_large_limit_holds_for_small_pieces(void **state)
{
    assert_load_is_near((struct load){1000 * MEGABYTE, 4096, SECOND / 2, 1});
}

static void channels_share_one_limit(void **state)
{
    assert_load_is_near((struct load){20 * MEGABYTE, 1 << 20, SECOND, 4});
}

static void silence_is_not_made_up_for(void **state)
{
    struct ratelimit limiter;
    ratelimit_init(&limiter, 10 * MEGABYTE);
    pass_ns(SECOND / 2);
    uint64_t granted;
    assert_int_equal(ratelimit_take(&limiter, 100 * MEGABYTE, -1, &granted), 0);
    assert_true(granted <= MEGABYTE);
    ratelimit_fini(&limiter);
}

static void without_a_limit_all_is_granted_at_once(void **state)
{
    struct ratelimit limiter;
    ratelimit_init(&limiter, 0);
    uint64_t granted;
    assert_int_equal(ratelimit_take(&limiter, UINT64_MAX, -1, &granted), 0);
    assert_true(granted == UINT64_MAX);
    assert_int_equal(naps, 0);
    ratelimit_fini(&limiter);
}

static struct ratelimit waited_for;

static void lift_the_limit(unsigned number)
{
    if (number == 3)
        ratelimit_set(&waited_for, 0);
}

static void a_waiting_channel_follows_a_new_limit(void **state)
{
    uint64_t granted;
    ratelimit_init(&waited_for, 1);
    at_nap = lift_the_limit;
    for (uint64_t left = MEGABYTE; left > 0; left -= granted)
        assert_int_equal(ratelimit_take(&waited_for, left, -1, &granted), 0);
    assert_int_equal(naps, 4); /* without the change: days */
    assert_int_equal(ratelimit_get(&waited_for), 0);
    ratelimit_fini(&waited_for);
}

static void a_waiting_channel_can_be_cancelled(void **state)
{
    struct ratelimit limiter;
    ratelimit_init(&limiter, 1);
    int cancel_fd = eventfd(1, EFD_CLOEXEC);
    uint64_t granted = 77;
    assert_int_equal(ratelimit_take(&limiter, MEGABYTE, cancel_fd, &granted), -ECANCELED);
    assert_int_equal(granted, 77);
    close(cancel_fd);
    ratelimit_fini(&limiter);
}

#define T(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_small_limit_holds_for_large_pieces),
        T(a_large_limit_holds_for_small_pieces),
        T(channels_share_one_limit),
        T(silence_is_not_made_up_for),
        T(without_a_limit_all_is_granted_at_once),
        T(a_waiting_channel_follows_a_new_limit),
        T(a_waiting_channel_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
