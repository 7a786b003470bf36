/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qmp-dispatch.h"

#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "vmm/json-text.h"

const struct qmp_argument qmp_no_arguments[] = {{.name = NULL}};

static const char *const type_names[] = {
    [QMP_STR] = "str",
    [QMP_INT] = "int",
    [QMP_BOOL] = "bool",
    [QMP_LIST] = "list",
};

static const struct qmp_command *find_command(const struct qmp_dispatch *dispatch, const char *name)
{
    for (size_t i = 0; i < dispatch->count; i++)
        if (strcmp(dispatch->commands[i].name, name) == 0)
            return &dispatch->commands[i];
    return NULL;
}

static bool has_type(const json_t *value, enum qmp_type type)
{
    switch (type) {
    case QMP_STR:
        return json_is_string(value);
    case QMP_INT:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    case QMP_BOOL:
        return json_is_boolean(value);
    case QMP_LIST:
        return json_is_array(value);
    }
    return false;
}

static int invalid(struct gw_error *error, const char *before, const char *name, const char *after)
{
    return gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL, "%s '%.64s' %s", before,
                        name, after);
}

static bool is_described(const struct qmp_argument *described, const char *name)
{
    for (; described->name; described++)
        if (strcmp(described->name, name) == 0)
            return true;
    return false;
}

static int check_arguments(const struct qmp_argument *described, const json_t *arguments,
                           struct gw_error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)arguments, name,
                        value) if (!is_described(described, name)) return invalid(error,
                                                                                  "Parameter", name,
                                                                                  "is unexpected");
    for (; described->name; described++) {
        value = json_object_get(arguments, described->name);
        if (!value && !described->optional)
            return invalid(error, "Parameter", described->name, "is missing");
        if (value && !has_type(value, described->type))
            return gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                                "Invalid parameter type for '%s', expected: %s%s", described->name,
                                type_names[described->type],
                                described->type == QMP_INT ? " (not negative)" : "");
    }
    return 0;
}

/* Steals `id`, which may be NULL. */
static json_t *error_reply(const char *class, const struct gw_error *error, json_t *id)
{
    json_t *reply = json_pack("{s:{s:s, s:o, s:{s:s, s:s}}}", "error", "class", class, "desc",
                              json_text(error->message), "x-godwit", "layer",
                              gw_layer_name(error->layer), "code", gw_code_name(error->code));

    if (reply && id)
        json_object_set_new(reply, "id", id);
    else
        json_decref(id);
    return reply;
}

json_t *qmp_error_message(const struct gw_error *error)
{
    return error_reply("GenericError", error, NULL);
}

/* The parsed request, or NULL with `error` filled. */
static json_t *parse_request(const char *text, size_t length, struct gw_error *error)
{
    json_error_t at;
    json_t *request = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &at);

    if (!request) {
        /* jansson quotes the offending bytes, which need not be UTF-8: only the position is told.
         */
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                     "JSON parse error at byte %d of the request", at.position);
        return NULL;
    }
    if (!json_is_object(request)) {
        json_decref(request);
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                     "QMP input must be a JSON object");
        return NULL;
    }
    return request;
}

static const struct {
    const char *name;
    json_type type;
    const char *refusal;
} request_members[] = {
    {"execute", JSON_STRING, "must be a string"},
    {"arguments", JSON_OBJECT, "must be an object"},
    {"id", JSON_NULL, NULL}, /* any type */
};

static int check_members(const json_t *request, struct gw_error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)request, name, value)
    {
        size_t i;

        for (i = 0; i < ARRAY_COUNT(request_members); i++)
            if (strcmp(name, request_members[i].name) == 0)
                break;
        if (i == ARRAY_COUNT(request_members))
            return invalid(error, "QMP input member", name, "is unexpected");
        if (request_members[i].refusal && json_typeof(value) != request_members[i].type)
            return invalid(error, "QMP input member", name, request_members[i].refusal);
    }
    if (!json_object_get(request, "execute"))
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                            "QMP input lacks member 'execute'");
    return 0;
}

static const char not_found[] = "CommandNotFound";
static const char generic[] = "GenericError";

