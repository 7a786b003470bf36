/* SPDX-License-Identifier: Apache-2.0 */
/* Socket networks: what may be written, frames both ways, peers that go, come and misbehave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../patience.h"
#include "base/clock.h"
#include "net-bench.h"

static char *text(const char *format, const char *a, const char *b)
{
    static char written[300];
    snprintf(written, sizeof written, format, a, b);
    return written;
}

/* ---- What may be written ---- */

static void unknown_words_are_refused(void **state)
{
    bench_expect_refused("vde", -EINVAL, "'vde' does not begin with tap, user or socket");
    bench_expect_refused("sockets:unix:/x", -EINVAL, "does not begin with");
    bench_expect_refused("socket", -EINVAL, "'' is not unix:PATH or tcp:HOST:PORT");
    bench_expect_refused("socket:pipe:/x", -EINVAL, "'pipe:/x' is not unix:PATH");
    bench_expect_refused("socket:unix:", -EINVAL, "a path is missing");
    bench_expect_refused("socket:unix:/x,y=1", -EINVAL, "'y=1' is no option");
}

static void wrong_addresses_are_refused(void **state)
{
    bench_expect_refused("socket:tcp:127.0.0.1", -EINVAL, "is not HOST:PORT");
    bench_expect_refused("socket:tcp:127.0.0.1:0", -EINVAL, "is not HOST:PORT");
    bench_expect_refused("socket:tcp:127.0.0.1:65536", -EINVAL, "is not HOST:PORT");
    bench_expect_refused("socket:tcp:127.0.0.1:7:8", -EINVAL, "'8' does not belong there");
    bench_expect_refused("socket:tcp:[::1:7", -EINVAL, "is not HOST:PORT");
    bench_expect_refused("socket:tcp:300.0.0.0.1:7", -ENOENT, "'300.0.0.0.1' is not known");
    bench_expect_refused("socket:dgram:/x", -EINVAL, "is not LOCALPATH:REMOTEPATH");
    bench_expect_refused("socket:dgram::/x", -EINVAL, "a path is missing");
    bench_expect_refused("socket:udp:127.0.0.1:7", -EINVAL, "has no remote address");
    bench_expect_refused("socket:udp:127.0.0.1:7:[::1]:7", -EINVAL, "one family");
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char path[200] = "socket:unix:/";
    memset(path + 13, 'x', 120);
    bench_expect_refused(path, -ENAMETOOLONG, "longer than");
}

static void a_doubled_comma_belongs_to_the_path(void **state)
{
    struct net *net = NULL;
    assert_int_equal(net_new("socket:unix:/a,,b", &net, NULL), 0);
    assert_string_equal(net->what, "socket '/a,b'");
    net_free(net);
}

/* ---- The other side of a stream, by hand ---- */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return address;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void write_all(int fd, const void *bytes, size_t length)
{
    assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
}

static void write_frame(int fd, size_t bytes, unsigned seed)
{
    static uint8_t frame[4 + NET_FRAME_BYTES];
    uint32_t length = htonl((uint32_t)bytes);
    memcpy(frame, &length, 4);
    bench_fill(frame + 4, bytes, seed);
    write_all(fd, frame, 4 + bytes);
}

static void read_exactly(struct bench *bench, int fd, uint8_t *to, size_t bytes)
{
    uint64_t end = patience_end_ns();
    for (size_t done = 0; done < bytes;) {
        ssize_t n = recv(fd, to + done, bytes - done, MSG_DONTWAIT);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        assert_true(n < 0 && errno == EAGAIN);
        assert_true(host_monotonic_ns() < end);
        sd_event_run(bench->loop, 5000);
    }
}

static void expect_written(struct bench *bench, int fd, size_t bytes, unsigned seed)
{
    static uint8_t got[4 + NET_FRAME_BYTES], expected[NET_FRAME_BYTES];
    uint32_t length;
    read_exactly(bench, fd, got, 4 + bytes);
    memcpy(&length, got, 4);
    assert_int_equal(ntohl(length), bytes);
    bench_fill(expected, bytes, seed);
    assert_memory_equal(got + 4, expected, bytes);
}

