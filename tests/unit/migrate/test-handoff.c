/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link that breaks or freezes before or after each record: docs/protocol.md section 9. Afterwards
 * exactly one side runs the guest, or the status says why not, and the records say the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../patience.h"
#include "base/cleanup.h"
#include "pair.h"
#include "proxy.h"
#include "wire/wire.h"

#define PAGES 256u

struct bad_link {
    struct pair pair;
    struct proxy *proxy;
};

static bool freezes(struct proxy_rule rule)
{
    return rule.action == PROXY_FREEZE_BEFORE || rule.action == PROXY_FREEZE_AFTER;
}

/* Silence is waited for where the link freezes; elsewhere a busy host must not be taken for it. Nor
 * may it make the pause too long, for that is another reason to take the guest back. */
static void start(struct bad_link *link, struct proxy_rule rule)
{
    char path[128];
    unsigned timeout_ms = freezes(rule) ? 3000 : 30000;
    pair_init(&link->pair, PAGES, PAGES);
    link->pair.source_config.parameters.peer_timeout_ms = timeout_ms;
    link->pair.destination_config.parameters.peer_timeout_ms = timeout_ms;
    link->pair.source_config.parameters.downtime_limit_ms = 10000;
    link->pair.destination_config.parameters.handoff_timeout_ms = 20000;
    pair_listen(&link->pair, "unix:");
    snprintf(path, sizeof path, "%s/proxy", link->pair.directory);
    link->proxy = proxy_new(path, link->pair.listen + 5, rule, NULL);
    char uri[160];
    snprintf(uri, sizeof uri, "unix:%s", path);
    pair_send(&link->pair, uri);
}

static void finish(struct bad_link *link)
{
    for (uint64_t end_ns = patience_end_ns();
         !proxy_happened(link->proxy) && host_monotonic_ns() < end_ns;)
        usleep(1000); /* the record may have arrived before the proxy acts */
    assert_true(proxy_happened(link->proxy));
    gw_source_free(TAKE_PTR(link->pair.source));
    gw_destination_free(TAKE_PTR(link->pair.destination));
    proxy_free(link->proxy);
    pair_fini(&link->pair);
}

enum outcome { STAYS, TAKEN_BACK, MOVES };

struct fault {
    const char *name;
    struct proxy_rule rule;
    enum outcome outcome;
};

#define S true
#define D false
static const struct fault faults[] = {
    {"cut before OFFER", {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_OFFER}, STAYS},
    {"cut after OFFER", {.action = PROXY_CUT_AFTER, .from_source = S, .type = WIRE_OFFER}, STAYS},
    {"cut before ACCEPT",
     {.action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_ACCEPT},
     STAYS},
    {"cut after ACCEPT", {.action = PROXY_CUT_AFTER, .from_source = D, .type = WIRE_ACCEPT}, STAYS},
    {"cut before an EXTENT",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_EXTENT, .nth = 3},
     STAYS},
    {"cut in the middle of memory",
     {.action = PROXY_CUT_BYTE, .from_source = S, .at = 300000},
     STAYS},
    {"cut before the first BARRIER",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_BARRIER},
     STAYS},
    {"cut before the rehearsal",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_STATE},
     STAYS},
    {"cut before REHEARSED",
     {.action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_REHEARSED},
     STAYS},
    {"cut before SWITCH",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_SWITCH},
     STAYS},
    {"cut after SWITCH", {.action = PROXY_CUT_AFTER, .from_source = S, .type = WIRE_SWITCH}, STAYS},
    {"cut before the final state",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_STATE, .nth = 2},
     STAYS},
    {"cut before READY", {.action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_READY}, STAYS},
    {"cut before VERIFY",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_VERIFY},
     STAYS},
    {"cut before VERIFIED",
     {.action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_VERIFIED},
     STAYS},
    {"cut before COMMIT",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_COMMIT},
     TAKEN_BACK},
    {"cut after COMMIT", {.action = PROXY_CUT_AFTER, .from_source = S, .type = WIRE_COMMIT}, MOVES},
    {"cut before RUNNING",
     {.action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_RUNNING},
     MOVES},
    {"cut after RUNNING",
     {.action = PROXY_CUT_AFTER, .from_source = D, .type = WIRE_RUNNING},
     MOVES},
    {"cut before CONFIRM",
     {.action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_CONFIRM},
     MOVES},
    {"frozen before OFFER",
     {.action = PROXY_FREEZE_BEFORE, .from_source = S, .type = WIRE_OFFER},
     STAYS},
    {"frozen before ACCEPT",
     {.action = PROXY_FREEZE_BEFORE, .from_source = D, .type = WIRE_ACCEPT},
     STAYS},
    {"frozen before an EXTENT",
     {.action = PROXY_FREEZE_BEFORE, .from_source = S, .type = WIRE_EXTENT, .nth = 3},
     STAYS},
    {"frozen before REHEARSED",
     {.action = PROXY_FREEZE_BEFORE, .from_source = D, .type = WIRE_REHEARSED},
     STAYS},
    {"frozen before SWITCH",
     {.action = PROXY_FREEZE_BEFORE, .from_source = S, .type = WIRE_SWITCH},
     STAYS},
    {"frozen before READY",
     {.action = PROXY_FREEZE_BEFORE, .from_source = D, .type = WIRE_READY},
     STAYS},
    {"frozen before COMMIT",
     {.action = PROXY_FREEZE_BEFORE, .from_source = S, .type = WIRE_COMMIT},
     TAKEN_BACK},
    {"frozen after COMMIT",
     {.action = PROXY_FREEZE_AFTER, .from_source = S, .type = WIRE_COMMIT},
     MOVES},
    {"frozen before RUNNING",
     {.action = PROXY_FREEZE_BEFORE, .from_source = D, .type = WIRE_RUNNING},
     MOVES},
    {"frozen after RUNNING",
     {.action = PROXY_FREEZE_AFTER, .from_source = D, .type = WIRE_RUNNING},
     MOVES},
};

