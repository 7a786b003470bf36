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
    bool has_past; /* an earlier machine's record was there */
};

/*
 * Makes base and machine directory where they are missing, takes the lock, writes the pid, and
 * removes the sockets that a killed process left. -EBUSY with the pid when another process has the
 * name.
 */
int rundir_open(const char *base, const char *name, struct rundir *ret_rundir,
                struct gw_error *error);
/* The machine is set up, and who started it knows: removes the last status of an earlier one. */
void rundir_begin(const struct rundir *rundir);
/* Removes sockets and pid file, and unlocks. Fine on a zeroed struct whose lock_fd is -1. */
void rundir_close(struct rundir *rundir);
/* The same for a machine that was never set up: its directory goes too, unless an earlier machine
 * left its record there. */
void rundir_abandon(struct rundir *rundir);

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
