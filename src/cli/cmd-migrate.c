/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets the parameters, starts the migration, and looks at query-migrate until it has ended. The decisions are
 * the engine's; nothing here influences them, so a killed `godwit migrate` leaves a migration that goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "cli/progress.h"

enum { POLL_MS = 100, UNDECIDED_AFTER_MS = 15000 };

static const struct option options[] = {
    {"downtime-limit", required_argument, NULL, 'p'},
    {"deadline", required_argument, NULL, 'd'},
    {"max-bandwidth", required_argument, NULL, 'b'},
    {"verify", no_argument, NULL, 'v'},
    {"keep", no_argument, NULL, 'k'},
    {"json", no_argument, NULL, 'j'},
    {0},
};

struct request {
    const char *name, *uri;
    json_t *parameters; /* of migrate-set-parameters; owned */
    bool json, keep;
};

static volatile sig_atomic_t interrupted;

static void note_interrupt(int signal_number)
{
    interrupted = 1;
}

static int take_duration_ms(struct request *request, const char *option, const char *parameter)
{
    uint64_t ns;
    if (parse_duration(optarg, 1000000, &ns) < 0 || ns < 1000000)
        return cli_usage("migrate", "--%s '%s' is not a time such as 100ms or 2s", option, optarg);
    json_object_set_new(request->parameters, parameter, json_integer((json_int_t)(ns / 1000000)));
    return 0;
}

static int take_option(struct request *request, int option)
{
    uint64_t bytes;
    switch (option) {
    case 'p':
        return take_duration_ms(request, "downtime-limit", "downtime-limit");
    case 'd':
        return take_duration_ms(request, "deadline", "x-godwit-deadline");
    case 'b':
        if (parse_size(optarg, &bytes) < 0 || bytes > INT64_MAX)
            return cli_usage("migrate", "--max-bandwidth '%s' is not a size such as 100M", optarg);
        json_object_set_new(request->parameters, "max-bandwidth", json_integer((json_int_t)bytes));
        return 0;
    case 'v':
        json_object_set_new(request->parameters, "x-godwit-verify-ram", json_true());
        return 0;
    case 'k':
        request->keep = true;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    }
    return EXIT_USAGE;
}

/* fd:N names a descriptor of ours: it is handed to the machine's process, which then knows it by name. */
static int hand_over_fd(struct qmp_client *client, const char **uri, struct gw_error *error)
{
    uint64_t number;
    if (strncmp(*uri, "fd:", 3) != 0 || parse_number(*uri + 3, INT32_MAX, &number) < 0)
        return 0;
    if (fcntl((int)number, F_GETFD) < 0)
        return gw_error_set(error, GW_LAYER_CLI, GW_CODE_INVALID, -EBADF,
                            "descriptor %d of '%s' is not open in this process", (int)number, *uri);
    *uri = "fd:godwit-migrate";
    return qmp_client_call_with_fd(client, "getfd", json_pack("{s:s}", "fdname", "godwit-migrate"),
                                   (int)number, NULL, error);
}

static int begin(struct qmp_client *client, struct request *request, struct gw_error *error)
{
    const char *uri = request->uri;
    int r = 0;
    if (json_object_size(request->parameters) > 0)
        r = qmp_client_call(client, "migrate-set-parameters", json_incref(request->parameters), NULL,
                            error);
    if (r == 0)
        r = hand_over_fd(client, &uri, error);
    if (r == 0)
        r = qmp_client_call(client, "migrate", json_pack("{s:s}", "uri", uri), NULL, error);
    return r;
}

static const char *status_of(const json_t *info)
{
    const char *status = json_string_value(json_object_get(info, "status"));
    return status ? status : "";
}

static bool has_ended(const json_t *info)
{
    const char *status = status_of(info);
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "cancelled") == 0;
}

/* The pause budget that holds for the migration; 0 without an answer. */
static double ask_budget_us(struct qmp_client *client)
{
    struct gw_error error;
    json_t *parameters = NULL;
    if (qmp_client_call(client, "query-migrate-parameters", NULL, &parameters, &error) < 0)
        return 0;
    double ms = json_number_value(json_object_get(parameters, "downtime-limit"));
    json_decref(parameters);
    return ms * 1000;
}

