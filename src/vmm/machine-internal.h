/* SPDX-License-Identifier: Apache-2.0 */
/* struct machine and what its files share: machine.c runs it, machine-source.c sends it away,
 * machine-destination.c receives it, machine-query.c reports. */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include <godwit/migrate.h>
#include "vmm/console.h"
#include "vmm/loop-calls.h"
#include "vmm/machine.h"

struct machine {
    /* set once */
    const struct vmm_options *options;
    const struct rundir *rundir;
    sd_event *loop;
    struct machine_callbacks callbacks;
    struct loop_calls *calls;
    struct console *console;
    char *ownership_path, *flights_path;
    uint64_t born_ns;

    /* loop thread only; the engine's threads come here by loop_calls_run() */
    struct board *board;          /* NULL while nothing has arrived */
    struct board_config received; /* what came by OFFER; its strings are owned */
    struct gw_memory *ready;      /* --incoming: RAM for the machine that comes, or NULL */
    bool arriving;                /* --incoming, and the guest is not ours yet */
    bool ever_ran;
    bool run_wanted;    /* what the operator wants: holds through migrations */
    bool engine_paused; /* the engine has stopped it for a rehearsal or the switch */
    bool reset_wanted;  /* asked for while engine_paused */
    bool stop_told;     /* STOP was sent for a pause of the engine */
    bool given_away;    /* COMMIT may have been sent: not ours to run */
    bool powered_off;
    bool ending;
    bool cancel_wanted; /* the operator does not want to receive a machine any more */
    int exit_status;
    char *verdict;
    unsigned reaping; /* migrations being freed on threads of their own */

    struct gw_migrate_parameters parameters;
    struct gw_source *source;
    struct gw_destination *destination;
    bool has_info; /* there was a migration: `info` and `outgoing` are its */
    bool outgoing;
    struct gw_migrate_info info;  /* as last published */
    struct gw_migrate_info final; /* how the one being freed ended; NONE: not known yet */
    uint64_t announced_round;
    char *uri; /* of the migration of `info` */
    json_t *broken_networks; /* of it: machine_tell_broken_networks(); NULL: none */
    char *listen_uri;     /* where a destination listens, or NULL */
    unsigned moved_out, moved_in;
};

#define machine_fail(error, code, number, ...)                                                     \
    gw_error_set(error, GW_LAYER_VMM, code, number, __VA_ARGS__)

void machine_event(struct machine *machine, const char *name, json_t *data);

/* Tells MIGRATION and MIGRATION_PASS and remembers `info`. */
void machine_publish_info(struct machine *machine, const struct gw_migrate_info *info);
bool machine_info_final(enum gw_migrate_status status);

/* Lets the board run if the operator wants that and nothing forbids it. */
int machine_apply_run(struct machine *machine, struct gw_error *error);

int machine_build_board(struct machine *machine, const struct board_config *config,
                        bool defer_disks, struct gw_error *error);
void machine_drop_board(struct machine *machine);

/* machine-net.c */
/* Adds to machine->broken_networks, an array of {"name", "why"}, those whose open connections a move
 * breaks and that are not in it yet, and tells the log. */
void machine_tell_broken_networks(struct machine *machine);
/* Gives each network of `config`, a machine that arrives, what --net says of its name here. */
int machine_match_nets(const struct board_config *given, struct board_config *config,
                       struct gw_error *error);
/* Disks and networks: all or none; and all given up, also when a disk could not be written out,
 * which is the error. Loop thread, the machine stopped. */
int machine_acquire(struct machine *machine, struct gw_error *error);
int machine_release(struct machine *machine, struct gw_error *error);
/* For the flight log (struct gw_source_ops, struct gw_destination_ops). Any thread but the loop's.
 */
unsigned machine_look_networks(void *machine, struct gw_network_times *ret_networks,
                               unsigned maximum);
void machine_link_changed(void *machine, const char *name, bool up, const char *why);

/* Begins to free whatever migration there is; machine_reaped() follows for each. */
void machine_reap_source(struct machine *machine);
void machine_reap_destination(struct machine *machine);
void machine_reaped(struct machine *machine); /* one has gone; ends the process when it should */

int machine_listen(struct machine *machine, const char *uri, struct gw_error *error);

/* Changes the record to `state` under its present epoch plus `epochs`. */
int machine_record_owner(struct machine *machine, enum gw_owner_state state, unsigned epochs,
                         struct gw_error *error);
/* NOBODY of epoch 0 where there is no record. */
struct gw_ownership machine_ownership(struct machine *machine);

#endif
