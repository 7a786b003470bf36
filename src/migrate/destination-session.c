/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session on the destination once it is open: memory arrives on the channels, device state is
 * loaded on trial and for good, SWITCH is followed by READY, COMMIT by the takeover.
 */
#include "migrate/destination.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <inttypes.h>

#include "base/clock.h"
#include "migrate/peer.h"

/* Rounds can be short and many; the last one is what counts. */
#define PROGRESS_PAUSE_NS 2000000u

int destination_cancelled(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CANCELLED, -ECANCELED,
                        "the migration was cancelled on the destination");
}

/* Inside the monitor. */
static bool round_untold(const struct gw_destination *destination)
{
    return destination->tells_progress && destination->receiver && destination->attempt == 0 &&
           receiver_rounds(destination->receiver) > destination->told_round;
}

int destination_next(struct gw_destination *destination, struct message *ret_message,
                     struct gw_error *error)
{
    struct session *session = &destination->own_session;
    uint64_t tell_ns = destination->told_ns + PROGRESS_PAUSE_NS;
    uint64_t at_ns;
    int r;
    monitor_enter(&destination->monitor);
    for (;;) {
        r = -ECONNABORTED;
        if (session_pop(session, ret_message))
            r = NEXT_RECORD;
        else if (session->data_count > destination->data_thread_count)
            r = NEXT_CHANNEL;
        else if (session->failed || session->peer_ended)
            break;
        else if (destination->cancel_asked && destination->takeover == TAKEOVER_OPEN)
            r = destination_cancelled(error);
        else if (destination->receiver && destination->attempt != 0 && !destination->ready_sent &&
                 destination->state_attempt == destination->attempt &&
                 receiver_complete_attempt(destination->receiver, &at_ns) == destination->attempt)
            r = NEXT_PAGES;
        else if (round_untold(destination) && host_monotonic_ns() >= tell_ns)
            r = NEXT_ROUND;
        if (r != -ECONNABORTED)
            break;
        monitor_wait(&destination->monitor, round_untold(destination) ? tell_ns : UINT64_MAX);
    }
    monitor_leave(&destination->monitor);
    if (r != -ECONNABORTED)
        return r;
    int failed = session_result(session, error);
    return failed ? failed
                  : gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, -ECONNRESET,
                                 "the source ended the session early");
}

/* ---- Memory ---- */

/* EXTENT and BARRIER on the control channel. */
int destination_take_bulk(void *opaque, struct channel *channel, const struct wire_header *header,
                          struct gw_error *error)
{
    struct gw_destination *destination = opaque;
    monitor_enter(&destination->monitor);
    struct receiver *receiver = destination->data_expected == 0 ? destination->receiver : NULL;
    bool accepted = destination->accepted;
    monitor_leave(&destination->monitor);
    if (!receiver || !accepted)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "the source sent memory where it has no place");
    return receiver_record(receiver, channel, header, error);
}

struct data_reader {
    struct gw_destination *destination;
    struct channel *channel;
};

static void *data_main(void *opaque)
{
    struct data_reader *reader = opaque;
    struct gw_destination *destination = reader->destination;
    struct gw_error error = {0};
    struct wire_header header;
    int r;
    do {
        r = channel_read_header(reader->channel, &header, &error);
        if (r == 0 && header.type == WIRE_END)
            break;
        if (r == 0)
            r = receiver_record(destination->receiver, reader->channel, &header, &error);
    } while (r == 0);
    if (r < 0 && error.code == GW_CODE_CORRUPT)
        session_fail(&destination->own_session, SESSION_LOCAL, &error);
    else if (r < 0)
        session_link_failed(&destination->own_session, &error);
    free(reader);
    return NULL;
}

static int start_reader(struct gw_destination *destination, struct channel *channel,
                        struct gw_error *error)
{
    transport_set_timeout(channel->transport, -1);
    struct data_reader *reader = calloc(1, sizeof *reader);
    if (reader) {
        *reader = (struct data_reader){destination, channel};
        if (pthread_create(&destination->data_threads[destination->data_thread_count], NULL,
                           data_main, reader) == 0) {
            destination->data_thread_count++;
            return 0;
        }
        free(reader);
    }
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                        "no thread for a data channel");
}

/* ---- Device state ---- */

static int check_part(const struct gw_destination *destination, const struct wire_state *part,
                      struct gw_error *error)
{
    bool first = part->offset == 0;
    if (part->total_bytes > WIRE_STATE_MAX_BYTES)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -E2BIG,
                            "the device state has %" PRIu64 " bytes, the limit is %" PRIu64,
                            part->total_bytes, WIRE_STATE_MAX_BYTES);
    if (part->offset != (first ? 0 : destination->state.length) ||
        (!first && (part->total_bytes != destination->state_total ||
                    part->serial != destination->state_serial || part->part_bytes == 0)) ||
        part->part_bytes > part->total_bytes - part->offset ||
        (part->attempt != 0 && part->attempt != destination->attempt))
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                            "a part of the device state does not follow the one before");
    return 0;
}

