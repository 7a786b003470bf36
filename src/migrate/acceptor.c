/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections. Each new one is greeted by a thread of its own, which has two seconds to learn from
 * the preamble what it is, and hands it on: a control channel to the coordinator, a data channel to
 * the session that expects it; a question about ownership it answers itself. Whatever does not fit
 * is closed, noted in the flight log, and ends nothing.
 */
#include "migrate/destination.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define MILLISECOND_NS 1000000ull
#define GREETING_MS 2000
#define CLAIM_MS 1500
#define QUESTION_MS 5000
#define ACCEPT_TICK_MS 500

struct greeting {
    struct gw_destination *destination;
    struct transport *transport; /* owned until it is handed on */
    struct wire_preamble preamble;
};

static void turn_away(struct gw_destination *destination, struct transport *transport,
                      const struct gw_error *why)
{
    destination_event(destination, "turned away a connection from %s: %s",
                      transport_name(transport), why->message);
    monitor_enter(&destination->monitor);
    destination->turned_away = *why;
    snprintf(destination->info.decision, sizeof destination->info.decision,
             "turned away a connection: %.120s", why->message);
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
}

static struct channel *make_channel(struct greeting *greeting, enum wire_role role,
                                    struct gw_error *error)
{
    struct channel *channel =
        channel_new(greeting->transport, role, greeting->preamble.index, WIRE_FROM_SOURCE);
    if (channel)
        greeting->transport = NULL;
    else
        gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                     "no memory for a channel");
    return channel;
}

/* ---- Control ---- */

/* A session that has not been accepted, or has just been refused, is soon over: the next one waits
 * for that. */
static bool claim(struct gw_destination *destination)
{
    uint64_t until = host_monotonic_ns() + CLAIM_MS * MILLISECOND_NS;
    bool in_time = true;
    monitor_enter(&destination->monitor);
    while (in_time && destination->busy && !destination->accepted && !destination->ended &&
           !destination->cancel_asked)
        in_time = monitor_wait(&destination->monitor, until);
    bool claimed = !destination->busy && !destination->ended && !destination->cancel_asked;
    if (claimed)
        destination->busy = true;
    monitor_leave(&destination->monitor);
    return claimed;
}

static int refuse_second(struct greeting *greeting, struct gw_error *error)
{
    gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_BUSY, -EBUSY,
                 "this destination is receiving another guest already");
    struct channel *channel = make_channel(greeting, WIRE_ROLE_CONTROL, error);
    if (channel) {
        (void)channel_send_error(channel, WIRE_REFUSE, error, 1000);
        transport_finish(channel->transport, 1000);
        turn_away(greeting->destination, channel->transport, error);
        channel_free(channel);
    }
    return 0;
}

static int greet_control(struct greeting *greeting, struct gw_error *error)
{
    struct gw_destination *destination = greeting->destination;
    int r = channel_answer(greeting->transport, &greeting->preamble, error);
    if (r < 0)
        return r;
    if (!claim(destination))
        return refuse_second(greeting, error);
    struct channel *channel = make_channel(greeting, WIRE_ROLE_CONTROL, error);
    monitor_enter(&destination->monitor);
    destination->busy = channel != NULL;
    destination->arrived = channel;
    memcpy(destination->arrived_id, greeting->preamble.session, WIRE_SESSION_BYTES);
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
    return channel ? 0 : -ENOMEM;
}

/* ---- Data ---- */

/* Inside the monitor. */
static bool is_expected(const struct gw_destination *destination,
                        const struct wire_preamble *preamble)
{
    const struct session *session = destination->session;
    if (!session || memcmp(session->id, preamble->session, WIRE_SESSION_BYTES) != 0 ||
        preamble->index >= destination->data_expected)
        return false;
    for (unsigned i = 0; i < session->data_count; i++)
        if (session->data[i]->index == preamble->index)
            return false;
    return true;
}

