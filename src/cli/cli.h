/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's tool. It holds no machine: every verb is a table row (commands.c) and a cmd-<verb>.c that
 * talks to a machine's process through the files of its directory RUN-DIR/NAME and its control socket.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include <godwit/error.h>

/* Exit codes, documented in godwit(1). */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_MACHINE = 3,  /* nothing of that name */
    EXIT_NO_ANSWER = 4,   /* it exists, but its process is gone or silent */
    EXIT_CANCELLED = 5,
    EXIT_UNDECIDED = 6,   /* a migration broke after the release: the guest is paused here */
};

struct cli {
    const char *run_dir; /* holds one directory a machine */
    const char *program; /* as it was called, to find godwit-vmm beside it */
};

struct cli_command {
    const char *name;
    const char *summary; /* one line of `godwit --help` */
    const char *usage;   /* all of `godwit NAME --help` */
    int (*run)(const struct cli *cli, int argc, char **argv); /* argv[0] is the verb; an exit code */
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

int cmd_run(const struct cli *cli, int argc, char **argv);
int cmd_receive(const struct cli *cli, int argc, char **argv);
int cmd_migrate(const struct cli *cli, int argc, char **argv);
int cmd_list(const struct cli *cli, int argc, char **argv);
int cmd_status(const struct cli *cli, int argc, char **argv);
int cmd_console(const struct cli *cli, int argc, char **argv);
int cmd_stop(const struct cli *cli, int argc, char **argv);
int cmd_log(const struct cli *cli, int argc, char **argv);
int cmd_explain(const struct cli *cli, int argc, char **argv);
int cmd_remove(const struct cli *cli, int argc, char **argv);
int cmd_reclaim(const struct cli *cli, int argc, char **argv);
int cmd_cpu(const struct cli *cli, int argc, char **argv);

/* Says "godwit: SENTENCE" on standard error. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for an error, and returns the exit code that fits it. */
int cli_fail(const struct gw_error *error);
/* A usage error of a verb: the sentence and where help is; returns EXIT_USAGE. */
int cli_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Columns of the terminal, from 40 to 100; 80 where there is none. */
unsigned cli_terminal_width(void);

#endif
