/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over a vhost-user back end, its state, and what it may do wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "../patience.h"
#include "base/clock.h"
#include "fake-vhost.h"
#include "net-bench.h"

struct pair {
    struct fake_vhost fake;
    struct vhost_net net;
};

static void begin(struct pair *pair, enum fake_manner manner)
{
    assert_int_equal(vhost_net_init(&pair->net), 0);
    int fd = fake_begin(&pair->fake, manner, 0);
    assert_int_equal(vhost_net_connect(&pair->net, fd), 0);
    assert_int_equal(vhost_net_start(&pair->net), 0);
}

static void end(struct pair *pair)
{
    vhost_net_fini(&pair->net);
    fake_end(&pair->fake);
}

static ssize_t send_frame(struct pair *pair, size_t bytes, unsigned seed)
{
    static uint8_t frame[NET_HEADER_BYTES + NET_FRAME_BYTES];
    memset(frame, 0xff, NET_HEADER_BYTES);
    bench_fill(frame + NET_HEADER_BYTES, bytes, seed);
    const struct iovec iov[] = {{frame, 7}, {frame + 7, NET_HEADER_BYTES + bytes - 7}};
    return vhost_net_send(&pair->net, iov, 2);
}

/* As the device's thread waits. */
static ssize_t await_frame(struct pair *pair, uint8_t *frame, size_t room)
{
    uint8_t header[NET_HEADER_BYTES];
    const struct iovec iov[] = {{header, sizeof header}, {frame, room}};
    uint64_t until_ns = patience_end_ns();
    ssize_t n;
    while ((n = vhost_net_receive(&pair->net, iov, 2)) == -EAGAIN && !pair->net.fault[0] &&
           host_monotonic_ns() < until_ns) {
        struct pollfd wait = {pair->net.call_fd, POLLIN, 0};
        poll(&wait, 1, 1000);
    }
    if (n > 0)
        assert_memory_equal(header, "\0\0\0\0\0\0\0\0\0\0\1\0", sizeof header);
    return n < 0 ? n : n - NET_HEADER_BYTES;
}

static void expect_frame(struct pair *pair, size_t bytes, unsigned seed)
{
    static uint8_t got[NET_FRAME_BYTES], expected[NET_FRAME_BYTES];
    assert_int_equal(await_frame(pair, got, sizeof got), bytes);
    bench_fill(expected, bytes, seed);
    assert_memory_equal(got, expected, bytes);
}

static void expect_fault(struct pair *pair, const char *part)
{
    if (!strstr(pair->net.fault, part) || strchr(pair->net.fault, '\n'))
        fail_msg("'%s' does not say '%s'", pair->net.fault, part);
}

/* ---- Frames ---- */

static void frames_go_both_ways(void **state)
{
    static const size_t sizes[] = {14, 15, 60, 1514, 9014, NET_FRAME_BYTES};
    struct pair pair;
    begin(&pair, FAKE_HONEST);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(send_frame(&pair, sizes[i], i), 0);
        expect_frame(&pair, sizes[i], i);
    }
    end(&pair);
}

static void more_frames_than_the_ring_has_entries(void **state)
{
    struct pair pair;
    unsigned sent = 0, got = 0;
    begin(&pair, FAKE_HONEST);
    while (got < 5000) {
        while (sent < 5000 && sent - got < 200) {
            ssize_t r = send_frame(&pair, 100 + sent % 1000, sent);
            if (r == -EAGAIN)
                break;
            assert_int_equal(r, 0);
            sent++;
        }
        expect_frame(&pair, 100 + got % 1000, got);
        got++;
    }
    end(&pair);
}

static void what_is_too_long_is_lost_alone(void **state)
{
    struct pair pair;
    uint8_t small[50];
    begin(&pair, FAKE_HONEST);
    uint8_t *huge = test_calloc(1, RING_BUFFER_BYTES + 1);
    const struct iovec iov = {huge, RING_BUFFER_BYTES + 1};
    assert_int_equal(vhost_net_send(&pair.net, &iov, 1), -EMSGSIZE);
    test_free(huge);
    assert_int_equal(send_frame(&pair, 51, 1), 0);
    assert_true(await_frame(&pair, small, sizeof small) == -EMSGSIZE);
    assert_int_equal(send_frame(&pair, 50, 2), 0);
    expect_frame(&pair, 50, 2);
    end(&pair);
}

