/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy on simulated migrations. The simulation moves in steps of ten milliseconds: the link
 * takes from what is left of the round, the guest dirties pages of its working set, a round ends
 * when nothing is left of it. After each step the policy is asked, as the engine does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "migrate/policy.h"

#define STEP_NS 10000000ull
#define SECOND 1000000000ull
#define MB 1e6
#define MAX_ROUNDS 3000
#define MAX_SAMPLES 30000

struct world {
    double ram, link, writer, working_set; /* bytes, bytes per second */
    uint64_t period_ns, quiet_ns;          /* the writer rests for quiet_ns out of each period */
    uint64_t cut_from_ns, cut_to_ns;       /* the link carries nothing */
    uint64_t budget_ms, deadline_s, limit_s;
    unsigned failed_switches;
};

struct flight {
    struct gw_round rounds[MAX_ROUNDS];
    struct policy_sample samples[MAX_SAMPLES];
    size_t round_count, sample_count;
    double left, dirty, sent; /* of this round; for the next; in all */
    struct gw_round round;    /* being flown */
    double round_sent, round_dirtied;
    uint64_t now_ns;
    struct policy_decision decision; /* the last one */
    bool stall_seen;
    uint64_t longest_look_ns;
};

static bool link_is_cut(const struct world *world, uint64_t now_ns)
{
    return now_ns >= world->cut_from_ns && now_ns < world->cut_to_ns;
}

static double dirtied_in_step(const struct world *world, const struct flight *flight)
{
    bool rests = world->period_ns && flight->now_ns % world->period_ns < world->quiet_ns;
    if (rests || world->working_set <= 0)
        return 0;
    double fresh = world->working_set - flight->dirty;
    return fresh * (1 - exp(-world->writer * STEP_NS / 1e9 / world->working_set));
}

static void end_round(struct flight *flight)
{
    struct gw_round *round = &flight->round;
    round->duration_ns = flight->now_ns - round->started_ns;
    round->wire_bytes = (uint64_t)flight->round_sent;
    round->raw_pages = (uint64_t)(flight->round_sent / 4096);
    round->bandwidth = (uint64_t)(flight->round_sent * 1e9 / (double)round->duration_ns);
    round->dirty_rate = (uint64_t)(flight->round_dirtied / 4096 * 1e9 / (double)round->duration_ns);
    round->remaining_bytes = (uint64_t)flight->dirty;
    assert_true(flight->round_count < MAX_ROUNDS);
    flight->rounds[flight->round_count++] = *round;
    flight->round =
        (struct gw_round){.number = flight->round_count + 1, .started_ns = flight->now_ns};
    flight->left = flight->dirty;
    flight->dirty = flight->round_sent = flight->round_dirtied = 0;
}

static void fly_step(const struct world *world, struct flight *flight)
{
    double can = link_is_cut(world, flight->now_ns) ? 0 : world->link * STEP_NS / 1e9;
    double moved = fmin(can, flight->left), dirtied = dirtied_in_step(world, flight);
    flight->now_ns += STEP_NS;
    flight->left -= moved;
    flight->sent += moved;
    flight->round_sent += moved;
    flight->dirty += dirtied;
    flight->round_dirtied += dirtied;
    if (flight->left < 1)
        end_round(flight);
    assert_true(flight->sample_count < MAX_SAMPLES);
    flight->samples[flight->sample_count++] =
        (struct policy_sample){.at_ns = flight->now_ns,
                               .sent_bytes = (uint64_t)flight->sent,
                               .remaining_bytes = (uint64_t)(flight->left + flight->dirty)};
}

static void ask(const struct world *world, struct flight *flight)
{
    struct policy_input input = {
        .budget_us = world->budget_ms * 1000,
        .deadline_ns = world->deadline_s * SECOND,
        .now_ns = flight->now_ns,
        .ram_bytes = (uint64_t)world->ram,
        .state_bytes = 100000,
        .round_trip_us = 500,
        .measured = {.stop_us = 500, .save_us = 1500, .load_us = 2000},
        .rounds = flight->rounds,
        .round_count = flight->round_count,
        .samples = flight->samples,
        .sample_count = flight->sample_count,
        .in_round = true,
        .failed_switches = world->failed_switches,
    };
    policy_decide(&input, &flight->decision);
    flight->stall_seen |= flight->decision.stalled;
    if (flight->decision.look_again_ns > flight->longest_look_ns)
        flight->longest_look_ns = flight->decision.look_again_ns;
}

