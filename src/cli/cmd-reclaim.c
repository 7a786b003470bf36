/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/machine.h"

int cmd_reclaim(const struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    bool fenced = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--fenced") == 0)
            fenced = true;
        else if (argv[i][0] == '-' || name)
            return cli_usage("reclaim", "'%s' is not expected", argv[i]);
        else
            name = argv[i];
    }
    if (!name)
        return cli_usage("reclaim", "a machine name is needed");
    if (!fenced)
        return cli_usage("reclaim", "--fenced is missing: it is your word that the other host does not "
                                    "run '%s'",
                         name);
    struct gw_error error;
    _cleanup_qmp_ struct qmp_client *client = NULL;
    if (machine_connect(cli, name, &client, &error) < 0 ||
        qmp_client_call(client, "x-godwit-reclaim", json_pack("{s:b}", "fenced", 1), NULL, &error) < 0 ||
        qmp_client_call(client, "cont", NULL, NULL, &error) < 0)
        return cli_fail(&error);
    cli_say("machine '%s' is ours again and runs", name);
    return EXIT_DONE;
}
