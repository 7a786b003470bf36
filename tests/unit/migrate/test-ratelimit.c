/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "migrate/ratelimit.h"
#include "rate.h"

#define SECOND 1000000000ull
#define MEGABYTE 1000000ull

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

static double rate_of(void *argument)
{
    const struct load *load = argument;
    struct ratelimit limiter;
    struct channel of[4];
    pthread_t threads[4];
    uint64_t began = host_monotonic_ns(), taken = 0;
    ratelimit_init(&limiter, load->limit);
    for (unsigned i = 0; i < load->channels; i++) {
        of[i] = (struct channel){&limiter, load->piece, began + load->time_ns, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, take_until, &of[i]), 0);
    }
    for (unsigned i = 0; i < load->channels; i++) {
        pthread_join(threads[i], NULL);
        taken += of[i].taken;
    }
    ratelimit_fini(&limiter);
    return (double)taken * 1e9 / (double)(host_monotonic_ns() - began);
}

static void assert_load_is_near(struct load load)
{
    assert_rate_is_kept(rate_of, &load, (double)load.limit, 0.9);
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
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
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
    ratelimit_fini(&limiter);
}

static void *take_a_lot(void *argument)
{
    struct channel *channel = argument;
    for (uint64_t left = channel->piece, granted; left > 0; left -= granted)
        assert_int_equal(ratelimit_take(channel->limiter, left, -1, &granted), 0);
    channel->until_ns = host_monotonic_ns();
    return NULL;
}

static void a_waiting_channel_follows_a_new_limit(void **state)
{
    struct ratelimit limiter;
    ratelimit_init(&limiter, 1);
    struct channel channel = {&limiter, MEGABYTE, 0, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, take_a_lot, &channel), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    uint64_t changed = host_monotonic_ns();
    ratelimit_set(&limiter, 0);
    assert_int_equal(ratelimit_get(&limiter), 0);
    pthread_join(thread, NULL);
    assert_true(channel.until_ns - changed < 10 * SECOND); /* without the change: days */
    ratelimit_fini(&limiter);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_limit_holds_for_large_pieces),
        cmocka_unit_test(a_large_limit_holds_for_small_pieces),
        cmocka_unit_test(channels_share_one_limit),
        cmocka_unit_test(silence_is_not_made_up_for),
        cmocka_unit_test(without_a_limit_all_is_granted_at_once),
        cmocka_unit_test(a_waiting_channel_follows_a_new_limit),
        cmocka_unit_test(a_waiting_channel_can_be_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