/* Runs a well-formed request; NULL with `error` and *ret_class filled on failure. */
static json_t *run(const struct qmp_dispatch *dispatch, struct qmp_session *session,
                   const json_t *request, const char **ret_class, struct gw_error *error)
{
    const char *name = json_string_value(json_object_get(request, "execute"));
    const struct qmp_command *command = find_command(dispatch, name);
    json_t *given = json_object_get(request, "arguments");
    json_t *arguments, *result;

    *ret_class = not_found;
    if (!session->negotiated && strcmp(name, "qmp_capabilities") != 0) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_STATE, -EPROTO,
                     "Expecting capabilities negotiation with 'qmp_capabilities'");
        return NULL;
    }
    if (!command) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_NOT_FOUND, -ENOENT,
                     "The command %.64s has not been found", name);
        return NULL;
    }
    *ret_class = generic;
    arguments = given ? json_incref(given) : json_object();
    if (!arguments || check_arguments(command->arguments, arguments, error) < 0) {
        json_decref(arguments);
        return NULL;
    }
    result = command->run(&(struct qmp_call){.dispatch = dispatch,
                                             .session = session,
                                             .arguments = arguments,
                                             .backend = dispatch->backend},
                          error);
    json_decref(arguments);
    return result;
}

json_t *qmp_dispatch(const struct qmp_dispatch *dispatch, struct qmp_session *session,
                     const char *text, size_t length)
{
    struct gw_error error = {
        .layer = GW_LAYER_VMM, .code = GW_CODE_NO_RESOURCE, .message = "out of memory"};
    const char *class = generic;
    json_t *request = parse_request(text, length, &error);
    json_t *id, *result, *reply;

    if (!request)
        return error_reply(class, &error, NULL);
    id = json_incref(json_object_get(request, "id"));
    if (check_members(request, &error) < 0)
        result = NULL;
    else
        result = run(dispatch, session, request, &class, &error);
    json_decref(request);
    if (!result)
        return error_reply(class, &error, id);
    reply = json_pack("{s:o}", "return", result);
    if (reply && id)
        json_object_set_new(reply, "id", id);
    else
        json_decref(id);
    return reply;
}

static json_t *version_object(void)
{
    int major = 0, minor = 0, micro = 0;

    sscanf(GW_VERSION, "%d.%d.%d", &major, &minor, &micro);
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", major, "minor", minor, "micro",
                     micro, "package", "godwit " GW_VERSION);
}

json_t *qmp_greeting(void)
{
    return json_pack("{s:{s:o, s:[]}}", "QMP", "version", version_object(), "capabilities");
}

json_t *qmp_event_message(const char *name, json_t *data)
{
    struct timespec now;
    json_t *message;

    clock_gettime(CLOCK_REALTIME, &now);
    message = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
                        "microseconds", (json_int_t)(now.tv_nsec / 1000), "event", name);
    if (message && data)
        json_object_set_new(message, "data", data);
    else
        json_decref(data);
    return message;
}

json_t *qmp_run_capabilities(struct qmp_call *call, struct gw_error *error)
{
    json_t *enable = json_object_get(call->arguments, "enable");

    if (call->session->negotiated) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_STATE, -EALREADY,
                     "Capabilities negotiation is already complete, command ignored");
        return NULL;
    }
    if (json_array_size(enable) > 0) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_UNSUPPORTED, -ENOTSUP,
                     "Capability negotiation: no capability is offered, so 'enable' must be empty");
        return NULL;
    }
    call->session->negotiated = true;
    return json_object();
}

json_t *qmp_run_query_commands(struct qmp_call *call, struct gw_error *error)
{
    json_t *list = json_array();

    for (size_t i = 0; i < call->dispatch->count; i++) {
        const struct qmp_command *command = &call->dispatch->commands[i];
        json_t *arguments = json_array();

        for (const struct qmp_argument *a = command->arguments; a->name; a++)
            json_array_append_new(arguments,
                                  json_pack("{s:s, s:s, s:b}", "name", a->name, "type",
                                            type_names[a->type], "optional", a->optional));
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "name", command->name, "arguments", arguments));
    }
    return list;
}

json_t *qmp_run_query_version(struct qmp_call *call, struct gw_error *error)
{
    return version_object();
}
