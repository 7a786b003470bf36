/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds of RAM while the guest runs, and the policy that ends them. */
#include "migrate/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define MILLISECOND_NS 1000000ull
#define SAMPLE_NS (50 * MILLISECOND_NS)
#define REHEARSE_AGAIN_NS (1000 * MILLISECOND_NS)
#define PREPARE_AGAIN_NS (1000 * MILLISECOND_NS)
#define PREPARE_LONG_NS (10 * MILLISECOND_NS)
#define LATE_ARRIVALS_MAX 3
#define MAX_NAP_NS (100 * MILLISECOND_NS) /* between rounds with little to send */

int source_start_rounds(struct gw_source *source, struct gw_error *error)
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
    int r = rounds_begin(source->rounds, 0, error);
    if (r < 0)
        return r;
    *decision = (struct policy_decision){.action = POLICY_GO_ON};
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

/* Little to send and no wish to switch (after a switchover that was taken back, or while the state
 * takes too long): let some time pass. News that memory has arrived does not end it, or rounds of a
 * few pages would follow one another without a pause. */
static int nap(struct gw_source *source, const struct policy_decision *decision,
               struct gw_error *error)
{
    if (rounds_remaining_bytes(source->rounds) > (4u << 20) && source->failed_switches == 0)
        return 0;
    uint64_t wait_ns = decision->look_again_ns < MAX_NAP_NS ? decision->look_again_ns : MAX_NAP_NS;
    uint64_t until = host_monotonic_ns() + wait_ns;
    uint32_t arrived;
    int r;
    do {
        arrived = source->arrived_round;
        r = source_serve(source, until, error);
    } while (r == 1 && source->arrived_round != arrived);
    return r < 0 ? r : 0;
}

/* The decision as what has become of it: "give up: WHY" is "given up: WHY". */
static int give_up(const struct policy_decision *decision, struct gw_error *error)
{
    static const char verb[] = "give up: ";
    const char *why = decision->reason;
    if (strncmp(why, verb, sizeof verb - 1) == 0)
        why += sizeof verb - 1;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_BUDGET, -ETIMEDOUT, "given up: %s", why);
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

/* Waits until all that was sent is in its place on the other side. */
static int await_arrival(struct gw_source *source, struct gw_error *error)
{
    while (source->features & WIRE_FEATURE_PROGRESS &&
           source->arrived_round < rounds_number(source->rounds)) {
        int r = source_serve(source, UINT64_MAX, error);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Of the predicted pause, what memory has no part in. */
static uint64_t fixed_pause_us(const struct policy_decision *decision)
{
    struct gw_pause_parts fixed = decision->predicted;
    fixed.ram_us = fixed.send_us = 0;
    return gw_pause_parts_sum(&fixed);
}

/* Whether what the guest has written meanwhile still leaves the pause within its budget. */
static bool still_fits(struct gw_source *source, const struct policy_decision *decision)
{
    double remaining = (double)rounds_remaining_bytes(source->rounds);
    double ram_us = decision->bandwidth > 0 ? remaining * 1e6 / (double)decision->bandwidth : 0;
    return (double)fixed_pause_us(decision) + ram_us <=
           (double)source_parameters(source).downtime_limit_ms * 1e3;
}

/* What would make the pause long and can be done ahead. -EAGAIN when that took so long that the
 * policy should look again; not for ever, since on a long or slow link it always takes long. */
static int clear_the_way(struct gw_source *source, const struct policy_decision *decision,
                         struct gw_error *error)
{
    int r = prepare_pause(source, error);
    if (r < 0)
        return r;
    r = await_arrival(source, error);
    if (r < 0)
        return r;
    if (still_fits(source, decision) || ++source->late_arrivals > LATE_ARRIVALS_MAX)
        return 0;
    return -EAGAIN;
}

/* The state must have been rehearsed before a pause. When that had not been known yet, the policy
 * decides again with what it showed. */
static int try_switch(struct gw_source *source, const struct policy_decision *decision,
                      struct gw_error *error)
{
    bool rehearsed =
        source->rehearsal == REHEARSAL_PASSED || !(source->features & WIRE_FEATURE_REHEARSAL);
    int r = clear_the_way(source, decision, error);
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
    if (source->rehearsal != REHEARSAL_PASSED || fixed_pause_us(decision) <= budget_us ||
        source_elapsed_ns(source) - source->rehearsed_ns < REHEARSE_AGAIN_NS)
        return 0;
    return source_rehearse(source, error);
}

int source_run_rounds(struct gw_source *source, struct gw_error *error)
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
            r = try_switch(source, &decision, error);
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
