/* SPDX-License-Identifier: Apache-2.0 */
/* What `run` and `receive` have in common on the command line. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <getopt.h>

#include "cli/cli.h"
#include "cli/launch.h"

struct machine_options {
    const char *name;
    const char *serial; /* NULL: the terminal in the foreground, nowhere else when detached */
    bool detach;
};

/* Rows for the verb's struct option array; the values are above all characters. */
enum { OPTION_NAME = 256, OPTION_DISK, OPTION_NET, OPTION_SERIAL, OPTION_TRACKING, OPTION_BACKING, OPTION_DETACH, OPTION_PASS };
#define MACHINE_LONG_OPTIONS                                                                       \
    {"name", required_argument, NULL, OPTION_NAME}, {"disk", required_argument, NULL, OPTION_DISK},   \
        {"net", required_argument, NULL, OPTION_NET},                                              \
        {"serial", required_argument, NULL, OPTION_SERIAL},                                        \
        {"memory-backing", required_argument, NULL, OPTION_BACKING},                              \
        {"dirty-tracking", required_argument, NULL, OPTION_TRACKING},                              \
        {"detach", no_argument, NULL, OPTION_DETACH}

/* Takes one parsed option into `options` and `launch`; false when it is not one of the common ones. */
bool machine_option(int option, struct machine_options *options, struct launch *launch);

/* Checks what was said together and completes `launch` with the program, name, run directory and serial
 * target. 0 or EXIT_USAGE, said. */
int machine_options_finish(const struct cli *cli, const char *verb, struct machine_options *options,
                           struct launch *launch);

/* Starts the machine and, in the foreground, attends it; an exit code. */
int machine_options_start(const struct cli *cli, const struct machine_options *options,
                          struct launch *launch);

#endif
