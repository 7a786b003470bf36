/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a decision is made.
 *
 * First the figures. Bandwidth is smoothed over rounds by their duration, leaving out rounds too
 * small to show what the link can do; where the last second of samples shows the link as it is now,
 * that counts. The dirty rate is smoothed alike. A stall is neither bytes sent nor memory done for
 * half a second: it is not a slow link; it is reported, and samples from before it are not used.
 * The pause is predicted part by part: what the rehearsal measured, cautious defaults for the rest,
 * and what remains divided by the bandwidth.
 *
 * Then the rules, the first that speaks decides:
 *   1. the link is stalled or not measured yet: go on;
 *   2. the predicted pause keeps the budget: switch, unless a switch failed a moment ago, or the
 * memory left is still falling so fast that a little more patience makes the pause clearly shorter.
 * Looked at inside rounds as well, so the dip between two bursts of a writer is taken when it is
 * there;
 *   3. the deadline has passed, or by the measured figures cannot be met: give up, with the
 * figures;
 *   4. go on, and say how it looks.
 */
#include "migrate/policy.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/words.h"

#define PAGE_BYTES 4096.0
#define SECOND_NS 1000000000ull
#define SMOOTHING_NS 2e9         /* time constant of the averages */
#define TELLING_BYTES (1u << 20) /* a round that sent less says little about the link */
#define RECENT_NS SECOND_NS      /* samples this young show the link as it is now */
#define RECENT_MIN_NS (SECOND_NS / 10)
#define STALL_NS (SECOND_NS / 2)
#define PATIENCE_ROUNDS 3     /* rounds spent on a shorter pause although the budget is kept */
#define WORTHWHILE_US 10000.0 /* a pause shortened by less is not worth a round */
#define HOPELESS_ROUNDS 4
#define TELLING_NS (SECOND_NS / 10) /* a best moment of less is none */
#define STATE_BYTES_GUESS (256u << 10)

struct figures {
    double bandwidth; /* bytes per second, 0: unknown */
    double dirty;     /* bytes per second */
    double remaining; /* bytes */
    uint64_t stalled_ns;
    double fixed_us;        /* pause without RAM and without verify */
    double pause_us;        /* the same with RAM: what the budget is compared with */
    uint64_t best_since_ns; /* for so long nothing smaller remained; UINT64_MAX: never */
};

uint64_t gw_pause_parts_sum(const struct gw_pause_parts *parts)
{
    return parts->stop_us + parts->ram_us + parts->save_us + parts->send_us + parts->load_us +
           parts->verify_us + parts->ready_us + parts->commit_us + parts->start_us;
}

const char *policy_action_name(enum policy_action action)
{
    static const char *const names[] = {
        [POLICY_GO_ON] = "go-on",       [POLICY_SWITCH] = "switch",
        [POLICY_GIVE_UP] = "give-up",   [POLICY_THROTTLE] = "throttle",
        [POLICY_POSTCOPY] = "postcopy",
    };
    return (size_t)action < ARRAY_COUNT(names) ? names[action] : "unknown";
}

/* ---- Figures ---- */

static const struct gw_round *last_round(const struct policy_input *in)
{
    return in->round_count > 0 ? &in->rounds[in->round_count - 1] : NULL;
}

static const struct policy_sample *last_sample(const struct policy_input *in)
{
    return in->sample_count > 0 ? &in->samples[in->sample_count - 1] : NULL;
}

static size_t first_round(const struct policy_input *in)
{
    return in->round_count > POLICY_WINDOW ? in->round_count - POLICY_WINDOW : 0;
}

static size_t first_sample(const struct policy_input *in)
{
    return in->sample_count > POLICY_SAMPLE_WINDOW ? in->sample_count - POLICY_SAMPLE_WINDOW : 0;
}

static void smooth(double *average, double value, uint64_t duration_ns)
{
    double weight = *average > 0 ? 1 - exp(-(double)duration_ns / SMOOTHING_NS) : 1;
    *average += weight * (value - *average);
}

/* Over rounds from `from` on that sent at least `least` bytes. */
static double smoothed_bandwidth(const struct policy_input *in, size_t from, uint64_t least)
{
    double average = 0;
    for (size_t i = from; i < in->round_count; i++)
        if (in->rounds[i].wire_bytes >= least && in->rounds[i].bandwidth > 0)
            smooth(&average, (double)in->rounds[i].bandwidth, in->rounds[i].duration_ns);
    return average;
}