static uint32_t expected_acquire_us(const struct gw_destination *destination)
{
    const struct gw_destination_ops *ops = destination->config.ops;
    uint64_t us = destination->tells_acquire && ops->expect_acquire_us
                      ? ops->expect_acquire_us(destination->config.vm)
                      : 0;
    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void report_rehearsal(struct gw_destination *destination, int r,
                             const struct gw_error *error)
{
    size_t length = r < 0 ? strlen(error->message) : 0;
    union wire_body body = {
        .rehearsed = {.serial = destination->state_serial,
                      .load_ns = destination->load_ns,
                      .layer = r < 0 ? (uint32_t)error->layer : 0,
                      .code = r < 0 ? (uint32_t)(error->code ? error->code : GW_CODE_INTERNAL) : 0,
                      .text_bytes = (uint32_t)length,
                      .acquire_us = expected_acquire_us(destination)}};
    session_post(&destination->own_session, WIRE_REHEARSED, &body, error->message, length);
    if (r < 0)
        destination_event(destination, "rehearsal failed: %s", error->message);
    else
        destination_event(destination,
                          "rehearsal: %zu bytes of device state loaded in %" PRIu64 " us",
                          destination->state.length, destination->load_ns / 1000);
}

static int load(struct gw_destination *destination, uint32_t attempt, struct gw_error *error)
{
    uint64_t began = host_monotonic_ns();
    struct gw_error why = {0};
    int r = destination->config.ops->load_state(destination->config.vm, destination->state.data,
                                                destination->state.length, &why);
    destination->load_ns = host_monotonic_ns() - began;
    if (attempt == 0)
        report_rehearsal(destination, r, &why);
    else if (r < 0)
        *error = why;
    else
        destination->state_attempt = attempt;
    gw_buf_fini(&destination->state);
    return attempt == 0 ? 0 : r;
}

static int take_state(struct gw_destination *destination, const struct message *message,
                      struct gw_error *error)
{
    const struct wire_state *part = &message->body.state;
    if (part->attempt != 0 && part->attempt < destination->cancelled_attempt + 1)
        return 0; /* of an attempt that was taken back */
    int r = check_part(destination, part, error);
    if (r < 0)
        return r;
    if (part->offset == 0) {
        gw_buf_clear(&destination->state);
        destination->state.limit = WIRE_STATE_MAX_BYTES;
        destination->state_total = part->total_bytes;
        destination->state_serial = part->serial;
    }
    if (gw_buf_append(&destination->state, message->tail, part->part_bytes) < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for the device state");
    return destination->state.length == destination->state_total
               ? load(destination, part->attempt, error)
               : 0;
}

/* ---- Switchover ---- */

static int out_of_order(const struct message *message, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                        "the source sent a record %s out of order", wire_type_name(message->type));
}

static int take_switch(struct gw_destination *destination, const struct message *message,
                       struct gw_error *error)
{
    const struct wire_switch *begun = &message->body.switch_;
    if (destination->attempt != 0 || begun->attempt != destination->cancelled_attempt + 1)
        return out_of_order(message, error);
    destination->attempt = begun->attempt;
    destination->verify = begun->verify == 1;
    destination->ready_sent = destination->verified = false;
    destination->state_attempt = 0;
    destination->switch_ns = message->at_ns;
    destination->stopped_there_ns = begun->stopped_ns;
    destination_set_status(destination, GW_MIGRATE_DEVICE, "device");
    return 0;
}

static int take_cancel_switch(struct gw_destination *destination, const struct message *message,
                              struct gw_error *error)
{
    if (destination->attempt == 0 || message->body.cancel_switch.attempt != destination->attempt)
        return out_of_order(message, error);
    destination_event(destination, "switchover %u was taken back by the source",
                      destination->attempt);
    destination->cancelled_attempt = destination->attempt;
    destination->attempt = 0;
    destination->ready_sent = false;
    gw_buf_fini(&destination->state);
    destination_set_status(destination, GW_MIGRATE_ACTIVE, "active");
    return 0;
}

/* State loaded and all pages there. */
static int send_ready(struct gw_destination *destination, struct gw_error *error)
{
    int r = receiver_check(destination->receiver, error);
    if (r < 0)
        return r;
    uint64_t complete_ns;
    monitor_enter(&destination->monitor);
    receiver_complete_attempt(destination->receiver, &complete_ns);
    monitor_leave(&destination->monitor);
    uint64_t ram_ns =
        complete_ns > destination->switch_ns ? complete_ns - destination->switch_ns : 0;
    union wire_body body = {.ready = {.attempt = destination->attempt,
                                      .ram_ns = ram_ns,
                                      .load_ns = destination->load_ns}};
    destination->ready_sent = true;
    session_post(&destination->own_session, WIRE_READY, &body, NULL, 0);
    monitor_enter(&destination->monitor);
    destination->info.pause.ram = ram_ns / 1000;
    monitor_leave(&destination->monitor);
    if (destination->verify) {
        uint64_t began = host_monotonic_ns();
        destination->hash = gw_memory_hash(destination->memory);
        destination->hash_ns = host_monotonic_ns() - began;
    }
    return 0;
}

static int take_verify(struct gw_destination *destination, const struct message *message,
                       struct gw_error *error)
{
    const struct wire_verify *verify = &message->body.verify;
    if (!destination->ready_sent || !destination->verify || verify->attempt != destination->attempt)
        return out_of_order(message, error);
    destination->verified = verify->hash == destination->hash;
    union wire_body body = {.verified = {.attempt = verify->attempt,
                                         .equal = destination->verified,
                                         .hash = destination->hash,
                                         .hash_ns = destination->hash_ns}};
    session_post(&destination->own_session, WIRE_VERIFIED, &body, NULL, 0);
    if (destination->verified)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                        "the memory of the two sides differs (hash %016" PRIx64
                        " there, %016" PRIx64 " here): the guest was not taken over",
                        verify->hash, destination->hash);
}

