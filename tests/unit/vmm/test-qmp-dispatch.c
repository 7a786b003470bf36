/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/qmp-dispatch.h"

static unsigned calls; /* how often a command of the fake backend ran */

static json_t *echo(struct qmp_call *call, struct gw_error *error)
{
    calls++;
    return json_deep_copy(call->arguments);
}

static json_t *refuse(struct qmp_call *call, struct gw_error *error)
{
    gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_BUSY, -EBUSY, "disk 'a\xff' is locked");
    return NULL;
}

static const struct qmp_argument echo_arguments[] = {{"text", QMP_STR, false},
                                                     {"number", QMP_INT, true},
                                                     {"flag", QMP_BOOL, true},
                                                     {"list", QMP_LIST, true},
                                                     {.name = NULL}};
static const struct qmp_argument enable_arguments[] = {{"enable", QMP_LIST, true}, {.name = NULL}};
static const struct qmp_argument name_arguments[] = {{"fdname", QMP_STR, false}, {.name = NULL}};
static const struct qmp_command commands[] = {
    {"qmp_capabilities", enable_arguments, qmp_run_capabilities},
    {"query-commands", qmp_no_arguments, qmp_run_query_commands},
    {"query-version", qmp_no_arguments, qmp_run_query_version},
    {"getfd", name_arguments, qmp_run_getfd},
    {"closefd", name_arguments, qmp_run_closefd},
    {"echo", echo_arguments, echo},
    {"fail", qmp_no_arguments, refuse},
};
static const struct qmp_dispatch dispatch = {commands, sizeof commands / sizeof *commands, NULL};

/* The reply to `request`, as compact sorted text. */
static char *ask_in(struct qmp_session *session, const char *request)
{
    json_t *reply = qmp_dispatch(&dispatch, session, request, strlen(request));
    char *text = json_dumps(reply, JSON_COMPACT | JSON_SORT_KEYS);

    json_decref(reply);
    return text;
}

static void assert_reply(const char *request, const char *expected)
{
    struct qmp_session session;
    char *text;

    qmp_session_init(&session);
    session.negotiated = true;
    text = ask_in(&session, request);
    assert_string_equal(text, expected);
    free(text);
    qmp_session_fini(&session);
}

#define ERROR(class, desc, code)                                                                   \
    "{\"error\":{\"class\":\"" class "\",\"desc\":\"" desc "\",\"x-godwit\":{\"code\":\"" code     \
                                     "\",\"layer\":\"vmm\"}}}"
#define INVALID(desc) ERROR("GenericError", desc, "invalid")

static void arguments_and_id_come_back(void **state)
{
    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\",\"number\":7,\"flag\":true,"
                 "\"list\":[1]},\"id\":[{\"x\":null}]}",
                 "{\"id\":[{\"x\":null}],\"return\":{\"flag\":true,\"list\":[1],\"number\":7,"
                 "\"text\":\"a\"}}");
}

static void unexpected_argument_is_named(void **state)
{
    calls = 0;
    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\",\"nmber\":7}}",
                 INVALID("Parameter 'nmber' is unexpected"));
    assert_int_equal(calls, 0);
}

static void missing_argument_is_named(void **state)
{
    assert_reply("{\"execute\":\"echo\"}", INVALID("Parameter 'text' is missing"));
}

static void mistyped_argument_is_named(void **state)
{
    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":3}}",
                 INVALID("Invalid parameter type for 'text', expected: str"));
    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"flag\":1}}",
                 INVALID("Invalid parameter type for 'flag', expected: bool"));
    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"list\":{}}}",
                 INVALID("Invalid parameter type for 'list', expected: list"));
}

static void negative_and_fractional_numbers_are_refused(void **state)
{
    const char *refusal =
        INVALID("Invalid parameter type for 'number', expected: int (not negative)");

    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"number\":-1}}", refusal);
    assert_reply("{\"execute\":\"echo\",\"arguments\":{\"text\":\"\",\"number\":1.5}}", refusal);
}

static void unknown_command_has_its_own_class(void **state)
{
    assert_reply(
        "{\"execute\":\"nope\",\"id\":1}",
        "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command nope has not been "
        "found\",\"x-godwit\":{\"code\":\"not-found\",\"layer\":\"vmm\"}},\"id\":1}");
}

