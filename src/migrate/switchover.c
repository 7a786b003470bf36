/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rehearsal and pause. The pause, by its moments on this side:
 *
 *     began --- stopped --- saved --- RAM done --- READY --- [verified] --- (COMMIT) --- started there
 *
 * Last pages and device state travel at the same time; whichever is later ends its part. One timer covers
 * all of it: when READY has not come early enough to commit and start within the budget, the guest runs on
 * here at once, and only then are the pages that were not sent put back and the destination told.
 */
#include "migrate/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define MILLISECOND_NS 1000000ull

/* ---- Stopping and starting the guest ---- */

/* A guest that does not run is not paused, and not started afterwards. */
static int pause_guest(struct gw_source *source, struct gw_error *error)
{
    source->was_running = source->config.ops->is_running(source->config.vm);
    if (!source->was_running)
        return 0;
    int r = source->config.ops->pause(source->config.vm, error);
    source->paused = r == 0;
    return r;
}

int source_resume(struct gw_source *source, struct gw_error *error)
{
    if (source->left && source->config.ops->stay)
        source->config.ops->stay(source->config.vm);
    source->left = false;
    if (!source->paused)
        return 0;
    int r = source->config.ops->resume(source->config.vm, error);
    source->paused = r < 0;
    return r;
}

static int save_state(struct gw_source *source, struct gw_buf *state, struct gw_error *error)
{
    state->limit = WIRE_STATE_MAX_BYTES;
    int r = source->config.ops->save_state(source->config.vm, state, error);
    if (r == 0)
        source->state_bytes = state->length;
    return r;
}

static void post_state(struct gw_source *source, uint32_t attempt, const struct gw_buf *state)
{
    source->state_serial++;
    size_t offset = 0;
    do {
        size_t left = state->length - offset;
        size_t part = left < WIRE_STATE_PART_BYTES ? left : WIRE_STATE_PART_BYTES;
        union wire_body body = {.state = {.attempt = attempt,
                                          .part_bytes = (uint32_t)part,
                                          .offset = offset,
                                          .total_bytes = state->length,
                                          .serial = source->state_serial}};
        session_post(&source->session, WIRE_STATE, &body, state->data + offset, part);
        offset += part;
    } while (offset < state->length);
}

/* ---- Rehearsal ---- */

/* The guest stands still only while the state is being saved. */
static int save_for_rehearsal(struct gw_source *source, struct gw_buf *state, struct gw_error *error)
{
    uint64_t began = host_monotonic_ns();
    int r = pause_guest(source, error);
    if (r < 0)
        return r;
    uint64_t stopped = host_monotonic_ns();
    r = save_state(source, state, error);
    source->measured.stop_us = (stopped - began) / 1000;
    source->measured.save_us = (host_monotonic_ns() - stopped) / 1000;
    struct gw_error why;
    int resumed = source_resume(source, &why);
    if (resumed < 0 && r == 0)
        *error = why;
    return r < 0 ? r : resumed;
}

int source_rehearse(struct gw_source *source, struct gw_error *error)
{
    struct gw_buf state = {0};
    source_event(source, "rehearsal of the device state");
    source->rehearsed_ns = source_elapsed_ns(source);
    int r = source_rehearse_record(source, error);
    if (r == 0)
        r = save_for_rehearsal(source, &state, error);
    if (r == 0) {
        post_state(source, 0, &state);
        source->rehearsal = REHEARSAL_SENT;
        source->measured.commit_us = 2 * source->record_ns / 1000 +
                                     session_round_trip_ns(&source->session) / 2000 + 1;
        source->measured.ready_us = session_round_trip_ns(&source->session) / 2000 + 1;
    }
    gw_buf_fini(&state);
    return r;
}

