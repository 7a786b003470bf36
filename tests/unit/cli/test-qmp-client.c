/* SPDX-License-Identifier: Apache-2.0 */
/* The client against a scripted server: what it makes of good, odd and bad answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/qmp-client.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"

struct server {
    char path[64];
    int listener;
    pthread_t thread;
    const char *const *answers; /* the first is sent at once, each further one after a request; NULL ends */
};

static void *serve(void *opaque)
{
    struct server *server = opaque;
    _cleanup_close_ int client = accept(server->listener, NULL, NULL);
    char request[4096];
    for (const char *const *answer = server->answers; *answer; answer++) {
        if (answer != server->answers && read(client, request, sizeof request) <= 0)
            break;
        /* In two pieces, so that the client has to put lines together. */
        size_t length = strlen(*answer), half = length / 2;
        if (write(client, *answer, half) < 0 || write(client, *answer + half, length - half) < 0)
            break;
    }
    return NULL;
}

static void start(struct server *server, const char *const *answers)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(server->path, sizeof server->path, "/tmp/godwit-qmp-%d", (int)getpid());
    unlink(server->path);
    strcpy(address.sun_path, server->path);
    server->answers = answers;
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void finish(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->listener);
    unlink(server->path);
}

static void an_answer_is_found_behind_events(void **state)
{
    static const char *const answers[] = {
        GREETING, "{\"return\": {}, \"id\": 1}\n",
        "{\"event\": \"STOP\", \"timestamp\": {}}\n{\"return\": {\"status\": \"paused\"}, \"id\": 2}\n", NULL};
    struct server server;
    struct gw_error error;
    _cleanup_qmp_ struct qmp_client *client = NULL;
    json_t *value = NULL;
    start(&server, answers);
    assert_int_equal(qmp_client_open(server.path, &client, &error), 0);
    assert_int_equal(qmp_client_call(client, "query-status", NULL, &value, &error), 0);
    assert_string_equal(json_string_value(json_object_get(value, "status")), "paused");
    json_decref(value);
    finish(&server);
}

static void a_refusal_keeps_the_machines_own_words(void **state)
{
    static const char *const answers[] = {
        GREETING, "{\"return\": {}, \"id\": 1}\n",
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"the disk is on fire\"}, \"id\": 2}\n", NULL};
    struct server server;
    struct gw_error error;
    _cleanup_qmp_ struct qmp_client *client = NULL;
    start(&server, answers);
    assert_int_equal(qmp_client_open(server.path, &client, &error), 0);
    assert_true(qmp_client_call(client, "cont", NULL, NULL, &error) < 0);
    assert_string_equal(error.message, "the disk is on fire");
    assert_int_equal(error.code, GW_CODE_REFUSED);
    finish(&server);
}

static void what_is_not_qmp_is_named(void **state)
{
    static const char *const answers[] = {"SSH-2.0-OpenSSH_9.2\r\n", NULL};
    struct server server;
    struct gw_error error;
    struct qmp_client *client = NULL;
    start(&server, answers);
    assert_true(qmp_client_open(server.path, &client, &error) < 0);
    assert_int_equal(error.code, GW_CODE_CORRUPT);
    assert_null(client);
    finish(&server);
}

static void a_process_that_goes_away_is_said(void **state)
{
    static const char *const answers[] = {GREETING, "{\"return\": {}, \"id\": 1}\n", NULL};
    struct server server;
    struct gw_error error;
    _cleanup_qmp_ struct qmp_client *client = NULL;
    start(&server, answers);
    assert_int_equal(qmp_client_open(server.path, &client, &error), 0);
    pthread_join(server.thread, NULL);
    assert_true(qmp_client_call(client, "cont", NULL, NULL, &error) < 0);
    assert_int_equal(error.code, GW_CODE_DISCONNECTED);
    close(server.listener);
    unlink(server.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_found_behind_events),
        cmocka_unit_test(a_refusal_keeps_the_machines_own_words),
        cmocka_unit_test(what_is_not_qmp_is_named),
        cmocka_unit_test(a_process_that_goes_away_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
