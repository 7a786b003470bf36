/* SPDX-License-Identifier: Apache-2.0 */
/* A client's bytes through the stream cutter and the dispatcher, onto commands of every argument
 * type. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "vmm/json-stream.h"
#include "vmm/qmp-dispatch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *echo(struct qmp_call *call, struct gw_error *error)
{
    return json_deep_copy(call->arguments);
}

static json_t *refuse(struct qmp_call *call, struct gw_error *error)
{
    const char *text = json_string_value(json_object_get(call->arguments, "text"));

    gw_error_set(error, GW_LAYER_VMM, GW_CODE_REFUSED, -EPERM, "refused '%.5s'", text);
    return NULL;
}

static const struct qmp_argument echo_arguments[] = {{"text", QMP_STR, true},
                                                     {"number", QMP_INT, true},
                                                     {"flag", QMP_BOOL, true},
                                                     {"list", QMP_LIST, true},
                                                     {.name = NULL}};
static const struct qmp_argument refuse_arguments[] = {{"text", QMP_STR, false}, {.name = NULL}};
static const struct qmp_argument name_arguments[] = {{"fdname", QMP_STR, false}, {.name = NULL}};
static const struct qmp_command commands[] = {
    {"qmp_capabilities", qmp_no_arguments, qmp_run_capabilities},
    {"query-commands", qmp_no_arguments, qmp_run_query_commands},
    {"getfd", name_arguments, qmp_run_getfd},
    {"closefd", name_arguments, qmp_run_closefd},
    {"echo", echo_arguments, echo},
    {"refuse", refuse_arguments, refuse},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qmp_dispatch dispatch = {commands, sizeof commands / sizeof *commands, NULL};
    struct qmp_session session;
    struct json_stream stream;

    qmp_session_init(&session);
    session.negotiated = size > 0 && (data[0] & 1);
    json_stream_init(&stream);
    while (size > 0) {
        size_t consumed;
        enum json_stream_result result =
            json_stream_feed(&stream, (const char *)data, size, &consumed);

        assert(consumed <= size && stream.value.length <= JSON_STREAM_MAX_BYTES);
        data += consumed;
        size -= consumed;
        if (result == JSON_STREAM_VALUE) {
            json_t *reply =
                qmp_dispatch(&dispatch, &session, (char *)stream.value.data, stream.value.length);
            char *text = json_dumps(reply, 0);

            assert(text); /* every reply can be written */
            free(text);
            json_decref(reply);
        }
    }
    json_stream_fini(&stream);
    qmp_session_fini(&session);
    return 0;
}
