/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/options.h"

/* Options that godwit-vmm reads itself; val - OPTION_PASS is the index. */
static const struct option options[] = {
    {"kernel", required_argument, NULL, OPTION_PASS},
    {"firmware", required_argument, NULL, OPTION_PASS + 1},
    {"initrd", required_argument, NULL, OPTION_PASS + 2},
    {"append", required_argument, NULL, OPTION_PASS + 3},
    {"memory", required_argument, NULL, OPTION_PASS + 4},
    {"cpus", required_argument, NULL, OPTION_PASS + 5},
    {"clock", required_argument, NULL, OPTION_PASS + 6},
    {"seed", required_argument, NULL, OPTION_PASS + 7},
    {"paused", no_argument, NULL, OPTION_PASS + 8},
    {"machine", required_argument, NULL, OPTION_PASS + 9},
    {"cpu", required_argument, NULL, OPTION_PASS + 10},
    {"no-vmclock", no_argument, NULL, OPTION_PASS + 11},
    MACHINE_LONG_OPTIONS,
    {0},
};
static const char *const passed[] = {
    "--kernel", "--firmware", "--initrd", "--append", "--memory", "--cpus", "--clock", "--seed", "--paused",
    "--machine", "--cpu", "--no-vmclock",
};

int cmd_run(const struct cli *cli, int argc, char **argv)
{
    struct machine_options common = {0};
    struct launch launch = {0};
    bool bootable = false;
    int option;
    launch_add(&launch, "godwit-vmm", NULL);
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        if (machine_option(option, &common, &launch))
            continue;
        bootable = bootable || option <= OPTION_PASS + 1;
        launch_add(&launch, passed[option - OPTION_PASS], optarg);
    }
    if (optind < argc)
        return cli_usage("run", "'%s' is not an option", argv[optind]);
    if (!bootable)
        return cli_usage("run", "--kernel is missing (or --firmware, for a bare program)");
    int r = machine_options_finish(cli, "run", &common, &launch);
    return r ? r : machine_options_start(cli, &common, &launch);
}