static void check(const struct fault *fault)
{
    struct bad_link link;
    print_message("%s\n", fault->name);
    start(&link, fault->rule);
    struct pair *pair = &link.pair;
    pair_wait_source(pair);
    if (fault->outcome == MOVES) {
        pair_wait_destination(pair);
        pair_assert_moved(pair);
        assert_true(pair->to->running);
        assert_int_equal(pair->from->resumes, 1); /* of the rehearsal */
    } else {
        pair_assert_stayed(pair, fault->outcome == STAYS ? 1 : 3);
        assert_int_equal(pair->from->pauses, pair->from->resumes);
        struct gw_ownership record = pair_record(pair->from_owner);
        assert_true(record.epoch == 0 || record.state == GW_OWNER_OWNER);
        if (fault->outcome == TAKEN_BACK) {
            pair_wait_destination(pair);
            assert_int_equal(pair_record(pair->to_owner).state, GW_OWNER_REFUSED);
            assert_int_equal(pair_record(pair->to_owner).epoch, 2);
        }
    }
    finish(&link);
}

static void one_side_runs_whatever_is_cut(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
        if (!freezes(faults[i].rule))
            check(&faults[i]);
}

static void one_side_runs_whatever_freezes(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
        if (freezes(faults[i].rule))
            check(&faults[i]);
}

/* The connection is cut, and the source has said that the guest stays paused. */
static void wait_for_the_cut(struct bad_link *link)
{
    for (uint64_t end_ns = patience_end_ns();
         !strstr(pair_source_info(&link->pair).decision, "paused") && host_monotonic_ns() < end_ns;)
        usleep(20000);
    assert_true(proxy_happened(link->proxy));
}

