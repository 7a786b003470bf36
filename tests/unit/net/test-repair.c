/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that passt hands over, with a passt and its connections made by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../patience.h"
#include "net/repair-keep.h"

static char why_not[256];

static void need_right(void)
{
    if (why_not[0]) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
}

/* A connection over the loopback, and the helper of the passt that has one end of it. */
struct place {
    int listener, client, served; /* `served` is passt's */
    int passt_fd;
    struct repair repair;
    struct repair_helper helper; /* not needed */
    struct repair_keep *keep;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6; /* its port stands where that of v4 does */
};

static union address parse(const char *text)
{
    union address address = {.any.sa_family = strchr(text, ':') ? AF_INET6 : AF_INET};
    bool is_v4 = address.any.sa_family == AF_INET;
    void *to = is_v4 ? (void *)&address.v4.sin_addr : &address.v6.sin6_addr;
    assert_int_equal(inet_pton(address.any.sa_family, text, to), 1);
    return address;
}

/* `at` is where passt listens, `to` whom the client calls. */
static void begin_at(struct place *place, const char *at, const char *to)
{
    union address address = parse(at), called = parse(to);
    socklen_t length = sizeof address;
    int ends[2];
    place->helper = (struct repair_helper){.needed = false};
    place->listener = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(place->listener, &address.any, length), 0);
    assert_int_equal(listen(place->listener, 1), 0);
    assert_int_equal(getsockname(place->listener, &address.any, &length), 0);
    called.v4.sin_port = address.v4.sin_port;
    place->client = socket(called.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(place->client, &called.any, sizeof called), 0);
    place->served = accept(place->listener, NULL, NULL);
    assert_true(place->served >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    place->passt_fd = ends[0];
    assert_int_equal(repair_begin(&place->repair, ends[1], &place->helper), 0);
    place->keep = repair_keep_new();
    assert_non_null(place->keep);
    place->repair.keep = place->keep;
    place->repair.saving = true;
}

static void begin(struct place *place)
{
    begin_at(place, "127.0.0.1", "127.0.0.1");
}

static void end(struct place *place)
{
    repair_end(&place->repair);
    repair_keep_free(place->keep);
    close(place->passt_fd);
    close(place->client);
    close(place->served);
    close(place->listener);
}

/* As passt does: what it gets back. */
static int order(struct place *place, int8_t value, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {&value, 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *passed = CMSG_FIRSTHDR(&message);
    int8_t answer = 99;
    passed->cmsg_level = SOL_SOCKET;
    passed->cmsg_type = SCM_RIGHTS;
    passed->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(passed), &fd, sizeof fd);
    assert_int_equal(sendmsg(place->passt_fd, &message, 0), 1);
    int r = repair_serve(&place->repair);
    if (r < 0)
        return r;
    assert_int_equal(recv(place->passt_fd, &answer, 1, MSG_DONTWAIT), 1);
    return answer;
}

static bool is_in_repair(int fd)
{
    int value = 0;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &value, &length), 0);
    return value;
}

/* What the client sees: 0 nothing, else poll()'s events. */
static short client_hears(const struct place *place, int wait_ms)
{
    struct pollfd wait = {place->client, POLLIN | POLLRDHUP, 0};
    return poll(&wait, 1, wait_ms) > 0 ? wait.revents : 0;
}

/* How often the client has sent something again. */
static unsigned client_attempts(const struct place *place)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    assert_int_equal(getsockopt(place->client, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info.tcpi_total_retrans;
}

static void a_connection_is_frozen_and_thawed(void **state)
{
    struct place place;
    char byte;
    need_right();
    begin(&place);
    assert_int_equal(order(&place, TCP_REPAIR_ON, place.served), TCP_REPAIR_ON);
    assert_true(is_in_repair(place.served));
    assert_int_equal(send(place.client, "a", 1, 0), 1);
    usleep(20000);
    assert_int_equal(recv(place.served, &byte, 1, MSG_DONTWAIT), -1); /* it did not get through */
    assert_int_equal(order(&place, TCP_REPAIR_OFF, place.served), TCP_REPAIR_OFF);
    assert_false(is_in_repair(place.served));
    struct pollfd wait = {place.served, POLLIN, 0};
    assert_int_equal(poll(&wait, 1, patience_ms()), 1); /* sent again */
    assert_int_equal(recv(place.served, &byte, 1, 0), 1);
    end(&place);
}

static void nobody_says_that_a_kept_connection_is_gone(void **state)
{
    struct place place;
    need_right();
    begin(&place);
    assert_int_equal(order(&place, TCP_REPAIR_ON, place.served), TCP_REPAIR_ON);
    close(place.served);
    place.served = -1;
    assert_int_equal(send(place.client, "a", 1, 0), 1);
    assert_int_equal(client_hears(&place, 300), 0);
    unsigned attempts = client_attempts(&place);
    repair_drop(place.keep);
    /* Gone without a word, but the next attempt is answered. */
    assert_int_not_equal(client_hears(&place, patience_ms()), 0);
    assert_true(client_attempts(&place) > attempts);
    end(&place);
}

/* passt has asked for the new socket to be in repair mode, and has not connected it yet. */
static void nor_while_the_new_socket_is_made(void **state)
{
    static const struct {
        const char *at, *to;
    } cases[] = {{"127.0.0.1", "127.0.0.1"}, {"::", "127.0.0.1"}, {"::", "::1"}};
    need_right();
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct place place;
        begin_at(&place, cases[i].at, cases[i].to);
        assert_int_equal(order(&place, TCP_REPAIR_ON, place.served), TCP_REPAIR_ON);
        close(place.served);
        place.served = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        place.repair.saving = false;
        assert_int_equal(order(&place, TCP_REPAIR_ON, place.served), TCP_REPAIR_ON);
        assert_int_equal(send(place.client, "a", 1, 0), 1);
        assert_int_equal(client_hears(&place, 300), 0);
        repair_end(&place.repair);
        assert_int_not_equal(client_hears(&place, patience_ms()), 0); /* it was not kept any more */
        end(&place);
    }
}

