/* SPDX-License-Identifier: Apache-2.0 */
/* The user network: what may be written, and a passt that serves, is killed, and ends with us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../patience.h"
#include "base/clock.h"
#include "net-bench.h"

static char why_not[600]; /* passt cannot be tried here */

static void find_out(void)
{
    struct gw_error error = {0};
    struct net *net = NULL;
    if (net_new("user", &net, &error) < 0 || net_acquire(net, 1, &error) < 0)
        snprintf(why_not, sizeof why_not, "%s", error.message);
    net_free(net);
}

static void need_passt(void)
{
    if (why_not[0]) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
}

/* ---- What may be written ---- */

static void wrong_options_are_refused(void **state)
{
    bench_expect_refused("user,ssh=22", -EINVAL, "'ssh=22' is not tcp=");
    bench_expect_refused("user,tcp=", -EINVAL, "'' is not [ADDRESS/]PORT[:GUESTPORT]");
    bench_expect_refused("user,tcp=0", -EINVAL, "'0' is not");
    bench_expect_refused("user,tcp=80:", -EINVAL, "is not");
    bench_expect_refused("user,tcp=8080:65536", -EINVAL, "is not");
    bench_expect_refused("user,udp=1.2.3/53", -EINVAL, "'1.2.3/53' is not");
    bench_expect_refused("user,tcp=-t", -EINVAL, "is not");
    bench_expect_refused("user:x", -EINVAL, "does not begin with");
}

static void right_options_are_taken(void **state)
{
    struct net *net = NULL;
    assert_int_equal(net_new("user,tcp=8080:80,tcp=127.0.0.1/22,udp=::1/53:5353,udp=9", &net, NULL),
                     0);
    assert_false(net->follows);
    assert_non_null(strstr(net->stays, "passt"));
    assert_int_equal(net->offloads, 0);
    net_free(net);
}

static void not_more_than_sixteen_ports(void **state)
{
    char text[400] = "user";
    for (unsigned i = 1; i <= 17; i++)
        sprintf(text + strlen(text), ",tcp=%u", i);
    bench_expect_refused(text, -EINVAL, "at most 16 ports");
}

static void without_passt_the_package_is_named(void **state)
{
    struct gw_error error = {0};
    struct net *net = NULL;
    char *path = strdup(getenv("PATH"));
    assert_int_equal(net_new("user", &net, NULL), 0);
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(net_preopen(net, 1, NULL), -ENOENT);
    assert_int_equal(net_acquire(net, 1, &error), -ENOENT);
    setenv("PATH", path, 1);
    assert_non_null(strstr(error.message, "install the package passt"));
    net_free(net);
    free(path);
}

/* ---- The other side ---- */

/* Whether the process was started as passt, be it through a wrapper or a loader. */
static bool is_passt(const char *process)
{
    char path[300], text[400];
    snprintf(path, sizeof path, "/proc/%s/cmdline", process);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    return memmem(text, length, "passt\0-f\0", 9) != NULL;
}

/* A child of this process, or 0. */
static pid_t find_passt(pid_t parent)
{
    pid_t found = 0;
    DIR *processes = opendir("/proc");
    for (const struct dirent *entry; (entry = readdir(processes));) {
        char path[300], name[64];
        int of = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *stat = fopen(path, "re");
        if (!stat)
            continue;
        if (fscanf(stat, "%*d (%63[^)]) %*c %d", name, &of) == 2 && of == parent &&
            is_passt(entry->d_name))
            found = atoi(entry->d_name);
        fclose(stat);
    }
    closedir(processes);
    return found;
}

static const uint8_t guest_mac[] = {0x52, 0x54, 0, 1, 2, 3};
static const uint8_t gateway_mac[] = {0x52, 0x55, 10, 0, 2, 2};

static void ask_for_gateway(struct bench *bench)
{
    uint8_t frame[NET_HEADER_BYTES + 60] = {0};
    static const uint8_t request[] = {
        0x08, 0x06, 0, 1, 8, 0, 6,  4, 0, 1,  /* ARP request */
        0x52, 0x54, 0, 1, 2, 3, 10, 0, 2, 15, /* of the guest */
        0,    0,    0, 0, 0, 0, 10, 0, 2, 2,  /* for the gateway */
    };
    const struct iovec iov = {frame, sizeof frame};
    memset(frame + NET_HEADER_BYTES, 0xff, 6);
    memcpy(frame + NET_HEADER_BYTES + 6, guest_mac, 6);
    memcpy(frame + NET_HEADER_BYTES + 12, request, sizeof request);
    assert_int_equal(net_send(bench->net, 0, &iov, 1), 0);
}

/* Waits for a frame that has these bytes there. */
static bool comes(struct bench *bench, size_t at, const void *bytes, size_t length)
{
    static uint8_t frame[NET_FRAME_BYTES];
    uint64_t end = patience_end_ns();
    while (host_monotonic_ns() < end) {
        ssize_t n = bench_receive(bench, 0, frame, sizeof frame);
        if (n >= (ssize_t)(at + length) && memcmp(frame + at, bytes, length) == 0)
            return true;
        if (n < 0)
            sd_event_run(bench->loop, 5000);
    }
    return false;
}

