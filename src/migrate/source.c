/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The course of a migration on the source: connect, OFFER, rounds until the policy says so,
 * switchover.
 *
 *     SETUP --> ACTIVE --> DEVICE --> COMMITTING --> COMPLETED
 *       |         ^  |       |             |
 *       |         |  |       +-- budget overrun: back to ACTIVE
 *       |         +--|-------+             |
 *       +------------+--> FAILED, CANCELLED <-- refused by the destination, or nobody answers
 *
 * Whatever goes wrong before COMMITTING, the guest runs on here; handoff.c tells about afterwards.
 */
#include "migrate/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MILLISECOND_NS 1000000ull
#define SAMPLE_NS (50 * MILLISECOND_NS)
#define REHEARSE_AGAIN_NS (1000 * MILLISECOND_NS)
#define FLUSH_NS (500 * MILLISECOND_NS)
#define PREPARE_AGAIN_NS (1000 * MILLISECOND_NS)
#define PREPARE_LONG_NS (10 * MILLISECOND_NS)
#define MAX_NAP_NS (100 * MILLISECOND_NS) /* between rounds with little to send */

uint64_t source_elapsed_ns(const struct gw_source *source)
{
    return host_monotonic_ns() - source->began_ns;
}

struct gw_migrate_parameters source_parameters(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    struct gw_migrate_parameters parameters = source->parameters;
    monitor_leave(&source->monitor);
    return parameters;
}

/* ---- Telling ---- */

/* Inside the monitor: the figures that change by themselves. */
static void refresh_info(struct gw_source *source)
{
    struct gw_migrate_info *info = &source->info;
    if (!source->ended)
        info->total_ms = source_elapsed_ns(source) / MILLISECOND_NS;
    if (!source->rounds)
        return;
    info->round = rounds_number(source->rounds);
    info->ram_remaining = rounds_remaining_bytes(source->rounds);
    info->pages_normal = rounds_raw_pages(source->rounds);
    info->pages_zero = rounds_zero_pages(source->rounds);
    info->ram_transferred = rounds_sent_bytes(source->rounds);
    info->bytes_sent = transport_bytes_written(source->session.control->transport);
    for (unsigned i = 0; i < source->session.data_count; i++)
        info->bytes_sent += transport_bytes_written(source->session.data[i]->transport);
}

void source_publish(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    refresh_info(source);
    struct gw_migrate_info info = source->info;
    monitor_leave(&source->monitor);
    if (source->config.listener.changed)
        source->config.listener.changed(source->config.listener.opaque, &info);
}

void source_set_status(struct gw_source *source, enum gw_migrate_status status, const char *phase)
{
    monitor_enter(&source->monitor);
    source->info.status = status;
    monitor_leave(&source->monitor);
    source->phase = phase;
    flightlog_add_phase(source->log, source_elapsed_ns(source), phase);
    source_publish(source);
}

void source_event(struct gw_source *source, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    flightlog_add_event(source->log, source_elapsed_ns(source), sentence);
}

/* ---- Waiting ---- */

/* Once the guest has been given away nothing but an answer ends the wait. */
static int check_limits(struct gw_source *source, struct gw_error *error)
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
        r = check_limits(source, error);
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

static int out_of_order(const struct message *message, struct gw_error *error)
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
        return out_of_order(message, error);
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
        return out_of_order(message, error);
    source->ready = message->body.ready;
    source->ready_ns = message->at_ns;
    return 0;
}

