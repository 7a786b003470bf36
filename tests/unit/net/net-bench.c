/* SPDX-License-Identifier: Apache-2.0 */
#include "../patience.h"
#include "net-bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static char folder[32];

const char *bench_path(const char *name)
{
    static char paths[2][96];
    static unsigned next;
    if (!folder[0]) {
        strcpy(folder, "/tmp/godwit-net-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    char *path = paths[next++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void bench_remove_folder(void)
{
    DIR *listing = folder[0] ? opendir(folder) : NULL;
    if (!listing)
        return;
    for (const struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(listing), entry->d_name, 0);
    closedir(listing);
    rmdir(folder);
}

static void changed(void *opaque, bool up, const char *why)
{
    struct bench *bench = opaque;
    bench->up = up;
    bench->changes++;
    snprintf(bench->why, sizeof bench->why, "%s", why);
}

void bench_new(struct bench *bench, const char *text)
{
    struct gw_error error = {0};
    *bench = (struct bench){0};
    assert_true(sd_event_new(&bench->loop) >= 0);
    if (net_new(text, &bench->net, &error) < 0)
        fail_msg("%s: %s", text, error.message);
    assert_int_equal(net_attach(bench->net, bench->loop, changed, bench, &error), 0);
}

void bench_free(struct bench *bench)
{
    net_free(bench->net);
    sd_event_unref(bench->loop);
}

void bench_acquire(struct bench *bench)
{
    struct gw_error error = {0};
    if (net_acquire(bench->net, 1, &error) < 0)
        fail_msg("%s", error.message);
}

bool bench_run_until(struct bench *bench, bool (*condition)(struct bench *bench))
{
    uint64_t end = patience_end_ns();
    while (!condition(bench) && host_monotonic_ns() < end)
        sd_event_run(bench->loop, 20000);
    return condition(bench);
}

void bench_run_for(struct bench *bench, unsigned ms)
{
    uint64_t end = host_monotonic_ns() + ms * UINT64_C(1000000);
    while (host_monotonic_ns() < end)
        sd_event_run(bench->loop, 5000);
}

static bool is_up(struct bench *bench)
{
    return bench->up && bench->net->link_up;
}

static bool is_down(struct bench *bench)
{
    return bench->changes > 0 && !bench->up && !bench->net->link_up;
}

void bench_expect_up(struct bench *bench)
{
    if (!bench_run_until(bench, is_up))
        fail_msg("the link does not come up: %s", bench->why);
}

void bench_expect_down(struct bench *bench, const char *part)
{
    assert_true(bench_run_until(bench, is_down));
    if (!strstr(bench->why, part) || strchr(bench->why, '\n'))
        fail_msg("'%s' does not say '%s'", bench->why, part);
}

void bench_fill(uint8_t *frame, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        frame[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

int bench_send(struct bench *bench, unsigned queue, size_t bytes, unsigned seed)
{
    static uint8_t frame[NET_HEADER_BYTES + NET_FRAME_BYTES + 1];
    memset(frame, 0, NET_HEADER_BYTES);
    bench_fill(frame + NET_HEADER_BYTES, bytes, seed);
    const struct iovec iov[] = {
        {frame, NET_HEADER_BYTES + 3}, /* pieces that end where nothing else does */
        {frame + NET_HEADER_BYTES + 3, bytes - 3},
    };
    return net_send(bench->net, queue, iov, 2);
}

ssize_t bench_receive(struct bench *bench, unsigned queue, uint8_t *frame, size_t room)
{
    uint8_t header[NET_HEADER_BYTES];
    const struct iovec iov[] = {{header, sizeof header}, {frame, room}};
    ssize_t n = net_receive(bench->net, queue, iov, 2);
    return n < 0 ? n : n - (ssize_t)sizeof header;
}

void bench_expect_frame(struct bench *bench, unsigned queue, size_t bytes, unsigned seed)
{
    static uint8_t got[NET_FRAME_BYTES], expected[NET_FRAME_BYTES];
    uint64_t end = patience_end_ns();
    ssize_t n;
    while ((n = bench_receive(bench, queue, got, sizeof got)) < 0 && host_monotonic_ns() < end) {
        struct pollfd poll_for = {bench->net->receive_fd[queue], POLLIN, 0};
        poll(&poll_for, 1, 5);
        sd_event_run(bench->loop, 0);
    }
    assert_int_equal(n, bytes);
    bench_fill(expected, bytes, seed);
    assert_memory_equal(got, expected, bytes);
}

void bench_expect_refused(const char *text, int expected, const char *part)
{
    struct gw_error error = {0};
    struct net *net = NULL;
    assert_int_equal(net_new(text, &net, &error), expected);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
    assert_null(strchr(error.message, '\n'));
    assert_int_equal(error.layer, expected == -ENAMETOOLONG ? GW_LAYER_BASE : GW_LAYER_NET);
}