static int greet_data(struct greeting *greeting, struct gw_error *error)
{
    struct gw_destination *destination = greeting->destination;
    monitor_enter(&destination->monitor);
    bool expected = is_expected(destination, &greeting->preamble);
    monitor_leave(&destination->monitor);
    if (!expected)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_STATE, -ENOENT,
                            "a data channel of a session that does not expect it");
    int r = channel_answer(greeting->transport, &greeting->preamble, error);
    if (r < 0)
        return r;
    struct channel *channel = make_channel(greeting, WIRE_ROLE_DATA, error);
    if (!channel)
        return -ENOMEM;
    monitor_enter(&destination->monitor);
    expected = is_expected(destination, &greeting->preamble);
    if (expected) {
        destination->session->data[destination->session->data_count++] = channel;
        monitor_notify(&destination->monitor);
    }
    monitor_leave(&destination->monitor);
    if (!expected)
        channel_free(channel);
    return 0;
}

/* ---- Questions ---- */

struct question {
    struct gw_destination *destination;
    uint64_t until_ns;
};

static int tick_question(void *opaque, struct gw_error *error)
{
    const struct question *question = opaque;
    if (host_monotonic_ns() < question->until_ns)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, -ETIMEDOUT,
                        "the source did not finish its question in time");
}

static int read_epoch(struct channel *channel, uint32_t type, uint64_t *ret_epoch,
                      struct gw_error *error)
{
    struct wire_header header;
    struct gw_buf bytes = {0};
    union wire_body body;
    int r = channel_read_header(channel, &header, error);
    if (r == 0 && header.type != type)
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "a record %s came where %s was due", wire_type_name(header.type),
                         wire_type_name(type));
    if (r == 0)
        r = channel_read_body(channel, &header, &bytes, error);
    if (r == 0)
        r = wire_body_decode(type, bytes.data, bytes.length, &body, NULL, error);
    if (r == 0)
        *ret_epoch = body.epoch.epoch;
    gw_buf_fini(&bytes);
    return r;
}

static int send_answer(struct greeting *greeting, struct channel *channel, uint64_t epoch,
                       struct gw_error *error)
{
    bool owner = false;
    struct gw_error refusal = {0};
    if (!takeover_answer(greeting->destination, greeting->preamble.session, epoch, &owner,
                         &refusal)) {
        gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NOT_FOUND, -ENOENT,
                     "nothing is known here of that session");
        (void)channel_send_error(channel, WIRE_ERROR, error, 1000);
        return -ENOENT;
    }
    if (owner) {
        union wire_body body = {.epoch = {.epoch = epoch}};
        return channel_send(channel, WIRE_OWNER, &body, NULL, 0, error);
    }
    size_t length = strlen(refusal.message);
    union wire_body body = {.refused = {.epoch = epoch,
                                        .layer = (uint32_t)refusal.layer,
                                        .code = (uint32_t)refusal.code,
                                        .text_bytes = (uint32_t)length}};
    return channel_send(channel, WIRE_REFUSED, &body, refusal.message, length, error);
}

static int greet_query(struct greeting *greeting, struct gw_error *error)
{
    int r = channel_answer(greeting->transport, &greeting->preamble, error);
    if (r < 0)
        return r;
    struct channel *channel = make_channel(greeting, WIRE_ROLE_QUERY, error);
    if (!channel)
        return -ENOMEM;
    struct question question = {greeting->destination,
                                host_monotonic_ns() + QUESTION_MS * MILLISECOND_NS};
    channel->tick = tick_question;
    channel->opaque = &question;
    uint64_t epoch = 0, confirmed = 0;
    r = read_epoch(channel, WIRE_QUERY_OWNER, &epoch, error);
    if (r == 0)
        r = send_answer(greeting, channel, epoch, error);
    if (r == 0 && read_epoch(channel, WIRE_CONFIRM, &confirmed, error) == 0 && confirmed == epoch)
        takeover_confirm(greeting->destination, greeting->preamble.session);
    if (r < 0)
        turn_away(greeting->destination, channel->transport, error);
    transport_finish(channel->transport, 200);
    channel_free(channel);
    return 0;
}