int source_take(struct gw_source *source, const struct message *message, struct gw_error *error)
{
    if (message->type == WIRE_PROGRESS)
        return 0;
    if (message->type == WIRE_READY)
        return take_ready(source, message, error);
    if (message->type == WIRE_REHEARSED)
        return take_rehearsed(source, message, error);
    return out_of_order(message, error);
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

/* ---- Setup ---- */

/* While it is on, cancelling breaks all connections of the session, so that nothing waits for one
 * that does not come; otherwise the destination is told politely. */
static int set_connecting(struct gw_source *source, bool connecting, struct gw_error *error)
{
    monitor_enter(&source->monitor);
    source->connecting = connecting;
    int r = check_limits(source, error);
    monitor_leave(&source->monitor);
    return r;
}

static int try_connect(struct gw_source *source, enum wire_role role, unsigned index,
                       struct channel **ret_channel, struct gw_error *error)
{
    uint64_t timeout_ms = source_parameters(source).peer_timeout_ms;
    struct transport_wait wait = {timeout_ms ? (int)timeout_ms : -1, source->connect_cancel_fd};
    struct transport *transport = NULL;
    int r = transport_connect(&source->uri, wait, &transport, error);
    if (r < 0)
        return r;
    struct channel *channel = channel_new(transport, role, index, WIRE_FROM_DESTINATION);
    if (!channel) {
        transport_free(transport);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for a channel");
    }
    r = channel_open(channel, source->session.id, timeout_ms ? (int)timeout_ms : 5000,
                     source->connect_cancel_fd, error);
    if (r < 0)
        channel_free(channel);
    else
        *ret_channel = channel;
    return r;
}

static int connect_channel(struct gw_source *source, enum wire_role role, unsigned index,
                           struct channel **ret_channel, struct gw_error *error)
{
    struct channel *channel = NULL;
    int r = set_connecting(source, true, error);
    if (r == 0)
        r = try_connect(source, role, index, &channel, error);
    struct gw_error cancelled;
    int late = set_connecting(source, false, &cancelled);
    if (late == 0) {
        if (r == 0)
            *ret_channel = channel;
        return r;
    }
    channel_free(channel);
    *error = cancelled; /* being cancelled explains every other failure */
    return late;
}

static bool many_channels(const struct gw_source *source)
{
    return source->uri.kind == GW_URI_TCP || source->uri.kind == GW_URI_UNIX;
}

static void fill_regions(const struct gw_memory *memory, struct wire_offer *offer)
{
    offer->region_count = gw_memory_region_count(memory);
    for (unsigned i = 0; i < offer->region_count; i++) {
        const struct gw_memory_region *region = gw_memory_region(memory, i);
        offer->regions[i] =
            (struct wire_region){.guest_base = region->guest_base, .bytes = region->bytes};
        snprintf(offer->regions[i].name, sizeof offer->regions[i].name, "%s", region->name);
    }
}

static int post_offer(struct gw_source *source, struct gw_error *error)
{
    struct gw_buf description = {0}, flights = {0}, body = {0};
    struct wire_offer offer = {
        .features = WIRE_FEATURES_KNOWN,
        .epoch = source->owner.epoch,
        .peer_timeout_ms = source_parameters(source).peer_timeout_ms,
        .data_channels = many_channels(source) ? 1 : 0,
        .running = source->config.ops->is_running(source->config.vm),
    };
    if (!many_channels(source))
        offer.features &= ~(uint64_t)WIRE_FEATURE_QUERY;
    fill_regions(source->config.memory, &offer);
    snprintf(offer.machine, sizeof offer.machine, "%.63s", source->config.name);
    int r = source->config.ops->describe(source->config.vm, &description, error);
    if (r == 0 && flightlog_format_earlier(source->log, &flights) < 0)
        gw_buf_clear(&flights);
    if (flights.length > WIRE_FLIGHTS_MAX_BYTES)
        gw_buf_clear(&flights);
    offer.description = (char *)description.data;
    offer.description_bytes = (uint32_t)description.length;
    offer.flights = (char *)flights.data;
    offer.flights_bytes = (uint32_t)flights.length;
    if (r == 0)
        r = wire_offer_encode(&offer, &body, error);
    if (r == 0)
        session_post_raw(&source->session, WIRE_OFFER, body.data, body.length);
    gw_buf_fini(&description);
    gw_buf_fini(&flights);
    gw_buf_fini(&body);
    return r;
}

static int await_accept(struct gw_source *source, unsigned *ret_data_channels,
                        struct gw_error *error)
{
    struct message message = {0};
    int r = source_next(source, UINT64_MAX, &message, error);
    if (r < 0)
        return r;
    unsigned offered = many_channels(source) ? 1 : 0;
    const struct wire_accept *accept = &message.body.accept;
    r = 0;
    if (message.type != WIRE_ACCEPT)
        r = out_of_order(&message, error);
    else if ((accept->features & ~(uint64_t)WIRE_FEATURES_KNOWN) || accept->data_channels > offered)
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "the destination accepted what was not offered");
    if (r == 0) {
        source->features = accept->features;
        source->record_ns = accept->record_ns;
        *ret_data_channels = accept->data_channels;
    }
    message_fini(&message);
    return r;
}