static void a_back_end_that_takes_nothing_costs_frames_and_no_time(void **state)
{
    struct pair pair;
    ssize_t r = 0;
    begin(&pair, FAKE_TAKES_NONE);
    uint64_t began_ns = host_monotonic_ns();
    unsigned taken = 0;
    while ((r = send_frame(&pair, 60, 0)) == 0 || r == -EAGAIN)
        taken += r == 0;
    assert_int_equal(r, -ENOBUFS);
    assert_int_equal(taken, RING_ENTRIES);
    assert_true(host_monotonic_ns() - began_ns < patience_ns());
    end(&pair);
}

static void nobody_is_called_while_frames_are_found(void **state)
{
    struct pair pair;
    begin(&pair, FAKE_HONEST);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(send_frame(&pair, 60, i), 0);
    while (atomic_load(&pair.fake.frames) < 20)
        usleep(1000);
    for (unsigned i = 0; i < 20; i++)
        expect_frame(&pair, 60, i);
    struct iovec none = {NULL, 0};
    assert_int_equal(vhost_net_receive(&pair.net, &none, 1), -EAGAIN);
    struct pollfd wait = {pair.net.call_fd, POLLIN, 0};
    assert_int_equal(poll(&wait, 1, 0), 0); /* nothing is left over */
    assert_int_equal(send_frame(&pair, 60, 20), 0);
    assert_int_equal(poll(&wait, 1, patience_ms()), 1); /* the next one is told of */
    expect_frame(&pair, 60, 20);
    end(&pair);
}

/* ---- What it may do wrong ---- */

static void a_ring_that_cannot_be_ends_the_connection(void **state)
{
    static const enum fake_manner manners[] = {FAKE_INDEX_TOO_FAR, FAKE_ID_TOO_BIG,
                                               FAKE_FRAME_TOO_LONG};
    static uint8_t frame[NET_FRAME_BYTES];
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        begin(&pair, manners[i]);
        assert_int_equal(send_frame(&pair, 60, 1), 0);
        assert_true(await_frame(&pair, frame, sizeof frame) < 0);
        expect_fault(&pair, "breaks the rules of vhost-user while it gives frames");
        assert_int_equal(send_frame(&pair, 60, 1), -ENETDOWN);
        end(&pair);
    }
}

static void buffers_that_come_back_twice_end_the_connection(void **state)
{
    struct pair pair;
    begin(&pair, FAKE_TAKES_TWICE);
    ssize_t r;
    unsigned tries = 0;
    while ((r = send_frame(&pair, 60, 0)) != -ENETDOWN && tries++ < 100000)
        ;
    assert_int_equal(r, -ENETDOWN);
    expect_fault(&pair, "breaks the rules of vhost-user while it takes frames");
    end(&pair);
}

static void nobody_can_take_the_shared_memory_away(void **state)
{
    struct pair pair;
    begin(&pair, FAKE_HONEST);
    assert_int_equal(ftruncate(pair.net.memory_fd, 0), -1);
    assert_int_equal(ftruncate(pair.net.memory_fd, 1 << 30), -1);
    end(&pair);
}

static void a_frame_that_is_no_frame_is_left_out(void **state)
{
    struct pair pair;
    begin(&pair, FAKE_FRAME_TOO_SHORT);
    assert_int_equal(send_frame(&pair, 60, 1), 0);
    while (atomic_load(&pair.fake.frames) < 1)
        usleep(1000);
    uint8_t frame[100];
    const struct iovec iov = {frame, sizeof frame};
    assert_int_equal(vhost_net_receive(&pair.net, &iov, 1), -EAGAIN);
    assert_string_equal(pair.net.fault, "");
    end(&pair);
}

