/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/program.h"
#include "base/run-dir.h"
#include "cli/cli.h"

static const char about[] = "godwit runs virtual machines that can move.\n\n"
                            "usage: godwit [--run-dir DIR] COMMAND [ARGUMENTS]\n";
static const char more[] =
    "\n"
    "  --run-dir DIR\twhere machines are kept; $XDG_RUNTIME_DIR/godwit by "
    "default, else /run/godwit\n"
    "  --version\twhich godwit this is\n"
    "  --help\tthis\n\n"
    "'godwit COMMAND --help' or 'godwit help COMMAND' explains one. An address is written as QEMU "
    "writes it: tcp:HOST:PORT, unix:PATH, "
    "fd:N or exec:COMMAND. The manual: man godwit.\n";

static void print_help(void)
{
    struct gw_buf text = {0};
    gw_buf_printf(&text, "%s\n", about);
    for (size_t i = 0; i < cli_command_count; i++)
        gw_buf_printf(&text, "  %s\t%s\n", cli_commands[i].name, cli_commands[i].summary);
    if (gw_buf_append(&text, more, sizeof more) == 0)
        cli_help((char *)text.data);
    gw_buf_fini(&text);
}

static int unknown_command(const char *name)
{
    const char *nearest =
        cli_nearest(name, &cli_commands[0].name, cli_command_count, sizeof *cli_commands);
    if (nearest)
        cli_say("there is no command '%s'; did you mean '%s'?", name, nearest);
    else
        cli_say("there is no command '%s'; 'godwit --help' lists them", name);
    return EXIT_USAGE;
}

static int print_command_help(const struct cli_command *command)
{
    cli_print("godwit %s: %s", command->name, command->summary);
    cli_help("\n");
    cli_help(command->usage);
    return EXIT_DONE;
}

/* 'godwit help [COMMAND]' */
static int help_command(int argc, char **argv)
{
    if (argc > 2)
        return cli_usage("", "'%s' is one argument too many for help", argv[2]);
    for (size_t i = 0; argc == 2 && i < cli_command_count; i++)
        if (strcmp(cli_commands[i].name, argv[1]) == 0)
            return print_command_help(&cli_commands[i]);
    if (argc == 2 && strcmp(argv[1], "help") != 0 && strcmp(argv[1], "--help") != 0)
        return unknown_command(argv[1]);
    print_help();
    return EXIT_DONE;
}

static int run_command(const struct cli *cli, int argc, char **argv)
{
    if (strcmp(argv[0], "help") == 0)
        return help_command(argc, argv);
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *command = &cli_commands[i];
        if (strcmp(command->name, argv[0]) != 0)
            continue;
        for (int a = 1; a < argc && strcmp(argv[a], "--") != 0; a++) {
            if (strcmp(argv[a], "--help") == 0 || strcmp(argv[a], "-h") == 0)
                return print_command_help(command);
        }
        optind = 0; /* start anew on the verb's own arguments */
        return command->run(cli, argc, argv);
    }
    return unknown_command(argv[0]);
}

static int wrong_option(const char *option)
{
    static const char *const known[] = {"--run-dir", "--version", "--help"};
    const char *nearest = cli_nearest(option, known, ARRAY_COUNT(known), sizeof *known);
    if (strcmp(option, "--run-dir") == 0)
        return cli_usage("", "--run-dir needs a directory");
    if (nearest)
        return cli_usage("", "there is no option '%s'; did you mean '%s'?", option, nearest);
    return cli_usage("", "there is no option '%s' before a command", option);
}

static int run_program(int argc, char **argv)
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

    setlocale(LC_CTYPE,
              ""); /* for its character set alone: numbers are written the same everywhere */
    signal(SIGPIPE, SIG_IGN);
    opterr = 0; /* its own words would not go through cli_say() */
    while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
        switch (option) {
        case 'r':
            cli.run_dir = optarg;
            break;
        case 'v':
            cli_print("godwit " GW_VERSION);
            return EXIT_DONE;
        case 'h':
            print_help();
            return EXIT_DONE;
        default:
            return wrong_option(argv[optind - 1]);
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

int main(int argc, char **argv)
{
    program_open_standard();
    return cli_end(run_program(argc, argv));
}