static bool gateway_answers(struct bench *bench)
{
    uint8_t answer[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};
    memcpy(answer + 10, gateway_mac, 6);
    ask_for_gateway(bench);
    return comes(bench, 12, answer, sizeof answer);
}

static unsigned free_port(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    socklen_t length = sizeof any;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &length), 0);
    close(fd);
    return ntohs(any.sin6_port);
}

/* ---- A passt at work ---- */

static void the_gateway_answers(void **state)
{
    struct bench bench;
    need_passt();
    bench_new(&bench, "user");
    assert_int_equal(net_preopen(bench.net, 1, NULL), 0);
    bench_acquire(&bench);
    bench_expect_up(&bench);
    assert_true(gateway_answers(&bench));
    bench_free(&bench);
}

static void a_forwarded_port_reaches_the_guest(void **state)
{
    static const uint8_t port_80[] = {0, 80};
    struct bench bench;
    char text[64];
    unsigned port = free_port();
    need_passt();
    snprintf(text, sizeof text, "user,tcp=%u:80", port);
    bench_new(&bench, text);
    bench_acquire(&bench);
    assert_true(gateway_answers(&bench));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(fd, (struct sockaddr *)&address, sizeof address);
    assert_true(comes(&bench, 36, port_80, sizeof port_80)); /* a TCP segment to the guest's */
    close(fd);
    bench_free(&bench);
}

static void a_killed_passt_takes_the_link_down_and_is_started_again(void **state)
{
    struct bench bench;
    need_passt();
    bench_new(&bench, "user");
    bench_acquire(&bench);
    bench_expect_up(&bench);
    int number = bench.net->receive_fd[0];
    pid_t first = find_passt(getpid());
    assert_true(first > 0);
    kill(first, SIGKILL);
    bench_expect_down(&bench, "signal 9");
    bench_expect_up(&bench);
    assert_int_not_equal(find_passt(getpid()), first);
    assert_int_equal(bench.net->receive_fd[0], number);
    assert_true(gateway_answers(&bench));
    bench_free(&bench);
    assert_int_equal(find_passt(getpid()), 0);
}

static void release_ends_it_and_frees_its_ports(void **state)
{
    struct bench bench;
    char text[64];
    need_passt();
    snprintf(text, sizeof text, "user,tcp=%u", free_port());
    bench_new(&bench, text);
    for (unsigned i = 0; i < 3; i++) {
        bench_acquire(&bench);
        assert_true(find_passt(getpid()) > 0);
        net_release(bench.net);
        assert_int_equal(find_passt(getpid()), 0);
    }
    bench_free(&bench);
}

static void a_port_in_use_is_refused_in_the_words_of_passt(void **state)
{
    struct gw_error error = {0};
    struct bench bench;
    char text[64];
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    socklen_t length = sizeof any;
    need_passt();
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &length), 0);
    snprintf(text, sizeof text, "user,tcp=%u", ntohs(any.sin6_port));
    bench_new(&bench, text);
    assert_int_equal(net_acquire(bench.net, 1, &error), -ECHILD);
    snprintf(text, sizeof text, "%u", ntohs(any.sin6_port));
    if (!strstr(error.message, "--net user: passt ended: ") || !strstr(error.message, text))
        fail_msg("%s", error.message);
    close(fd);
    bench_free(&bench);
}

static bool is_alive(pid_t pid)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *stat = fopen(path, "re");
    if (!stat)
        return false;
    bool read = fscanf(stat, "%*d (%*[^)]) %c", &state) == 1;
    fclose(stat);
    return read && state != 'Z' && state != 'X';
}

static void it_does_not_outlive_us(void **state)
{
    need_passt();
    pid_t child = fork();
    if (child == 0) {
        struct net *net = NULL;
        if (net_new("user", &net, NULL) < 0 || net_acquire(net, 1, NULL) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    pid_t passt = 0;
    for (uint64_t end = patience_end_ns(); !passt && host_monotonic_ns() < end;) {
        usleep(10000);
        passt = find_passt(child);
    }
    assert_true(passt > 0);
    usleep(100000);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (uint64_t end = patience_end_ns(); is_alive(passt) && host_monotonic_ns() < end;)
        usleep(10000);
    assert_false(is_alive(passt));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(right_options_are_taken),
        cmocka_unit_test(not_more_than_sixteen_ports),
        cmocka_unit_test(without_passt_the_package_is_named),
        cmocka_unit_test(the_gateway_answers),
        cmocka_unit_test(a_forwarded_port_reaches_the_guest),
        cmocka_unit_test(a_killed_passt_takes_the_link_down_and_is_started_again),
        cmocka_unit_test(release_ends_it_and_frees_its_ports),
        cmocka_unit_test(a_port_in_use_is_refused_in_the_words_of_passt),
        cmocka_unit_test(it_does_not_outlive_us),
    };
    find_out();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