static bool is_gone(int fd)
{
    uint8_t byte;
    struct pollfd poll_for = {fd, POLLIN, 0};
    poll(&poll_for, 1, patience_ms());
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* A network that has connected to us. */
struct dialled {
    struct bench bench;
    int listener, peer;
};

static void dial(struct dialled *dialled)
{
    const char *path = bench_path("dialled");
    dialled->listener = listen_at(path);
    bench_new(&dialled->bench, text("socket:unix:%s", path, ""));
    bench_acquire(&dialled->bench);
    bench_expect_up(&dialled->bench);
    dialled->peer = accept4(dialled->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(dialled->peer >= 0);
}

static void hang_up(struct dialled *dialled)
{
    bench_free(&dialled->bench);
    if (dialled->peer >= 0)
        close(dialled->peer);
    close(dialled->listener);
}

static void frames_go_both_ways(void **state)
{
    struct dialled to;
    dial(&to);
    assert_int_equal(bench_send(&to.bench, 0, 60, 1), 0);
    assert_int_equal(bench_send(&to.bench, 0, NET_FRAME_BYTES, 2), 0);
    expect_written(&to.bench, to.peer, 60, 1);
    expect_written(&to.bench, to.peer, NET_FRAME_BYTES, 2);
    write_frame(to.peer, 1514, 3);
    write_frame(to.peer, NET_FRAME_BYTES, 4);
    bench_expect_frame(&to.bench, 0, 1514, 3);
    bench_expect_frame(&to.bench, 0, NET_FRAME_BYTES, 4);
    hang_up(&to);
}

static void a_received_header_asks_for_nothing(void **state)
{
    static const uint8_t plain[NET_HEADER_BYTES] = {[10] = 1};
    uint8_t whole[NET_HEADER_BYTES + 60];
    struct dialled to;
    dial(&to);
    write_frame(to.peer, 60, 1);
    const struct iovec iov = {whole, sizeof whole};
    assert_int_equal(net_receive(to.bench.net, 0, &iov, 1), sizeof whole);
    assert_memory_equal(whole, plain, sizeof plain);
    assert_int_equal(net_receive(to.bench.net, 0, &iov, 1), -EAGAIN);
    hang_up(&to);
}

static void a_frame_without_room_is_lost_and_the_next_is_not(void **state)
{
    uint8_t small[60];
    struct dialled to;
    dial(&to);
    write_frame(to.peer, 1000, 1);
    write_frame(to.peer, 60, 2);
    assert_int_equal(bench_receive(&to.bench, 0, small, sizeof small), -EMSGSIZE);
    bench_expect_frame(&to.bench, 0, 60, 2);
    hang_up(&to);
}

static void a_frame_that_is_too_long_is_not_sent(void **state)
{
    struct dialled to;
    dial(&to);
    assert_int_equal(bench_send(&to.bench, 0, NET_FRAME_BYTES + 1, 1), -EMSGSIZE);
    assert_int_equal(bench_send(&to.bench, 0, 60, 2), 0);
    expect_written(&to.bench, to.peer, 60, 2);
    hang_up(&to);
}

/* The socket takes the last frame in part; the loop writes the rest. */
static void what_was_sent_until_it_was_full_arrives_whole(void **state)
{
    unsigned sent = 0;
    struct dialled to;
    dial(&to);
    while (bench_send(&to.bench, 0, 40001, sent) == 0)
        assert_true(++sent < 1000);
    assert_int_equal(bench_send(&to.bench, 0, 40001, sent), -EAGAIN);
    struct pollfd poll_for = {to.bench.net->receive_fd[0], POLLOUT, 0};
    assert_int_equal(poll(&poll_for, 1, 0), 0);
    for (unsigned i = 0; i < sent; i++)
        expect_written(&to.bench, to.peer, 40001, i);
    assert_int_equal(poll(&poll_for, 1, patience_ms()), 1);
    assert_int_equal(bench_send(&to.bench, 0, 60, 7), 0);
    expect_written(&to.bench, to.peer, 60, 7);
    hang_up(&to);
}

static void an_announced_length_that_is_too_long_ends_the_connection(void **state)
{
    static const uint8_t bytes[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3};
    uint8_t frame[60];
    struct dialled to;
    dial(&to);
    write_all(to.peer, bytes, sizeof bytes);
    assert_int_equal(bench_receive(&to.bench, 0, frame, sizeof frame), -ENETDOWN);
    bench_expect_down(&to.bench, "announced a frame of 4294967295 bytes");
    assert_true(is_gone(to.peer));
    assert_int_equal(bench_send(&to.bench, 0, 60, 1), -ENETDOWN);
    hang_up(&to);
}

static void half_a_frame_is_dropped_with_its_connection(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 60, 1, 2, 3};
    uint8_t frame[60];
    struct dialled to;
    dial(&to);
    write_all(to.peer, bytes, sizeof bytes);
    assert_int_equal(bench_receive(&to.bench, 0, frame, sizeof frame), -EAGAIN);
    close(to.peer);
    bench_expect_down(&to.bench, "the other side closed the connection");
    bench_expect_up(&to.bench);
    to.peer = accept4(to.listener, NULL, NULL, SOCK_CLOEXEC);
    write_frame(to.peer, 60, 9);
    bench_expect_frame(&to.bench, 0, 60, 9);
    hang_up(&to);
}

/* ---- Peers go and come ---- */

static void it_comes_up_when_somebody_listens(void **state)
{
    struct dialled to = {.peer = -1};
    const char *path = bench_path("later");
    bench_new(&to.bench, text("socket:unix:%s", path, ""));
    bench_acquire(&to.bench);
    assert_false(to.bench.net->link_up);
    bench_expect_down(&to.bench, "nobody listens there");
    assert_int_equal(bench_send(&to.bench, 0, 60, 1), -ENETDOWN);
    to.listener = listen_at(path);
    bench_expect_up(&to.bench);
    assert_int_equal(to.bench.changes, 2);
    hang_up(&to);
}

static void the_number_stays_when_the_peer_comes_back(void **state)
{
    struct dialled to;
    dial(&to);
    int number = to.bench.net->receive_fd[0];
    for (unsigned i = 0; i < 3; i++) {
        struct pollfd poll_for = {number, POLLIN, 0};
        close(to.peer);
        bench_expect_down(&to.bench, "closed the connection");
        assert_int_equal(poll(&poll_for, 1, 0), 0);
        bench_expect_up(&to.bench);
        to.peer = accept4(to.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        assert_int_equal(to.bench.net->receive_fd[0], number);
        assert_int_equal(poll(&poll_for, 1, 0), 0);
        write_frame(to.peer, 60, i);
        assert_int_equal(poll(&poll_for, 1, patience_ms()), 1);
        bench_expect_frame(&to.bench, 0, 60, i);
    }
    hang_up(&to);
}

/* What is open while nobody is there is not polled for ever: a descriptor put in its place wakes.
 */
static void who_waits_is_woken_when_the_peer_comes(void **state)
{
    struct dialled to = {.peer = -1};
    const char *path = bench_path("wake");
    bench_new(&to.bench, text("socket:unix:%s", path, ""));
    bench_acquire(&to.bench);
    int waiting = fcntl(to.bench.net->receive_fd[0], F_DUPFD_CLOEXEC, 0); /* as poll() holds it */
    struct pollfd poll_for = {waiting, POLLIN, 0};
    assert_int_equal(poll(&poll_for, 1, 0), 0);
    to.listener = listen_at(path);
    bench_expect_up(&to.bench);
    assert_int_equal(poll(&poll_for, 1, 0), 1);
    close(waiting);
    hang_up(&to);
}

/* None may be early; a busy host makes them late. */
static void attempts_become_rarer(void **state)
{
    static const uint64_t not_before_ms[] = {0, 50, 150, 350, 750};
    struct bench bench;
    unsigned accepted = 0;
    const char *path = bench_path("rarer");
    int listener = listen_at(path);
    bench_new(&bench, text("socket:unix:%s", path, ""));
    uint64_t start = host_monotonic_ns(), end = patience_end_ns();
    bench_acquire(&bench);
    while (accepted < sizeof not_before_ms / sizeof not_before_ms[0]) {
        int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(host_monotonic_ns() < end);
        if (peer < 0) {
            bench_run_for(&bench, 5);
            continue;
        }
        assert_true(host_monotonic_ns() - start >= not_before_ms[accepted++] * 1000000);
        close(peer);
    }
    bench_free(&bench);
    close(listener);
}

/* As the device's thread: polls by number, takes what there is, sends. */
struct worker {
    struct bench *bench;
    _Atomic bool stop;
    _Atomic unsigned received, sent;
};

static void *work(void *opaque)
{
    struct worker *worker = opaque;
    struct bench *bench = worker->bench;
    static uint8_t frame[NET_FRAME_BYTES], out[NET_HEADER_BYTES + 60];
    const struct iovec iov = {out, sizeof out};
    while (!worker->stop) {
        struct pollfd poll_for = {bench->net->receive_fd[0], POLLIN, 0};
        poll(&poll_for, 1, 2);
        while (bench_receive(bench, 0, frame, sizeof frame) > 0)
            worker->received++;
        worker->sent += net_send(bench->net, 0, &iov, 1) == 0;
    }
    return NULL;
}

static void a_thread_goes_on_while_peers_go_and_come(void **state)
{
    struct bench bench;
    struct worker worker = {.bench = &bench};
    pthread_t thread;
    const char *path = bench_path("threaded");
    bench_new(&bench, text("socket:listen:unix:%s", path, ""));
    bench_acquire(&bench);
    assert_int_equal(pthread_create(&thread, NULL, work, &worker), 0);
    for (unsigned i = 0; i < 5; i++) {
        int peer = connect_to(path);
        unsigned received = worker.received, sent = worker.sent;
        for (unsigned frame = 0; frame < 20; frame++)
            write_frame(peer, 1000, frame);
        uint64_t end = patience_end_ns();
        while ((worker.received < received + 20 || worker.sent == sent) &&
               host_monotonic_ns() < end)
            bench_run_for(&bench, 5);
        assert_int_equal(worker.received, received + 20);
        assert_true(worker.sent > sent);
        if (i % 2)
            write_all(peer, "\xff\xff\xff\xff", 4);
        else
            close(peer);
        bench_expect_down(&bench, i % 2 ? "announced a frame" : "closed the connection");
        if (i % 2)
            close(peer);
    }
    worker.stop = true;
    pthread_join(thread, NULL);
    bench_free(&bench);
}

/* ---- The side that listens ---- */

static void two_networks_reach_each_other(const char *listening, const char *dialling)
{
    struct bench a, b;
    bench_new(&a, listening);
    bench_acquire(&a);
    bench_expect_down(&a, "nobody has connected yet");
    bench_new(&b, dialling);
    bench_acquire(&b);
    bench_expect_up(&b);
    bench_expect_up(&a);
    assert_int_equal(bench_send(&a, 0, 1514, 1), 0);
    bench_expect_frame(&b, 0, 1514, 1);
    assert_int_equal(bench_send(&b, 0, NET_FRAME_BYTES, 2), 0);
    bench_expect_frame(&a, 0, NET_FRAME_BYTES, 2);
    bench_free(&b);
    bench_free(&a);
}

static void over_a_unix_socket(void **state)
{
    const char *path = bench_path("pair");
    char listening[128];
    snprintf(listening, sizeof listening, "socket:listen:unix:%s", path);
    two_networks_reach_each_other(listening, text("socket:unix:%s", path, ""));
    assert_int_equal(access(path, F_OK), -1);
}

/* A port that was free a moment ago. */
static unsigned free_port(int family, int type)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage found;
    socklen_t length = sizeof found;
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    int r = family == AF_INET ? bind(fd, (struct sockaddr *)&four, sizeof four)
                              : bind(fd, (struct sockaddr *)&six, sizeof six);
    if (r < 0) {
        close(fd);
        return 0;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&found, &length), 0);
    close(fd);
    return ntohs(((struct sockaddr_in *)&found)->sin_port); /* at the same place in both */
}

