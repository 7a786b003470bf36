/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel of a session: a transport with the framing of docs/protocol.md sections 2 and 3. One
 * thread reads; any thread may write whole records, in the order in which they asked for their
 * turn, so that a bulk sender cannot starve a small record.
 */
#ifndef MIGRATE_CHANNEL_H
#define MIGRATE_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>
#include "migrate/transport.h"
#include "wire/wire.h"

#define CHANNEL_BUFFER_BYTES 16384u
#define CHANNEL_TICK_MS 100

struct channel {
    /* set once */
    struct transport *transport; /* owned */
    enum wire_role role;
    unsigned index;
    enum wire_direction peer; /* which side is at the other end */
    /* Called by the reading thread about every CHANNEL_TICK_MS while it waits; a negative result
     * ends the wait with that error. May be NULL. */
    int (*tick)(void *opaque, struct gw_error *error);
    void *opaque;
    /* reading thread only */
    uint32_t next_in;
    size_t begin, end; /* bytes of `buffer` that have been read and not yet taken */
    uint8_t buffer[CHANNEL_BUFFER_BYTES];
    /* any thread */
    _Atomic uint64_t last_heard_ns;
    _Atomic uint64_t bytes_in;
    /* writing: a ticket lock; `turn_lock` protects the two numbers */
    pthread_mutex_t turn_lock;
    pthread_cond_t turn_changed;
    uint64_t next_ticket, now_serving;
    /* whoever has the turn */
    uint32_t next_out;
};

/* Takes over the transport. NULL without memory (the transport is then still the caller's). */
struct channel *channel_new(struct transport *transport, enum wire_role role, unsigned index,
                            enum wire_direction peer);
void channel_free(struct channel *channel); /* NULL is fine */

/*
 * Section 2. open: sends the preamble and checks the answer. greet: reads one, hostile, in
 * `timeout_ms` at most in all; answer: replies with the chosen version, or with our range when
 * there is none.
 */
int channel_open(struct channel *channel, const uint8_t session[WIRE_SESSION_BYTES], int timeout_ms,
                 int cancel_fd, struct gw_error *error);
int channel_greet(struct transport *transport, int timeout_ms, int cancel_fd,
                  struct wire_preamble *ret_preamble, struct gw_error *error);
int channel_answer(struct transport *transport, const struct wire_preamble *peer,
                   struct gw_error *error);

/* Exactly `length` bytes. */
int channel_read(struct channel *channel, void *to, size_t length, struct gw_error *error);
/* The next header that we know; checks sequence and whether the type may be here. Records that may
 * be skipped are skipped. */
int channel_read_header(struct channel *channel, struct wire_header *ret_header,
                        struct gw_error *error);
/* The whole body, CRC checked, in place of what `body` held. Not for EXTENT. */
int channel_read_body(struct channel *channel, const struct wire_header *header,
                      struct gw_buf *body, struct gw_error *error);

/* One record. `body` may be NULL for records without fields. */
int channel_send(struct channel *channel, uint32_t type, const union wire_body *body,
                 const void *tail, size_t tail_bytes, struct gw_error *error);
int channel_send_raw(struct channel *channel, uint32_t type, const void *body, size_t length,
                     struct gw_error *error);
/* Sends `error` as ERROR or REFUSE; gives up when the channel cannot be had within `timeout_ms`. */
int channel_send_error(struct channel *channel, uint32_t type, const struct gw_error *what,
                       int timeout_ms);

/* For senders of many records in one write (rounds.c): between begin and end the caller has the
 * turn, and numbers its records from channel->next_out. */
void channel_begin(struct channel *channel);
bool channel_begin_within(struct channel *channel, int timeout_ms);
void channel_end(struct channel *channel);

/* No more writing; the peer sees an end. */
void channel_close_write(struct channel *channel);

#endif
