/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../patience.h"
#include "base/clock.h"
#include "migrate/transport.h"
#include "rate.h"

#define SOON ((struct transport_wait){5000, -1})
#define AT_ONCE ((struct transport_wait){50, -1})
#define MEGABYTE 1000000u

static struct gw_uri uri_of(const char *text)
{
    struct gw_uri uri;
    assert_int_equal(gw_uri_parse(text, &uri, NULL), 0);
    return uri;
}

static struct transport_listener *listen_on(const char *text)
{
    struct gw_uri uri = uri_of(text);
    struct gw_error error = {0};
    struct transport_listener *listener = NULL;
    if (transport_listen(&uri, &listener, &error) < 0)
        fail_msg("%s", error.message);
    return listener;
}

static struct transport *connect_to(const char *text)
{
    struct gw_uri uri = uri_of(text);
    struct gw_error error = {0};
    struct transport *transport = NULL;
    if (transport_connect(&uri, SOON, &transport, &error) < 0)
        fail_msg("%s", error.message);
    return transport;
}

static struct transport *accept_on(struct transport_listener *listener)
{
    struct gw_error error = {0};
    struct transport *transport = NULL;
    if (transport_accept(listener, SOON, &transport, &error) < 0)
        fail_msg("%s", error.message);
    return transport;
}

static void make_pair(struct transport **one, struct transport **other, int cancel_fd)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(transport_from_socket(fds[0], "one", cancel_fd, one, NULL), 0);
    assert_int_equal(transport_from_socket(fds[1], "other", cancel_fd, other, NULL), 0);
}

static const char *temporary_path(const char *name)
{
    static char folder[64], path[128];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/test-transport-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    snprintf(path, sizeof path, "%s%s%s", folder, *name ? "/" : "", name);
    return path;
}

static const char *unix_uri(const char *name)
{
    static char uri[140];
    snprintf(uri, sizeof uri, "unix:%s", temporary_path(name));
    return uri;
}

static void say_and_hear(struct transport *speaker, struct transport *listener)
{
    char text[6] = "";
    assert_int_equal(transport_write(speaker, "hello", 6, NULL), 0);
    assert_int_equal(transport_read(listener, text, 6, NULL), 0);
    assert_string_equal(text, "hello");
}

static void talk_over(const char *text)
{
    struct transport_listener *listener = listen_on(text);
    struct transport *near = connect_to(transport_listener_uri(listener));
    struct transport *far = accept_on(listener);
    say_and_hear(near, far);
    say_and_hear(far, near);
    assert_int_equal(transport_bytes_written(near), 6);
    assert_int_equal(transport_bytes_read(near), 6);
    transport_free(near);
    transport_free(far);
    transport_listener_free(listener);
}

static bool has_ipv6(void)
{
    return access("/proc/net/if_inet6", R_OK) == 0;
}

static void tcp_talks_both_ways_on_a_port_that_the_system_chose(void **state)
{
    talk_over("tcp:127.0.0.1:0");
    talk_over("tcp:localhost:0");
    if (has_ipv6())
        talk_over("tcp:[::1]:0");
    else
        print_message("no IPv6 on this host: tcp:[::1] not tried\n");
}

static void a_unix_socket_talks_both_ways(void **state)
{
    talk_over(unix_uri("talk"));
}

static void one_listener_gives_many_connections(void **state)
{
    struct transport_listener *listener = listen_on("tcp:127.0.0.1:0");
    struct transport *near[4], *far[4];
    for (unsigned i = 0; i < 4; i++) {
        near[i] = connect_to(transport_listener_uri(listener));
        far[i] = accept_on(listener);
    }
    for (unsigned i = 0; i < 4; i++)
        say_and_hear(near[i], far[i]);
    for (unsigned i = 0; i < 4; i++) {
        transport_free(near[i]);
        transport_free(far[i]);
    }
    transport_listener_free(listener);
}

