/* SPDX-License-Identifier: Apache-2.0 */
/* A shell command whose stdin and stdout are one stream socket. */
#ifndef MIGRATE_COMMAND_H
#define MIGRATE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <godwit/error.h>

struct command {
    pid_t pid;  /* 0: none, or reaped */
    int status; /* as waitpid() gave it, once reaped */
};

/* Starts `text` with /bin/sh in a session of its own; *ret_fd is our end of the socket. */
int command_start(const char *text, struct command *ret_command, int *ret_fd,
                  struct gw_error *error);
/* Reaps it if it ends within `timeout_ms`. */
bool command_wait(struct command *command, int timeout_ms);
/* Ends it, politely first; afterwards it is reaped. */
void command_end(struct command *command);
/* How it ended ("ended with exit status 127"), "" while it runs. */
void command_describe(const struct command *command, char *text, size_t bytes);

#endif
