/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements: the frame, and when it comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../patience.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net-bench.h"
#include "net/announce.h"

static const struct net_station station = {.mac = {0x52, 0x54, 0, 1, 2, 3}};

/* Two networks on one wire: the announcements of one are what the other gets. */
struct wire {
    struct bench from, to;
    struct net_announcer *announcer;
};

static void begin(struct wire *wire)
{
    char text[128];
    const char *path = bench_path("wire");
    snprintf(text, sizeof text, "socket:listen:unix:%s", path);
    bench_new(&wire->to, text);
    bench_acquire(&wire->to);
    snprintf(text, sizeof text, "socket:unix:%s", path);
    bench_new(&wire->from, text);
    bench_acquire(&wire->from);
    bench_expect_up(&wire->from);
    bench_expect_up(&wire->to);
    assert_int_equal(net_announcer_new(wire->from.net, wire->from.loop, &wire->announcer, NULL), 0);
}

static void end(struct wire *wire)
{
    net_announcer_free(wire->announcer);
    bench_free(&wire->from);
    bench_free(&wire->to);
}

static unsigned count_arrived(struct wire *wire)
{
    uint8_t frame[100];
    unsigned count = 0;
    while (bench_receive(&wire->to, 0, frame, sizeof frame) > 0)
        count++;
    return count;
}

static void run_until_sent(struct wire *wire, uint64_t count)
{
    uint64_t end = patience_end_ns();
    while (net_announcer_sent(wire->announcer) < count && host_monotonic_ns() < end)
        bench_run_for(&wire->from, 5);
    assert_true(net_announcer_sent(wire->announcer) >= count);
}

static void assert_told_at_once(const struct net_station *of, const uint8_t *expected, int bytes)
{
    uint8_t frame[100];
    struct wire wire;
    begin(&wire);
    net_announcer_start(wire.announcer, of, 1);
    assert_int_equal(bench_receive(&wire.to, 0, frame, sizeof frame), bytes);
    assert_memory_equal(frame, expected, (size_t)bytes);
    assert_int_equal(net_announcer_sent(wire.announcer), 1);
    end(&wire);
}

static void the_first_one_is_a_rarp_request_at_once(void **state)
{
    static const uint8_t expected[ANNOUNCE_FRAME_BYTES] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3, /* to all, from the guest */
        0x80, 0x35, 0,    1,    8,    0,    6,    4,    0, 3,       /* request reverse */
        0x52, 0x54, 0,    1,    2,    3,    0,    0,    0, 0,       /* sender */
        0x52, 0x54, 0,    1,    2,    3,    0,    0,    0, 0,       /* target */
    };
    assert_told_at_once(&station, expected, sizeof expected);
}

static void in_a_vlan_it_has_its_tag(void **state)
{
    static const uint8_t expected[ANNOUNCE_TAGGED_BYTES] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x54, 0, 1, 2, 3, 0x81,
        0,    0x0a, 0xbc, 0x80, 0x35, 0,    1, 8,    0, 6, 4, 0, 3, /* as above */
        2,    0x54, 0,    1,    2,    3,    0, 0,    0, 0,          /* sender */
        2,    0x54, 0,    1,    2,    3,    0, 0,    0, 0,          /* target */
    };
    const struct net_station tagged = {{2, 0x54, 0, 1, 2, 3}, 0xabc};
    assert_told_at_once(&tagged, expected, sizeof expected);
}

static void each_station_is_told_each_time_and_no_more_than_there_is_room_for(void **state)
{
    struct net_station many[ANNOUNCE_STATIONS + 1] = {{.vlan = 0}};
    struct wire wire;
    begin(&wire);
    net_announcer_start(wire.announcer, many, ARRAY_COUNT(many));
    assert_int_equal(count_arrived(&wire), ANNOUNCE_STATIONS);
    run_until_sent(&wire, 2 * ANNOUNCE_STATIONS);
    uint64_t sent = net_announcer_sent(wire.announcer);
    assert_int_equal(sent % ANNOUNCE_STATIONS, 0);
    assert_int_equal(count_arrived(&wire), sent - ANNOUNCE_STATIONS);
    end(&wire);
}

static const unsigned due_ms[ANNOUNCE_TIMES] = {0, 50, 200, 450, 800, 1250};

/* Whether none was later than this thread at its own work. None may be early, nor one too many: no
 * load of the host excuses that. */
static bool announce_in_time(struct wire *wire)
{
    uint64_t start = host_monotonic_ns(), end = patience_end_ns(), late_ms = 0, last_ms = 0,
             noise_ms = 0;
    unsigned count = 0;
    net_announcer_start(wire->announcer, &station, 1);
    while (count < ANNOUNCE_TIMES || host_monotonic_ns() - start < UINT64_C(1900000000)) {
        uint64_t at_ms = (host_monotonic_ns() - start) / 1000000;
        assert_true(host_monotonic_ns() < end);
        noise_ms = at_ms - last_ms > noise_ms ? at_ms - last_ms : noise_ms;
        last_ms = at_ms;
        for (unsigned n = count_arrived(wire); n > 0; n--, count++) {
            assert_true(count < ANNOUNCE_TIMES);
            assert_true(at_ms >= due_ms[count]);
            if (at_ms - due_ms[count] > late_ms)
                late_ms = at_ms - due_ms[count];
        }
        sd_event_run(wire->from.loop, 2000);
    }
    assert_int_equal(net_announcer_sent(wire->announcer), ANNOUNCE_TIMES);
    print_message("%" PRIu64 " ms late, the host %" PRIu64 "\n", late_ms, noise_ms);
    return late_ms < 100 + noise_ms;
}

static void it_is_said_six_times_ever_more_rarely(void **state)
{
    struct wire wire;
    bool in_time = false;
    begin(&wire);
    for (unsigned try = 0; try < 5 && !in_time; try++)
        in_time = announce_in_time(&wire);
    assert_true(in_time);
    end(&wire);
}

static void a_stopped_one_is_silent_and_can_begin_again(void **state)
{
    struct wire wire;
    begin(&wire);
    net_announcer_start(wire.announcer, &station, 1);
    net_announcer_stop(wire.announcer);
    bench_run_for(&wire.from, 150);
    assert_int_equal(count_arrived(&wire), 1);
    net_announcer_start(wire.announcer, &station, 1);
    run_until_sent(&wire, 2);
    assert_int_equal(count_arrived(&wire), net_announcer_sent(wire.announcer));
    end(&wire);
}

static void without_a_link_nothing_is_counted_and_the_rest_still_comes(void **state)
{
    struct wire wire;
    begin(&wire);
    net_release(wire.to.net);
    bench_expect_down(&wire.from, "closed the connection");
    net_announcer_start(wire.announcer, &station, 1);
    assert_int_equal(net_announcer_sent(wire.announcer), 0);
    bench_acquire(&wire.to);
    bench_expect_up(&wire.from);
    run_until_sent(&wire, 1);
    end(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_one_is_a_rarp_request_at_once),
        cmocka_unit_test(in_a_vlan_it_has_its_tag),
        cmocka_unit_test(each_station_is_told_each_time_and_no_more_than_there_is_room_for),
        cmocka_unit_test(it_is_said_six_times_ever_more_rarely),
        cmocka_unit_test(a_stopped_one_is_silent_and_can_begin_again),
        cmocka_unit_test(without_a_link_nothing_is_counted_and_the_rest_still_comes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_remove_folder();
    return failed;
}
