/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/qmp-commands.h"

#include <string.h>

#include "base/cleanup.h"
#include "vmm/machine.h"

static const char *text_argument(const struct qmp_call *call, const char *name)
{
    return json_string_value(json_object_get(call->arguments, name));
}

/* What a command returns that only succeeds or fails. */
static json_t *nothing_or_error(int result)
{
    return result < 0 ? NULL : json_object();
}

static json_t *run_query_name(struct qmp_call *call, struct gw_error *error)
{
    json_t *machine = machine_query(call->backend);
    json_t *name = json_pack("{s:O}", "name", json_object_get(machine, "name"));

    json_decref(machine);
    return name;
}

static json_t *run_query_status(struct qmp_call *call, struct gw_error *error)
{
    return json_pack("{s:s, s:b}", "status", machine_status(call->backend), "running",
                     machine_running(call->backend));
}

static json_t *run_stop(struct qmp_call *call, struct gw_error *error)
{
    return nothing_or_error(machine_stop(call->backend, error));
}

static json_t *run_cont(struct qmp_call *call, struct gw_error *error)
{
    return nothing_or_error(machine_cont(call->backend, error));
}

static json_t *run_quit(struct qmp_call *call, struct gw_error *error)
{
    machine_quit(call->backend);
    return json_object();
}

static json_t *run_system_reset(struct qmp_call *call, struct gw_error *error)
{
    return nothing_or_error(machine_reset(call->backend, error));
}

static json_t *run_system_powerdown(struct qmp_call *call, struct gw_error *error)
{
    return nothing_or_error(machine_powerdown(call->backend, error));
}

/* fd:NAME, of getfd, becomes fd:N. Other addresses stay. */
static int resolve_uri(struct qmp_call *call, char *uri, size_t bytes, int *ret_fd,
                       struct gw_error *error)
{
    const char *given = text_argument(call, "uri");
    size_t length = strlen(given);
    int fd;

    *ret_fd = -1;
    if (length >= bytes)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -ENAMETOOLONG,
                            "Parameter 'uri' has more than %zu bytes", bytes - 1);
    memcpy(uri, given, length + 1);
    if (strncmp(given, "fd:", 3) != 0 || (given[3] >= '0' && given[3] <= '9'))
        return 0;
    fd = qmp_session_take_fd(call->session, given + 3);
    if (fd < 0)
        return gw_error_set(
            error, GW_LAYER_VMM, GW_CODE_NOT_FOUND, fd,
            "File descriptor named '%.64s' not found (getfd on this connection first)", given + 3);
    snprintf(uri, bytes, "fd:%d", fd);
    *ret_fd = fd;
    return 0;
}

static json_t *with_uri(struct qmp_call *call,
                        int (*begin)(struct machine *, const char *, struct gw_error *),
                        struct gw_error *error)
{
    char uri[4200];
    int fd;
    int r = resolve_uri(call, uri, sizeof uri, &fd, error);

    if (r < 0)
        return NULL;
    r = begin(call->backend, uri, error);
    if (r < 0 && fd >= 0)
        close(fd);
    return nothing_or_error(r);
}

static json_t *run_migrate(struct qmp_call *call, struct gw_error *error)
{
    return with_uri(call, machine_migrate, error);
}

static json_t *run_migrate_incoming(struct qmp_call *call, struct gw_error *error)
{
    return with_uri(call, machine_migrate_incoming, error);
}

static json_t *run_migrate_cancel(struct qmp_call *call, struct gw_error *error)
{
    machine_migrate_cancel(call->backend);
    return json_object();
}

static json_t *run_query_migrate(struct qmp_call *call, struct gw_error *error)
{
    return machine_query_migrate(call->backend);
}

static json_t *run_set_parameters(struct qmp_call *call, struct gw_error *error)
{
    return nothing_or_error(machine_set_parameters(call->backend, call->arguments, error));
}

static json_t *run_query_parameters(struct qmp_call *call, struct gw_error *error)
{
    return machine_query_parameters(call->backend);
}

static json_t *run_query_machine(struct qmp_call *call, struct gw_error *error)
{
    return machine_query(call->backend);
}

static json_t *run_run_until(struct qmp_call *call, struct gw_error *error)
{
    json_int_t instructions = json_integer_value(json_object_get(call->arguments, "instructions"));

    return nothing_or_error(machine_run_until(call->backend, (uint64_t)instructions, error));
}

static json_t *run_hash(struct qmp_call *call, struct gw_error *error)
{
    return machine_query_hash(call->backend, error);
}

static json_t *run_query_state(struct qmp_call *call, struct gw_error *error)
{
    return machine_query_state(call->backend, error);
}

static json_t *run_reclaim(struct qmp_call *call, struct gw_error *error)
{
    bool fenced = json_is_true(json_object_get(call->arguments, "fenced"));

    return nothing_or_error(machine_reclaim(call->backend, fenced, error));
}

static json_t *run_query_flights(struct qmp_call *call, struct gw_error *error)
{
    return machine_query_flights(call->backend, text_argument(call, "session"), error);
}

#define ARGUMENTS(...) ((const struct qmp_argument[]){__VA_ARGS__, {.name = NULL}})
#define NONE qmp_no_arguments

const struct qmp_command qmp_commands[] = {
    {"qmp_capabilities", ARGUMENTS({"enable", QMP_LIST, true}), qmp_run_capabilities},
    {"query-commands", NONE, qmp_run_query_commands},
    {"query-version", NONE, qmp_run_query_version},
    {"query-name", NONE, run_query_name},
    {"query-status", NONE, run_query_status},
    {"stop", NONE, run_stop},
    {"cont", NONE, run_cont},
    {"quit", NONE, run_quit},
    {"system_reset", NONE, run_system_reset},
    {"system_powerdown", NONE, run_system_powerdown},
    {"migrate", ARGUMENTS({"uri", QMP_STR, false}), run_migrate},
    {"migrate-incoming", ARGUMENTS({"uri", QMP_STR, false}), run_migrate_incoming},
    {"migrate_cancel", NONE, run_migrate_cancel},
    {"query-migrate", NONE, run_query_migrate},
    {"migrate-set-parameters",
     ARGUMENTS({"max-bandwidth", QMP_INT, true}, {"downtime-limit", QMP_INT, true},
               {"x-godwit-deadline", QMP_INT, true}, {"x-godwit-peer-timeout", QMP_INT, true},
               {"x-godwit-verify-ram", QMP_BOOL, true}),
     run_set_parameters},
    {"query-migrate-parameters", NONE, run_query_parameters},
    {"getfd", ARGUMENTS({"fdname", QMP_STR, false}), qmp_run_getfd},
    {"closefd", ARGUMENTS({"fdname", QMP_STR, false}), qmp_run_closefd},
    {"x-godwit-query-machine", NONE, run_query_machine},
    {"x-godwit-run-until", ARGUMENTS({"instructions", QMP_INT, false}), run_run_until},
    {"x-godwit-hash", NONE, run_hash},
    {"x-godwit-query-state", NONE, run_query_state},
    {"x-godwit-reclaim", ARGUMENTS({"fenced", QMP_BOOL, false}), run_reclaim},
    {"x-godwit-query-flights", ARGUMENTS({"session", QMP_STR, true}), run_query_flights},
};
const size_t qmp_command_count = ARRAY_COUNT(qmp_commands);