static int take_commit(struct gw_destination *destination, const struct message *message,
                       struct gw_error *error)
{
    const struct wire_commit *commit = &message->body.commit;
    if (!destination->ready_sent || commit->attempt != destination->attempt ||
        commit->epoch != destination->takeover_epoch || commit->run > 1 ||
        (destination->verify && !destination->verified))
        return out_of_order(message, error);
    int r = takeover_commit(destination, commit, error);
    return r < 0 ? r : 1;
}

static int take_cancel(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CANCELLED, -ECANCELED,
                        "the migration was cancelled on the source");
}

static void take_parameters(struct gw_destination *destination, const struct message *message)
{
    const struct wire_parameters *theirs = &message->body.parameters;
    monitor_enter(&destination->monitor);
    struct gw_migrate_parameters mine = destination->parameters;
    monitor_leave(&destination->monitor);
    mine.max_bandwidth = theirs->max_bandwidth;
    mine.downtime_limit_ms = theirs->downtime_limit_ms;
    flightlog_add_parameters(destination->log, destination_elapsed_ns(destination), &mine);
}

/* 1: the guest runs here. */
static int take_record(struct gw_destination *destination, const struct message *message,
                       struct gw_error *error)
{
    switch (message->type) {
    case WIRE_RESIDENT:
        return receiver_expect(destination->receiver, message->tail, message->body.resident.count,
                               error);
    case WIRE_PEER:
        peer_take(message, destination->log);
        return 0;
    case WIRE_PARAMETERS:
        take_parameters(destination, message);
        return 0;
    case WIRE_STATE:
        return take_state(destination, message, error);
    case WIRE_SWITCH:
        return take_switch(destination, message, error);
    case WIRE_CANCEL_SWITCH:
        return take_cancel_switch(destination, message, error);
    case WIRE_VERIFY:
        return take_verify(destination, message, error);
    case WIRE_COMMIT:
        return take_commit(destination, message, error);
    case WIRE_CANCEL:
        return take_cancel(error);
    default:
        return out_of_order(message, error);
    }
}

static void tell_progress(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    union wire_body body = {.progress = {.round = receiver_rounds(destination->receiver),
                                         .pages_raw = receiver_raw_pages(destination->receiver),
                                         .pages_zero = receiver_zero_pages(destination->receiver)}};
    monitor_leave(&destination->monitor);
    destination->told_round = body.progress.round;
    destination->told_ns = host_monotonic_ns();
    session_post(&destination->own_session, WIRE_PROGRESS, &body, NULL, 0);
}

static int take_next(struct gw_destination *destination, enum destination_next next,
                     const struct message *message, struct gw_error *error)
{
    switch (next) {
    case NEXT_RECORD:
        return take_record(destination, message, error);
    case NEXT_CHANNEL:
        return start_reader(destination,
                            destination->own_session.data[destination->data_thread_count], error);
    case NEXT_ROUND:
        tell_progress(destination);
        return 0;
    case NEXT_PAGES:
        return send_ready(destination, error);
    }
    return 0;
}

int destination_run_session(struct gw_destination *destination, struct gw_error *error)
{
    destination_set_status(destination, GW_MIGRATE_ACTIVE, "active");
    int r;
    do {
        struct message message = {0};
        r = destination_next(destination, &message, error);
        if (r > 0)
            r = take_next(destination, (enum destination_next)r, &message, error);
        message_fini(&message);
    } while (r == 0);
    return r < 0 ? r : 0;
}