static double smoothed_dirty_rate(const struct policy_input *in)
{
    double average = 0;
    for (size_t i = first_round(in); i < in->round_count; i++)
        smooth(&average, (double)in->rounds[i].dirty_rate * PAGE_BYTES, in->rounds[i].duration_ns);
    return average;
}

/* Bandwidth of the last second of this round, or since the last stall; 0 when the samples do not
 * tell: between small rounds the link rests, which says nothing about it. Memory that is done
 * without being sent (zero pages) means that the link was not what limited. */
static double recent_bandwidth(const struct policy_input *in)
{
    const struct policy_sample *last = last_sample(in), *first = last, *moved = last;
    const struct gw_round *before = last_round(in);
    uint64_t began_ns = before ? before->started_ns + before->duration_ns : 0;
    if (!last || !in->in_round)
        return 0;
    for (size_t i = in->sample_count; i-- > first_sample(in);) {
        const struct policy_sample *sample = &in->samples[i];
        if (sample->sent_bytes != moved->sent_bytes)
            moved = sample;
        if (sample->at_ns < began_ns || last->at_ns - sample->at_ns > RECENT_NS ||
            moved->at_ns - sample->at_ns >= STALL_NS)
            break;
        first = moved;
    }
    uint64_t span_ns = last->at_ns - first->at_ns;
    double sent = (double)last->sent_bytes - (double)first->sent_bytes;
    double done = (double)first->remaining_bytes - (double)last->remaining_bytes;
    bool telling = span_ns >= STALL_NS || (span_ns >= RECENT_MIN_NS && sent >= TELLING_BYTES);
    if (!telling || sent <= 0 || done > 2 * sent)
        return 0;
    return sent * 1e9 / (double)span_ns;
}

static double find_bandwidth(const struct policy_input *in)
{
    double over_rounds = smoothed_bandwidth(in, first_round(in), TELLING_BYTES);
    double recent = recent_bandwidth(in);
    if (over_rounds <= 0) /* an idle guest: only its first rounds were telling, long ago */
        over_rounds = smoothed_bandwidth(in, 0, TELLING_BYTES);
    if (over_rounds >
        0) /* a short look may flatter the link: it counts at most twice the average */
        return recent > 0 ? fmin(recent, 2 * over_rounds) : over_rounds;
    return recent > 0 ? recent : smoothed_bandwidth(in, 0, 1);
}

/* For how long nothing has moved while a round is on; 0 when something did within STALL_NS. */
static uint64_t find_stall(const struct policy_input *in)
{
    const struct policy_sample *last = last_sample(in), *since = last;
    if (!last || !in->in_round || last->remaining_bytes == 0)
        return 0;
    for (size_t i = in->sample_count; i-- > 0;) {
        const struct policy_sample *sample = &in->samples[i];
        if (sample->sent_bytes != last->sent_bytes ||
            sample->remaining_bytes > last->remaining_bytes)
            break;
        since = sample;
    }
    uint64_t stalled_ns = in->now_ns > since->at_ns ? in->now_ns - since->at_ns : 0;
    return since != last && stalled_ns >= STALL_NS ? stalled_ns : 0;
}

static double find_remaining(const struct policy_input *in)
{
    if (in->in_round && in->sample_count > 0)
        return (double)last_sample(in)->remaining_bytes;
    return last_round(in) ? (double)last_round(in)->remaining_bytes : (double)in->ram_bytes;
}

/* How long ago less remained than now. */
static uint64_t find_best_since(const struct policy_input *in, double remaining)
{
    uint64_t smaller_ns = 0;
    for (size_t i = first_sample(in); i < in->sample_count; i++)
        if ((double)in->samples[i].remaining_bytes < remaining)
            smaller_ns = in->samples[i].at_ns;
    for (size_t i = first_round(in); i < in->round_count; i++) {
        uint64_t end_ns = in->rounds[i].started_ns + in->rounds[i].duration_ns;
        if ((double)in->rounds[i].remaining_bytes < remaining && end_ns > smaller_ns)
            smaller_ns = end_ns;
    }
    if (smaller_ns == 0 && first_round(in) == 0)
        return UINT64_MAX;
    if (smaller_ns == 0) /* rounds before these are not looked at */
        smaller_ns = in->rounds[first_round(in)].started_ns;
    return in->now_ns > smaller_ns ? in->now_ns - smaller_ns : 0;
}

static uint64_t known_or(uint64_t measured_us, double otherwise_us)
{
    return measured_us > 0 ? measured_us : (uint64_t)otherwise_us;
}

static double transfer_us(double bytes, double bandwidth)
{
    return bandwidth > 0 ? bytes / bandwidth * 1e6 : 0;
}

