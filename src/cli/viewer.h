/* SPDX-License-Identifier: Apache-2.0 */
/* The terminal as a machine's console: raw mode, Ctrl-] leaves. */
#ifndef CLI_VIEWER_H
#define CLI_VIEWER_H

#include "cli/cli.h"

enum viewer_end {
    VIEWER_LEFT,        /* Ctrl-] */
    VIEWER_CLOSED,      /* the machine's process closed the console */
    VIEWER_INTERRUPTED, /* SIGINT, SIGTERM or SIGHUP (with a raw terminal Ctrl-C goes to the guest) */
};

enum viewer_kind {
    VIEWER_CONSOLE,
    VIEWER_RECEIVER, /* the same; Ctrl-C cancels while no machine has arrived: there is no guest */
    VIEWER_SILENT,   /* waits for the end without showing anything */
};

/* Blocks SIGINT, SIGTERM and SIGHUP for this thread; a descriptor that reads them, close-on-exec. */
int viewer_open_signals(void);

/* Connects to the machine's console, tells a person how to leave, and copies both ways until one of
 * the ends. Standard input that ends only ends the input. */
int viewer_run(const struct cli *cli, const char *name, enum viewer_kind kind,
               enum viewer_end *ret_end, struct gw_error *error);

#endif