/* Which stretches of memory are in use, so that the destination can populate them ahead. */
static void post_resident(struct gw_source *source)
{
    struct gw_buf ranges = {0};
    uint32_t count = 0;
    for (unsigned i = 0; i < gw_memory_region_count(source->config.memory); i++) {
        const struct gw_memory_region *region = gw_memory_region(source->config.memory, i);
        uint64_t at = gw_memory_next_data(region, 0);
        while (at < region->bytes && count < WIRE_RESIDENT_MAX_RANGES) {
            uint64_t end = gw_memory_next_hole(region, at);
            struct wire_range range = {at >> GW_PAGE_SHIFT, i,
                                       (uint32_t)((end - at) >> GW_PAGE_SHIFT)};
            uint8_t *to = gw_buf_extend(&ranges, WIRE_RANGE_BYTES);
            if (!to)
                break;
            wire_range_encode(&range, to);
            count++;
            at = gw_memory_next_data(region, end);
        }
    }
    union wire_body body = {.resident = {.count = count}};
    session_post(&source->session, WIRE_RESIDENT, &body, ranges.data, ranges.length);
    gw_buf_fini(&ranges);
}

static int open_control(struct gw_source *source, struct gw_error *error)
{
    struct channel *control = NULL;
    int r = connect_channel(source, WIRE_ROLE_CONTROL, 0, &control, error);
    if (r < 0)
        return r;
    r = session_start(&source->session, control, error);
    if (r < 0)
        channel_free(control);
    return r;
}

static int open_data(struct gw_source *source, unsigned count, struct gw_error *error)
{
    for (unsigned i = 0; i < count; i++) {
        struct channel *data = NULL;
        int r = connect_channel(source, WIRE_ROLE_DATA, i, &data, error);
        if (r < 0)
            return r;
        uint64_t timeout_ms = source_parameters(source).peer_timeout_ms;
        transport_set_timeout(data->transport, timeout_ms ? (int)timeout_ms : -1);
        session_attach(&source->session, data);
    }
    return 0;
}

static int set_up(struct gw_source *source, struct gw_error *error)
{
    source_set_status(source, GW_MIGRATE_SETUP, "setup");
    unsigned data_channels = 0;
    int r = open_control(source, error);
    if (r == 0)
        r = post_offer(source, error);
    if (r == 0)
        r = await_accept(source, &data_channels, error);
    return r < 0 ? r : open_data(source, data_channels, error);
}

/* ---- Rounds ---- */

static int start_rounds(struct gw_source *source, struct gw_error *error)
{
    const struct gw_tracker *tracker = &source->config.tracker;
    int r = tracker->ops->start(tracker->opaque, error);
    if (r < 0)
        return r;
    source->tracking = true;
    struct channel *control[1] = {source->session.control};
    bool own_channels = source->session.data_count > 0;
    struct rounds_config config = {
        .memory = source->config.memory,
        .tracker = *tracker,
        .session = &source->session,
        .channels = own_channels ? source->session.data : control,
        .channel_count = own_channels ? source->session.data_count : 1,
        .limiter = &source->limiter,
        .began_ns = source->began_ns,
    };
    for (unsigned i = 0; i < config.channel_count; i++) {
        channel_begin(config.channels[i]);
        transport_set_limiter(config.channels[i]->transport, &source->limiter);
        channel_end(config.channels[i]);
    }
    struct rounds *rounds = NULL;
    r = rounds_new(&config, &rounds, error);
    monitor_enter(&source->monitor);
    source->rounds = rounds;
    monitor_leave(&source->monitor);
    return r;
}

static void add_sample(struct gw_source *source)
{
    if (source->sample_count == POLICY_SAMPLE_WINDOW) {
        memmove(source->samples, source->samples + 1,
                (POLICY_SAMPLE_WINDOW - 1) * sizeof *source->samples);
        source->sample_count--;
    }
    source->samples[source->sample_count++] = (struct policy_sample){
        .at_ns = source_elapsed_ns(source),
        .sent_bytes = rounds_sent_bytes(source->rounds),
        .remaining_bytes = rounds_remaining_bytes(source->rounds),
    };
}

/* The first rounds are kept besides the last ones: with an idle guest only they show what the link
 * can do. */