/* Until the policy decides something else than going on, or the limit of the simulation. */
static struct flight *fly(struct world world)
{
    static struct flight flight;
    memset(&flight, 0, sizeof flight);
    flight.left = world.ram;
    flight.round = (struct gw_round){.number = 1};
    while (flight.now_ns < world.limit_s * SECOND) {
        fly_step(&world, &flight);
        ask(&world, &flight);
        assert_true(strlen(flight.decision.reason) > 0);
        assert_true(strlen(flight.decision.reason) < sizeof flight.decision.reason - 1); /* whole */
        if (flight.decision.action != POLICY_GO_ON)
            break;
    }
    return &flight;
}

static double pause_now_ms(const struct world *world, const struct flight *flight)
{
    return (flight->left + flight->dirty) / world->link * 1e3 + 9;
}

static void assert_switched_within(const struct world *world, const struct flight *flight,
                                   double pause_ms, uint64_t seconds)
{
    if (flight->decision.action != POLICY_SWITCH || pause_now_ms(world, flight) > pause_ms ||
        flight->now_ns > seconds * SECOND)
        fail_msg("after %.2f s, pause %.0f ms: %s", (double)flight->now_ns / 1e9,
                 pause_now_ms(world, flight), flight->decision.reason);
}

static void assert_reason(const struct flight *flight, enum policy_action action, const char *words)
{
    if (flight->decision.action != action || !strstr(flight->decision.reason, words))
        fail_msg("after %.2f s: %s", (double)flight->now_ns / 1e9, flight->decision.reason);
}

static void an_idle_guest_moves_with_a_short_pause(void **state)
{
    struct world world = {.ram = 512 * MB,
                          .link = 1000 * MB,
                          .writer = 1 * MB,
                          .working_set = 2 * MB,
                          .budget_ms = 100,
                          .limit_s = 60};
    assert_switched_within(&world, fly(world), 20, 2);
}

static void the_reason_tells_the_parts_and_the_budget(void **state)
{
    struct world world = {.ram = 512 * MB,
                          .link = 1000 * MB,
                          .writer = 100 * MB,
                          .working_set = 400 * MB,
                          .budget_ms = 60,
                          .limit_s = 60};
    const struct flight *flight = fly(world);
    assert_reason(flight, POLICY_SWITCH, "switch: pause of ");
    assert_reason(flight, POLICY_SWITCH, " of memory, ");
    assert_reason(flight, POLICY_SWITCH, " for state and handoff), limit 60 ms");
    assert_int_equal(flight->decision.predicted_pause_us,
                     gw_pause_parts_sum(&flight->decision.predicted));
    assert_int_equal(flight->decision.predicted.save_us, 1500);
    assert_true(flight->decision.predicted_pause_us <= 60000);
}

static void a_steady_writer_within_the_link_moves_within_the_budget(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 1000 * MB,
                          .writer = 300 * MB,
                          .working_set = 800 * MB,
                          .budget_ms = 60,
                          .limit_s = 60};
    assert_switched_within(&world, fly(world), 60, 10);
}

static void patience_makes_the_pause_shorter_than_the_budget_asks(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 1000 * MB,
                          .writer = 20 * MB,
                          .working_set = 500 * MB,
                          .budget_ms = 1000,
                          .limit_s = 60};
    assert_switched_within(&world, fly(world), 40, 5);
}

static void the_gap_of_a_bursting_writer_is_found(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 500 * MB,
                          .writer = 2000 * MB,
                          .working_set = 200 * MB,
                          .period_ns = 3 * SECOND,
                          .quiet_ns = SECOND,
                          .budget_ms = 100,
                          .limit_s = 120};
    assert_switched_within(&world, fly(world), 100, 20);
}

static void a_slow_link_is_no_stall(void **state)
{
    struct world world = {.ram = 100 * MB,
                          .link = 2 * MB,
                          .writer = 0.1 * MB,
                          .working_set = 1 * MB,
                          .budget_ms = 500,
                          .limit_s = 200};
    const struct flight *flight = fly(world);
    assert_false(flight->stall_seen);
    assert_switched_within(&world, flight, 500, 100);
}

static void a_stall_is_told_and_survived(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 500 * MB,
                          .writer = 10 * MB,
                          .working_set = 50 * MB,
                          .cut_from_ns = SECOND,
                          .cut_to_ns = 4 * SECOND,
                          .budget_ms = 100,
                          .limit_s = 60};
    const struct flight *flight = fly(world);
    assert_true(flight->stall_seen);
    assert_switched_within(&world, flight, 100, 10);
    assert_true(flight->decision.bandwidth > 150 * (uint64_t)MB);
}

static void a_link_that_stays_dead_never_leads_to_a_switch(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 500 * MB,
                          .writer = 0.1 * MB,
                          .working_set = 0.2 * MB,
                          .cut_from_ns = SECOND,
                          .cut_to_ns = 1000 * SECOND,
                          .budget_ms = 100,
                          .limit_s = 20};
    assert_reason(fly(world), POLICY_GO_ON, "the link is stalled, nothing moved for 1");
}