static void whatever_it_answers_wrong_ends_the_attempt_in_time(void **state)
{
    static const struct {
        enum fake_manner manner;
        unsigned from;
        int expected;
        const char *says;
    } cases[] = {
        {FAKE_SILENT, 0, -ETIMEDOUT, "does not answer"},
        {FAKE_SILENT, 3, -ETIMEDOUT, "does not answer"},
        {FAKE_CLOSES, 0, -ECONNRESET, "closed the connection"},
        {FAKE_CLOSES, 4, -ECONNRESET, "closed the connection"},
        {FAKE_ANSWERS_OTHERS, 0, -EPROTO, "breaks the rules"},
        {FAKE_ANSWERS_LONG, 1, -EPROTO, "breaks the rules"},
        {FAKE_REFUSES, 4, -EIO, "says that it failed"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair pair;
        uint64_t began_ns = host_monotonic_ns();
        assert_int_equal(vhost_net_init(&pair.net), 0);
        int fd = fake_begin(&pair.fake, cases[i].manner, cases[i].from);
        assert_int_equal(vhost_net_connect(&pair.net, fd), cases[i].expected);
        expect_fault(&pair, cases[i].says);
        assert_true(host_monotonic_ns() - began_ns < patience_ns());
        end(&pair);
    }
}

/* ---- State ---- */

static void what_one_saves_another_loads(void **state)
{
    struct pair here, there;
    struct gw_buf saved = {0};
    begin(&here, FAKE_HONEST);
    assert_true(here.net.can_migrate);
    assert_int_equal(send_frame(&here, 60, 1), 0);
    assert_int_equal(vhost_net_stop(&here.net), 0);
    assert_int_equal(send_frame(&here, 60, 1), -ENETDOWN);
    assert_int_equal(vhost_net_save(&here.net, &saved), 0);
    assert_int_equal(saved.length, strlen(FAKE_STATE));

    assert_int_equal(vhost_net_init(&there.net), 0);
    assert_int_equal(vhost_net_connect(&there.net, fake_begin(&there.fake, FAKE_HONEST, 0)), 0);
    assert_int_equal(vhost_net_load(&there.net, saved.data, saved.length), 0);
    assert_int_equal(vhost_net_start(&there.net), 0);
    assert_int_equal(
        gw_buf_append(&there.net.waiting, here.net.waiting.data, here.net.waiting.length), 0);
    expect_frame(&there, 60, 1); /* which had come in here before */
    assert_int_equal(send_frame(&there, 70, 2), 0);
    expect_frame(&there, 70, 2);
    end(&here);
    end(&there);
    gw_buf_fini(&saved);
}

static void a_state_that_is_wrong_is_told(void **state)
{
    struct pair pair;
    assert_int_equal(vhost_net_init(&pair.net), 0);
    assert_int_equal(vhost_net_connect(&pair.net, fake_begin(&pair.fake, FAKE_HONEST, 0)), 0);
    assert_int_equal(vhost_net_load(&pair.net, "nonsense", 8), -EIO);
    expect_fault(&pair, "says that it failed while its state is loaded");
    end(&pair);
}

static void a_save_that_fails_hangs_or_has_no_end_is_told(void **state)
{
    static const struct {
        enum fake_manner manner;
        int expected;
    } cases[] = {
        {FAKE_SAVE_FAILS, -EIO}, {FAKE_SAVE_ENDLESS, -EFBIG}, {FAKE_SAVE_HANGS, -ETIMEDOUT}};
    for (unsigned i = 0; i < 3; i++) {
        struct pair pair;
        struct gw_buf saved = {0};
        begin(&pair, cases[i].manner);
        assert_int_equal(vhost_net_stop(&pair.net), 0);
        assert_int_equal(vhost_net_save(&pair.net, &saved), cases[i].expected);
        expect_fault(&pair, "while its state is saved");
        gw_buf_fini(&saved);
        end(&pair);
    }
}

static void one_that_cannot_migrate_serves_all_the_same(void **state)
{
    struct pair pair;
    begin(&pair, FAKE_CANNOT_MIGRATE);
    assert_false(pair.net.can_migrate);
    assert_int_equal(send_frame(&pair, 60, 3), 0);
    expect_frame(&pair, 60, 3);
    end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_both_ways),
        cmocka_unit_test(more_frames_than_the_ring_has_entries),
        cmocka_unit_test(what_is_too_long_is_lost_alone),
        cmocka_unit_test(a_back_end_that_takes_nothing_costs_frames_and_no_time),
        cmocka_unit_test(nobody_is_called_while_frames_are_found),
        cmocka_unit_test(a_ring_that_cannot_be_ends_the_connection),
        cmocka_unit_test(buffers_that_come_back_twice_end_the_connection),
        cmocka_unit_test(nobody_can_take_the_shared_memory_away),
        cmocka_unit_test(a_frame_that_is_no_frame_is_left_out),
        cmocka_unit_test(whatever_it_answers_wrong_ends_the_attempt_in_time),
        cmocka_unit_test(what_one_saves_another_loads),
        cmocka_unit_test(a_state_that_is_wrong_is_told),
        cmocka_unit_test(a_save_that_fails_hangs_or_has_no_end_is_told),
        cmocka_unit_test(one_that_cannot_migrate_serves_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
