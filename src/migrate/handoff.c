/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handoff on the source: docs/protocol.md section 9.
 *
 *     owner e --record--> released e+1 --COMMIT--> RUNNING heard: done
 *                              |
 *                              +-- session ended --> ask on new connections --> OWNER: done
 *                              |                          |
 *                              +-- REFUSED <--------------+ REFUSED: owner e+2, the guest runs here
 *
 * Between the record and an answer the guest stays paused, whatever happens.
 */
#include "migrate/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MILLISECOND_NS 1000000ull
#define FIRST_PAUSE_MS 100 /* between two questions, doubled each time */
#define LONGEST_PAUSE_MS 5000
#define ANSWER_MS 5000 /* for one question: the destination may be starting the guest */

static int record(struct gw_source *source, enum gw_owner_state state, uint64_t epoch,
                  struct gw_error *error)
{
    struct gw_ownership owner = {.state = state, .epoch = epoch};
    snprintf(owner.session, sizeof owner.session, "%s", source->session.hex);
    snprintf(owner.peer, sizeof owner.peer, "%.255s", source->config.uri);
    int r = source->config.ownership_path
                ? gw_ownership_write(source->config.ownership_path, &owner, error)
                : 0;
    if (r < 0)
        return r;
    source->owner = owner;
    monitor_enter(&source->monitor);
    source->info.owner = state == GW_OWNER_OWNER;
    source->info.epoch = epoch;
    monitor_leave(&source->monitor);
    return 0;
}

int source_rehearse_record(struct gw_source *source, struct gw_error *error)
{
    uint64_t began = host_monotonic_ns();
    struct gw_ownership owner = source->owner;
    int r = source->config.ownership_path
                ? gw_ownership_write(source->config.ownership_path, &owner, error)
                : 0;
    uint64_t took_ns = host_monotonic_ns() - began;
    if (r == 0 && took_ns < source->record_ns)
        source->record_ns = took_ns;
    return r;
}

/* ---- Endings ---- */

/* REFUSED came: the next epoch is ours, and so is the guest. */
static int take_back_guest(struct gw_source *source, uint64_t epoch, const struct gw_error *why,
                           struct gw_error *error)
{
    int r = record(source, GW_OWNER_OWNER, epoch + 1, error);
    if (r < 0) {
        gw_error_prefix(error,
                        "the destination refused the guest, but that this side owns it again "
                        "cannot be recorded, so it stays paused");
        return r;
    }
    r = source->config.ops->reacquire(source->config.vm, error);
    if (r < 0) {
        gw_error_prefix(error, "the destination refused the guest, which stays paused here because "
                               "its resources cannot be taken back");
        source->paused = false; /* it must not be resumed without them */
        return r;
    }
    r = source_resume(source, error);
    if (r < 0)
        return r;
    return gw_error_set(error, why->layer, why->code, -ECONNABORTED,
                        "the destination refused the guest, which runs on here: %.400s",
                        why->message);
}

/* The clock offset has an error; the guest cannot have started before COMMIT or after RUNNING. */
static uint64_t started_here_ns(struct gw_source *source, const struct wire_running *running,
                                uint64_t heard_ns)
{
    uint64_t started = session_local_ns(&source->session, running->started_ns);
    if (started > heard_ns)
        started = heard_ns;
    return started > source->verified_ns ? started : source->verified_ns;
}

static void report_pause(struct gw_source *source, const struct wire_running *running,
                         uint64_t heard_ns)
{
    struct gw_pause_parts *parts = &source->measured;
    uint64_t started = started_here_ns(source, running, heard_ns);
    uint64_t pause_us = (started - source->pause_began_ns) / 1000;
    uint64_t after_us = (started - source->verified_ns) / 1000;
    parts->start_us = running->acquire_ns / 1000;
    if (parts->start_us > after_us)
        parts->start_us = after_us;
    parts->commit_us = after_us - parts->start_us;
    monitor_enter(&source->monitor);
    uint64_t clock_error_us = source->session.clock_error_ns / 1000;
    source->info.pause.commit = parts->commit_us;
    source->info.pause.start = parts->start_us;
    source->info.pause_us = source->was_running ? pause_us : 0;
    uint64_t predicted_us = source->info.predicted_pause_us;
    uint64_t budget_us = source->parameters.downtime_limit_ms * 1000;
    monitor_leave(&source->monitor);
    flightlog_set_pause(source->log, source->pause_began_ns - source->began_ns,
                        source->was_running ? pause_us : 0, parts, budget_us, predicted_us,
                        clock_error_us);
}

/* ---- Asking ---- */