static void a_writer_faster_than_the_link_goes_on_without_a_deadline(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 100 * MB,
                          .writer = 2000 * MB,
                          .working_set = 800 * MB,
                          .budget_ms = 100,
                          .limit_s = 200};
    const struct flight *flight = fly(world);
    assert_reason(flight, POLICY_GO_ON, "waiting for a quieter moment");
    assert_true(flight->longest_look_ns >= SECOND / 2);
}

static void with_a_deadline_the_same_writer_is_given_up_early(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 100 * MB,
                          .writer = 2000 * MB,
                          .working_set = 800 * MB,
                          .budget_ms = 100,
                          .deadline_s = 180,
                          .limit_s = 400};
    const struct flight *flight = fly(world);
    assert_reason(flight, POLICY_GIVE_UP, "the link carries 95 MiB/s");
    assert_true(flight->now_ns < 140 * SECOND);
}

static void a_first_pass_that_cannot_end_in_time_is_given_up_at_its_start(void **state)
{
    struct world world = {
        .ram = 10000 * MB, .link = 100 * MB, .budget_ms = 100, .deadline_s = 30, .limit_s = 400};
    const struct flight *flight = fly(world);
    assert_reason(flight, POLICY_GIVE_UP, "left at 95 MiB/s");
    assert_true(flight->now_ns < 7 * SECOND);
}

/* No round has ended: what the guest writes is not known, and not said to be nothing. */
static void what_is_not_measured_is_not_called_zero(void **state)
{
    struct world world = {.ram = 10000 * MB, .link = 100 * MB, .budget_ms = 100, .limit_s = 2};
    assert_reason(fly(world), POLICY_GO_ON, "the guest writes (not measured yet), fits in about");
}

static void a_deadline_that_can_be_met_is_not_given_up(void **state)
{
    struct world world = {.ram = 2000 * MB,
                          .link = 100 * MB,
                          .writer = 10 * MB,
                          .working_set = 100 * MB,
                          .budget_ms = 100,
                          .deadline_s = 40,
                          .limit_s = 400};
    assert_switched_within(&world, fly(world), 100, 40);
}

static void when_the_deadline_passes_it_ends(void **state)
{
    struct world world = {.ram = 100 * MB,
                          .link = 100 * MB,
                          .writer = 90 * MB,
                          .working_set = 60 * MB,
                          .budget_ms = 20,
                          .deadline_s = 5,
                          .limit_s = 60};
    const struct flight *flight = fly(world);
    assert_int_equal(flight->decision.action, POLICY_GIVE_UP);
    assert_true(flight->now_ns <= 5 * SECOND + 2 * STEP_NS);
}

static void a_dead_link_ends_at_the_deadline(void **state)
{
    struct world world = {.ram = 1000 * MB,
                          .link = 500 * MB,
                          .cut_from_ns = SECOND,
                          .cut_to_ns = 1000 * SECOND,
                          .budget_ms = 100,
                          .deadline_s = 10,
                          .limit_s = 60};
    assert_reason(fly(world), POLICY_GIVE_UP, "the deadline of 10 s has passed");
}

static void a_budget_below_the_fixed_parts_is_explained(void **state)
{
    struct world world = {.ram = 100 * MB, .link = 1000 * MB, .budget_ms = 3, .limit_s = 5};
    assert_reason(fly(world), POLICY_GO_ON, "a longer budget would help");
}

static void after_failed_switches_more_is_asked_and_time_is_given(void **state)
{
    struct world world = {
        .ram = 100 * MB, .link = 1000 * MB, .budget_ms = 100, .limit_s = 60, .failed_switches = 3};
    const struct flight *flight = fly(world);
    assert_reason(flight, POLICY_SWITCH, "limit 51 ms after a failed switch");
    assert_true(flight->now_ns >= 2 * SECOND);

    struct world tight = {.ram = 1000 * MB,
                          .link = 1000 * MB,
                          .writer = 40 * MB,
                          .working_set = 70 * MB,
                          .budget_ms = 60,
                          .limit_s = 60,
                          .failed_switches = 3};
    assert_switched_within(&tight, fly(tight), 60 * 0.512, 30);
}