static void a_guest_whose_destination_does_not_answer_stays_paused(void **state)
{
    struct bad_link link;
    start(&link, (struct proxy_rule){.action = PROXY_CUT_BEFORE,
                                     .from_source = D,
                                     .type = WIRE_RUNNING,
                                     .stay_down = true});
    struct pair *pair = &link.pair;
    wait_for_the_cut(&link);
    assert_int_equal(gw_source_wait(pair->source, 500), -ETIMEDOUT);
    struct gw_migrate_info info = pair_source_info(pair);
    assert_int_equal(info.status, GW_MIGRATE_COMMITTING);
    assert_false(info.owner);
    assert_non_null(strstr(info.decision, "paused"));
    assert_false(pair->from->running);
    gw_source_cancel(pair->source);
    pair_wait_source(pair);
    info = pair_source_info(pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_non_null(strstr(info.error.message, "stays paused"));
    assert_false(info.owner);
    assert_false(pair->from->running);
    assert_int_equal(pair_record(pair->from_owner).state, GW_OWNER_RELEASED);
    assert_true(pair->to->running);
    finish(&link);
}

static void an_answer_that_comes_late_is_still_heard(void **state)
{
    struct bad_link link;
    start(&link, (struct proxy_rule){.action = PROXY_CUT_BEFORE,
                                     .from_source = D,
                                     .type = WIRE_RUNNING,
                                     .stay_down = true});
    wait_for_the_cut(&link);
    assert_int_equal(gw_source_wait(link.pair.source, 500), -ETIMEDOUT);
    proxy_heal(link.proxy);
    pair_wait(&link.pair);
    pair_assert_moved(&link.pair);
    finish(&link);
}

static void asking_ends_after_the_time_that_was_given(void **state)
{
    struct bad_link link;
    struct proxy_rule rule = {
        .action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_RUNNING, .stay_down = true};
    start(&link, rule);
    struct gw_migrate_parameters parameters = link.pair.source_config.parameters;
    parameters.handoff_timeout_ms = 300;
    gw_source_set_parameters(link.pair.source, &parameters);
    pair_wait_source(&link.pair);
    assert_int_equal(pair_source_info(&link.pair).status, GW_MIGRATE_FAILED);
    assert_false(link.pair.from->running);
    finish(&link);
}

/* Each side has one end of a connection that nobody can open again. */
static void move_over_descriptors(struct bad_link *link, struct proxy_rule rule)
{
    int source[2], destination[2];
    char from[16], to[16], path[128];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, source), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, destination), 0);
    snprintf(from, sizeof from, "fd:%d", source[0]);
    snprintf(to, sizeof to, "fd:%d", destination[0]);
    pair_init(&link->pair, PAGES, PAGES);
    pair_listen(&link->pair, to);
    snprintf(path, sizeof path, "%s/proxy", link->pair.directory);
    link->proxy = proxy_new(path, "/nowhere", rule, NULL);
    proxy_join(link->proxy, source[1], destination[1]);
    pair_send(&link->pair, from);
    pair_wait(&link->pair);
}

static void a_descriptor_that_breaks_after_commit_leaves_the_guest_paused(void **state)
{
    struct bad_link link;
    const struct proxy_rule rule = {
        .action = PROXY_CUT_BEFORE, .from_source = S, .type = WIRE_COMMIT};
    move_over_descriptors(&link, rule);
    struct gw_migrate_info info = pair_source_info(&link.pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_non_null(strstr(info.error.message, "stays paused"));
    assert_non_null(strstr(info.error.message, "cannot be opened again"));
    assert_false(link.pair.from->running);
    assert_false(link.pair.to->running);
    assert_int_equal(pair_record(link.pair.to_owner).state, GW_OWNER_REFUSED);
    finish(&link);
}

static void a_descriptor_that_breaks_before_commit_changes_nothing(void **state)
{
    struct bad_link link;
    const struct proxy_rule rule = {
        .action = PROXY_CUT_BEFORE, .from_source = D, .type = WIRE_READY};
    move_over_descriptors(&link, rule);
    pair_assert_stayed(&link.pair, 1);
    finish(&link);
}

static void a_damaged_page_of_the_last_round_is_refused_by_name(void **state)
{
    struct bad_link link;
    pair_init(&link.pair, PAGES, PAGES);
    fake_vmm_stop(link.pair.from); /* nothing is sent twice */
    link.pair.source_config.parameters.verify_ram = false;
    pair_listen(&link.pair, "unix:");
    char path[128], uri[160];
    snprintf(path, sizeof path, "%s/proxy", link.pair.directory);
    snprintf(uri, sizeof uri, "unix:%s", path);
    struct proxy_rule rule = {.action = PROXY_FLIP_DATA, .from_source = S, .type = WIRE_EXTENT};
    link.proxy = proxy_new(path, link.pair.listen + 5, rule, NULL);
    pair_send(&link.pair, uri);
    pair_wait(&link.pair);
    struct gw_migrate_info info = pair_source_info(&link.pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_int_equal(info.error.code, GW_CODE_CORRUPT);
    assert_non_null(strstr(info.error.message, "is page"));
    assert_true(info.owner);
    assert_int_equal(link.pair.to->starts, 0);
    finish(&link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_side_runs_whatever_is_cut),
        cmocka_unit_test(one_side_runs_whatever_freezes),
        cmocka_unit_test(a_guest_whose_destination_does_not_answer_stays_paused),
        cmocka_unit_test(an_answer_that_comes_late_is_still_heard),
        cmocka_unit_test(asking_ends_after_the_time_that_was_given),
        cmocka_unit_test(a_descriptor_that_breaks_after_commit_leaves_the_guest_paused),
        cmocka_unit_test(a_descriptor_that_breaks_before_commit_changes_nothing),
        cmocka_unit_test(a_damaged_page_of_the_last_round_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