struct question {
    struct gw_source *source;
    uint64_t until_ns;
};

static int tick_answer(void *opaque, struct gw_error *error)
{
    const struct question *question = opaque;
    monitor_enter(&question->source->monitor);
    bool cancelled = question->source->cancel_asked;
    monitor_leave(&question->source->monitor);
    if (cancelled)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CANCELLED, -ECANCELED,
                            "the question was cancelled");
    if (host_monotonic_ns() < question->until_ns)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, -ETIMEDOUT,
                        "the destination did not answer in time");
}

struct answer {
    bool owner;
    struct gw_error refusal;
};

static int read_answer(struct channel *channel, uint64_t epoch, struct answer *ret_answer,
                       struct gw_error *error)
{
    struct wire_header header;
    struct gw_buf bytes = {0};
    union wire_body body = {0};
    const uint8_t *tail = NULL;
    int r = channel_read_header(channel, &header, error);
    if (r == 0)
        r = channel_read_body(channel, &header, &bytes, error);
    if (r == 0)
        r = wire_body_decode(header.type, bytes.data, bytes.length, &body, &tail, error);
    if (r == 0 && header.type == WIRE_ERROR) {
        wire_error_take(body.error.layer, body.error.code, tail, body.error.text_bytes, error);
        r = -ECONNABORTED;
    } else if (r == 0 && header.type == WIRE_OWNER && body.epoch.epoch == epoch) {
        *ret_answer = (struct answer){.owner = true};
    } else if (r == 0 && header.type == WIRE_REFUSED && body.refused.epoch == epoch) {
        ret_answer->owner = false;
        wire_error_take(body.refused.layer, body.refused.code, tail, body.refused.text_bytes,
                        &ret_answer->refusal);
    } else if (r == 0) {
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "the destination answered with a record %s that does not fit",
                         wire_type_name(header.type));
    }
    gw_buf_fini(&bytes);
    return r;
}

static int converse(struct gw_source *source, struct channel *channel, uint64_t epoch,
                    struct answer *ret_answer, struct gw_error *error)
{
    struct question question = {source, host_monotonic_ns() + ANSWER_MS * MILLISECOND_NS};
    channel->tick = tick_answer;
    channel->opaque = &question;
    int r = channel_open(channel, source->session.id, ANSWER_MS, source->connect_cancel_fd, error);
    union wire_body body = {.epoch = {.epoch = epoch}};
    if (r == 0)
        r = channel_send(channel, WIRE_QUERY_OWNER, &body, NULL, 0, error);
    if (r == 0)
        r = read_answer(channel, epoch, ret_answer, error);
    if (r == 0)
        (void)channel_send(channel, WIRE_CONFIRM, &body, NULL, 0, NULL);
    if (r == 0)
        transport_finish(channel->transport, 1000);
    return r;
}

/* One question on one new connection. */
static int ask(struct gw_source *source, uint64_t epoch, struct answer *ret_answer,
               struct gw_error *error)
{
    struct transport_wait wait = {ANSWER_MS, source->connect_cancel_fd};
    struct transport *transport = NULL;
    int r = transport_connect(&source->uri, wait, &transport, error);
    if (r < 0)
        return r;
    struct channel *channel = channel_new(transport, WIRE_ROLE_QUERY, 0, WIRE_FROM_DESTINATION);
    if (!channel) {
        transport_free(transport);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for a channel");
    }
    r = converse(source, channel, epoch, ret_answer, error);
    channel_free(channel);
    return r;
}

/* Whether to ask once more, after a wait that doubles. */
static bool wait_to_ask_again(struct gw_source *source, unsigned asked, uint64_t began_ns)
{
    uint64_t pause_ms = asked < 7 ? (uint64_t)FIRST_PAUSE_MS << asked : LONGEST_PAUSE_MS;
    if (pause_ms > LONGEST_PAUSE_MS)
        pause_ms = LONGEST_PAUSE_MS;
    uint64_t until = host_monotonic_ns() + pause_ms * MILLISECOND_NS;
    bool again = true, in_time = true;
    monitor_enter(&source->monitor);
    while (again && in_time) {
        uint64_t limit_ms = source->parameters.handoff_timeout_ms;
        again = !source->cancel_asked &&
                (limit_ms == 0 || host_monotonic_ns() - began_ns < limit_ms * MILLISECOND_NS);
        if (again)
            in_time = monitor_wait(&source->monitor, until);
    }
    monitor_leave(&source->monitor);
    return again;
}