static void small_rounds_with_rests_between_do_not_look_like_a_slow_link(void **state)
{
    struct gw_round rounds[40] = {{.number = 1,
                                   .duration_ns = SECOND,
                                   .wire_bytes = 1000 * (uint64_t)MB,
                                   .bandwidth = 1000 * (uint64_t)MB,
                                   .remaining_bytes = 100000}};
    struct policy_sample samples[40] = {{SECOND, 1000 * (uint64_t)MB, 100000}};
    for (unsigned i = 1; i < 40; i++) {
        uint64_t began_ns = rounds[i - 1].started_ns + rounds[i - 1].duration_ns;
        rounds[i] = (struct gw_round){.number = i + 1,
                                      .started_ns = began_ns,
                                      .duration_ns = 50000000,
                                      .wire_bytes = 100000,
                                      .bandwidth = 2000000,
                                      .dirty_rate = 480,
                                      .remaining_bytes = 100000};
        samples[i] =
            (struct policy_sample){began_ns + 50000000, samples[i - 1].sent_bytes + 100000, 100000};
    }
    struct policy_input input = {.budget_us = 20000,
                                 .now_ns = samples[39].at_ns + 1,
                                 .rounds = rounds,
                                 .round_count = 40,
                                 .samples = samples,
                                 .sample_count = 40,
                                 .in_round = true};
    struct policy_decision decision;
    policy_decide(&input, &decision);
    assert_int_equal(decision.bandwidth, 1000 * (uint64_t)MB);
    assert_int_equal(decision.action, POLICY_SWITCH);
}

/* A switch of a guest of which `remaining` bytes are left, and were `ago_ns` ago a little less (0:
 * never). */
static void switch_when(uint64_t ago_ns, struct policy_decision *ret_decision)
{
    uint64_t now_ns = 10 * SECOND;
    struct gw_round rounds[] = {
        {.number = 1,
         .duration_ns = SECOND,
         .wire_bytes = 1000 * (uint64_t)MB,
         .bandwidth = 1000 * (uint64_t)MB,
         .remaining_bytes = 5000000},
        {.number = 2,
         .started_ns = SECOND,
         .duration_ns = now_ns - ago_ns - SECOND,
         .wire_bytes = 1000 * (uint64_t)MB,
         .bandwidth = 1000 * (uint64_t)MB,
         .remaining_bytes = ago_ns ? 900000 : 2000000},
        {.number = 3,
         .started_ns = now_ns - ago_ns,
         .duration_ns = ago_ns,
         .wire_bytes = 1000000,
         .bandwidth = 1000 * (uint64_t)MB,
         .remaining_bytes = 1000000},
    };
    struct policy_input input = {
        .budget_us = 100000, .now_ns = now_ns, .rounds = rounds, .round_count = 3};
    policy_decide(&input, ret_decision);
    assert_int_equal(ret_decision->action, POLICY_SWITCH);
}

static void why_now_is_said_where_it_is_a_reason(void **state)
{
    struct policy_decision decision;
    switch_when(0, &decision);
    assert_non_null(strstr(decision.reason, "; least memory so far"));
    switch_when(2 * SECOND, &decision);
    assert_non_null(strstr(decision.reason, "; least memory in 2.0 s"));
    switch_when(33000, &decision);
    assert_null(strstr(decision.reason, "least memory"));
}

static void nothing_known_means_going_on(void **state)
{
    struct policy_input input = {.budget_us = 100000, .ram_bytes = 1 << 30};
    struct policy_decision decision;
    policy_decide(&input, &decision);
    assert_int_equal(decision.action, POLICY_GO_ON);
    assert_true(decision.predicted_pause_us == UINT64_MAX);
    assert_int_equal(decision.bandwidth, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_guest_moves_with_a_short_pause),
        cmocka_unit_test(the_reason_tells_the_parts_and_the_budget),
        cmocka_unit_test(a_steady_writer_within_the_link_moves_within_the_budget),
        cmocka_unit_test(patience_makes_the_pause_shorter_than_the_budget_asks),
        cmocka_unit_test(the_gap_of_a_bursting_writer_is_found),
        cmocka_unit_test(a_slow_link_is_no_stall),
        cmocka_unit_test(a_stall_is_told_and_survived),
        cmocka_unit_test(a_link_that_stays_dead_never_leads_to_a_switch),
        cmocka_unit_test(a_writer_faster_than_the_link_goes_on_without_a_deadline),
        cmocka_unit_test(with_a_deadline_the_same_writer_is_given_up_early),
        cmocka_unit_test(a_first_pass_that_cannot_end_in_time_is_given_up_at_its_start),
        cmocka_unit_test(what_is_not_measured_is_not_called_zero),
        cmocka_unit_test(a_deadline_that_can_be_met_is_not_given_up),
        cmocka_unit_test(when_the_deadline_passes_it_ends),
        cmocka_unit_test(a_dead_link_ends_at_the_deadline),
        cmocka_unit_test(a_budget_below_the_fixed_parts_is_explained),
        cmocka_unit_test(after_failed_switches_more_is_asked_and_time_is_given),
        cmocka_unit_test(small_rounds_with_rests_between_do_not_look_like_a_slow_link),
        cmocka_unit_test(why_now_is_said_where_it_is_a_reason),
        cmocka_unit_test(nothing_known_means_going_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