static void predict(const struct policy_input *in, const struct figures *f,
                    struct gw_pause_parts *parts)
{
    double half_trip_us = (double)in->round_trip_us / 2;
    double state = in->state_bytes > 0 ? (double)in->state_bytes : STATE_BYTES_GUESS;
    *parts = (struct gw_pause_parts){
        .stop_us = known_or(in->measured.stop_us, 1000),
        .ram_us = (uint64_t)(transfer_us(f->remaining, f->bandwidth) + half_trip_us),
        .save_us = known_or(in->measured.save_us, 1000),
        .send_us = known_or(in->measured.send_us, transfer_us(state, f->bandwidth) + half_trip_us),
        .load_us = known_or(in->measured.load_us, 2000),
        .verify_us = in->measured.verify_us,
        .ready_us = known_or(in->measured.ready_us, half_trip_us),
        .commit_us = known_or(in->measured.commit_us, 3000 + half_trip_us),
        .start_us = known_or(in->measured.start_us, 1000),
    };
}

static void measure(const struct policy_input *in, struct figures *f, struct policy_decision *out)
{
    *f = (struct figures){
        .bandwidth = find_bandwidth(in),
        .dirty = smoothed_dirty_rate(in),
        .remaining = find_remaining(in),
        .stalled_ns = find_stall(in),
    };
    f->best_since_ns = find_best_since(in, f->remaining);
    predict(in, f, &out->predicted);
    uint64_t sum_us = gw_pause_parts_sum(&out->predicted);
    f->pause_us = (double)(sum_us - out->predicted.verify_us);
    f->fixed_us = f->pause_us - (double)out->predicted.ram_us;
    out->predicted_pause_us = f->bandwidth > 0 || f->remaining <= 0 ? sum_us : UINT64_MAX;
    out->bandwidth = (uint64_t)f->bandwidth;
    out->dirty_rate = (uint64_t)f->dirty;
    out->stalled = f->stalled_ns > 0;
}

/* ---- Words ---- */

struct phrase {
    char text[80];
};

__attribute__((format(printf, 3, 4))) static void
decide(struct policy_decision *out, enum policy_action action, const char *format, ...)
{
    va_list arguments;
    out->action = action;
    va_start(arguments, format);
    vsnprintf(out->reason, sizeof out->reason, format, arguments);
    va_end(arguments);
}

static void look_again_in(struct policy_decision *out, double us)
{
    double bounded = us < 10000 ? 10000 : us > 500000 ? 500000 : us;
    out->look_again_ns = (uint64_t)(bounded * 1000);
}

/* ---- Rules ---- */

/* After a switchover that had to be taken back the next must promise more, and not at once. */
static double budget_us(const struct policy_input *in)
{
    double share = pow(0.8, in->failed_switches);
    return (double)in->budget_us * (share < 0.4 ? 0.4 : share);
}

static uint64_t back_off_left_ns(const struct policy_input *in)
{
    if (in->failed_switches == 0)
        return 0;
    unsigned doublings = in->failed_switches < 7 ? in->failed_switches - 1 : 6;
    uint64_t until = in->last_failed_ns + ((SECOND_NS / 2) << doublings);
    return until > in->now_ns ? until - in->now_ns : 0;
}

/* Rounds at the end of the series after which a switch would already have kept the budget. */
static unsigned rounds_of_patience(const struct policy_input *in, const struct figures *f)
{
    unsigned count = 0;
    for (size_t i = in->round_count; i-- > first_round(in) && count < PATIENCE_ROUNDS; count++)
        if (f->fixed_us + transfer_us((double)in->rounds[i].remaining_bytes, f->bandwidth) >
            budget_us(in))
            break;
    return count;
}

/* What the pause would be after sending what remains now, while the guest goes on writing. */
static double pause_after_round_us(const struct figures *f)
{
    double ratio = f->bandwidth > 0 ? f->dirty / f->bandwidth : 0;
    return f->fixed_us + transfer_us(f->remaining, f->bandwidth) * ratio;
}

static bool patience_pays(const struct policy_input *in, const struct figures *f)
{
    double round_us = transfer_us(f->remaining, f->bandwidth);
    double gain_us = f->pause_us - pause_after_round_us(f);
    if (in->deadline_ns &&
        (double)in->now_ns / 1e3 + 2 * round_us + f->pause_us > (double)in->deadline_ns / 1e3)
        return false;
    return gain_us >= WORTHWHILE_US && gain_us >= 0.3 * f->pause_us &&
           rounds_of_patience(in, f) < PATIENCE_ROUNDS;
}