static void tell_asking(struct gw_source *source, unsigned asked, const struct gw_error *why)
{
    monitor_enter(&source->monitor);
    snprintf(source->info.decision, sizeof source->info.decision,
             "paused: asked %u times whether the guest runs there: %.90s", asked, why->message);
    monitor_leave(&source->monitor);
    source_publish(source);
}

static int stay_paused(struct gw_source *source, uint64_t epoch, const char *reason,
                       struct gw_error *error)
{
    source->paused = false; /* it must not be resumed */
    return gw_error_set(
        error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, -ECONNRESET,
        "the guest stays paused here: the link broke after it was released as epoch "
        "%" PRIu64 " and whether it runs on the destination is not known (%.200s)",
        epoch, reason);
}

static int ask_until_answered(struct gw_source *source, uint64_t epoch, struct gw_error *error)
{
    if (!(source->features & WIRE_FEATURE_QUERY))
        return stay_paused(source, epoch, "this transport cannot be opened again to ask", error);
    source_event(source,
                 "the link broke after COMMIT: asking the destination who owns epoch %" PRIu64,
                 epoch);
    monitor_enter(&source->monitor);
    source->connecting = true;
    monitor_leave(&source->monitor);
    uint64_t began = host_monotonic_ns();
    struct gw_error why = {0};
    struct answer answer = {0};
    int r;
    unsigned asked = 0;
    do {
        r = ask(source, epoch, &answer, &why);
        if (r < 0)
            tell_asking(source, ++asked, &why);
    } while (r < 0 && wait_to_ask_again(source, asked, began));
    if (r < 0)
        return stay_paused(source, epoch, why.message, error);
    source_event(source, "the destination answered: %s",
                 answer.owner ? "it owns the guest" : "refused");
    return answer.owner ? 0 : take_back_guest(source, epoch, &answer.refusal, error);
}

/* ---- The handoff ---- */

static void post_confirm(struct gw_source *source, uint64_t epoch)
{
    union wire_body body = {.epoch = {.epoch = epoch}};
    session_post(&source->session, WIRE_CONFIRM, &body, NULL, 0);
}

static int await_running(struct gw_source *source, uint64_t epoch, struct gw_error *error)
{
    for (;;) {
        struct message message = {0};
        struct gw_error broken;
        if (source_next(source, UINT64_MAX, &message, &broken) < 0) {
            session_fail(&source->session, SESSION_LINK, &broken);
            return ask_until_answered(source, epoch, error);
        }
        int r = -EAGAIN;
        if (message.type == WIRE_RUNNING && message.body.running.epoch == epoch) {
            report_pause(source, &message.body.running, message.at_ns);
            r = 0;
        } else if (message.type == WIRE_REFUSED && message.body.refused.epoch == epoch) {
            struct gw_error why;
            wire_error_take(message.body.refused.layer, message.body.refused.code, message.tail,
                            message.body.refused.text_bytes, &why);
            r = take_back_guest(source, epoch, &why, error);
            post_confirm(source, epoch);
        }
        message_fini(&message);
        if (r != -EAGAIN)
            return r;
    }
}

/* The last look at the timer: recording and starting there must still fit. */
static bool is_too_late(const struct gw_source *source)
{
    uint64_t after_ns = 2 * source->record_ns + source->measured.start_us * 1000;
    return host_monotonic_ns() + after_ns > source->budget_ends_ns;
}

static int release(struct gw_source *source, uint64_t epoch, struct gw_error *error)
{
    int r = source->config.ops->release(source->config.vm, error);
    if (r < 0)
        return r;
    if (is_too_late(source))
        r = -ETIME;
    if (r == 0)
        r = record(source, GW_OWNER_RELEASED, epoch + 1, error);
    if (r == 0)
        return 0;
    struct gw_error why;
    if (r != -ETIME)
        (void)record(source, GW_OWNER_OWNER, epoch, &why); /* COMMIT was never sent */
    int taken = source->config.ops->reacquire(source->config.vm, &why);
    if (taken < 0) {
        source->paused = false;
        *error = why;
        gw_error_prefix(error, "the guest stays paused because its resources cannot be taken back");
        return taken;
    }
    return r;
}

int source_hand_over(struct gw_source *source, struct gw_error *error)
{
    uint64_t epoch = source->owner.epoch;
    int r = release(source, epoch, error);
    if (r < 0)
        return r;
    union wire_body body = {
        .commit = {.epoch = epoch + 1, .attempt = source->attempt, .run = source->was_running}};
    session_post(&source->session, WIRE_COMMIT, &body, NULL, 0);
    source_set_status(source, GW_MIGRATE_COMMITTING, "committing");
    r = await_running(source, epoch + 1, error);
    if (r == 0)
        post_confirm(source, epoch + 1);
    return r;
}
