/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reading thread never writes and the writing thread never reads, so neither direction can hold up the
 * other. The reader looks every CHANNEL_TICK_MS whether the peer is still heard, also while it waits in the
 * middle of a record; when it is not, shutting the channels down wakes everybody else.
 */
#include "migrate/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define SECOND_NS 1000000000ull
#define FIRST_PINGS 8 /* in quick succession, for a good clock offset early */
#define FIRST_PING_GAP_NS 10000000ull
#define LAST_WORDS_MS 500 /* how long the peer's own words are waited for when a write failed */
#define GOODBYE_MS 1000

struct outgoing {
    struct outgoing *next;
    uint32_t type;
    bool raw; /* `tail` is the whole body */
    union wire_body body;
    size_t tail_bytes;
    uint8_t tail[];
};

void message_fini(struct message *message)
{
    free(message->bytes);
    message->bytes = NULL;
}

void session_init(struct session *session, struct monitor *monitor, bool is_source,
                  const uint8_t id[WIRE_SESSION_BYTES], uint64_t peer_timeout_ms)
{
    *session = (struct session){.monitor = monitor, .is_source = is_source};
    session->peer_timeout_ms = peer_timeout_ms;
    session->outgoing_end = &session->outgoing;
    memcpy(session->id, id, WIRE_SESSION_BYTES);
    for (unsigned i = 0; i < WIRE_SESSION_BYTES; i++)
        snprintf(session->hex + 2 * i, 3, "%02x", id[i]);
}

/* ---- Failing ---- */

void session_fail_inside(struct session *session, enum session_origin origin,
                         const struct gw_error *error)
{
    if (session->failed || session->stopping)
        return;
    session->failed = true;
    session->origin = origin;
    session->error = *error;
    if (origin == SESSION_PEER) {
        session->error = (struct gw_error){.layer = error->layer, .code = error->code};
        snprintf(session->error.message, sizeof session->error.message, "the %s says: %.480s",
                 session->is_source ? "destination" : "source", error->message);
    }
    monitor_notify(session->monitor);
}

void session_fail(struct session *session, enum session_origin origin, const struct gw_error *error)
{
    monitor_enter(session->monitor);
    session_fail_inside(session, origin, error);
    monitor_leave(session->monitor);
}

void session_link_failed(struct session *session, const struct gw_error *error)
{
    uint64_t until = host_monotonic_ns() + LAST_WORDS_MS * 1000000ull;
    monitor_enter(session->monitor);
    while (!session->failed && !session->stopping && !session->reader_ended &&
           monitor_wait(session->monitor, until))
        ;
    session_fail_inside(session, SESSION_LINK, error);
    monitor_leave(session->monitor);
}

static int errno_of(const struct gw_error *error)
{
    static const int numbers[] = {
        [GW_CODE_CANCELLED] = -ECANCELED,
        [GW_CODE_TIMEOUT] = -ETIMEDOUT,
        [GW_CODE_DISCONNECTED] = -ECONNRESET,
        [GW_CODE_CORRUPT] = -EBADMSG,
    };
    int number = (size_t)error->code < ARRAY_COUNT(numbers) ? numbers[error->code] : 0;
    return number ? number : -ECONNABORTED;
}

int session_result(struct session *session, struct gw_error *error)
{
    monitor_enter(session->monitor);
    bool failed = session->failed;
    if (failed && error)
        *error = session->error;
    int r = failed ? errno_of(&session->error) : 0;
    monitor_leave(session->monitor);
    return r;
}

bool session_failed_at_peer(struct session *session)
{
    monitor_enter(session->monitor);
    bool at_peer = session->failed && session->origin == SESSION_PEER;
    monitor_leave(session->monitor);
    return at_peer;
}

/* ---- Reading ---- */

static uint64_t last_heard_ns(struct session *session)
{
    uint64_t latest = session->control->last_heard_ns;
    monitor_enter(session->monitor);
    for (unsigned i = 0; i < session->data_count; i++)
        if (session->data[i]->last_heard_ns > latest)
            latest = session->data[i]->last_heard_ns;
    monitor_leave(session->monitor);
    return latest;
}

