/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The migration engine. It knows nothing of CPUs, devices or processes: the embedding VMM fills in
 * one table of operations for each side, opens or names a transport, and is told what happens. Any
 * number of migrations may run in one process.
 *
 * Threads: gw_source_* and gw_destination_* functions may be called from any thread. Operations are
 * called on engine threads, one at a time per migration, never with an engine lock held.
 * gw_*_free() waits for the engine's threads and must not be called from an operation.
 */
#ifndef GODWIT_MIGRATE_H
#define GODWIT_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>
#include <godwit/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Settings, all changeable while a migration runs (gw_source_set_parameters). */
struct gw_migrate_parameters {
    uint64_t max_bandwidth;     /* bytes per second over all channels; 0: unlimited */
    uint64_t downtime_limit_ms; /* the pause budget; default 100 */
    uint64_t deadline_ms;       /* 0: none; when it passes, the migration is aborted */
    uint64_t peer_timeout_ms;   /* a silent peer is given up after this; default 5000 */
    bool verify_ram; /* hash of all memory on both sides before COMMIT; the time that this
                      * takes is not part of the pause budget */
    /* Source: how long to go on asking a destination that does not answer who owns the guest, 0:
     * until cancelled. Destination: how long to wait for that question after a break, 0: 60 s. */
    uint64_t handoff_timeout_ms;
};
void gw_migrate_parameters_default(struct gw_migrate_parameters *parameters);

enum gw_migrate_status {
    GW_MIGRATE_NONE,
    GW_MIGRATE_SETUP,      /* connecting, OFFER out, waiting for ACCEPT */
    GW_MIGRATE_ACTIVE,     /* rounds of RAM, guest runs on the source */
    GW_MIGRATE_DEVICE,     /* guest paused: last pages, state, READY */
    GW_MIGRATE_COMMITTING, /* ownership given away, RUNNING not heard yet */
    GW_MIGRATE_COMPLETED,
    GW_MIGRATE_FAILED,
    GW_MIGRATE_CANCELLING,
    GW_MIGRATE_CANCELLED,
};
const char *gw_migrate_status_name(
    enum gw_migrate_status status); /* QEMU's MigrationStatus names where they exist */

/* A snapshot of progress; also the end result. Unmeasured figures are 0. */
struct gw_migrate_info {
    enum gw_migrate_status status;
    struct gw_error error; /* when FAILED; code NONE otherwise */
    char session[33];      /* session id in hex */
    uint64_t total_ms, setup_ms;
    uint64_t pause_us; /* last instruction here to first one there (clock offset removed) */
    uint64_t predicted_pause_us; /* what the policy expects of a switch now */
    struct {                     /* parts of the pause, microseconds */
        uint64_t stop, ram, save, send, load, verify, ready, commit, start;
    } pause;
    uint64_t round;                                     /* 1 is the first */
    uint64_t ram_total, ram_remaining, ram_transferred; /* bytes */
    uint64_t pages_normal, pages_zero;
    uint64_t bytes_sent; /* everything on the wire */
    uint64_t bandwidth;  /* bytes per second, of the last measured interval */
    uint64_t dirty_rate; /* pages per second */
    char decision[160];  /* last policy decision as a sentence */
    bool owner;          /* this side owns the guest; a source that failed while it is false must
                          * leave the guest paused */
    uint64_t epoch;      /* of the ownership record on this side */
    unsigned failed_switches; /* pauses that were taken back because the budget would not have been
                                 kept */
};

/* Called on an engine thread at every change of status and at the end of every round. At an end
 * (COMPLETED, FAILED, CANCELLED) everything has been done: the guest runs where it belongs, the
 * flight log is written. */
struct gw_migrate_listener {
    void *opaque;
    void (*changed)(void *opaque, const struct gw_migrate_info *info);
};

/*
 * Ownership: who may run the guest (docs/protocol.md, Handoff). One small file per machine, written
 * to a temporary name, synced and renamed before the act that relies on it.
 */
enum gw_owner_state {
    GW_OWNER_OWNER,    /* this side owns epoch and may run */
    GW_OWNER_RELEASED, /* given away as epoch to `session`; must not run by itself */
    GW_OWNER_INCOMING, /* being received; must not run yet */
    GW_OWNER_REFUSED,  /* this side promised never to run epoch */
    GW_OWNER_NOBODY,   /* ended */
};
struct gw_ownership {
    enum gw_owner_state state;
    uint64_t epoch;
    char session[33]; /* of the migration that changed it last; empty at birth */
    char peer[256];   /* where it went or came from, for people */
};
int gw_ownership_read(const char *path, struct gw_ownership *ret_record, struct gw_error *error);
int gw_ownership_write(const char *path, const struct gw_ownership *record, struct gw_error *error);
const char *gw_owner_state_name(enum gw_owner_state state);

/* What a network card of the machine has seen. Times are CLOCK_REALTIME of this host; 0: not yet.
 */
#define GW_MIGRATE_MAX_NETWORKS 16
struct gw_network_times {
    char name[64];
    uint64_t last_out_ns;               /* source: the last frame of the guest */
    uint64_t first_out_ns, first_in_ns; /* destination: since the guest runs here */
    uint64_t waited; /* destination: frames that were there when it began to run */
    char stays[192]; /* source: why connections that are open do not follow; "": they do */
};

/* ---- Source ---- */

