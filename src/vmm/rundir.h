/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's directory RUNDIR/NAME: one process at a time, and what stays behind
 * (docs/control.md). */
#ifndef VMM_RUNDIR_H
#define VMM_RUNDIR_H

#include <jansson.h>
#include <stdbool.h>

#include <godwit/error.h>
#include <godwit/migrate.h>

struct rundir {
    char *path; /* RUNDIR/NAME */
    char *name;
    int lock_fd;
};

/* $XDG_RUNTIME_DIR/godwit, else /run/godwit; from malloc, NULL without memory. */
char *rundir_default_base(void);

/*
 * Makes base and machine directory where they are missing, takes the lock, writes the pid, and
 * removes what a killed process left: sockets, last status. -EBUSY with the pid when another
 * process has the name.
 */
int rundir_open(const char *base, const char *name, struct rundir *ret_rundir,
                struct gw_error *error);
/* Removes sockets and pid file, and unlocks. Fine on a zeroed struct whose lock_fd is -1. */
void rundir_close(struct rundir *rundir);

/* Path of a file in it, from malloc; NULL without memory. */
char *rundir_path(const struct rundir *rundir, const char *file);

/* Replaces the file as one step. Failures only get logged: the files are for people. */
void rundir_write_json(const struct rundir *rundir, const char *file, const json_t *document);

/*
 * Whether a machine whose record is `found` may be run here afresh (`receive` false) or received
 * here. The sentence names `path`, the record's file.
 */
int rundir_check_record(const char *name, const char *path, const struct gw_ownership *found,
                        bool receive, struct gw_error *error);

#endif