static int check_silence(void *opaque, struct gw_error *error)
{
    struct session *session = opaque;
    uint64_t now = host_monotonic_ns(), heard = last_heard_ns(session);
    uint64_t timeout_ms = session->peer_timeout_ms;
    if (timeout_ms == 0 || now <= heard || now - heard < timeout_ms * 1000000)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, -ETIMEDOUT,
                        "nothing was heard from the %s for %.1f s",
                        session->is_source ? "destination" : "source",
                        (double)(now - heard) / 1e9);
}

/* Section 4, rule 9. */
static int check_rate(struct session *session, struct gw_error *error)
{
    uint64_t now = host_monotonic_ns();
    if (now - session->second_began_ns >= SECOND_NS) {
        session->second_began_ns = now;
        session->records_this_second = 0;
    }
    if (++session->records_this_second <= SESSION_RECORDS_PER_SECOND)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                        "the %s sends more than %u control records in a second",
                        session->is_source ? "destination" : "source", SESSION_RECORDS_PER_SECOND);
}

/* Section 7. A sample is kept until a better one comes, or for half a minute. */
static void take_pong(struct session *session, const struct wire_pong *pong, uint64_t now)
{
    if (pong->sent_ns > now || pong->answered_ns < pong->received_ns)
        return;
    uint64_t whole = now - pong->sent_ns, there = pong->answered_ns - pong->received_ns;
    if (there > whole)
        return;
    uint64_t error_ns = (whole - there) / 2;
    int64_t out = (int64_t)(pong->received_ns - pong->sent_ns);
    int64_t back = (int64_t)(pong->answered_ns - now);
    monitor_enter(session->monitor);
    if (!session->clock_known || error_ns <= session->clock_error_ns ||
        now - session->clock_measured_ns > 30 * SECOND_NS) {
        session->clock_known = true;
        session->clock_offset_ns = out / 2 + back / 2;
        session->clock_error_ns = error_ns;
        session->clock_measured_ns = now;
        session->round_trip_ns = whole - there;
    }
    monitor_leave(session->monitor);
}

static void note_ping(struct session *session, const struct wire_ping *ping, uint64_t now)
{
    monitor_enter(session->monitor);
    session->pong = (struct wire_pong){.id = ping->id, .sent_ns = ping->sent_ns, .received_ns = now};
    session->pong_due = true;
    monitor_notify(session->monitor);
    monitor_leave(session->monitor);
}

/* Hands the record to the coordinator; takes over `message->bytes`. */
static int enqueue(struct session *session, struct message *message, struct gw_error *error)
{
    int r = 0;
    monitor_enter(session->monitor);
    if (session->queue_count == SESSION_QUEUE) {
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "more than %u control records wait to be handled", SESSION_QUEUE);
    } else {
        unsigned at = (session->queue_head + session->queue_count++) % SESSION_QUEUE;
        session->queue[at] = *message;
        monitor_notify(session->monitor);
    }
    monitor_leave(session->monitor);
    return r;
}

static int take_error(struct session *session, const struct message *message)
{
    struct gw_error error;
    wire_error_take(message->body.error.layer, message->body.error.code, message->tail,
                    message->body.error.text_bytes, &error);
    session_fail(session, SESSION_PEER, &error);
    return -ECONNABORTED;
}

