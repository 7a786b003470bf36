/* SPDX-License-Identifier: Apache-2.0 */
/* Conversations over socket pairs; the loop is turned by hand, so that every step is determined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/json-stream.h"
#include "vmm/qmp-server.h"

struct fixture {
    sd_event *loop;
    struct qmp_server *server;
    unsigned calls;
};

static json_t *count(struct qmp_call *call, struct gw_error *error)
{
    struct fixture *fixture = call->backend;

    fixture->calls++;
    return json_integer(fixture->calls);
}

static json_t *shout(struct qmp_call *call, struct gw_error *error)
{
    struct fixture *fixture = call->backend;

    qmp_server_event(fixture->server, "SHOUT", json_pack("{s:i}", "n", 1));
    return json_object();
}

static const struct qmp_argument enable_arguments[] = {{"enable", QMP_LIST, true}, {.name = NULL}};
static const struct qmp_argument name_arguments[] = {{"fdname", QMP_STR, false}, {.name = NULL}};
static const struct qmp_command commands[] = {
    {"qmp_capabilities", enable_arguments, qmp_run_capabilities},
    {"getfd", name_arguments, qmp_run_getfd},
    {"count", qmp_no_arguments, count},
    {"shout", qmp_no_arguments, shout},
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_int_equal(sd_event_new(&fixture->loop), 0);
    assert_int_equal(qmp_server_new(fixture->loop, commands, sizeof commands / sizeof *commands,
                                    fixture, &fixture->server, NULL),
                     0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    qmp_server_free(fixture->server);
    sd_event_unref(fixture->loop);
    free(fixture);
    return 0;
}

/* Turns the loop until it has nothing left to do. */
static void turn(struct fixture *fixture)
{
    while (sd_event_run(fixture->loop, 0) > 0)
        continue;
}

static int connect_client(struct fixture *fixture)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    qmp_server_add_client(fixture->server, pair[0]);
    return pair[1];
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has arrived, NUL-terminated, in a static buffer. */
static const char *heard(int fd)
{
    static char text[1 << 20];
    size_t used = 0;
    ssize_t n;

    while ((n = recv(fd, text + used, sizeof text - 1 - used, MSG_DONTWAIT)) > 0)
        used += (size_t)n;
    text[used] = 0;
    return text;
}

