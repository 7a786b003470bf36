/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting on the source: for records, for the end of a round, and what ends each wait. */
#include "migrate/source.h"

#include <errno.h>

#include "base/clock.h"
#include "migrate/peer.h"

#define MILLISECOND_NS 1000000ull

int source_check_limits(struct gw_source *source, struct gw_error *error)
{
    if (source->owner.state != GW_OWNER_OWNER)
        return 0;
    if (source->cancel_asked)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CANCELLED, -ECANCELED,
                            "the migration was cancelled on the source");
    uint64_t deadline_ms = source->parameters.deadline_ms;
    if (deadline_ms > 0 && source_elapsed_ns(source) >= deadline_ms * MILLISECOND_NS)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, -ETIMEDOUT,
                            "the migration did not end within its deadline of %.1f s: more time, a "
                            "longer pause or more bandwidth would help",
                            (double)deadline_ms / 1e3);
    return 0;
}

static void apply_parameters(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    bool changed = source->parameters_changed;
    source->parameters_changed = false;
    struct gw_migrate_parameters parameters = source->parameters;
    monitor_leave(&source->monitor);
    if (!changed)
        return;
    ratelimit_set(&source->limiter, parameters.max_bandwidth);
    source->session.peer_timeout_ms = parameters.peer_timeout_ms;
    flightlog_add_parameters(source->log, source_elapsed_ns(source), &parameters);
    union wire_body body = {.parameters = {parameters.max_bandwidth, parameters.downtime_limit_ms,
                                           parameters.peer_timeout_ms}};
    session_post(&source->session, WIRE_PARAMETERS, &body, NULL, 0);
}

/* Inside the monitor: the earliest moment at which waiting has to be looked at again. */
static uint64_t wake_ns(struct gw_source *source, uint64_t until_ns)
{
    if (source->parameters.deadline_ms == 0 || source->owner.state != GW_OWNER_OWNER)
        return until_ns;
    uint64_t deadline = source->began_ns + source->parameters.deadline_ms * MILLISECOND_NS;
    return deadline < until_ns ? deadline : until_ns;
}

/* Waits for a record, or for the end of a round where `round_too`. */
static int next_event(struct gw_source *source, uint64_t until_ns, bool round_too,
                      struct message *ret_message, struct gw_error *error)
{
    struct session *session = &source->session;
    int r = 0;
    bool in_time = true;
    monitor_enter(&source->monitor);
    for (;;) {
        if (session_pop(session, ret_message)) {
            r = 1;
            break;
        }
        if (session->failed || (session->reader_ended && session->peer_ended)) {
            r = -ECONNABORTED;
            break;
        }
        r = source_check_limits(source, error);
        if (r < 0 || source->parameters_changed || !in_time ||
            (round_too && !rounds_busy(source->rounds)))
            break;
        in_time = monitor_wait(&source->monitor, wake_ns(source, until_ns)) ||
                  host_monotonic_ns() < until_ns;
    }
    monitor_leave(&source->monitor);
    if (r != -ECONNABORTED)
        return r;
    int failed = session_result(session, error);
    return failed ? failed
                  : gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, -ECONNRESET,
                                 "the destination ended the session early");
}

int source_next(struct gw_source *source, uint64_t until_ns, struct message *ret_message,
                struct gw_error *error)
{
    for (;;) {
        int r = next_event(source, until_ns, false, ret_message, error);
        apply_parameters(source);
        if (r != 0 || host_monotonic_ns() >= until_ns)
            return r;
    }
}

int source_out_of_order(const struct message *message, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                        "the destination sent a record %s out of order",
                        wire_type_name(message->type));
}

static int take_rehearsed(struct gw_source *source, const struct message *message,
                          struct gw_error *error)
{
    const struct wire_rehearsed *rehearsed = &message->body.rehearsed;
    if (source->rehearsal != REHEARSAL_SENT || rehearsed->serial != source->state_serial)
        return source_out_of_order(message, error);
    if (rehearsed->code != GW_CODE_NONE) {
        struct gw_error theirs;
        wire_error_take(rehearsed->layer, rehearsed->code, message->tail, rehearsed->text_bytes,
                        &theirs);
        return gw_error_set(error, theirs.layer, theirs.code, -ECONNABORTED,
                            "the destination cannot load the device state, as the rehearsal "
                            "showed; the guest was not paused for it: %.380s",
                            theirs.message);
    }
    source->rehearsal = REHEARSAL_PASSED;
    source->measured.load_us = rehearsed->load_ns / 1000;
    if (rehearsed->acquire_us > 0)
        source->measured.start_us = rehearsed->acquire_us;
    source_event(
        source, "rehearsal: %llu bytes of device state, saved in %llu us, loaded in %llu us",
        (unsigned long long)source->state_bytes, (unsigned long long)source->measured.save_us,
        (unsigned long long)source->measured.load_us);
    return 0;
}

/* READY can overtake the news that the last page has been written. One of an attempt that was taken
 * back may still be under way; it changes nothing. */
static int take_ready(struct gw_source *source, const struct message *message,
                      struct gw_error *error)
{
    if (message->body.ready.attempt == 0 || message->body.ready.attempt > source->attempt)
        return source_out_of_order(message, error);
    source->ready = message->body.ready;
    source->ready_ns = message->at_ns;
    return 0;
}

static int take_progress(struct gw_source *source, const struct message *message,
                         struct gw_error *error)
{
    const struct wire_progress *progress = &message->body.progress;
    if (progress->round <= source->arrived_round || progress->round > rounds_number(source->rounds))
        return source_out_of_order(message, error);
    source->arrived_round = progress->round;
    return 0;
}

int source_take(struct gw_source *source, const struct message *message, struct gw_error *error)
{
    if (message->type == WIRE_PEER) {
        peer_take(message, source->log);
        return 0;
    }
    if (message->type == WIRE_PROGRESS)
        return take_progress(source, message, error);
    if (message->type == WIRE_READY)
        return take_ready(source, message, error);
    if (message->type == WIRE_REHEARSED)
        return take_rehearsed(source, message, error);
    return source_out_of_order(message, error);
}

int source_serve(struct gw_source *source, uint64_t until_ns, struct gw_error *error)
{
    struct message message = {0};
    int r = source_next(source, until_ns, &message, error);
    if (r != 1)
        return r;
    r = source_take(source, &message, error);
    message_fini(&message);
    return r < 0 ? r : 1;
}

int source_await_round(struct gw_source *source, uint64_t until_ns, struct gw_error *error)
{
    for (;;) {
        struct message message = {0};
        int r = next_event(source, until_ns, true, &message, error);
        apply_parameters(source);
        if (r == 1) {
            r = source_take(source, &message, error);
            message_fini(&message);
        }
        if (r < 0)
            return r;
        monitor_enter(&source->monitor);
        bool busy = rounds_busy(source->rounds);
        monitor_leave(&source->monitor);
        if (!busy)
            return 0;
        if (host_monotonic_ns() >= until_ns)
            return -ETIME;
    }
}