/* Polls until the end; *ret_info is the last query-migrate. 0 also for "undecided". */
static int follow(struct qmp_client *client, const struct request *request, json_t **ret_info,
                  struct gw_error *error)
{
    struct progress progress;
    uint64_t committing_since = 0;
    bool cancel_sent = false, warned = request->json;
    progress_init(&progress, !request->json, ask_budget_us(client));
    for (;;) {
        json_t *info = NULL;
        int r = qmp_client_call(client, "query-migrate", NULL, &info, error);
        if (r < 0)
            return r;
        bool committing = strcmp(status_of(info), "x-godwit-committing") == 0;
        if (!committing)
            committing_since = 0;
        else if (!committing_since)
            committing_since = host_monotonic_ns();
        if (!warned)
            progress_networks(info, "connections that are open end with this move");
        warned = true;
        progress_show(&progress, info);
        if (has_ended(info) ||
            (committing && host_monotonic_ns() - committing_since > UNDECIDED_AFTER_MS * 1000000ull)) {
            progress_end(&progress);
            *ret_info = info;
            return 0;
        }
        json_decref(info);
        if (interrupted && !cancel_sent) {
            cancel_sent = true;
            qmp_client_call(client, "migrate_cancel", NULL, NULL, NULL);
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
}

static int exit_code(const json_t *info)
{
    const char *status = status_of(info);
    if (strcmp(status, "completed") == 0)
        return EXIT_DONE;
    if (strcmp(status, "cancelled") == 0)
        return EXIT_CANCELLED;
    return strcmp(status, "failed") == 0 ? EXIT_FAILED : EXIT_UNDECIDED;
}

static void say_failed(const char *name, const char *why)
{
    cli_say("not moved: %s", why ? why : "no reason given");
    cli_say("machine '%s' goes on here, and 'godwit explain %s' tells more", name, name);
}

static void report(const struct request *request, json_t *info, int code)
{
    if (request->json) {
        json_object_set_new(info, "ok", json_boolean(code == EXIT_DONE));
        json_object_set_new(info, "exit-code", json_integer(code));
        cli_json(info);
        return;
    }
    if (code == EXIT_DONE) {
        progress_summary(info, request->name, request->uri);
        cli_hint("'godwit explain %s' tells what happened in it", request->name);
    } else if (code == EXIT_CANCELLED)
        cli_say("cancelled; machine '%s' goes on here", request->name);
    else if (code == EXIT_FAILED)
        say_failed(request->name, json_string_value(json_object_get(info, "error-desc")));
    else
        cli_say("undecided: '%s' was given away, and the other side has not said that it runs. The guest "
                "is paused here and asks on; see 'godwit status %s' on both hosts. If the other host is "
                "known to be dead: 'godwit reclaim %s --fenced'",
                request->name, request->name, request->name);
}

static int migrate(const struct cli *cli, struct request *request)
{
    struct gw_error error;
    _cleanup_qmp_ struct qmp_client *client = NULL;
    json_t *info = NULL;
    struct sigaction action = {.sa_handler = note_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (machine_connect(cli, request->name, &client, &error) < 0 ||
        begin(client, request, &error) < 0 || follow(client, request, &info, &error) < 0)
        return cli_fail(&error);
    int code = exit_code(info);
    report(request, info, code);
    json_decref(info);
    if (code == EXIT_DONE && !request->keep)
        qmp_client_call(client, "quit", NULL, NULL, NULL);
    return code;
}

int cmd_migrate(const struct cli *cli, int argc, char **argv)
{
    struct request request = {.parameters = json_object()};
    int option, code = 0;
    while (code == 0 && (option = cli_option(argc, argv, options)) != -1)
        code = take_option(&request, option);
    if (code == 0 && optind + 2 != argc)
        code = cli_usage("migrate", optind + 2 < argc ? "'%s' is one argument too many"
                                                      : "a machine name and an address are needed%s",
                         optind + 2 < argc ? argv[optind + 2] : "");
    if (code == 0) {
        request.name = argv[optind];
        request.uri = argv[optind + 1];
        code = migrate(cli, &request);
    }
    json_decref(request.parameters);
    return code;
}