static void a_passed_descriptor_is_the_connection(void **state)
{
    int fds[2];
    char uri[32];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(uri, sizeof uri, "fd:%d", fds[0]);
    struct transport *near = connect_to(uri);
    snprintf(uri, sizeof uri, "fd:%d", fds[1]);
    struct transport_listener *listener = listen_on(uri);
    struct transport *far = accept_on(listener), *second = NULL;
    assert_true(fcntl(transport_fd(far), F_GETFD) & FD_CLOEXEC);
    say_and_hear(near, far);
    say_and_hear(far, near);
    assert_int_equal(transport_accept(listener, AT_ONCE, &second, NULL), -ENOTCONN);
    transport_free(near);
    transport_free(far);
    transport_listener_free(listener);
}

static void one_end_of_a_pipe_is_refused_and_left_open(void **state)
{
    int fds[2];
    char text[32];
    assert_int_equal(pipe(fds), 0);
    snprintf(text, sizeof text, "fd:%d", fds[1]);
    struct gw_uri uri = uri_of(text);
    struct gw_error error = {0};
    struct transport *transport = NULL;
    assert_int_equal(transport_connect(&uri, SOON, &transport, &error), -EINVAL);
    assert_non_null(strstr(error.message, "both ways"));
    assert_int_equal(close(fds[1]), 0);
    assert_int_equal(close(fds[0]), 0);
}

static void a_command_talks_through_its_stdin_and_stdout(void **state)
{
    struct transport *cat = connect_to("exec:cat");
    say_and_hear(cat, cat);
    transport_free(cat);
    struct transport_listener *listener = listen_on("exec:printf hello; cat >/dev/null");
    struct transport *printf_command = accept_on(listener);
    char text[6] = "";
    assert_int_equal(transport_read(printf_command, text, 5, NULL), 0);
    assert_string_equal(text, "hello");
    transport_free(printf_command);
    transport_listener_free(listener);
}

static void a_failed_command_is_told_with_its_status(void **state)
{
    struct transport *transport = connect_to("exec:exit 42");
    struct gw_error error = {0};
    char byte;
    assert_int_equal(transport_read(transport, &byte, 1, &error), -ECONNRESET);
    assert_int_equal(error.code, GW_CODE_DISCONNECTED);
    assert_non_null(strstr(error.message, "exit 42 closed"));
    assert_non_null(strstr(error.message, "exit status 42"));
    transport_free(transport);
}

