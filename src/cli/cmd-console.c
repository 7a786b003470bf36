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
        _cleanup_free_ char *words = machine_last_words(cli, argv[1]);
        cli_say("machine '%s': %s", argv[1], words);
    }
    return EXIT_DONE;
}