static bool rule_not_measured(const struct policy_input *in, const struct figures *f,
                              struct policy_decision *out)
{
    if (f->stalled_ns > 0) {
        decide(out, POLICY_GO_ON, "go on: the link is stalled, nothing moved for %s, %s left",
               time_in_words((double)f->stalled_ns / 1e3).text, bytes_in_words(f->remaining).text);
        look_again_in(out, 200000);
        return true;
    }
    if (f->bandwidth <= 0 && f->remaining > 0) {
        decide(out, POLICY_GO_ON, "go on: the link is not measured yet, %s left",
               bytes_in_words(f->remaining).text);
        look_again_in(out, 20000);
        return true;
    }
    return false;
}

static bool past_deadline(const struct policy_input *in, double pause_us)
{
    return in->deadline_ns && (double)in->now_ns + pause_us * 1e3 > (double)in->deadline_ns;
}

/* What the pause may be: the budget, or less of it after a switch that was taken back. */
static struct phrase limit_in_words(const struct policy_input *in)
{
    struct phrase phrase;
    snprintf(phrase.text, sizeof phrase.text, "limit %s%s", time_in_words(budget_us(in)).text,
             in->failed_switches > 0 ? " after a failed switch" : "");
    return phrase;
}

/* Why now: a moment that is no better than the one before needs no words. */
static struct phrase why_now(const struct figures *f)
{
    struct phrase phrase = {""};
    if (f->best_since_ns == UINT64_MAX)
        snprintf(phrase.text, sizeof phrase.text, "; least memory so far");
    else if (f->best_since_ns >= TELLING_NS)
        snprintf(phrase.text, sizeof phrase.text, "; least memory in %s",
                 time_in_words((double)f->best_since_ns / 1e3).text);
    return phrase;
}

static bool rule_fits(const struct policy_input *in, const struct figures *f,
                      struct policy_decision *out)
{
    if (f->pause_us > budget_us(in) || past_deadline(in, f->pause_us))
        return false;
    struct words pause = time_in_words(f->pause_us);
    uint64_t back_off_ns = back_off_left_ns(in);
    if (back_off_ns > 0) {
        decide(out, POLICY_GO_ON, "go on: pause of %s expected, %s; next try in %s", pause.text,
               limit_in_words(in).text, time_in_words((double)back_off_ns / 1e3).text);
        look_again_in(out, (double)back_off_ns / 1e3);
    } else if (patience_pays(in, f)) {
        decide(out, POLICY_GO_ON,
               "go on: pause of %s expected, %s; after another round it should be %s", pause.text,
               limit_in_words(in).text, time_in_words(pause_after_round_us(f)).text);
        look_again_in(out, transfer_us(f->remaining, f->bandwidth) / 4);
    } else {
        decide(out, POLICY_SWITCH,
               "switch: pause of %s expected (%s for %s of memory, %s for state and handoff), "
               "%s%s",
               pause.text, time_in_words((double)out->predicted.ram_us).text,
               bytes_in_words(f->remaining).text, time_in_words(f->fixed_us).text,
               limit_in_words(in).text, why_now(f).text);
    }
    return true;
}

/* Time until so little remains that a switch keeps the budget; infinite when it never will. */
static double converge_us(const struct policy_input *in, const struct figures *f)
{
    double fitting = (budget_us(in) - f->fixed_us) / 1e6 * f->bandwidth;
    if (fitting <= 0 || f->dirty >= 0.9 * f->bandwidth)
        return INFINITY;
    double surplus = f->remaining - fitting;
    return surplus > 0 ? surplus / (f->bandwidth - f->dirty) * 1e6 : 0;
}

static double smallest_remaining(const struct policy_input *in, size_t from, size_t to)
{
    double smallest = INFINITY;
    for (size_t i = from; i < to; i++)
        smallest = fmin(smallest, (double)in->rounds[i].remaining_bytes);
    return smallest;
}

/* Several rounds, half the time, never near the budget, and no better than before. */
static bool is_hopeless(const struct policy_input *in, const struct figures *f)
{
    if (in->round_count < 2 * HOPELESS_ROUNDS || in->now_ns < in->deadline_ns / 2)
        return false;
    size_t middle = in->round_count - HOPELESS_ROUNDS;
    double before = smallest_remaining(in, first_round(in), middle);
    double lately = smallest_remaining(in, middle, in->round_count);
    double best_us = f->fixed_us + transfer_us(fmin(before, lately), f->bandwidth);
    return best_us > 2 * budget_us(in) && lately > 0.8 * before;
}