void source_record_round(struct gw_source *source)
{
    struct gw_round round = rounds_result(source->rounds);
    if (source->series_count == SERIES_MAX) {
        memmove(source->series + SERIES_FIRST, source->series + SERIES_FIRST + 1,
                (POLICY_WINDOW - 1) * sizeof *source->series);
        source->series_count--;
    }
    source->series[source->series_count++] = round;
    flightlog_add_round(source->log, &round);
    monitor_enter(&source->monitor);
    if (round.bandwidth > 0)
        source->info.bandwidth = round.bandwidth;
    source->info.dirty_rate = round.dirty_rate;
    monitor_leave(&source->monitor);
    source_publish(source);
}

static void decide(struct gw_source *source, bool in_round, struct policy_decision *ret_decision)
{
    struct gw_migrate_parameters parameters = source_parameters(source);
    struct policy_input input = {
        .budget_us = parameters.downtime_limit_ms * 1000,
        .deadline_ns = parameters.deadline_ms * MILLISECOND_NS,
        .now_ns = source_elapsed_ns(source),
        .ram_bytes = gw_memory_total_bytes(source->config.memory),
        .state_bytes = source->state_bytes,
        .round_trip_us = session_round_trip_ns(&source->session) / 1000,
        .measured = source->measured,
        .rounds = source->series,
        .round_count = source->series_count,
        .samples = source->samples,
        .sample_count = source->sample_count,
        .in_round = in_round,
        .failed_switches = source->failed_switches,
        .last_failed_ns = source->last_failed_ns,
    };
    policy_decide(&input, ret_decision);
    flightlog_add_decision(source->log, input.now_ns, ret_decision);
    monitor_enter(&source->monitor);
    snprintf(source->info.decision, sizeof source->info.decision, "%s", ret_decision->reason);
    if (ret_decision->predicted_pause_us != UINT64_MAX)
        source->info.predicted_pause_us = ret_decision->predicted_pause_us;
    if (ret_decision->bandwidth > 0)
        source->info.bandwidth = ret_decision->bandwidth;
    monitor_leave(&source->monitor);
}

/* Sends one round, or as much of it as the policy wants. */
static int run_round(struct gw_source *source, struct policy_decision *decision,
                     struct gw_error *error)
{
    rounds_begin(source->rounds, 0);
    *decision = (struct policy_decision){.action = POLICY_GO_ON};
    int r;
    do {
        r = source_await_round(source, host_monotonic_ns() + SAMPLE_NS, error);
        add_sample(source);
        if (r == -ETIME && decision->action == POLICY_GO_ON) {
            decide(source, true, decision);
            if (decision->action == POLICY_SWITCH)
                rounds_abandon(source->rounds);
            if (decision->action == POLICY_GIVE_UP)
                return 0;
        }
    } while (r == -ETIME);
    if (r < 0)
        return r;
    source_record_round(source);
    if (decision->action == POLICY_GO_ON)
        decide(source, false, decision);
    return 0;
}

/* Little to send and no wish to switch (after a switchover that was taken back): let some time
 * pass. */
static int nap(struct gw_source *source, const struct policy_decision *decision,
               struct gw_error *error)
{
    if (rounds_remaining_bytes(source->rounds) > (4u << 20) && source->failed_switches == 0)
        return 0;
    uint64_t wait_ns = decision->look_again_ns < MAX_NAP_NS ? decision->look_again_ns : MAX_NAP_NS;
    uint64_t until = host_monotonic_ns() + wait_ns;
    struct message message = {0};
    int r = source_next(source, until, &message, error);
    if (r != 1)
        return r;
    r = source_take(source, &message, error);
    message_fini(&message);
    return r;
}

static int give_up(const struct policy_decision *decision, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_BUDGET, -ETIMEDOUT, "given up: %s",
                        decision->reason);
}

/* Lets the VMM do ahead what would make the pause long. -EAGAIN when that took so long that the
 * policy should look again. */
static int prepare_pause(struct gw_source *source, struct gw_error *error)
{
    uint64_t began_ns = source_elapsed_ns(source);
    if (!source->config.ops->prepare ||
        (source->prepared_ns && began_ns - source->prepared_ns < PREPARE_AGAIN_NS))
        return 0;
    int r = source->config.ops->prepare(source->config.vm, error);
    source->prepared_ns = source_elapsed_ns(source);
    if (r < 0)
        return r;
    return source->prepared_ns - began_ns > PREPARE_LONG_NS ? -EAGAIN : 0;
}

/* The state must have been rehearsed before a pause. When that had not been known yet, the policy
 * decides again with what it showed. */