static void a_command_that_does_not_end_is_ended(void **state)
{
    const char *path = temporary_path("pid");
    char uri[256];
    snprintf(uri, sizeof uri, "exec:echo $$ >%s; echo ready; exec sleep 1000", path);
    uint64_t end_ns = patience_end_ns();
    struct transport *transport = connect_to(uri);
    char ready[6];
    assert_int_equal(transport_read(transport, ready, 6, NULL), 0);
    transport_free(transport); /* by itself it would end in some minutes */
    assert_true(host_monotonic_ns() < end_ns);
    FILE *file = fopen(path, "re");
    int pid = 0;
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    fclose(file);
    unlink(path);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

/* ---- Failures ---- */

static void expect_no_connection(const char *text, const char *hint)
{
    struct gw_uri uri = uri_of(text);
    struct gw_error error = {0};
    struct transport *transport = NULL;
    assert_true(transport_connect(&uri, SOON, &transport, &error) < 0);
    if (!strstr(error.message, hint))
        fail_msg("for '%s': %s", text, error.message);
}

static void a_refused_connection_says_what_to_do(void **state)
{
    struct transport_listener *listener = listen_on("tcp:127.0.0.1:0");
    char uri[64];
    snprintf(uri, sizeof uri, "%s", transport_listener_uri(listener));
    transport_listener_free(listener);
    expect_no_connection(uri, "refused; is the receiving side started there?");
    expect_no_connection(unix_uri("nobody"), "is the receiving side started there?");
    expect_no_connection("tcp:127.0.0.1:0", "for listening only");
    expect_no_connection("tcp:host.invalid:1", "host.invalid");
}

static void a_port_in_use_is_refused(void **state)
{
    struct transport_listener *listener = listen_on("tcp:127.0.0.1:0"), *second = NULL;
    struct gw_uri uri = uri_of(transport_listener_uri(listener));
    struct gw_error error = {0};
    assert_int_equal(transport_listen(&uri, &second, &error), -EADDRINUSE);
    assert_non_null(strstr(error.message, "another program listens there"));
    transport_listener_free(listener);
}

static void a_live_unix_socket_is_refused_and_not_disturbed(void **state)
{
    struct transport_listener *listener = listen_on(unix_uri("live")), *second = NULL;
    struct gw_uri uri = uri_of(unix_uri("live"));
    struct transport *nobody = NULL;
    assert_int_equal(transport_listen(&uri, &second, NULL), -EADDRINUSE);
    assert_int_equal(transport_accept(listener, AT_ONCE, &nobody, NULL), -ETIMEDOUT);
    transport_listener_free(listener);
}

static void a_stale_unix_socket_is_replaced_and_other_files_are_not(void **state)
{
    const char *path = temporary_path("stale");
    struct gw_uri uri = uri_of(unix_uri("stale"));
    int pid = fork();
    if (pid == 0) {
        struct transport_listener *left_behind = listen_on(unix_uri("stale"));
        _exit(left_behind ? 0 : 1);
    }
    waitpid(pid, NULL, 0);
    assert_int_equal(access(path, F_OK), 0);
    struct transport_listener *listener = NULL;
    assert_int_equal(transport_listen(&uri, &listener, NULL), 0);
    transport_listener_free(listener);

    int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(transport_listen(&uri, &listener, NULL), -EADDRINUSE);
    assert_int_equal(unlink(path), 0);
}

static void the_socket_file_is_private_and_goes_away(void **state)
{
    const char *path = temporary_path("private");
    struct transport_listener *listener = listen_on(unix_uri("private"));
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    transport_listener_free(listener);
    assert_int_equal(access(path, F_OK), -1);
}

static void accepting_ends_by_time_and_by_cancel(void **state)
{
    struct transport_listener *listener = listen_on("tcp:127.0.0.1:0");
    struct transport *nobody = NULL;
    struct gw_error error = {0};
    assert_int_equal(transport_accept(listener, AT_ONCE, &nobody, &error), -ETIMEDOUT);
    assert_int_equal(error.code, GW_CODE_TIMEOUT);
    int cancel_fd = eventfd(1, EFD_CLOEXEC);
    struct transport_wait wait = {-1, cancel_fd};
    assert_int_equal(transport_accept(listener, wait, &nobody, &error), -ECANCELED);
    assert_int_equal(error.code, GW_CODE_CANCELLED);
    close(cancel_fd);
    transport_listener_free(listener);
}

static void a_full_listener_cannot_hang_a_connection(void **state)
{
    struct transport_listener *listener = listen_on(unix_uri("full"));
    struct gw_uri uri = uri_of(unix_uri("full"));
    struct transport *waiting[64];
    unsigned count = 0;
    int r = 0;
    while (count < 64 && (r = transport_connect(&uri, AT_ONCE, &waiting[count], NULL)) == 0)
        count++;
    assert_int_equal(r, -ETIMEDOUT);
    while (count > 0)
        transport_free(waiting[--count]);
    transport_listener_free(listener);
}

static void a_frozen_peer_is_given_up(void **state)
{
    struct transport *one, *other;
    struct gw_error error = {0};
    static uint8_t bytes[8 << 20];
    make_pair(&one, &other, -1);
    transport_set_timeout(one, 50);
    assert_int_equal(transport_read(one, bytes, 1, &error), -ETIMEDOUT);
    assert_non_null(strstr(error.message, "no sign of life from one for 50 ms"));
    assert_int_equal(transport_write(one, bytes, sizeof bytes, &error), -ETIMEDOUT);
    assert_int_equal(error.code, GW_CODE_TIMEOUT);
    transport_free(one);
    transport_free(other);
}

static void *cancel_soon(void *argument)
{
    usleep(50000);
    eventfd_write(*(int *)argument, 1);
    return NULL;
}

static void a_waiting_read_is_cancelled(void **state)
{
    int cancel_fd = eventfd(0, EFD_CLOEXEC);
    struct transport *one, *other;
    struct gw_error error = {0};
    pthread_t thread;
    char byte;
    make_pair(&one, &other, cancel_fd);
    transport_set_timeout(one, -1);
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &cancel_fd), 0);
    assert_int_equal(transport_read(one, &byte, 1, &error), -ECANCELED);
    assert_int_equal(error.code, GW_CODE_CANCELLED);
    pthread_join(thread, NULL);
    transport_free(one);
    transport_free(other);
    close(cancel_fd);
}