int source_await_rehearsal(struct gw_source *source, struct gw_error *error)
{
    while (source->rehearsal == REHEARSAL_SENT) {
        int r = source_serve(source, UINT64_MAX, error);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- The pause ---- */

/* When READY must be there: what follows it also belongs to the budget. */
static uint64_t ready_due_ns(const struct gw_source *source)
{
    uint64_t after_ns =
        (source->measured.commit_us + source->measured.start_us + 1000) * 1000;
    uint64_t budget_ns = source->budget_ends_ns - source->pause_began_ns;
    return source->budget_ends_ns - (after_ns < budget_ns ? after_ns : budget_ns);
}

/* The guest runs here again first of all; then everybody is told. */
static int take_back(struct gw_source *source, struct gw_error *error)
{
    int r = source_resume(source, error);
    rounds_abandon(source->rounds);
    union wire_body body = {.cancel_switch = {.attempt = source->attempt}};
    session_post(&source->session, WIRE_CANCEL_SWITCH, &body, NULL, 0);
    source->failed_switches++;
    source->last_failed_ns = source_elapsed_ns(source);
    monitor_enter(&source->monitor);
    source->info.failed_switches = source->failed_switches;
    monitor_leave(&source->monitor);
    source_event(source,
                 "switchover %u taken back after %.1f ms: it would not have kept the budget of %llu ms",
                 source->attempt, (double)(host_monotonic_ns() - source->pause_began_ns) / 1e6,
                 (unsigned long long)source_parameters(source).downtime_limit_ms);
    if (r < 0)
        return r;
    source_set_status(source, GW_MIGRATE_ACTIVE, "active");
    r = source_await_round(source, UINT64_MAX, error);
    if (r < 0)
        return r;
    source_record_round(source);
    return -EAGAIN;
}

static int begin_pause(struct gw_source *source, struct gw_error *error)
{
    struct gw_migrate_parameters parameters = source_parameters(source);
    source->attempt++;
    source->pause_began_ns = host_monotonic_ns();
    source->budget_ends_ns = source->pause_began_ns + parameters.downtime_limit_ms * MILLISECOND_NS;
    int r = pause_guest(source, error);
    if (r < 0)
        return r;
    source->stopped_ns = host_monotonic_ns();
    if (!source->was_running)
        source->budget_ends_ns = UINT64_MAX / 2; /* nobody waits for this guest */
    union wire_body body = {
        .switch_ = {.attempt = source->attempt,
                    .verify = parameters.verify_ram && (source->features & WIRE_FEATURE_VERIFY_RAM),
                    .budget_ns = source->budget_ends_ns - source->pause_began_ns,
                    .stopped_ns = source->pause_began_ns}};
    session_post(&source->session, WIRE_SWITCH, &body, NULL, 0);
    return rounds_begin(source->rounds, source->attempt, error);
}

static int send_state(struct gw_source *source, struct gw_error *error)
{
    struct gw_buf state = {0};
    if (source->config.ops->leave)
        source->config.ops->leave(source->config.vm);
    source->left = true;
    int r = save_state(source, &state, error);
    source->saved_ns = host_monotonic_ns();
    if (r == 0)
        post_state(source, source->attempt, &state);
    gw_buf_fini(&state);
    return r;
}

/* READY of this attempt, which may have come already; -ETIME when it is not there by `until_ns`. */
static int await_ready(struct gw_source *source, uint64_t until_ns, struct gw_error *error)
{
    while (source->ready.attempt != source->attempt) {
        int r = source_serve(source, until_ns, error);
        if (r <= 0)
            return r < 0 ? r : -ETIME;
    }
    return 0;
}

static int verified_result(const struct message *message, uint64_t hash, struct gw_error *error)
{
    if (message->body.verified.equal == 1 && message->body.verified.hash == hash)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                        "the memory of the two sides differs (hash %016llx here, %016llx there): the "
                        "guest was not handed over",
                        (unsigned long long)hash,
                        (unsigned long long)message->body.verified.hash);
}

static int verify(struct gw_source *source, struct gw_error *error)
{
    uint64_t hash = gw_memory_hash(source->config.memory);
    union wire_body body = {.verify = {.attempt = source->attempt, .hash = hash}};
    session_post(&source->session, WIRE_VERIFY, &body, NULL, 0);
    for (;;) {
        struct message message = {0};
        int r = source_next(source, UINT64_MAX, &message, error);
        if (r < 0)
            return r;
        bool verified =
            message.type == WIRE_VERIFIED && message.body.verified.attempt == source->attempt;
        r = verified ? verified_result(&message, hash, error) : source_take(source, &message, error);
        message_fini(&message);
        if (r < 0 || verified)
            return r;
    }
}

static uint64_t later(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* The parts that are known at READY, for the estimate and the report. */
static void measure(struct gw_source *source)
{
    struct gw_pause_parts *parts = &source->measured;
    uint64_t last = later(source->saved_ns, source->ram_done_ns);
    uint64_t rest_us = (later(source->ready_ns, last) - last) / 1000;
    uint64_t half_trip_us = session_round_trip_ns(&source->session) / 2000;
    parts->stop_us = (source->stopped_ns - source->pause_began_ns) / 1000;
    parts->save_us = (source->saved_ns - source->stopped_ns) / 1000;
    parts->ram_us = (last - source->saved_ns) / 1000;
    parts->load_us = source->ready.load_ns / 1000;
    if (parts->load_us > rest_us)
        parts->load_us = rest_us;
    rest_us -= parts->load_us;
    parts->ready_us = rest_us < half_trip_us ? rest_us : half_trip_us;
    parts->send_us = rest_us - parts->ready_us;
    parts->verify_us = (source->verified_ns - source->ready_ns) / 1000;
    monitor_enter(&source->monitor);
    source->info.pause.stop = parts->stop_us;
    source->info.pause.save = parts->save_us;
    source->info.pause.ram = parts->ram_us;
    source->info.pause.load = parts->load_us;
    source->info.pause.ready = parts->ready_us;
    source->info.pause.send = parts->send_us;
    source->info.pause.verify = parts->verify_us;
    monitor_leave(&source->monitor);
}

/* From the stopped guest to READY, and the hashes. -ETIME when the budget will not be kept. */
static int finish_pause(struct gw_source *source, struct gw_error *error)
{
    int r = send_state(source, error);
    if (r == 0)
        r = source_await_round(source, ready_due_ns(source), error);
    if (r < 0)
        return r;
    source->ram_done_ns = source->began_ns + rounds_result(source->rounds).started_ns +
                          rounds_result(source->rounds).duration_ns;
    r = await_ready(source, ready_due_ns(source), error);
    if (r < 0)
        return r;
    source->verified_ns = source->ready_ns;
    if (source_parameters(source).verify_ram && (source->features & WIRE_FEATURE_VERIFY_RAM)) {
        r = verify(source, error);
        source->verified_ns = host_monotonic_ns();
        source->budget_ends_ns += source->verified_ns - source->ready_ns;
    }
    measure(source);
    return r;
}

int source_switch_over(struct gw_source *source, struct gw_error *error)
{
    source_set_status(source, GW_MIGRATE_DEVICE, "device");
    int r = begin_pause(source, error);
    if (r == 0)
        r = finish_pause(source, error);
    if (r == -ETIME)
        return take_back(source, error);
    if (r < 0)
        return r;
    source_record_round(source);
    r = source_hand_over(source, error);
    return r == -ETIME ? take_back(source, error) : r;
}
