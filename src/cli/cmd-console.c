/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "cli/viewer.h"

int cmd_console(const struct cli *cli, int argc, char **argv)
{
    struct gw_error error;
    enum viewer_end end;
    static const struct option none[] = {{0}};
    if (cli_option(argc, argv, none) != -1)
        return EXIT_USAGE;
    if (optind + 1 != argc)
        return cli_usage("console", "exactly one machine name is needed");
    const char *name = argv[optind];
    if (machine_check(cli, name, &error) < 0)
        return cli_fail(&error);
    if (viewer_run(cli, name, VIEWER_CONSOLE, &end, &error) < 0) {
        _cleanup_qmp_ struct qmp_client *client = NULL;
        struct gw_error gone; /* a machine without a process says more than a missing socket */
        bool ended =
            machine_connect(cli, name, &client, &gone) < 0 && gone.code == GW_CODE_DISCONNECTED;
        return cli_fail(ended ? &gone : &error);
    }
    if (end == VIEWER_CLOSED) {
        _cleanup_free_ char *words = machine_last_words(cli, name);
        cli_say("machine '%s': %s", name, words);
    }
    return EXIT_DONE;
}