struct gw_source_ops {
    /* A pause is near; the guest runs. What would make it long is done now (dirty disk caches are
     * written out). May take its time, may come several times, may be NULL. */
    int (*prepare)(void *vm, struct gw_error *error);
    /* Stops all vCPUs and I/O. On return nothing writes guest memory. */
    int (*pause)(void *vm, struct gw_error *error);
    /* Undoes pause: the guest runs on here. Also called after a failed or cancelled switchover. */
    int (*resume)(void *vm, struct gw_error *error);
    /* The pause of a switchover has begun and the machine stands still: what can be taken out of
     * this host only once (connections that it has open) is, and is part of what save_state() gives
     * then. Not for a rehearsal. stay() undoes it; so does release() followed by reacquire(). What
     * cannot be taken out is no error. May both be NULL. */
    void (*leave)(void *vm);
    void (*stay)(void *vm);
    /* Device state of the paused machine, an opaque stream. Also used for the rehearsal. */
    int (*save_state)(void *vm, struct gw_buf *out, struct gw_error *error);
    /* The machine description for OFFER, JSON text. */
    int (*describe)(void *vm, struct gw_buf *out, struct gw_error *error);
    /* Called once after READY, before the release is recorded: host resources that the destination
     * needs (disk locks) are given up. reacquire() takes them again if the migration fails after
     * all. */
    int (*release)(void *vm, struct gw_error *error);
    int (*reacquire)(void *vm, struct gw_error *error);
    bool (*is_running)(void *vm); /* whether the guest ran before; a paused guest arrives paused */
    /* The machine's networks, after it was given away, for the flight log: how many were told, at
     * most `maximum`. May be NULL. */
    unsigned (*look_networks)(void *vm, struct gw_network_times *ret_networks, unsigned maximum);
};

struct gw_source_config {
    const struct gw_source_ops *ops;
    void *vm;
    struct gw_memory *memory;
    struct gw_tracker tracker;
    const char *name;           /* of the machine, for people */
    const char *uri;            /* tcp:HOST:PORT, unix:PATH, fd:N, exec:COMMAND */
    const char *ownership_path; /* record file; NULL: kept in memory only (tests) */
    const char *log_directory;  /* flight logs go here as SESSION.json; NULL: nowhere */
    struct gw_migrate_parameters parameters;
    struct gw_migrate_listener listener;
};

struct gw_source;
/* Starts a migration in the background; strings are copied. Fails at once on a malformed URI. */
int gw_source_start(const struct gw_source_config *config, struct gw_source **ret_source,
                    struct gw_error *error);
void gw_source_set_parameters(struct gw_source *source,
                              const struct gw_migrate_parameters *parameters);
void gw_source_cancel(struct gw_source *source); /* asks; the status tells when it is done */
void gw_source_info(struct gw_source *source, struct gw_migrate_info *ret_info);
int gw_source_wait(struct gw_source *source, int timeout_ms); /* 0 ended, -ETIMEDOUT */
void gw_source_free(struct gw_source *source); /* cancels if it has not ended; NULL is fine */

/* ---- Destination ---- */

struct gw_destination_ops {
    /* Builds the machine from its description (hostile JSON) and returns its empty memory, whose
     * regions the engine compares with OFFER. A refusal's sentence is sent to the source. */
    int (*prepare)(void *vm, const char *description, size_t length, struct gw_memory **ret_memory,
                   struct gw_error *error);
    /* Loads device state into the machine, which does not run. Also for rehearsals, so it may come
     * again. Must not look at guest memory, which is still arriving. */
    int (*load_state)(void *vm, const void *stream, size_t length, struct gw_error *error);
    /* Takes the host resources that the source has released (disk locks); before the first
     * instruction. When it fails the source takes the guest back. */
    int (*acquire)(void *vm, struct gw_error *error);
    /* How long acquire() is likely to take, from what has been measured; 0: not worth telling. After
     * load_state() of a rehearsal, for the source's prediction of the pause. May be NULL. */
    uint64_t (*expect_acquire_us)(void *vm);
    /* The guest is ours: run it (or leave it paused when it came so). A failure says that no
     * instruction was executed; the source then takes the guest back. */
    int (*start)(void *vm, bool run, struct gw_error *error);
    /* The attempt is over without us owning the guest: throw the machine away. Only after prepare()
     * has succeeded; prepare() may then come again for another source (tcp:, unix:). */
    void (*discard)(void *vm);
    /* As the source's; comes several times in the first second after start(). */
    unsigned (*look_networks)(void *vm, struct gw_network_times *ret_networks, unsigned maximum);
};

struct gw_destination_config {
    const struct gw_destination_ops *ops;
    void *vm;
    const char *uri; /* listen here (tcp, unix), or use this descriptor (fd) or command (exec) */
    const char *ownership_path;
    const char *log_directory;
    struct gw_migrate_parameters parameters; /* peer_timeout_ms, verify_ram */
    struct gw_migrate_listener listener;
};

struct gw_destination;
int gw_destination_start(const struct gw_destination_config *config,
                         struct gw_destination **ret_destination, struct gw_error *error);
/* The address that it listens on, with the port filled in where 0 was asked for
 * ("tcp:127.0.0.1:40123"). */
const char *gw_destination_uri(struct gw_destination *destination);
void gw_destination_cancel(struct gw_destination *destination);
void gw_destination_info(struct gw_destination *destination, struct gw_migrate_info *ret_info);
int gw_destination_wait(struct gw_destination *destination, int timeout_ms);
/* Ends everything. After COMPLETED it goes on answering a source that did not hear that the guest
 * runs here, until that source knows; so keep the object for a while, best as long as the guest
 * runs. */
void gw_destination_free(struct gw_destination *destination);

#ifdef __cplusplus
}
#endif
#endif