static void over_tcp(void **state)
{
    char listening[128], dialling[128];
    unsigned port = free_port(AF_INET, SOCK_STREAM);
    snprintf(listening, sizeof listening, "socket:listen:tcp:127.0.0.1:%u", port);
    snprintf(dialling, sizeof dialling, "socket:tcp:localhost:%u", port);
    two_networks_reach_each_other(listening, dialling);
}

static void over_tcp_with_ipv6(void **state)
{
    char listening[128], dialling[128];
    unsigned port = free_port(AF_INET6, SOCK_STREAM);
    if (port == 0) {
        print_message("skipped: this host has no IPv6 address ::1\n");
        skip();
    }
    snprintf(listening, sizeof listening, "socket:listen:tcp:[::1]:%u", port);
    snprintf(dialling, sizeof dialling, "socket:tcp:[::1]:%u", port);
    two_networks_reach_each_other(listening, dialling);
}

static void one_peer_at_a_time_and_then_the_next(void **state)
{
    struct bench bench;
    const char *path = bench_path("one");
    bench_new(&bench, text("socket:listen:unix:%s", path, ""));
    bench_acquire(&bench);
    int first = connect_to(path), second = connect_to(path);
    bench_expect_up(&bench);
    write_frame(second, 60, 2);
    write_frame(first, 60, 1);
    bench_expect_frame(&bench, 0, 60, 1);
    bench_run_for(&bench, 100);
    uint8_t frame[60];
    assert_int_equal(bench_receive(&bench, 0, frame, sizeof frame), -EAGAIN);
    close(first);
    bench_expect_down(&bench, "closed the connection");
    bench_expect_up(&bench);
    bench_expect_frame(&bench, 0, 60, 2);
    close(second);
    bench_free(&bench);
}

