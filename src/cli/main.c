/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/program.h"
#include "base/run-dir.h"
#include "cli/cli.h"

static void print_help(void)
{
    puts("godwit runs virtual machines that can move.\n\n"
         "usage: godwit [--run-dir DIR] COMMAND [ARGUMENTS]\n");
    for (size_t i = 0; i < cli_command_count; i++)
        printf("  %-9s %s\n", cli_commands[i].name, cli_commands[i].summary);
    puts("\n  --run-dir DIR  where machines are kept; $XDG_RUNTIME_DIR/godwit by default, else\n"
         "                 /run/godwit\n"
         "  --version, --help\n\n"
         "'godwit COMMAND --help' explains one. An address is written as QEMU writes it:\n"
         "tcp:HOST:PORT, unix:PATH, fd:N or exec:COMMAND. The manual: man godwit.");
}

/* The number of single-letter edits between two short words, for the guess after a typo. */
static size_t edit_distance(const char *one, const char *other)
{
    enum { MAX = 32 };
    size_t row[MAX + 1], length = strlen(other);
    if (length > MAX)
        return MAX;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; one[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (one[i - 1] != other[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[length];
}

static int unknown_command(const char *name)
{
    const char *nearest = NULL;
    size_t best = 3;
    for (size_t i = 0; i < cli_command_count; i++) {
        size_t distance = edit_distance(name, cli_commands[i].name);
        if (distance < best) {
            best = distance;
            nearest = cli_commands[i].name;
        }
    }
    if (nearest)
        cli_say("there is no command '%s'; did you mean '%s'?", name, nearest);
    else
        cli_say("there is no command '%s'; 'godwit --help' lists them", name);
    return EXIT_USAGE;
}

static int run_command(const struct cli *cli, int argc, char **argv)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *command = &cli_commands[i];
        if (strcmp(command->name, argv[0]) != 0)
            continue;
        for (int a = 1; a < argc && strcmp(argv[a], "--") != 0; a++) {
            if (strcmp(argv[a], "--help") == 0 || strcmp(argv[a], "-h") == 0) {
                printf("godwit %s: %s\n\n%s", command->name, command->summary, command->usage);
                return EXIT_DONE;
            }
        }
        optind = 0; /* start anew on the verb's own arguments */
        return command->run(cli, argc, argv);
    }
    return unknown_command(argv[0]);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"run-dir", required_argument, NULL, 'r'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    _cleanup_free_ char *run_dir = run_dir_default();
    struct cli cli = {.run_dir = run_dir, .program = argv[0]};
    int option;

    program_open_standard();
    signal(SIGPIPE, SIG_IGN);
    while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            cli.run_dir = optarg;
            break;
        case 'v':
            puts("godwit " GW_VERSION);
            return EXIT_DONE;
        case 'h':
            print_help();
            return EXIT_DONE;
        default:
            fputs("godwit: 'godwit --help' lists commands and options\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind == argc) {
        print_help();
        return EXIT_USAGE;
    }
    if (!cli.run_dir || !*cli.run_dir)
        return cli_usage("", "--run-dir needs a directory");
    return run_command(&cli, argc - optind, argv + optind);
}
