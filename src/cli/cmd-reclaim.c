/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/machine.h"

static const struct option options[] = {{"fenced", no_argument, NULL, 'f'}, {0}};

int cmd_reclaim(const struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    bool fenced = false;
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        fenced = true;
    }
    if (optind + 1 != argc)
        return cli_usage("reclaim", "exactly one machine name is needed");
    name = argv[optind];
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