static void who_knows_the_token_has_them_let_go(void **state)
{
    struct place place;
    uint8_t other[REPAIR_TOKEN_BYTES] = {1};
    need_right();
    begin(&place);
    assert_int_equal(order(&place, TCP_REPAIR_ON, place.served), TCP_REPAIR_ON);
    close(place.served);
    place.served = -1;
    repair_keep_ask(other); /* nobody has that one */
    assert_int_equal(send(place.client, "a", 1, 0), 1);
    assert_int_equal(client_hears(&place, 500), 0);
    repair_keep_ask(repair_keep_token(place.keep));
    assert_int_not_equal(client_hears(&place, patience_ms()), 0);
    end(&place);
}

static void many_are_kept_although_few_descriptors_are_usual(void **state)
{
    struct place place;
    struct rlimit usual, few;
    need_right();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = usual;
    few.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    begin(&place);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(order(&place, TCP_REPAIR_ON, place.served), TCP_REPAIR_ON);
    end(&place);
    setrlimit(RLIMIT_NOFILE, &usual);
}

static void orders_that_are_none_end_the_transfer(void **state)
{
    struct place place;
    begin(&place);
    assert_int_equal(order(&place, 7, place.served), -EPROTO);
    assert_int_equal(send(place.passt_fd, "\1", 1, 0), 1); /* no socket */
    assert_int_equal(repair_serve(&place.repair), -EPROTO);
    close(place.passt_fd);
    place.passt_fd = -1;
    assert_int_equal(repair_serve(&place.repair), 0);
    assert_int_equal(place.repair.fd, -1);
    end(&place);
}

static void what_is_no_connection_is_an_error(void **state)
{
    struct place place;
    int fds[2];
    need_right();
    begin(&place);
    assert_int_equal(pipe(fds), 0);
    assert_true(order(&place, TCP_REPAIR_ON, fds[0]) < 0);
    close(fds[0]);
    close(fds[1]);
    end(&place);
}

/* As somebody without rights, in a process of its own. */
static void expect_no_right(const char *path, int error, const char *told)
{
    char why[256] = "";
    struct repair_helper helper;
    pid_t child = fork();
    if (child == 0) {
        setenv("PATH", path, 1);
        bool refused = setresuid(65534, 65534, 65534) == 0 &&
                       repair_find_right(&helper, why, sizeof why) == error &&
                       strstr(why, "needs CAP_NET_ADMIN") && strstr(why, told) &&
                       fcntl(STDIN_FILENO, F_GETFD) >= 0; /* no descriptor but its own is closed */
        _exit(refused ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void who_has_no_right_is_told_what_would_have(void **state)
{
    need_right();
    expect_no_right("/nonexistent", -ENOENT, "passt-repair, which could have it, is not installed");
}

static void a_passt_repair_that_ends_is_none(void **state)
{
    static const char script[] = "#!/bin/sh\nexit 1\n";
    char folder[] = "/tmp/godwit-test-XXXXXX", program[64];
    need_right();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    snprintf(program, sizeof program, "%s/passt-repair", folder);
    int fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_int_equal(write(fd, script, sizeof script - 1), sizeof script - 1);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    expect_no_right(folder, -ECHILD, "neither godwit nor passt-repair has");
    unlink(program);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_frozen_and_thawed),
        cmocka_unit_test(nobody_says_that_a_kept_connection_is_gone),
        cmocka_unit_test(nor_while_the_new_socket_is_made),
        cmocka_unit_test(who_knows_the_token_has_them_let_go),
        cmocka_unit_test(many_are_kept_although_few_descriptors_are_usual),
        cmocka_unit_test(orders_that_are_none_end_the_transfer),
        cmocka_unit_test(what_is_no_connection_is_an_error),
        cmocka_unit_test(who_has_no_right_is_told_what_would_have),
        cmocka_unit_test(a_passt_repair_that_ends_is_none),
    };
    struct repair_helper helper;
    if (repair_find_right(&helper, why_not, sizeof why_not) == 0 && helper.needed)
        strcpy(why_not, "only passt-repair may set TCP_REPAIR here");
    repair_helper_end(&helper);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
