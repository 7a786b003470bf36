/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator's tool. It holds no machine: every verb is a table row (commands.c) and a cmd-<verb>.c that
 * talks to a machine's process through the files of its directory RUN-DIR/NAME and its control socket.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <godwit/buf.h>
#include <godwit/error.h>
#include "base/text.h"

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

/* Help is a text of base/help.h. */
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

/*
 * Printing (say.c): all that godwit prints goes through these, and is one paragraph, row or cell at
 * a time. Whatever is in it, it reaches the terminal wrapped to its width, without control
 * characters, and as ASCII where the locale is not UTF-8. A newline in a format is escaped like any
 * other control character.
 *
 * A terminal is COLUMNS wide, or as wide as it says. Elsewhere messages, rows and tables are not
 * wrapped, so that a line is a line for a script; only prose (help, explanations) is, to COLUMNS
 * or 80.
 */

/* Says "godwit: SENTENCE" on standard error. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for an error, and returns the exit code that fits it. */
int cli_fail(const struct gw_error *error);
/* A usage error of a verb: the sentence, and the verb's usage; returns EXIT_USAGE. */
int cli_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What to try next, dim on standard error. Only a person needs it: nothing where that is no
 * terminal. */
void cli_hint(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A paragraph on standard output. */
void cli_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A label at column `start`, and text that hangs at `indent`. */
void cli_item(unsigned start, unsigned indent, const char *label, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Frees the table's cells. */
void cli_table(struct text_table *table);
/* A text of commands.c: see struct cli_command. */
void cli_help(const char *text);
/* Lines that have been laid out for cli_prose_width() already. */
void cli_prose(const struct gw_buf *lines);
unsigned cli_prose_width(void);
/* One line, without anything that is not ASCII. */
void cli_json(const json_t *value);

/* At the end: writes out what is left, and returns `code`, or EXIT_FAILED, said, when output was
 * lost though somebody reads it. */
int cli_end(int code);

/* Whether standard output is a terminal that can rewrite a line; how many columns such a line may
 * have. */
bool cli_can_rewrite(void);
unsigned cli_line_room(void);
/* Puts the text in the place of the line that stands there; "" erases it. */
void cli_rewrite(const char *text);

/* Arguments (arguments.c): getopt_long() for a verb with argv[0]. What is wrong has been said when
 * it returns '?'. */
int cli_option(int argc, char **argv, const struct option *options);
/* The one of `count` words that `word` may have been meant to be; NULL without. `next` is the
 * distance from one to the next in bytes. */
const char *cli_nearest(const char *word, const char *const *first, size_t count, size_t next);

#endif