static void an_end_in_the_middle_is_a_broken_stream(void **state)
{
    struct transport *one, *other;
    struct gw_error error = {0};
    char text[8];
    make_pair(&one, &other, -1);
    assert_int_equal(transport_write(other, "half", 4, NULL), 0);
    transport_free(other);
    assert_int_equal(transport_read(one, text, 8, &error), -ECONNRESET);
    assert_int_equal(error.code, GW_CODE_DISCONNECTED);
    assert_int_equal(transport_write(one, text, 8, &error), -EPIPE);
    assert_int_equal(error.code, GW_CODE_DISCONNECTED);
    transport_free(one);
}

static void waiting_for_input_keeps_the_stream_usable(void **state)
{
    struct transport *one, *other;
    make_pair(&one, &other, -1);
    assert_int_equal(transport_wait_readable(one, 20, NULL), -ETIMEDOUT);
    assert_int_equal(transport_write(other, "hello", 6, NULL), 0);
    assert_int_equal(transport_wait_readable(one, patience_ms(), NULL), 0);
    char text[6];
    assert_int_equal(transport_read(one, text, 6, NULL), 0);
    assert_string_equal(text, "hello");
    transport_free(other);
    assert_int_equal(transport_wait_readable(one, patience_ms(), NULL), -ECONNRESET);
    transport_free(one);
}

/* More than fits into the reader's window, so that closing finds a part of it unsent. */
#define LAST_WORDS 400000u

static void *read_last_words(void *argument)
{
    static uint8_t bytes[LAST_WORDS];
    usleep(100000);
    bool got = transport_read(argument, bytes, sizeof bytes, NULL) == 0;
    transport_shutdown(argument); /* which the other end waits for */
    return got ? bytes : NULL;
}

static void last_words_arrive_although_input_was_left_unread(void **state)
{
    static uint8_t bytes[LAST_WORDS];
    struct transport_listener *listener = listen_on("tcp:127.0.0.1:0");
    struct transport *near = connect_to(transport_listener_uri(listener));
    struct transport *far = accept_on(listener);
    pthread_t thread;
    void *got = NULL;
    assert_int_equal(transport_write(far, "unread", 6, NULL), 0);
    assert_int_equal(transport_wait_readable(near, patience_ms(), NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_last_words, far), 0);
    assert_int_equal(transport_write(near, bytes, sizeof bytes, NULL), 0);
    transport_finish(near, patience_ms());
    transport_free(near);
    pthread_join(thread, &got);
    assert_non_null(got);
    transport_free(far);
    transport_listener_free(listener);
}

/* ---- Bulk ---- */

#define PIECES 300u
#define PIECE_BYTES 30011u

static void *read_pieces(void *argument)
{
    static uint8_t got[PIECES * PIECE_BYTES];
    struct iovec vectors[2] = {{got, 7}, {got + 7, sizeof got - 7}};
    return transport_readv(argument, vectors, 2, NULL) == 0 ? got : NULL;
}