/* A whole control record; 1 when the conversation is over. */
static int take_record(struct session *session, const struct wire_header *header,
                       struct gw_buf *body, struct gw_error *error)
{
    struct message message = {.type = header->type, .at_ns = host_monotonic_ns()};
    int r = header->type == WIRE_OFFER
                ? 0
                : wire_body_decode(header->type, body->data, body->length, &message.body,
                                   &message.tail, error);
    if (r < 0)
        return r;
    switch (header->type) {
    case WIRE_PING:
        note_ping(session, &message.body.ping, message.at_ns);
        return 0;
    case WIRE_PONG:
        take_pong(session, &message.body.pong, message.at_ns);
        return 0;
    case WIRE_ERROR:
    case WIRE_REFUSE:
        return take_error(session, &message);
    case WIRE_END:
        return 1;
    default:
        break;
    }
    message.bytes = body->data;
    message.length = body->length;
    r = enqueue(session, &message, error);
    if (r == 0)
        *body = (struct gw_buf){0};
    return r;
}

static int read_record(struct session *session, struct gw_buf *body, struct gw_error *error)
{
    struct wire_header header;
    int r = channel_read_header(session->control, &header, error);
    if (r < 0)
        return r;
    if (header.type == WIRE_EXTENT || header.type == WIRE_BARRIER) {
        if (session->bulk)
            return session->bulk(session->opaque, session->control, &header, error);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "the source sent memory on the control channel, which was not agreed");
    }
    r = check_rate(session, error);
    if (r == 0)
        r = channel_read_body(session->control, &header, body, error);
    return r < 0 ? r : take_record(session, &header, body, error);
}

/* Whose fault an error of the reading thread is: of the stream's contents, or of the link. */
static enum session_origin origin_of(const struct gw_error *error)
{
    return error->code == GW_CODE_CORRUPT || error->code == GW_CODE_UNSUPPORTED ||
                   error->code == GW_CODE_NO_RESOURCE
               ? SESSION_LOCAL
               : SESSION_LINK;
}

/* After a failure of ours the peer may still be sending: what it sends is thrown away until it has read our
 * ERROR and closed, for otherwise the kernel would reset the connection and the record be lost. */
static void drain(struct session *session)
{
    uint8_t scratch[16384];
    struct gw_error ignored;
    while (channel_read(session->control, scratch, 1, &ignored) == 0)
        session->control->begin = session->control->end;
    (void)scratch;
}

static void *reader_main(void *opaque)
{
    struct session *session = opaque;
    struct gw_buf body = {0};
    struct gw_error error = {0};
    int r;
    do
        r = read_record(session, &body, &error);
    while (r == 0);
    if (r < 0)
        session_fail(session, origin_of(&error), &error);
    monitor_enter(session->monitor);
    session->peer_ended = r == 1;
    bool ours = session->failed && session->origin == SESSION_LOCAL;
    session->reader_ended = !ours;
    monitor_notify(session->monitor);
    monitor_leave(session->monitor);
    if (ours) {
        drain(session);
        monitor_enter(session->monitor);
        session->reader_ended = true;
        monitor_notify(session->monitor);
        monitor_leave(session->monitor);
    }
    gw_buf_fini(&body);
    return NULL;
}

bool session_pop(struct session *session, struct message *ret_message)
{
    if (session->queue_count == 0)
        return false;
    *ret_message = session->queue[session->queue_head];
    session->queue_head = (session->queue_head + 1) % SESSION_QUEUE;
    session->queue_count--;
    return true;
}

/* ---- Writing ---- */

static void append_outgoing(struct session *session, struct outgoing *outgoing)
{
    monitor_enter(session->monitor);
    *session->outgoing_end = outgoing;
    session->outgoing_end = &outgoing->next;
    session->speaking = true;
    monitor_notify(session->monitor);
    monitor_leave(session->monitor);
}

static void post(struct session *session, uint32_t type, bool raw, const union wire_body *body,
                 const void *tail, size_t tail_bytes)
{
    struct outgoing *outgoing = malloc(sizeof *outgoing + tail_bytes);
    if (!outgoing) {
        struct gw_error error;
        gw_error_set(&error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, 0, "no memory for a record");
        session_fail(session, SESSION_LOCAL, &error);
        return;
    }
    *outgoing = (struct outgoing){.type = type, .raw = raw, .tail_bytes = tail_bytes};
    if (body)
        outgoing->body = *body;
    if (tail_bytes > 0)
        memcpy(outgoing->tail, tail, tail_bytes);
    append_outgoing(session, outgoing);
}