static bool rule_deadline(const struct policy_input *in, const struct figures *f,
                          struct policy_decision *out)
{
    if (!in->deadline_ns)
        return false;
    struct words deadline = time_in_words((double)in->deadline_ns / 1e3);
    struct words pause = time_in_words(f->pause_us);
    struct words budget = time_in_words((double)in->budget_us);
    if (past_deadline(in, 0)) {
        decide(out, POLICY_GIVE_UP,
               "give up: the deadline of %s has passed; a switch now would pause "
               "the guest %s, the budget is %s",
               deadline.text, pause.text, budget.text);
        return true;
    }
    double left_us = (double)(in->deadline_ns - in->now_ns) / 1e3;
    double needed_us = converge_us(in, f);
    bool measured = in->round_count > 0 || in->now_ns >= fmin(5e9, 0.2 * (double)in->deadline_ns);
    if (measured && !isinf(needed_us) && needed_us > 1.5 * left_us) {
        decide(out, POLICY_GIVE_UP,
               "give up: %s left at %s/s need %s, the guest writes %s%s; the deadline is in %s",
               bytes_in_words(f->remaining).text, bytes_in_words(f->bandwidth).text,
               time_in_words(needed_us).text,
               in->round_count > 0 ? bytes_in_words(f->dirty).text : "(not measured yet)",
               in->round_count > 0 ? "/s" : "", time_in_words(left_us).text);
        return true;
    }
    if (isinf(needed_us) && is_hopeless(in, f)) {
        decide(out, POLICY_GIVE_UP,
               "give up: the guest writes %s/s, the link carries %s/s; %zu rounds "
               "brought a pause of %s, the budget is %s",
               bytes_in_words(f->dirty).text, bytes_in_words(f->bandwidth).text, in->round_count,
               pause.text, budget.text);
        return true;
    }
    return false;
}

/* Rounds at the end that left no less than the one before: the longer this lasts, the rarer the
 * looks. */
static unsigned rounds_without_gain(const struct policy_input *in)
{
    unsigned count = 0;
    for (size_t i = in->round_count; i-- > first_round(in) + 1 && count < 5; count++)
        if (in->rounds[i].remaining_bytes < in->rounds[i - 1].remaining_bytes * 9 / 10)
            break;
    return count;
}

/* "a longer budget would help" and "waiting for a quieter moment" are what godwit(1) shows while it
 * waits: src/cli/progress.c knows these words. */
static void rule_go_on(const struct policy_input *in, const struct figures *f,
                       struct policy_decision *out)
{
    double needed_us = converge_us(in, f);
    struct words left = bytes_in_words(f->remaining), carries = bytes_in_words(f->bandwidth);
    struct words writes = bytes_in_words(f->dirty), pause = time_in_words(f->pause_us);
    if (f->fixed_us >= budget_us(in)) {
        decide(out, POLICY_GO_ON,
               "go on: state and handoff alone take %s, %s; a longer budget would help",
               time_in_words(f->fixed_us).text, limit_in_words(in).text);
        look_again_in(out, 500000);
    } else if (isinf(needed_us)) {
        decide(out, POLICY_GO_ON,
               "go on: pause of %s expected, %s; the guest writes %s/s, the link carries %s/s, "
               "waiting for a quieter moment",
               pause.text, limit_in_words(in).text, writes.text, carries.text);
        look_again_in(out, 20000.0 * (1u << rounds_without_gain(in)));
    } else {
        decide(out, POLICY_GO_ON,
               "go on: pause of %s expected, %s; %s left at %s/s, the guest writes %s%s, "
               "fits in about %s",
               pause.text, limit_in_words(in).text, left.text, carries.text,
               in->round_count > 0 ? writes.text : "(not measured yet)",
               in->round_count > 0 ? "/s" : "", time_in_words(needed_us).text);
        look_again_in(out, needed_us / 4);
    }
}

void policy_decide(const struct policy_input *input, struct policy_decision *ret_decision)
{
    struct policy_decision out = {0};
    struct figures figures;
    measure(input, &figures, &out);
    bool unmeasured = figures.stalled_ns > 0 || (figures.bandwidth <= 0 && figures.remaining > 0);
    if (unmeasured && past_deadline(input, 0))
        rule_deadline(input, &figures, &out);
    else if (!rule_not_measured(input, &figures, &out) && !rule_fits(input, &figures, &out) &&
             !rule_deadline(input, &figures, &out))
        rule_go_on(input, &figures, &out);
    *ret_decision = out;
}
