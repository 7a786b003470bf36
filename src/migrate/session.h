/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both sides of a session have in common: the control channel with its reading and its writing thread,
 * life signs and the clock offset, the queue of records for the coordinator, and the one error with which
 * the session ends.
 *
 * The coordinator (of source.h, destination.h) waits on the monitor that it shares with the session. It never
 * writes to the network itself: session_post() only queues, so that no slow peer can hold a paused guest.
 */
#ifndef MIGRATE_SESSION_H
#define MIGRATE_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <godwit/error.h>
#include "migrate/channel.h"
#include "migrate/monitor.h"
#include "wire/wire.h"

#define SESSION_QUEUE 64             /* docs/protocol.md section 10 */
#define SESSION_RECORDS_PER_SECOND 1000
#define SESSION_MAX_DATA_CHANNELS 16

/* A record that came. The owner frees it with message_fini(). */
struct message {
    uint32_t type;
    union wire_body body; /* not for OFFER */
    uint8_t *bytes;       /* the whole body, owned */
    size_t length;
    const uint8_t *tail; /* in `bytes` */
    uint64_t at_ns;
};
void message_fini(struct message *message);

enum session_origin {
    SESSION_LOCAL, /* this side gives up; the peer is told */
    SESSION_PEER,  /* the peer said so */
    SESSION_LINK,  /* broken, closed or silent */
};

struct outgoing; /* session.c */

struct session {
    /* set once */
    struct monitor *monitor;
    bool is_source;
    uint8_t id[WIRE_SESSION_BYTES];
    char hex[33];
    struct channel *control; /* owned */
    /* EXTENT and BARRIER on the control channel go here (single stream); NULL where they have no place. */
    int (*bulk)(void *opaque, struct channel *channel, const struct wire_header *header,
                struct gw_error *error);
    void *opaque;
    pthread_t reader, writer;
    bool started;
    _Atomic uint64_t peer_timeout_ms;
    /* under the monitor */
    struct channel *data[SESSION_MAX_DATA_CHANNELS]; /* owned */
    unsigned data_count;
    struct message queue[SESSION_QUEUE];
    unsigned queue_head, queue_count;
    struct outgoing *outgoing, **outgoing_end;
    bool speaking; /* pings are sent: from the first record posted, or session_speak() */
    bool writing, stopping;
    bool failed;
    enum session_origin origin;
    struct gw_error error;
    bool reader_ended, peer_ended; /* peer_ended: its END has come */
    struct wire_pong pong;         /* to be answered */
    bool pong_due;
    bool clock_known;
    int64_t clock_offset_ns; /* the peer's clock minus ours */
    uint64_t clock_error_ns, round_trip_ns, clock_measured_ns;
    /* reading thread only */
    uint64_t second_began_ns;
    unsigned records_this_second;
    /* writing thread only */
    uint64_t next_ping_ns, ping_id;
};

void session_init(struct session *session, struct monitor *monitor, bool is_source,
                  const uint8_t id[WIRE_SESSION_BYTES], uint64_t peer_timeout_ms);
/* Takes over the channel and starts both threads. */
int session_start(struct session *session, struct channel *control, struct gw_error *error);
/* Adds a data channel, owned from then on. -ENOSPC, -EEXIST. */
int session_attach(struct session *session, struct channel *data);

/* Queues a record; `tail` is copied. Never waits. Without memory the session fails. */
void session_post(struct session *session, uint32_t type, const union wire_body *body,
                  const void *tail, size_t tail_bytes);
void session_post_raw(struct session *session, uint32_t type, const void *body, size_t length);

/* Sends pings from now on (the destination, when OFFER has come). */
void session_speak(struct session *session);

/* Inside the monitor: the next record for the coordinator. */
bool session_pop(struct session *session, struct message *ret_message);

/* The session ends with this error; the first one counts. Any thread. */
void session_fail(struct session *session, enum session_origin origin, const struct gw_error *error);
void session_fail_inside(struct session *session, enum session_origin origin,
                         const struct gw_error *error); /* the same, inside the monitor */
/* A write or a data channel failed. The peer's own words may be on their way: waits a moment for them
 * before this error becomes the session's. */
void session_link_failed(struct session *session, const struct gw_error *error);
/* The session's error, and its negative errno; 0 while it has not failed. */
int session_result(struct session *session, struct gw_error *error);
/* It failed, and the peer said why. */
bool session_failed_at_peer(struct session *session);

/* Waits until everything posted has been written, the session failed, or the time has come. */
bool session_flush(struct session *session, uint64_t until_ns);
/*
 * Ends the session: tells the peer when this side failed, lets it read that, closes all channels and joins
 * both threads. Threads that work on data channels must be joined before session_fini().
 */
void session_close(struct session *session);
void session_fini(struct session *session);

/* Our CLOCK_MONOTONIC for a time of the peer's. */
uint64_t session_local_ns(struct session *session, uint64_t peer_ns);
uint64_t session_round_trip_ns(struct session *session);

#endif