void session_post(struct session *session, uint32_t type, const union wire_body *body,
                  const void *tail, size_t tail_bytes)
{
    post(session, type, false, body, tail, tail_bytes);
}

void session_post_raw(struct session *session, uint32_t type, const void *body, size_t length)
{
    post(session, type, true, NULL, body, length);
}

void session_speak(struct session *session)
{
    monitor_enter(session->monitor);
    session->speaking = true;
    monitor_notify(session->monitor);
    monitor_leave(session->monitor);
}

struct chore {
    enum { CHORE_STOP, CHORE_RECORD, CHORE_PING, CHORE_PONG } kind;
    struct outgoing *outgoing;
    struct wire_pong pong;
};

/* Waits for something to write. */
static struct chore next_chore(struct session *session)
{
    struct chore chore = {.kind = CHORE_STOP};
    monitor_enter(session->monitor);
    session->writing = false;
    monitor_notify(session->monitor);
    while (!session->stopping && !session->outgoing && !session->pong_due &&
           (!session->speaking || host_monotonic_ns() < session->next_ping_ns))
        monitor_wait(session->monitor, session->speaking ? session->next_ping_ns : UINT64_MAX);
    if (session->stopping) {
        chore.kind = CHORE_STOP;
    } else if (session->pong_due) {
        chore = (struct chore){CHORE_PONG, NULL, session->pong};
        session->pong_due = false;
    } else if (session->outgoing) {
        chore = (struct chore){CHORE_RECORD, session->outgoing, {0}};
        session->outgoing = chore.outgoing->next;
        if (!session->outgoing)
            session->outgoing_end = &session->outgoing;
    } else {
        chore.kind = CHORE_PING;
    }
    session->writing = chore.kind != CHORE_STOP;
    monitor_leave(session->monitor);
    return chore;
}

static int send_ping(struct session *session, struct gw_error *error)
{
    uint64_t now = host_monotonic_ns();
    union wire_body body = {.ping = {.id = ++session->ping_id, .sent_ns = now}};
    session->next_ping_ns =
        now + (session->ping_id < FIRST_PINGS ? FIRST_PING_GAP_NS : SECOND_NS);
    return channel_send(session->control, WIRE_PING, &body, NULL, 0, error);
}

static int do_chore(struct session *session, const struct chore *chore, struct gw_error *error)
{
    union wire_body body = {.pong = chore->pong};
    const struct outgoing *outgoing = chore->outgoing;
    switch (chore->kind) {
    case CHORE_PING:
        return send_ping(session, error);
    case CHORE_PONG:
        body.pong.answered_ns = host_monotonic_ns();
        return channel_send(session->control, WIRE_PONG, &body, NULL, 0, error);
    case CHORE_RECORD:
        if (outgoing->raw)
            return channel_send_raw(session->control, outgoing->type, outgoing->tail,
                                    outgoing->tail_bytes, error);
        return channel_send(session->control, outgoing->type, &outgoing->body, outgoing->tail,
                            outgoing->tail_bytes, error);
    case CHORE_STOP:
        break;
    }
    return 0;
}

static void *writer_main(void *opaque)
{
    struct session *session = opaque;
    struct gw_error error = {0};
    for (;;) {
        struct chore chore = next_chore(session);
        if (chore.kind == CHORE_STOP)
            return NULL;
        int r = do_chore(session, &chore, &error);
        free(chore.outgoing);
        if (r < 0) {
            session_link_failed(session, &error);
            monitor_enter(session->monitor);
            session->writing = false;
            session->stopping = true;
            monitor_notify(session->monitor);
            monitor_leave(session->monitor);
            return NULL;
        }
    }
}

bool session_flush(struct session *session, uint64_t until_ns)
{
    bool done = false, in_time = true;
    monitor_enter(session->monitor);
    while (!done && in_time && !session->failed && !session->stopping) {
        done = !session->outgoing && !session->writing;
        if (!done)
            in_time = monitor_wait(session->monitor, until_ns);
    }
    monitor_leave(session->monitor);
    return done;
}