static int try_switch(struct gw_source *source, struct gw_error *error)
{
    bool rehearsed =
        source->rehearsal == REHEARSAL_PASSED || !(source->features & WIRE_FEATURE_REHEARSAL);
    int r = prepare_pause(source, error);
    if (r < 0)
        return r;
    if (rehearsed)
        return source_switch_over(source, error);
    r = source_await_rehearsal(source, error);
    return r < 0 ? r : -EAGAIN;
}

/* What the rehearsal measured can have been an outlier (a disk that was busy, say), and nothing
 * else would ever correct it: when it alone stands in the way it is measured again. */
static int rehearse_again(struct gw_source *source, const struct policy_decision *decision,
                          struct gw_error *error)
{
    uint64_t budget_us = source_parameters(source).downtime_limit_ms * 1000;
    struct gw_pause_parts fixed = decision->predicted;
    fixed.ram_us = fixed.send_us = 0;
    if (source->rehearsal != REHEARSAL_PASSED || gw_pause_parts_sum(&fixed) <= budget_us ||
        source_elapsed_ns(source) - source->rehearsed_ns < REHEARSE_AGAIN_NS)
        return 0;
    return source_rehearse(source, error);
}

static int run_rounds(struct gw_source *source, struct gw_error *error)
{
    source_set_status(source, GW_MIGRATE_ACTIVE, "active");
    for (;;) {
        struct policy_decision decision;
        int r = run_round(source, &decision, error);
        if (r == 0 && source->rehearsal == REHEARSAL_NONE &&
            (source->features & WIRE_FEATURE_REHEARSAL))
            r = source_rehearse(source, error);
        if (r < 0)
            return r;
        switch (decision.action) {
        case POLICY_SWITCH:
            r = try_switch(source, error);
            if (r != -EAGAIN)
                return r;
            break;
        case POLICY_GIVE_UP:
            return give_up(&decision, error);
        case POLICY_GO_ON:
        case POLICY_THROTTLE:
        case POLICY_POSTCOPY:
            r = nap(source, &decision, error);
            if (r == 0)
                r = rehearse_again(source, &decision, error);
            if (r < 0)
                return r;
        }
    }
}

/* ---- The end ---- */

static void stop_tracking(struct gw_source *source)
{
    if (source->tracking)
        source->config.tracker.ops->stop(source->config.tracker.opaque);
    source->tracking = false;
}

static void farewell(struct gw_source *source, struct gw_error *error)
{
    bool gave_away = source->owner.state == GW_OWNER_RELEASED;
    if (gave_away || !source->session.started)
        return;
    session_flush(&source->session, host_monotonic_ns() + FLUSH_NS);
    if (error->code == GW_CODE_CANCELLED)
        session_post(&source->session, WIRE_CANCEL, NULL, NULL, 0);
    else
        session_fail(&source->session, SESSION_LOCAL, error);
}

static const char *what_next(const struct gw_source *source, const struct gw_error *error)
{
    if (source->owner.state == GW_OWNER_RELEASED)
        return "find out whether the guest runs on the destination (godwit status there); if that "
               "host "
               "is off for good, godwit reclaim takes the guest back";
    switch (error->code) {
    case GW_CODE_BUDGET:
        return "allow a longer pause, more bandwidth, or migrate when the guest is less busy";
    case GW_CODE_TIMEOUT:
    case GW_CODE_DISCONNECTED:
        return "check the network and the destination, then migrate again; the guest runs on here";
    default:
        return "the guest runs on here; remove the cause and migrate again";
    }
}

static void write_log(struct gw_source *source, enum gw_migrate_status status,
                      const struct gw_error *error)
{
    bool failed = status != GW_MIGRATE_COMPLETED;
    const char *side = !failed                                  ? ""
                       : source->session.origin == SESSION_PEER ? "destination"
                                                                : "source";
    flightlog_set_verdict(source->log, source_elapsed_ns(source), status, source->phase, side,
                          failed ? error : NULL, failed ? what_next(source, error) : "");
    monitor_enter(&source->monitor);
    refresh_info(source);
    struct gw_migrate_info info = source->info;
    monitor_leave(&source->monitor);
    flightlog_set_totals(source->log, &info);
    struct gw_error ignored;
    if (source->config.log_directory)
        (void)flightlog_write(source->log, source->config.log_directory, &ignored);
}

