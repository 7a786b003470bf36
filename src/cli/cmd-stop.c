/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/machine.h"

static const struct option options[] = {
    {"force", no_argument, NULL, 'f'},
    {"timeout", required_argument, NULL, 't'},
    {0},
};

/* Asks until the process is gone; false at the deadline. */
static bool wait_gone(const struct cli *cli, const char *name, uint64_t timeout_ns)
{
    uint64_t deadline = host_monotonic_ns() + timeout_ns;
    _cleanup_free_ char *socket_path = machine_path(cli, name, "control");
    while (access(socket_path, F_OK) == 0 || machine_has_process(cli, name)) {
        if (host_monotonic_ns() >= deadline)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return true;
}

int cmd_stop(const struct cli *cli, int argc, char **argv)
{
    uint64_t timeout_ns = 30000000000;
    bool force = false;
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        if (option == 'f')
            force = true;
        if (option == 't' && parse_duration(optarg, 1000000000, &timeout_ns) < 0)
            return cli_usage("stop", "--timeout '%s' is not a time such as 30s", optarg);
    }
    if (optind + 1 != argc)
        return cli_usage("stop", "exactly one machine name is needed");
    const char *name = argv[optind];
    struct gw_error error;
    _cleanup_qmp_ struct qmp_client *client = NULL;
    if (machine_connect(cli, name, &client, &error) < 0 ||
        qmp_client_call(client, force ? "quit" : "system_powerdown", NULL, NULL, &error) < 0)
        return cli_fail(&error);
    if (wait_gone(cli, name, force ? 10000000000 : timeout_ns)) {
        cli_say("machine '%s' has ended", name);
        return EXIT_DONE;
    }
    cli_say("machine '%s' has not powered off after %.3g s; 'godwit stop --force %s' ends it without "
            "asking the guest",
            name, (double)timeout_ns / 1e9, name);
    return EXIT_FAILED;
}