/* ---- Beginning and end ---- */

int session_start(struct session *session, struct channel *control, struct gw_error *error)
{
    session->control = control;
    control->tick = check_silence;
    control->opaque = session;
    transport_set_timeout(control->transport, -1); /* check_silence() is the judge */
    int r = pthread_create(&session->reader, NULL, reader_main, session);
    if (r == 0) {
        r = pthread_create(&session->writer, NULL, writer_main, session);
        if (r != 0) {
            transport_shutdown(control->transport);
            pthread_join(session->reader, NULL);
        }
    }
    session->started = r == 0;
    if (r != 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -r,
                            "no thread for the control channel: %s", strerror(r));
    return 0;
}

int session_attach(struct session *session, struct channel *data)
{
    int r = 0;
    monitor_enter(session->monitor);
    if (session->data_count == SESSION_MAX_DATA_CHANNELS)
        r = -ENOSPC;
    for (unsigned i = 0; i < session->data_count && r == 0; i++)
        if (session->data[i]->index == data->index)
            r = -EEXIST;
    if (r == 0)
        session->data[session->data_count++] = data;
    monitor_notify(session->monitor);
    monitor_leave(session->monitor);
    return r;
}

/* The writing thread stops first: then the control channel is ours for the last words, if there are any. */
static void stop_writer(struct session *session, uint64_t until_ns, bool *ret_broken, bool *ret_ours)
{
    monitor_enter(session->monitor);
    *ret_broken = session->failed && session->origin == SESSION_LINK;
    *ret_ours = session->failed && session->origin == SESSION_LOCAL;
    session->stopping = true;
    monitor_notify(session->monitor);
    bool in_time = !*ret_broken;
    while (session->writing && in_time)
        in_time = monitor_wait(session->monitor, until_ns);
    monitor_leave(session->monitor);
}

static void wait_for_reader(struct session *session, uint64_t until_ns)
{
    monitor_enter(session->monitor);
    while (!session->reader_ended && monitor_wait(session->monitor, until_ns))
        ;
    monitor_leave(session->monitor);
}

void session_close(struct session *session)
{
    if (!session->started)
        return;
    uint64_t until = host_monotonic_ns() + GOODBYE_MS * 1000000ull;
    session_flush(session, until); /* returns at once when the session has failed */
    bool broken = false, ours = false;
    stop_writer(session, until, &broken, &ours);
    if (ours)
        channel_send_error(session->control, WIRE_ERROR, &session->error, LAST_WORDS_MS);
    if (!broken) {
        channel_close_write(session->control);
        wait_for_reader(session, until);
    }
    transport_shutdown(session->control->transport);
    for (unsigned i = 0; i < session->data_count; i++)
        transport_shutdown(session->data[i]->transport);
    pthread_join(session->writer, NULL);
    pthread_join(session->reader, NULL);
    session->started = false;
}

void session_fini(struct session *session)
{
    while (session->outgoing) {
        struct outgoing *next = session->outgoing->next;
        free(session->outgoing);
        session->outgoing = next;
    }
    struct message message;
    while (session_pop(session, &message))
        message_fini(&message);
    for (unsigned i = 0; i < session->data_count; i++)
        channel_free(session->data[i]);
    session->data_count = 0;
    channel_free(session->control);
    session->control = NULL;
}

uint64_t session_local_ns(struct session *session, uint64_t peer_ns)
{
    monitor_enter(session->monitor);
    uint64_t local = peer_ns - (uint64_t)session->clock_offset_ns;
    monitor_leave(session->monitor);
    return local;
}

uint64_t session_round_trip_ns(struct session *session)
{
    monitor_enter(session->monitor);
    uint64_t round_trip = session->round_trip_ns;
    monitor_leave(session->monitor);
    return round_trip;
}