static bool at_end(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
        continue;
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static int negotiated_client(struct fixture *fixture)
{
    int fd = connect_client(fixture);

    say(fd, "{\"execute\":\"qmp_capabilities\"}");
    turn(fixture);
    assert_non_null(strstr(heard(fd), "{\"return\": {}}\n"));
    return fd;
}

static void client_is_greeted(void **state)
{
    int fd = connect_client(*state);

    turn(*state);
    assert_int_equal(strncmp(heard(fd), "{\"QMP\": {\"version\": {\"qemu\": {", 29), 0);
    close(fd);
}

static void requests_without_newlines_are_answered_in_order(void **state)
{
    int fd = negotiated_client(*state);

    say(fd, "{\"execute\":\"count\"}{\"execute\":\"count\",\"id\":\"x\"}");
    turn(*state);
    assert_string_equal(heard(fd), "{\"return\": 1}\n{\"return\": 2, \"id\": \"x\"}\n");
    close(fd);
}

static void request_may_come_in_pieces(void **state)
{
    int fd = negotiated_client(*state);
    const char *request = "{\"execute\": \"count\"}";

    for (const char *at = request; *at; at++) {
        assert_string_equal(heard(fd), "");
        assert_int_equal(send(fd, at, 1, 0), 1);
        turn(*state);
    }
    assert_string_equal(heard(fd), "{\"return\": 1}\n");
    close(fd);
}

static void bad_json_does_not_end_the_conversation(void **state)
{
    int fd = negotiated_client(*state);
    const char *text;

    say(fd, "{\"execute\" oops} nonsense {\"execute\":\"count\"}");
    turn(*state);
    text = heard(fd);
    assert_non_null(strstr(text, "JSON parse error"));
    assert_non_null(strstr(text, "{\"return\": 1}\n"));
    close(fd);
}

static void events_reach_only_those_who_negotiated(void **state)
{
    struct fixture *fixture = *state;
    int deaf = connect_client(fixture), listening = negotiated_client(fixture);

    turn(fixture);
    heard(deaf);
    qmp_server_event(fixture->server, "STOP", NULL);
    turn(fixture);
    assert_string_equal(heard(deaf), "");
    assert_non_null(strstr(heard(listening), "\"event\": \"STOP\"}"));
    close(deaf);
    close(listening);
}

static void event_of_a_command_reaches_all_clients(void **state)
{
    int one = negotiated_client(*state), other = negotiated_client(*state);

    say(one, "{\"execute\":\"shout\"}");
    turn(*state);
    assert_non_null(strstr(heard(one), "SHOUT"));
    assert_non_null(strstr(heard(other), "\"event\": \"SHOUT\", \"data\": {\"n\": 1}}\n"));
    close(one);
    close(other);
}

static void client_that_does_not_read_loses_its_connection_only(void **state)
{
    struct fixture *fixture = *state;
    int slow = negotiated_client(fixture), other = negotiated_client(fixture);
    char *filler = malloc(100001);

    memset(filler, 'x', 100000);
    filler[100000] = 0;
    for (unsigned i = 0; i < 60; i++) {
        qmp_server_event(fixture->server, "FILL", json_pack("{s:s}", "x", filler));
        turn(fixture);
        heard(other);
    }
    free(filler);
    assert_int_equal(qmp_server_client_count(fixture->server), 1);
    assert_true(at_end(slow));
    say(other, "{\"execute\":\"count\"}");
    turn(fixture);
    assert_string_equal(heard(other), "{\"return\": 1}\n");
    close(slow);
    close(other);
}

static void flood_of_requests_waits_until_replies_are_read(void **state)
{
    struct fixture *fixture = *state;
    int fd = negotiated_client(fixture);
    const char request[] = "{\"execute\":\"count\"}";
    unsigned sent = 0, answered = 0;

    for (unsigned before = 0;;) {
        ssize_t n = send(fd, request, sizeof request - 1, MSG_NOSIGNAL);

        if (n == sizeof request - 1) {
            sent++;
            continue;
        }
        assert_true(n < 0); /* socket pairs take such a small message whole or not */
        turn(fixture);
        if (fixture->calls == before)
            break; /* the socket is full and nothing is taken from it any more */
        before = fixture->calls;
        assert_true(sent < 1000000);
    }
    assert_true(sent > fixture->calls);
    assert_int_equal(qmp_server_client_count(fixture->server), 1);
    for (unsigned i = 0; i < 100000 && answered < sent; i++) {
        for (const char *at = heard(fd); (at = strchr(at, '\n')); at++)
            answered++;
        turn(fixture);
    }
    assert_int_equal(answered, sent);
    close(fd);
}

static void oversize_request_is_refused_and_skipped(void **state)
{
    struct fixture *fixture = *state;
    int fd = negotiated_client(fixture);
    char piece[4096];
    const char *text;

    memset(piece, 'x', sizeof piece);
    say(fd, "{\"execute\":\"");
    for (size_t sent = 0; sent <= JSON_STREAM_MAX_BYTES; sent += sizeof piece) {
        assert_int_equal(send(fd, piece, sizeof piece, 0), sizeof piece);
        turn(fixture);
    }
    say(fd, "\"}{\"execute\":\"count\"}");
    turn(fixture);
    text = heard(fd);
    assert_non_null(strstr(text, "longer than 1048576 bytes"));
    assert_non_null(strstr(text, "{\"return\": 1}\n"));
    close(fd);
}

static void clients_beyond_the_limit_are_closed(void **state)
{
    struct fixture *fixture = *state;
    int fds[QMP_MAX_CLIENTS];
    int late;

    for (unsigned i = 0; i < QMP_MAX_CLIENTS; i++)
        fds[i] = connect_client(fixture);
    late = connect_client(fixture);
    assert_string_equal(heard(late), "");
    assert_true(at_end(late));
    close(late);
    close(fds[0]);
    turn(fixture);
    late = negotiated_client(fixture);
    close(late);
    for (unsigned i = 1; i < QMP_MAX_CLIENTS; i++)
        close(fds[i]);
    turn(fixture);
    assert_int_equal(qmp_server_client_count(fixture->server), 0);
}

static void requests_of_a_client_that_has_gone_are_served(void **state)
{
    struct fixture *fixture = *state;
    int fd = connect_client(fixture);

    say(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"count\"}");
    close(fd);
    turn(fixture);
    assert_int_equal(fixture->calls, 1);
    assert_int_equal(qmp_server_client_count(fixture->server), 0);
}

static void half_closed_client_hears_its_replies(void **state)
{
    struct fixture *fixture = *state;
    int fd = negotiated_client(fixture);

    say(fd, "{\"execute\":\"count\"}");
    shutdown(fd, SHUT_WR);
    turn(fixture);
    assert_string_equal(heard(fd), "{\"return\": 1}\n");
    assert_true(at_end(fd));
    close(fd);
}

static void descriptor_comes_with_its_request(void **state)
{
    struct fixture *fixture = *state;
    int fd = negotiated_client(fixture);
    char request[] = "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}";
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct iovec io = {request, sizeof request - 1};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int passed = 0;

    memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
    assert_int_equal(sendmsg(fd, &message, 0), sizeof request - 1);
    turn(fixture);
    assert_string_equal(heard(fd), "{\"return\": {}}\n");
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(client_is_greeted),
        TEST(requests_without_newlines_are_answered_in_order),
        TEST(request_may_come_in_pieces),
        TEST(bad_json_does_not_end_the_conversation),
        TEST(events_reach_only_those_who_negotiated),
        TEST(event_of_a_command_reaches_all_clients),
        TEST(client_that_does_not_read_loses_its_connection_only),
        TEST(flood_of_requests_waits_until_replies_are_read),
        TEST(oversize_request_is_refused_and_skipped),
        TEST(clients_beyond_the_limit_are_closed),
        TEST(requests_of_a_client_that_has_gone_are_served),
        TEST(half_closed_client_hears_its_replies),
        TEST(descriptor_comes_with_its_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