static void post_flight(struct gw_source *source)
{
    struct gw_buf text = {0};
    if (flightlog_format_condensed(source->log, &text) == 0 &&
        text.length <= WIRE_FLIGHT_MAX_BYTES) {
        union wire_body body = {.flight = {.bytes = (uint32_t)text.length}};
        session_post(&source->session, WIRE_FLIGHT, &body, text.data, text.length);
    }
    gw_buf_fini(&text);
}

static void end(struct gw_source *source, int r, struct gw_error *error)
{
    bool cancelled = r < 0 && error->code == GW_CODE_CANCELLED && source->cancel_asked;
    enum gw_migrate_status status = r == 0      ? GW_MIGRATE_COMPLETED
                                    : cancelled ? GW_MIGRATE_CANCELLED
                                                : GW_MIGRATE_FAILED;
    if (cancelled && source->owner.state == GW_OWNER_OWNER)
        source_set_status(source, GW_MIGRATE_CANCELLING, "cancelling");
    if (source->rounds)
        rounds_abandon(source->rounds);
    if (r < 0)
        farewell(source, error);
    stop_tracking(source);
    monitor_enter(&source->monitor);
    source->info.error = r < 0 ? *error : (struct gw_error){0};
    source->info.owner = source->owner.state == GW_OWNER_OWNER;
    source->info.epoch = source->owner.epoch;
    monitor_leave(&source->monitor);
    write_log(source, status, error);
    if (r == 0)
        post_flight(source);
    if (r == 0)
        session_post(&source->session, WIRE_END, NULL, NULL, 0);
    session_close(&source->session);

    monitor_enter(&source->monitor);
    refresh_info(source);
    struct rounds *rounds = source->rounds;
    source->rounds = NULL;
    monitor_leave(&source->monitor);
    rounds_free(rounds);
    session_fini(&source->session);
    monitor_enter(&source->monitor);
    source->info.status = status;
    source->ended = true;
    struct gw_migrate_info info = source->info;
    monitor_leave(&source->monitor);
    if (source->config.listener.changed)
        source->config.listener.changed(source->config.listener.opaque, &info);
    monitor_enter(&source->monitor);
    source->told = true;
    monitor_notify(&source->monitor);
    monitor_leave(&source->monitor);
}

static void *coordinator_main(void *opaque)
{
    struct gw_source *source = opaque;
    struct gw_error error = {0};
    int r = set_up(source, &error);
    monitor_enter(&source->monitor);
    source->info.setup_ms = source_elapsed_ns(source) / MILLISECOND_NS;
    monitor_leave(&source->monitor);
    if (r == 0) {
        post_resident(source);
        r = start_rounds(source, &error);
    }
    if (r == 0)
        r = run_rounds(source, &error);
    if (r < 0 && source->paused && source->owner.state == GW_OWNER_OWNER) {
        struct gw_error why = {0};
        if (source_resume(source, &why) < 0)
            gw_error_set(&error, why.layer, why.code, 0,
                         "%.220s; and the guest could not be resumed: %.220s", error.message,
                         why.message);
    }
    end(source, r, &error);
    return NULL;
}

/* ---- Public functions ---- */

static int read_owner(const char *path, struct gw_ownership *ret_owner, struct gw_error *error)
{
    struct gw_ownership owner = {.state = GW_OWNER_OWNER, .epoch = 1};
    int r = path ? gw_ownership_read(path, &owner, error) : 0;
    if (r == -ENOENT)
        owner = (struct gw_ownership){.state = GW_OWNER_OWNER, .epoch = 1};
    else if (r < 0)
        return r;
    if (owner.state != GW_OWNER_OWNER)
        return gw_error_set(
            error, GW_LAYER_MIGRATE, GW_CODE_STATE, -EBUSY,
            "this side does not own the guest (it is %s, epoch %llu, peer '%s'), so "
            "it cannot send it",
            gw_owner_state_name(owner.state), (unsigned long long)owner.epoch, owner.peer);
    *ret_owner = owner;
    return 0;
}

static int copy_strings(struct gw_source *source, const struct gw_source_config *config)
{
    struct gw_source_config *mine = &source->config;
    *mine = *config;
    mine->name = strdup(config->name ? config->name : "");
    mine->uri = strdup(config->uri);
    mine->ownership_path = config->ownership_path ? strdup(config->ownership_path) : NULL;
    mine->log_directory = config->log_directory ? strdup(config->log_directory) : NULL;
    return mine->name && mine->uri && (mine->ownership_path || !config->ownership_path) &&
                   (mine->log_directory || !config->log_directory)
               ? 0
               : -ENOMEM;
}