/* ---- Greeting ---- */

static int greet(struct greeting *greeting, struct gw_error *error)
{
    int r = channel_greet(greeting->transport, GREETING_MS, greeting->destination->cancel_fd,
                          &greeting->preamble, error);
    if (r < 0)
        return r;
    if (greeting->preamble.answer)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "a connection began with an answer");
    switch ((enum wire_role)greeting->preamble.role) {
    case WIRE_ROLE_CONTROL:
        return greet_control(greeting, error);
    case WIRE_ROLE_DATA:
        return greet_data(greeting, error);
    case WIRE_ROLE_QUERY:
        return greet_query(greeting, error);
    case WIRE_ROLE_FAULT:
        break;
    }
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "fault channels are not supported yet");
}

static void *greeting_main(void *opaque)
{
    struct greeting *greeting = opaque;
    struct gw_destination *destination = greeting->destination;
    struct gw_error error = {0};
    if (greet(greeting, &error) < 0 && greeting->transport)
        turn_away(destination, greeting->transport, &error);
    transport_free(greeting->transport);
    free(greeting);
    monitor_enter(&destination->monitor);
    destination->greetings--;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
    return NULL;
}

/* Takes over the transport. */
static void start_greeting(struct gw_destination *destination, struct transport *transport)
{
    struct greeting *greeting = calloc(1, sizeof *greeting);
    pthread_attr_t detached;
    pthread_t thread;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    monitor_enter(&destination->monitor);
    destination->greetings++;
    monitor_leave(&destination->monitor);
    if (greeting)
        *greeting = (struct greeting){.destination = destination, .transport = transport};
    if (!greeting || pthread_create(&thread, &detached, greeting_main, greeting) != 0) {
        monitor_enter(&destination->monitor);
        destination->greetings--;
        monitor_leave(&destination->monitor);
        transport_free(transport);
        free(greeting);
    }
    pthread_attr_destroy(&detached);
}

/* Waits while too many connections have not said what they want; false when all is over. */
static bool wait_for_room(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    while (destination->greetings >= DESTINATION_MAX_GREETINGS && !destination->finished)
        monitor_wait(&destination->monitor, UINT64_MAX);
    bool go_on = !destination->finished;
    monitor_leave(&destination->monitor);
    return go_on;
}

static void connections_are_over(struct gw_destination *destination)
{
    transport_listener_free(destination->listener);
    destination->listener = NULL;
    monitor_enter(&destination->monitor);
    destination->connections_over = true;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
}

static void *acceptor_main(void *opaque)
{
    struct gw_destination *destination = opaque;
    struct transport_wait wait = {-1, destination->door_fd};
    struct gw_error error = {0};
    while (wait_for_room(destination)) {
        struct transport *transport = NULL;
        int r = transport_accept(destination->listener, wait, &transport, &error);
        if (r == 0) {
            transport_set_cancel(transport, destination->cancel_fd);
            start_greeting(destination, transport);
        } else if (r == -ENOTCONN || r == -ECANCELED)
            break;
        else
            (void)poll(NULL, 0, ACCEPT_TICK_MS); /* out of descriptors: others may be freed */
    }
    connections_are_over(destination);
    return NULL;
}

int acceptor_start(struct gw_destination *destination, struct gw_error *error)
{
    int r = pthread_create(&destination->acceptor, NULL, acceptor_main, destination);
    destination->acceptor_started = r == 0;
    return r == 0 ? 0
                  : gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -r,
                                 "no thread to accept connections: %s", strerror(r));
}

void acceptor_stop(struct gw_destination *destination)
{
    if (destination->acceptor_started)
        pthread_join(destination->acceptor, NULL);
    monitor_enter(&destination->monitor);
    while (destination->greetings > 0)
        monitor_wait(&destination->monitor, UINT64_MAX);
    monitor_leave(&destination->monitor);
}
