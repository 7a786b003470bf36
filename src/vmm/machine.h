/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine of this process: its board, its consoles, and the migration that brings it or takes
 * it away. What the control interface offers, as functions; each fills `error` when it returns
 * negative.
 *
 * Loop thread only.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include <godwit/error.h>
#include "vmm/options.h"
#include "vmm/rundir.h"

/* Exit statuses of the process. */
enum {
    EXIT_STATUS_DONE = 0,
    EXIT_STATUS_FAILED = 1,
    EXIT_STATUS_USAGE = 2,
    EXIT_STATUS_TAKEN = 3,
    EXIT_STATUS_GUEST_FAILED = 4,
};

struct machine;

struct machine_callbacks {
    void *opaque;
    /* An event of the control interface; steals `data`, which may be NULL. */
    void (*event)(void *opaque, const char *name, json_t *data);
    /* Everything has ended and machine_free() may follow. */
    void (*ended)(void *opaque, int exit_status);
};

/* Builds the machine. Runs nothing and listens nowhere before machine_begin(). Options and rundir
 * outlive it. */
int machine_new(const struct vmm_options *options, const struct rundir *rundir, sd_event *loop,
                const struct machine_callbacks *callbacks, struct machine **ret_machine,
                struct gw_error *error);
void machine_free(struct machine *machine); /* after `ended`, or when machine_begin() was not called
                                               or failed; NULL is fine */

/* Boots and, unless --paused, runs it; with --incoming, listens. */
int machine_begin(struct machine *machine, struct gw_error *error);

/* Ends the process's work in order: migrations are cancelled, the guest is stopped, `ended`
 * follows. */
void machine_end(struct machine *machine, const char *reason, int exit_status, const char *verdict);
/* The same, by request: the verdict tells where the guest is, if it was given away. */
void machine_quit(struct machine *machine);

const char *machine_status(const struct machine *machine); /* docs/control.md, query-status */
bool machine_running(const struct machine *machine);
const char *machine_incoming_uri(const struct machine *machine); /* NULL when it listens nowhere */

int machine_stop(struct machine *machine, struct gw_error *error);
int machine_cont(struct machine *machine, struct gw_error *error);
int machine_reset(struct machine *machine, struct gw_error *error);
int machine_powerdown(struct machine *machine, struct gw_error *error);
int machine_run_until(struct machine *machine, uint64_t instructions, struct gw_error *error);

int machine_migrate(struct machine *machine, const char *uri, struct gw_error *error);
int machine_migrate_incoming(struct machine *machine, const char *uri, struct gw_error *error);
void machine_migrate_cancel(struct machine *machine);
int machine_reclaim(struct machine *machine, bool fenced, struct gw_error *error);
int machine_set_parameters(struct machine *machine, const json_t *parameters,
                           struct gw_error *error);

/* New references. */
json_t *machine_query_migrate(struct machine *machine);
json_t *machine_query_parameters(struct machine *machine);
json_t *machine_query(struct machine *machine);
json_t *machine_query_hash(struct machine *machine, struct gw_error *error);
json_t *machine_query_state(struct machine *machine, struct gw_error *error);
json_t *machine_query_flights(struct machine *machine, const char *session, struct gw_error *error);

void machine_add_viewer(struct machine *machine, int fd); /* a connection to the console socket */

#endif