static void malformed_requests_get_an_error(void **state)
{
    assert_reply("[1]", INVALID("QMP input must be a JSON object"));
    assert_reply("true", INVALID("QMP input must be a JSON object"));
    assert_reply("{\"execute\":\"echo\"]", INVALID("JSON parse error at byte 18 of the request"));
    assert_reply("{\"id\":1}", "{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input lacks "
                               "member 'execute'\",\"x-godwit\":{\"code\":\"invalid\",\"layer\":"
                               "\"vmm\"}},\"id\":1}");
    assert_reply("{\"execute\":5}", INVALID("QMP input member 'execute' must be a string"));
    assert_reply("{\"execute\":\"echo\",\"arguments\":[]}",
                 INVALID("QMP input member 'arguments' must be an object"));
    assert_reply("{\"execute\":\"echo\",\"foo\":1}",
                 INVALID("QMP input member 'foo' is unexpected"));
}

static void duplicate_key_is_refused(void **state)
{
    struct qmp_session session;
    char *text;

    qmp_session_init(&session);
    text = ask_in(&session, "{\"execute\":\"a\",\"execute\":\"b\"}");
    assert_non_null(strstr(text, "JSON parse error"));
    free(text);
}

static void failure_carries_layer_and_code_and_survives_bad_utf8(void **state)
{
    assert_reply("{\"execute\":\"fail\"}",
                 "{\"error\":{\"class\":\"GenericError\",\"desc\":\"disk 'a?' is locked\","
                 "\"x-godwit\":{\"code\":\"busy\",\"layer\":\"block\"}}}");
}

static void nothing_runs_before_negotiation(void **state)
{
    struct qmp_session session;
    char *text;

    qmp_session_init(&session);
    text = ask_in(&session, "{\"execute\":\"query-version\"}");
    assert_non_null(strstr(text, "CommandNotFound"));
    free(text);
    text =
        ask_in(&session, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}");
    assert_non_null(strstr(text, "no capability is offered"));
    free(text);
    text = ask_in(&session, "{\"execute\":\"qmp_capabilities\"}");
    assert_string_equal(text, "{\"return\":{}}");
    free(text);
    text = ask_in(&session, "{\"execute\":\"query-version\"}");
    assert_non_null(strstr(text, "godwit " GW_VERSION));
    free(text);
    text = ask_in(&session, "{\"execute\":\"qmp_capabilities\"}");
    assert_non_null(strstr(text, "already complete"));
    free(text);
}

static void query_commands_describes_arguments(void **state)
{
    struct qmp_session session;
    char *text;

    qmp_session_init(&session);
    session.negotiated = true;
    text = ask_in(&session, "{\"execute\":\"query-commands\"}");
    assert_non_null(strstr(text,
                           "{\"arguments\":[{\"name\":\"text\",\"optional\":false,\"type\":"
                           "\"str\"},{\"name\":\"number\",\"optional\":true,\"type\":\"int\"}"));
    free(text);
}

static void passed_descriptor_is_kept_once_and_bounded(void **state)
{
    struct qmp_session session;
    char request[100];
    char *text;

    qmp_session_init(&session);
    session.negotiated = true;
    for (unsigned i = 0; i <= QMP_MAX_FDS; i++) {
        session.passed_fd = dup(0);
        snprintf(request, sizeof request,
                 "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"n%u\"}}", i);
        text = ask_in(&session, request);
        assert_int_equal(strcmp(text, "{\"return\":{}}") == 0, i < QMP_MAX_FDS);
        free(text);
        assert_int_equal(session.passed_fd, -1);
    }
    text = ask_in(&session, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"x\"}}");
    assert_non_null(strstr(text, "No file descriptor came"));
    free(text);
    close(qmp_session_take_fd(&session, "n3"));
    assert_true(qmp_session_take_fd(&session, "n3") < 0);
    text = ask_in(&session, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"n4\"}}");
    assert_string_equal(text, "{\"return\":{}}");
    free(text);
    assert_int_equal(session.fd_count, QMP_MAX_FDS - 2);
    qmp_session_fini(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_and_id_come_back),
        cmocka_unit_test(unexpected_argument_is_named),
        cmocka_unit_test(missing_argument_is_named),
        cmocka_unit_test(mistyped_argument_is_named),
        cmocka_unit_test(negative_and_fractional_numbers_are_refused),
        cmocka_unit_test(unknown_command_has_its_own_class),
        cmocka_unit_test(malformed_requests_get_an_error),
        cmocka_unit_test(duplicate_key_is_refused),
        cmocka_unit_test(failure_carries_layer_and_code_and_survives_bad_utf8),
        cmocka_unit_test(nothing_runs_before_negotiation),
        cmocka_unit_test(query_commands_describes_arguments),
        cmocka_unit_test(passed_descriptor_is_kept_once_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
