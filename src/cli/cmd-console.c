/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "cli/viewer.h"

int cmd_console(const struct cli *cli, int argc, char **argv)
{
    struct gw_error error;
    enum viewer_end end;
    if (argc != 2 || argv[1][0] == '-')
        return cli_usage("console", "exactly one machine name is needed");
    if (machine_check(cli, argv[1], &error) < 0)
        return cli_fail(&error);
    if (isatty(STDIN_FILENO))
        cli_say("console of '%s'; Ctrl-] leaves it", argv[1]);
    if (viewer_run(cli, argv[1], true, &end, &error) < 0)
        return cli_fail(&error);
    if (end == VIEWER_CLOSED) {
        json_t *status = machine_file(cli, argv[1], "status.json");
        const char *verdict = json_string_value(json_object_get(status, "verdict"));
        cli_say("machine '%s': %s", argv[1], verdict ? verdict : "its process is gone");
        json_decref(status);
    }
    return EXIT_DONE;
}