static void long_vectors_arrive_whole_and_in_order(void **state)
{
    static uint8_t sent[PIECES * PIECE_BYTES];
    struct transport *one, *other;
    struct iovec vectors[PIECES];
    make_pair(&one, &other, -1);
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)(i * 2654435761u >> 11);
    for (unsigned i = 0; i < PIECES; i++)
        vectors[i] = (struct iovec){sent + i * PIECE_BYTES, i == 5 ? 0 : PIECE_BYTES};
    vectors[4].iov_len += PIECE_BYTES;
    pthread_t thread;
    void *got = NULL;
    assert_int_equal(pthread_create(&thread, NULL, read_pieces, other), 0);
    assert_int_equal(transport_writev(one, vectors, PIECES, NULL), 0);
    pthread_join(thread, &got);
    assert_non_null(got);
    assert_memory_equal(got, sent, sizeof sent);
    transport_free(one);
    transport_free(other);
}

static void *read_megabytes(void *argument)
{
    static uint8_t bytes[5 * MEGABYTE];
    return transport_read(argument, bytes, sizeof bytes, NULL) == 0 ? bytes : NULL;
}

static double rate_of_limited_write(void *limit)
{
    static uint8_t bytes[5 * MEGABYTE];
    struct transport *one, *other;
    struct ratelimit limiter;
    pthread_t thread;
    void *got = NULL;
    make_pair(&one, &other, -1);
    assert_int_equal(pthread_create(&thread, NULL, read_megabytes, other), 0);
    uint64_t began = host_monotonic_ns();
    ratelimit_init(&limiter, *(uint64_t *)limit);
    transport_set_limiter(one, &limiter);
    assert_int_equal(transport_write(one, bytes, sizeof bytes, NULL), 0);
    uint64_t took_ns = host_monotonic_ns() - began;
    pthread_join(thread, &got);
    assert_non_null(got);
    transport_free(one);
    transport_free(other);
    ratelimit_fini(&limiter);
    return (double)sizeof bytes * 1e9 / (double)took_ns;
}

static void a_limited_write_keeps_the_limit(void **state)
{
    uint64_t limit = 10 * MEGABYTE;
    assert_rate_is_kept(rate_of_limited_write, &limit, (double)limit);
}

static int remove_folder(void **state)
{
    return rmdir(temporary_path(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_talks_both_ways_on_a_port_that_the_system_chose),
        cmocka_unit_test(a_unix_socket_talks_both_ways),
        cmocka_unit_test(one_listener_gives_many_connections),
        cmocka_unit_test(a_passed_descriptor_is_the_connection),
        cmocka_unit_test(one_end_of_a_pipe_is_refused_and_left_open),
        cmocka_unit_test(a_command_talks_through_its_stdin_and_stdout),
        cmocka_unit_test(a_failed_command_is_told_with_its_status),
        cmocka_unit_test(a_command_that_does_not_end_is_ended),
        cmocka_unit_test(a_refused_connection_says_what_to_do),
        cmocka_unit_test(a_port_in_use_is_refused),
        cmocka_unit_test(a_live_unix_socket_is_refused_and_not_disturbed),
        cmocka_unit_test(a_stale_unix_socket_is_replaced_and_other_files_are_not),
        cmocka_unit_test(the_socket_file_is_private_and_goes_away),
        cmocka_unit_test(accepting_ends_by_time_and_by_cancel),
        cmocka_unit_test(a_full_listener_cannot_hang_a_connection),
        cmocka_unit_test(a_frozen_peer_is_given_up),
        cmocka_unit_test(a_waiting_read_is_cancelled),
        cmocka_unit_test(an_end_in_the_middle_is_a_broken_stream),
        cmocka_unit_test(waiting_for_input_keeps_the_stream_usable),
        cmocka_unit_test(last_words_arrive_although_input_was_left_unread),
        cmocka_unit_test(long_vectors_arrive_whole_and_in_order),
        cmocka_unit_test(a_limited_write_keeps_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