static void expect_acquire_refused(const char *what, int expected, const char *part)
{
    struct gw_error error = {0};
    struct bench bench;
    bench_new(&bench, what);
    assert_int_equal(net_acquire(bench.net, 1, &error), expected);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
    bench_free(&bench);
}

static void a_path_in_use_is_refused_and_an_abandoned_one_taken(void **state)
{
    struct bench bench;
    const char *path = bench_path("used");
    int listener = listen_at(path);
    expect_acquire_refused(text("socket:listen:unix:%s", path, ""), -EBUSY,
                           "in use by another process");
    assert_int_equal(access(path, F_OK), 0);
    close(listener);
    bench_new(&bench, text("socket:listen:unix:%s", path, ""));
    bench_acquire(&bench);
    bench_free(&bench);
    expect_acquire_refused("socket:listen:unix:/nonexistent/x", -ENOENT, "cannot be opened");
}

static void a_file_in_the_way_is_not_removed(void **state)
{
    const char *path = bench_path("file");
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    expect_acquire_refused(text("socket:listen:unix:%s", path, ""), -EBUSY, "in use");
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- Held and not held ---- */

static void nothing_goes_while_it_is_not_held(void **state)
{
    uint8_t frame[60];
    struct dialled to;
    dial(&to);
    net_release(to.bench.net);
    net_release(to.bench.net);
    assert_true(is_gone(to.peer));
    assert_int_equal(bench_send(&to.bench, 0, 60, 1), -ENETDOWN);
    assert_int_equal(bench_receive(&to.bench, 0, frame, sizeof frame), -ENETDOWN);
    assert_int_equal(to.bench.net->receive_fd[0], -1);
    bench_run_for(&to.bench, 150);
    assert_int_equal(accept4(to.listener, NULL, NULL, SOCK_CLOEXEC), -1);
    to.bench.changes = 0;
    to.bench.up = false;
    bench_acquire(&to.bench);
    bench_acquire(&to.bench);
    bench_expect_up(&to.bench);
    assert_int_equal(to.bench.changes, 1);
    hang_up(&to);
}

static void it_works_before_it_is_on_a_loop(void **state)
{
    struct net *net = NULL;
    uint8_t whole[NET_HEADER_BYTES + 60] = {0};
    const struct iovec iov = {whole, sizeof whole};
    const char *path = bench_path("alone");
    int listener = listen_at(path);
    assert_int_equal(net_new(text("socket:unix:%s", path, ""), &net, NULL), 0);
    assert_int_equal(net_acquire(net, 1, NULL), 0);
    assert_true(net->link_up);
    assert_int_equal(net_send(net, 0, &iov, 1), 0);
    net_free(net);
    close(listener);
}

static void it_has_no_offloads_and_one_pair_of_queues(void **state)
{
    struct gw_error error = {0};
    struct net *net = NULL;
    assert_int_equal(net_new("socket:unix:/x", &net, NULL), 0);
    assert_int_equal(net->offloads, 0);
    assert_int_equal(net_set_offloads(net, 0), 0);
    assert_int_equal(net_set_offloads(net, NET_CHECKSUM), -EOPNOTSUPP);
    assert_int_equal(net_acquire(net, 2, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "at most 1 pairs"));
    assert_true(net->follows);
    net_free(net);
}

/* ---- Datagrams ---- */

/* Two sides of one network, neither of them open. */
static void datagram_benches(struct bench *a, struct bench *b)
{
    const char *at_a = bench_path("a"), *at_b = bench_path("b");
    bench_new(a, text("socket:dgram:%s:%s", at_a, at_b));
    bench_new(b, text("socket:dgram:%s:%s", at_b, at_a));
}

static void datagrams_both_ways(const char *one, const char *other, size_t largest)
{
    struct bench a, b;
    bench_new(&a, one);
    bench_acquire(&a);
    bench_new(&b, other);
    bench_acquire(&b);
    bench_expect_up(&b);
    bench_expect_up(&a);
    assert_int_equal(bench_send(&a, 0, 60, 1), 0);
    assert_int_equal(bench_send(&a, 0, largest, 2), 0);
    bench_expect_frame(&b, 0, 60, 1);
    bench_expect_frame(&b, 0, largest, 2);
    assert_int_equal(bench_send(&b, 0, 1514, 3), 0);
    bench_expect_frame(&a, 0, 1514, 3);
    bench_free(&b);
    bench_free(&a);
}

static void over_unix_datagrams(void **state)
{
    char one[200], other[200];
    const char *a = bench_path("a"), *b = bench_path("b");
    snprintf(one, sizeof one, "socket:dgram:%s:%s", a, b);
    snprintf(other, sizeof other, "socket:dgram:%s:%s", b, a);
    datagrams_both_ways(one, other, NET_FRAME_BYTES);
    assert_int_equal(access(a, F_OK), -1);
}

static void over_udp(void **state)
{
    char one[200], other[200];
    unsigned a = free_port(AF_INET, SOCK_DGRAM), b = free_port(AF_INET, SOCK_DGRAM);
    if (a == b)
        b = a > 60000 ? a - 1 : a + 1;
    snprintf(one, sizeof one, "socket:udp:127.0.0.1:%u:127.0.0.1:%u", a, b);
    snprintf(other, sizeof other, "socket:udp:127.0.0.1:%u:127.0.0.1:%u", b, a);
    datagrams_both_ways(one, other, 9000);
}

static void a_datagram_without_room_is_lost_and_the_next_is_not(void **state)
{
    uint8_t small[60];
    struct bench a, b;
    datagram_benches(&a, &b);
    bench_acquire(&b);
    bench_acquire(&a);
    assert_int_equal(bench_send(&a, 0, 1000, 1), 0);
    assert_int_equal(bench_send(&a, 0, 60, 2), 0);
    assert_int_equal(bench_receive(&b, 0, small, sizeof small), -EMSGSIZE);
    bench_expect_frame(&b, 0, 60, 2);
    bench_free(&a);
    bench_free(&b);
}

static void a_datagram_peer_goes_and_its_successor_is_heard(void **state)
{
    struct bench a, b;
    datagram_benches(&a, &b);
    bench_acquire(&a);
    bench_expect_down(&a, "nobody is at the other side");
    bench_acquire(&b);
    bench_expect_up(&a);
    net_release(b.net);
    assert_true(bench_send(&a, 0, 60, 1) < 0);
    bench_expect_down(&a, "the other side is gone");
    bench_acquire(&b);
    bench_expect_up(&a);
    assert_int_equal(bench_send(&b, 0, 60, 2), 0);
    bench_expect_frame(&a, 0, 60, 2);
    bench_free(&b);
    bench_free(&a);
}

static void a_datagram_peers_successor_is_heard_although_nothing_was_sent(void **state)
{
    struct bench a, b;
    datagram_benches(&a, &b);
    bench_acquire(&b);
    bench_acquire(&a);
    bench_expect_up(&a);
    net_release(b.net);
    bench_acquire(&b);
    for (unsigned i = 0; i < 400 && bench_send(&b, 0, 60, 2) != 0; i++) {
        bench_run_for(&a, 5);
        bench_run_for(&b, 5);
    }
    bench_expect_frame(&a, 0, 60, 2);
    bench_free(&b);
    bench_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_words_are_refused),
        cmocka_unit_test(wrong_addresses_are_refused),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
        cmocka_unit_test(a_doubled_comma_belongs_to_the_path),
        cmocka_unit_test(frames_go_both_ways),
        cmocka_unit_test(a_received_header_asks_for_nothing),
        cmocka_unit_test(a_frame_without_room_is_lost_and_the_next_is_not),
        cmocka_unit_test(a_frame_that_is_too_long_is_not_sent),
        cmocka_unit_test(what_was_sent_until_it_was_full_arrives_whole),
        cmocka_unit_test(an_announced_length_that_is_too_long_ends_the_connection),
        cmocka_unit_test(half_a_frame_is_dropped_with_its_connection),
        cmocka_unit_test(it_comes_up_when_somebody_listens),
        cmocka_unit_test(the_number_stays_when_the_peer_comes_back),
        cmocka_unit_test(who_waits_is_woken_when_the_peer_comes),
        cmocka_unit_test(attempts_become_rarer),
        cmocka_unit_test(a_thread_goes_on_while_peers_go_and_come),
        cmocka_unit_test(over_a_unix_socket),
        cmocka_unit_test(over_tcp),
        cmocka_unit_test(over_tcp_with_ipv6),
        cmocka_unit_test(one_peer_at_a_time_and_then_the_next),
        cmocka_unit_test(a_path_in_use_is_refused_and_an_abandoned_one_taken),
        cmocka_unit_test(a_file_in_the_way_is_not_removed),
        cmocka_unit_test(nothing_goes_while_it_is_not_held),
        cmocka_unit_test(it_works_before_it_is_on_a_loop),
        cmocka_unit_test(it_has_no_offloads_and_one_pair_of_queues),
        cmocka_unit_test(over_unix_datagrams),
        cmocka_unit_test(over_udp),
        cmocka_unit_test(a_datagram_without_room_is_lost_and_the_next_is_not),
        cmocka_unit_test(a_datagram_peer_goes_and_its_successor_is_heard),
        cmocka_unit_test(a_datagram_peers_successor_is_heard_although_nothing_was_sent),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    bench_remove_folder();
    return failed;
}
