/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a godwit-vmm: its arguments, and the wait until it says that the machine is set up. */
#ifndef CLI_LAUNCH_H
#define CLI_LAUNCH_H

#include <jansson.h>

#include "cli/cli.h"
#include "cli/viewer.h"

enum { LAUNCH_MAX_ARGUMENTS = 96 };

/* The argument list of a godwit-vmm being put together; strings are borrowed, but for what is its
 * own. */
struct launch {
    const char *arguments[LAUNCH_MAX_ARGUMENTS + 1];
    size_t count;
    char ready_option[32]; /* launch_start()'s, among the arguments */
};

/* Adds an option and its value (NULL: none). Too many are remembered and refused by launch_start(). */
void launch_add(struct launch *launch, const char *option, const char *value);

/*
 * Starts the process in a session of its own, with the descriptor of an fd: address and no other,
 * and waits for its ready line. *ret_ready is that line ({"ok": true, "pid": …, "uri": …}), *ret_pid
 * the process, a child of ours. The error is the process's own. SIGINT, SIGTERM and SIGHUP end the
 * process meanwhile, with CANCELLED, and stay blocked: viewer_run() reads them next.
 */
int launch_start(const struct cli *cli, struct launch *launch, pid_t *ret_pid, json_t **ret_ready,
                 struct gw_error *error);

/*
 * Runs godwit-vmm to its end and takes the JSON object that it prints, for questions that need no
 * machine. *ret_answer is the caller's. An {"error": …} in it is the error.
 */
int launch_ask(struct launch *launch, json_t **ret_answer, struct gw_error *error);

/* Foreground: shows the console (or nothing) until the machine ends or the person leaves; an exit
 * code. */
int launch_attend(const struct cli *cli, const char *name, pid_t pid, enum viewer_kind kind);

#endif
