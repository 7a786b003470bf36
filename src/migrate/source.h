/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of one migration, as its files see it:
 *
 *     source.c        the public functions, the course as a whole, the end
 *     source-wait.c   waiting for records
 *     source-setup.c  channels, OFFER, ACCEPT
 *     precopy.c       rounds of RAM while the guest runs
 *     switchover.c    rehearsal and pause, up to READY
 *     handoff.c       who owns the guest: release, COMMIT, and asking when the link broke
 *
 * All of it runs on one thread, the coordinator.
 */
#ifndef MIGRATE_SOURCE_H
#define MIGRATE_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <godwit/migrate.h>
#include "migrate/flightlog.h"
#include "migrate/monitor.h"
#include "migrate/policy.h"
#include "migrate/ratelimit.h"
#include "migrate/rounds.h"
#include "migrate/session.h"
#include "migrate/transport.h"

enum rehearsal {
    REHEARSAL_NONE,
    REHEARSAL_SENT,
    REHEARSAL_PASSED,
};

enum { SERIES_FIRST = 4, SERIES_MAX = SERIES_FIRST + POLICY_WINDOW };

struct gw_source {
    /* set once by gw_source_start() */
    struct gw_source_config config; /* its strings are our copies */
    struct gw_uri uri;
    uint64_t began_ns;
    pthread_t coordinator;
    int connect_cancel_fd; /* readable ends what connects; never drained */
    /* under the monitor */
    struct monitor monitor;
    struct gw_migrate_parameters parameters;
    bool parameters_changed, cancel_asked, connecting;
    bool ended; /* the figures are final */
    bool told;  /* and the listener has heard */
    struct gw_migrate_info info;
    /* coordinator only */
    struct gw_ownership owner; /* as recorded last */
    struct session session;
    struct ratelimit limiter;
    struct rounds *rounds;
    struct flightlog *log;
    uint64_t features;  /* agreed */
    uint64_t record_ns; /* what writing an ownership record takes, the best of all that were seen */
    bool tracking;      /* the tracker has been started */
    bool was_running;   /* the guest ran before the pause that is on */
    bool paused;        /* we paused it */
    bool left;          /* and it has left() */
    const char *phase;  /* for the verdict */
    /* series for the policy */
    struct gw_round series[SERIES_MAX];
    size_t series_count;
    struct policy_sample samples[POLICY_SAMPLE_WINDOW];
    size_t sample_count;
    struct gw_pause_parts measured;
    uint64_t state_bytes;
    enum rehearsal rehearsal;
    uint64_t rehearsed_ns; /* when, since the beginning */
    uint64_t prepared_ns;  /* the same of the last prepare(); 0: never */
    uint64_t state_serial;
    uint32_t arrived_round; /* by PROGRESS */
    unsigned late_arrivals; /* after which the pause did not fit any more */
    uint32_t attempt;
    unsigned failed_switches;
    uint64_t last_failed_ns;
    /* the present or last pause, CLOCK_MONOTONIC */
    uint64_t pause_began_ns, stopped_ns, saved_ns, ram_done_ns, ready_ns, verified_ns;
    uint64_t budget_ends_ns;
    struct wire_ready ready;
};

/* source.c */
uint64_t source_elapsed_ns(const struct gw_source *source);
struct gw_migrate_parameters source_parameters(struct gw_source *source);
void source_set_status(struct gw_source *source, enum gw_migrate_status status, const char *phase);
void source_publish(struct gw_source *source); /* to the listener */
void source_event(struct gw_source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* source-wait.c */
/* Whether the migration was cancelled or is past its deadline; once the guest has been given away
 * nothing but an answer ends a wait. Inside the monitor. */
int source_check_limits(struct gw_source *source, struct gw_error *error);
int source_out_of_order(const struct message *message, struct gw_error *error); /* says so */
/*
 * Waits for a record from the destination until `until_ns`. 1: there is one; 0: time over;
 * negative: the session failed, was cancelled, or the deadline has passed. Applies changed
 * parameters on the way.
 */
int source_next(struct gw_source *source, uint64_t until_ns, struct message *ret_message,
                struct gw_error *error);
/* Records that may come at any time (REHEARSED, PROGRESS); anything else is out of order. */
int source_take(struct gw_source *source, const struct message *message, struct gw_error *error);
/* Waits for a record that may come at any time and takes it. 1: there was one; 0: time over. */
int source_serve(struct gw_source *source, uint64_t until_ns, struct gw_error *error);
/* Waits until the round has ended, taking what comes; 0, -ETIME at `until_ns`, or the session's
 * failure. */
int source_await_round(struct gw_source *source, uint64_t until_ns, struct gw_error *error);

/* source-setup.c */
int source_set_up(struct gw_source *source, struct gw_error *error);
void source_post_resident(struct gw_source *source); /* RESIDENT: pages that are not holes */

/* precopy.c */
int source_start_rounds(struct gw_source *source, struct gw_error *error);
int source_run_rounds(struct gw_source *source, struct gw_error *error); /* up to the handoff */
void source_record_round(struct gw_source *source);

/* switchover.c */
int source_rehearse(struct gw_source *source, struct gw_error *error);
int source_await_rehearsal(struct gw_source *source, struct gw_error *error);
/* 0: the guest is the destination's. -EAGAIN: the budget would have been overrun, it runs here
 * again, go on. Other errors end the migration; the guest runs here unless ownership was given
 * away. */
int source_switch_over(struct gw_source *source, struct gw_error *error);
int source_resume(struct gw_source *source, struct gw_error *error);

/* handoff.c */
/* Writes the record that is there already: so a directory that cannot be written is found before
 * the pause, and the time that it takes is known. */
int source_rehearse_record(struct gw_source *source, struct gw_error *error);
int source_hand_over(struct gw_source *source, struct gw_error *error);

#endif
