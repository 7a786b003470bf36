/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/options.h"

static const struct option options[] = {MACHINE_LONG_OPTIONS, {0}};

int cmd_receive(const struct cli *cli, int argc, char **argv)
{
    struct machine_options common = {0};
    struct launch launch = {0};
    int option;
    launch_add(&launch, "godwit-vmm", NULL);
    while ((option = cli_option(argc, argv, options)) != -1)
        if (option == '?' || !machine_option(option, &common, &launch))
            return EXIT_USAGE;
    if (optind == argc)
        return cli_usage("receive", "the address to wait at is missing");
    if (optind + 1 < argc)
        return cli_usage("receive", "'%s' is one address too many", argv[optind + 1]);
    launch_add(&launch, "--incoming", argv[optind]);
    int r = machine_options_finish(cli, "receive", &common, &launch);
    return r ? r : machine_options_start(cli, &common, &launch);
}
