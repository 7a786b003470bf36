/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination of one migration, as its files see it:
 *
 *     destination.c          the public functions, the course as a whole, the end
 *     destination-setup.c    OFFER and its answer
 *     destination-session.c  memory, rehearsal, READY, COMMIT
 *     acceptor.c             connections and their preambles, hostile until proven otherwise
 *     takeover.c             who owns the guest: COMMIT, and answering a source that asks
 *
 * The acceptor has a thread, and one for each connection that has not said yet what it wants.
 * Operations of the VMM are called on the coordinator's thread only.
 */
#ifndef MIGRATE_DESTINATION_H
#define MIGRATE_DESTINATION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <godwit/migrate.h>
#include "migrate/flightlog.h"
#include "migrate/monitor.h"
#include "migrate/receiver.h"
#include "migrate/session.h"
#include "migrate/transport.h"

#define DESTINATION_MAX_GREETINGS 16

/* Who owns the epoch that the source offers. Under the monitor; changes only downwards, and back to
 * OPEN for the next session. */
enum takeover {
    TAKEOVER_OPEN,     /* COMMIT has not been seen */
    TAKEOVER_DECIDING, /* being recorded, or the guest is being started */
    TAKEOVER_OWNER,    /* recorded, and the guest started */
    TAKEOVER_REFUSED,  /* recorded that this side will never run the epoch */
    TAKEOVER_UNKNOWN,  /* neither could be recorded: the guest does not run, and nobody is answered
                        */
};

struct gw_destination {
    /* set once by gw_destination_start() */
    struct gw_destination_config config; /* its strings are our copies */
    struct gw_uri uri;
    char *address;
    int cancel_fd; /* readable: nothing is read or written any more; never drained */
    int door_fd;   /* readable: nothing is accepted any more; never drained */
    pthread_t coordinator, acceptor;
    /* by the coordinator, read by any thread: when the present source arrived, before that when
     * listening began */
    _Atomic uint64_t began_ns;
    /* acceptor only, once it runs */
    struct transport_listener *listener;
    /* under the monitor */
    struct monitor monitor;
    struct gw_migrate_parameters parameters;
    struct gw_migrate_info info;
    bool cancel_asked, acceptor_started;
    bool ended;              /* the figures are final */
    bool told;               /* and the listener has heard */
    bool leaving;            /* gw_destination_free() has been called */
    bool accepted;           /* the present session's OFFER */
    bool finished;           /* no more connections are wanted */
    unsigned greetings;      /* threads of connections that are being greeted */
    bool busy;               /* a control channel has been taken */
    struct channel *arrived; /* ... and waits for the coordinator */
    uint8_t arrived_id[WIRE_SESSION_BYTES];
    struct session *session;     /* the present one, once its control channel works */
    unsigned data_expected;      /* channels of that session that may still come */
    bool connections_over;       /* no more will come: fd:, exec:, or the acceptor has ended */
    struct gw_error turned_away; /* the last connection that was not taken */
    enum takeover takeover;
    uint8_t takeover_id[WIRE_SESSION_BYTES]; /* of the session that it is about */
    uint64_t takeover_epoch;
    bool confirmed; /* the source knows */
    /* coordinator only */
    struct flightlog *log;
    struct session own_session;
    struct receiver *receiver;
    struct gw_memory *memory; /* from prepare(); NULL when there is no machine */
    pthread_t data_threads[SESSION_MAX_DATA_CHANNELS];
    unsigned data_thread_count;
    uint64_t features;
    const char *phase;
    struct gw_buf state; /* being assembled */
    uint64_t state_total, state_serial;
    uint32_t state_attempt; /* of the state that was loaded last; 0: rehearsal or none */
    uint64_t load_ns;
    bool tells_progress;        /* granted */
    bool tells_acquire;         /* granted */
    uint32_t told_round;        /* by PROGRESS */
    uint64_t told_ns;           /* and when, CLOCK_MONOTONIC */
    uint32_t attempt;           /* of the SWITCH that is on; 0: none */
    uint32_t cancelled_attempt; /* the last one that was taken back */
    bool verify, ready_sent, verified;
    bool refused_commit; /* COMMIT was answered with REFUSED */
    uint64_t switch_ns, stopped_there_ns;
    uint64_t hash, hash_ns;
    struct gw_error refusal; /* why the epoch was refused */
};

/* destination.c */
uint64_t destination_elapsed_ns(const struct gw_destination *destination);
void destination_set_status(struct gw_destination *destination, enum gw_migrate_status status,
                            const char *phase);
void destination_publish(struct gw_destination *destination);
void destination_event(struct gw_destination *destination, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* destination-setup.c */
int destination_await_offer(struct gw_destination *destination, struct gw_error *error);

/* destination-session.c */
enum destination_next {
    NEXT_RECORD = 1,
    NEXT_CHANNEL, /* a data channel was opened */
    NEXT_ROUND,   /* another round's memory is in its place */
    NEXT_PAGES,   /* of the attempt that is on all pages and the state are there */
};
/* Waits for what is next to be done: enum destination_next, or why there will be nothing. */
int destination_next(struct gw_destination *destination, struct message *ret_message,
                     struct gw_error *error);
/* From ACCEPT to the takeover; 0 when the guest runs here. */
int destination_run_session(struct gw_destination *destination, struct gw_error *error);
/* session_config's bulk: pages, straight into guest memory. On the channel's reader. */
int destination_take_bulk(void *opaque, struct channel *channel, const struct wire_header *header,
                          struct gw_error *error);
int destination_cancelled(struct gw_error *error); /* says so; -ECANCELED */

/* acceptor.c */
int acceptor_start(struct gw_destination *destination, struct gw_error *error);
void acceptor_stop(struct gw_destination *destination); /* joins; door_fd must be readable */

/* takeover.c */
/* Begins a session in which epoch + 1 may become ours: recorded as "incoming". */
int takeover_open(struct gw_destination *destination, uint64_t epoch, uint64_t *ret_record_ns,
                  struct gw_error *error);
/* COMMIT: 0 when the guest runs here. */
int takeover_commit(struct gw_destination *destination, const struct wire_commit *commit,
                    struct gw_error *error);
/* The session is over without COMMIT: the epoch is refused for ever, unless it has been decided. */
void takeover_refuse(struct gw_destination *destination, const struct gw_error *why);
/* Any thread: a source asks. true: `ret_owner` is the answer; false: the session is not known here.
 */
bool takeover_answer(struct gw_destination *destination, const uint8_t id[WIRE_SESSION_BYTES],
                     uint64_t epoch, bool *ret_owner, struct gw_error *ret_refusal);
void takeover_confirm(struct gw_destination *destination, const uint8_t id[WIRE_SESSION_BYTES]);

#endif