static void destroy(struct gw_source *source)
{
    free((char *)source->config.name);
    free((char *)source->config.uri);
    free((char *)source->config.ownership_path);
    free((char *)source->config.log_directory);
    flightlog_free(source->log);
    ratelimit_fini(&source->limiter);
    monitor_fini(&source->monitor);
    if (source->connect_cancel_fd >= 0)
        close(source->connect_cancel_fd);
    free(source);
}

static int prepare(struct gw_source *source, struct gw_error *error)
{
    uint8_t id[WIRE_SESSION_BYTES];
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(errno), -errno,
                            "no random number for the session: %s", strerror(errno));
    session_init(&source->session, &source->monitor, true, id,
                 source->config.parameters.peer_timeout_ms);
    snprintf(source->info.session, sizeof source->info.session, "%s", source->session.hex);
    source->connect_cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    source->log = flightlog_new(true, source->session.hex, source->config.name, source->config.uri);
    if (source->connect_cancel_fd < 0 || !source->log)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory or descriptor for a migration");
    source->info.ram_total = gw_memory_total_bytes(source->config.memory);
    source->info.ram_remaining = source->info.ram_total;
    source->info.owner = true;
    source->info.epoch = source->owner.epoch;
    flightlog_set_machine(source->log, source->config.name, source->info.ram_total);
    flightlog_add_parameters(source->log, 0, &source->parameters);
    if (source->config.log_directory)
        flightlog_inherit(source->log, source->config.log_directory);
    return 0;
}

int gw_source_start(const struct gw_source_config *config, struct gw_source **ret_source,
                    struct gw_error *error)
{
    struct gw_source *source = calloc(1, sizeof *source);
    if (!source)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for a migration");
    source->began_ns = host_monotonic_ns();
    source->connect_cancel_fd = -1;
    source->phase = "setup";
    source->parameters = config->parameters;
    monitor_init(&source->monitor);
    ratelimit_init(&source->limiter, config->parameters.max_bandwidth);
    int r = copy_strings(source, config);
    if (r < 0)
        gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, r, "no memory for a migration");
    if (r == 0)
        r = gw_uri_parse(config->uri, &source->uri, error);
    if (r == 0)
        r = read_owner(config->ownership_path, &source->owner, error);
    if (r == 0)
        r = prepare(source, error);
    if (r == 0) {
        r = -pthread_create(&source->coordinator, NULL, coordinator_main, source);
        if (r < 0)
            gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, r,
                         "no thread for a migration: %s", strerror(-r));
    }
    if (r < 0)
        destroy(source);
    else
        *ret_source = source;
    return r;
}

void gw_source_set_parameters(struct gw_source *source,
                              const struct gw_migrate_parameters *parameters)
{
    monitor_enter(&source->monitor);
    source->parameters = *parameters;
    source->parameters_changed = true;
    monitor_notify(&source->monitor);
    monitor_leave(&source->monitor);
}

void gw_source_cancel(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    source->cancel_asked = true;
    uint64_t one = 1;
    if (source->connecting && write(source->connect_cancel_fd, &one, sizeof one) < 0)
        one = 0; /* it is readable already */
    monitor_notify(&source->monitor);
    monitor_leave(&source->monitor);
}

void gw_source_info(struct gw_source *source, struct gw_migrate_info *ret_info)
{
    monitor_enter(&source->monitor);
    refresh_info(source);
    *ret_info = source->info;
    monitor_leave(&source->monitor);
}

int gw_source_wait(struct gw_source *source, int timeout_ms)
{
    uint64_t until =
        timeout_ms < 0 ? UINT64_MAX : host_monotonic_ns() + (uint64_t)timeout_ms * MILLISECOND_NS;
    bool in_time = true;
    monitor_enter(&source->monitor);
    while (!source->told && in_time)
        in_time = monitor_wait(&source->monitor, until);
    bool told = source->told;
    monitor_leave(&source->monitor);
    return told ? 0 : -ETIMEDOUT;
}

void gw_source_free(struct gw_source *source)
{
    if (!source)
        return;
    gw_source_cancel(source);
    pthread_join(source->coordinator, NULL);
    destroy(source);
}
