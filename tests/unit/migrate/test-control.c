/* SPDX-License-Identifier: Apache-2.0 */
/* What a user may do to a migration, and what the machines may refuse: in every phase. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "pair.h"
#include "rate.h"

#define MIB_PAGES 256u

static void start(struct pair *pair)
{
    pair_listen(pair, "unix:");
    pair_send(pair, NULL);
}

static void set_bandwidth(struct pair *pair, uint64_t bytes)
{
    pair->source_config.parameters.max_bandwidth = bytes;
    gw_source_set_parameters(pair->source, &pair->source_config.parameters);
}

static void assert_both_cancelled(struct pair *pair)
{
    pair_wait(pair);
    pair_assert_stayed(pair, 1);
    assert_int_equal(pair_source_info(pair).status, GW_MIGRATE_CANCELLED);
    assert_int_equal(pair_destination_info(pair).status, GW_MIGRATE_CANCELLED);
    assert_int_equal(pair->to->discards, pair->to->prepares);
    assert_int_equal(pair->from->pauses, pair->from->resumes);
    pair_assert_ended_on(pair->from_log, "source");
    pair_assert_ended_on(pair->to_log, "source");
}

/* ---- Cancel ---- */

static void cancelled_while_the_destination_builds_the_machine(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.to->prepare_ms = 2000;
    start(&pair);
    usleep(50000);
    gw_source_cancel(pair.source);
    assert_both_cancelled(&pair);
    pair_fini(&pair);
}

/* A listener whose queue is full: further connections hang. Its port is written to `uri`. */
static void fill_listener(int fds[4], char uri[32])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fds[0], (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    assert_int_equal(getsockname(fds[0], (struct sockaddr *)&address, &length), 0);
    for (int i = 1; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&address, sizeof address);
    }
    snprintf(uri, 32, "tcp:127.0.0.1:%u", ntohs(address.sin_port));
}

static void cancelled_while_connecting(void **state)
{
    struct pair pair;
    int fds[4];
    char uri[32];
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    fill_listener(fds, uri);
    pair_send(&pair, uri);
    usleep(20000);
    gw_source_cancel(pair.source);
    pair_wait_source(&pair);
    assert_int_equal(pair_source_info(&pair).status, GW_MIGRATE_CANCELLED);
    assert_true(pair.from->running);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    pair_fini(&pair);
}

static void cancelled_while_memory_moves(void **state)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 8 * MIB_PAGES);
    pair.source_config.parameters.max_bandwidth = 2 << 20;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    usleep(200000);
    gw_source_cancel(pair.source);
    assert_both_cancelled(&pair);
    assert_int_equal(pair.from->pauses, 0);
    pair_fini(&pair);
}

static void cancelled_during_the_pause(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.source_config.parameters.downtime_limit_ms = 10000;
    pair.to->final_load_ms = 2000;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_DEVICE);
    usleep(50000);
    gw_source_cancel(pair.source);
    assert_both_cancelled(&pair);
    pair_fini(&pair);
}

static void cancelling_after_commit_changes_nothing(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.to->start_ms = 2000;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_COMMITTING);
    gw_source_cancel(pair.source);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
}

static void cancelled_on_the_destination_while_memory_moves(void **state)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 8 * MIB_PAGES);
    pair.source_config.parameters.max_bandwidth = 2 << 20;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    usleep(100000);
    gw_destination_cancel(pair.destination);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    assert_int_equal(pair_destination_info(&pair).status, GW_MIGRATE_CANCELLED);
    assert_non_null(strstr(pair_source_info(&pair).error.message,
                           "the destination says: the migration was cancelled on the destination"));
    pair_assert_ended_on(pair.from_log, "destination");
    pair_assert_ended_on(pair.to_log, "destination");
    pair_fini(&pair);
}

static void a_waiting_destination_can_be_cancelled(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, 0);
    pair_listen(&pair, "unix:");
    gw_destination_cancel(pair.destination);
    pair_wait_destination(&pair);
    assert_int_equal(pair_destination_info(&pair).status, GW_MIGRATE_CANCELLED);
    pair_fini(&pair);
}

static void freeing_a_running_migration_ends_it(void **state)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 8 * MIB_PAGES);
    pair.source_config.parameters.max_bandwidth = 2 << 20;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    gw_source_free(pair.source);
    pair.source = NULL;
    pair_wait_destination(&pair);
    assert_int_equal(pair_destination_info(&pair).status, GW_MIGRATE_CANCELLED);
    assert_true(pair.from->running);
    pair_fini(&pair);
}

/* ---- Limits ---- */

static void the_deadline_ends_it_on_the_source(void **state)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 8 * MIB_PAGES);
    pair.source_config.parameters.max_bandwidth = 1 << 20;
    pair.source_config.parameters.deadline_ms = 400;
    start(&pair);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    struct gw_migrate_info info = pair_source_info(&pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_int_equal(info.error.code, GW_CODE_TIMEOUT);
    assert_true(info.total_ms >= 400);
    pair_fini(&pair);
}

/* Not that it was given up because of the decision to give up. */
static void a_deadline_out_of_reach_is_told_once(void **state)
{
    struct pair pair;
    pair_init(&pair, 60 * MIB_PAGES, 60 * MIB_PAGES);
    pair.source_config.parameters.max_bandwidth = 6 << 20;
    pair.source_config.parameters.deadline_ms = 4000;
    start(&pair);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    struct gw_migrate_info info = pair_source_info(&pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_null(strstr(info.error.message, "give up"));
    if (info.error.code == GW_CODE_BUDGET) /* else a busy host let the deadline pass before */
        assert_ptr_equal(strstr(info.error.message, "given up: "), info.error.message);
    pair_fini(&pair);
}

static double rate_of_move(void *limit)
{
    struct pair pair;
    pair_init(&pair, 6 * MIB_PAGES, 6 * MIB_PAGES);
    fake_vmm_stop(pair.from);
    pair.source_config.parameters.max_bandwidth = *(uint64_t *)limit;
    uint64_t began = host_monotonic_ns();
    start(&pair);
    pair_wait(&pair);
    double seconds = (double)(host_monotonic_ns() - began) / 1e9;
    struct gw_migrate_info info = pair_source_info(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
    return (double)info.ram_transferred / seconds;
}

static void the_bandwidth_limit_is_kept(void **state)
{
    uint64_t limit = 4 << 20;
    assert_rate_is_kept(rate_of_move, &limit, (double)limit);
}

static void a_limit_that_is_lifted_lets_it_end(void **state)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 8 * MIB_PAGES);
    pair.source_config.parameters.max_bandwidth = 20 << 10; /* longer than any test waits */
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    usleep(200000);
    set_bandwidth(&pair, 0);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
}

/* ---- The pause budget ---- */

static void a_pause_that_takes_too_long_is_taken_back(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.source_config.parameters.downtime_limit_ms = 150;
    pair.to->final_load_ms = 1000;
    pair.to->slow_final_loads = 1;
    start(&pair);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    struct gw_migrate_info info = pair_source_info(&pair);
    assert_true(info.failed_switches >= 1);
    assert_true(info.pause_us < 1000000); /* not that of the load */
    assert_true(pair.from->resumes >= 2); /* after the rehearsal and after the attempt */
    pair_fini(&pair);
}

static void a_state_that_loads_too_slowly_never_pauses_the_guest(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.source_config.parameters.downtime_limit_ms = 100;
    pair.source_config.parameters.deadline_ms = 1500;
    pair.to->load_ms = pair.to->final_load_ms = 300;
    start(&pair);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    assert_int_equal(pair_source_info(&pair).failed_switches, 0);
    assert_int_equal(pair.from->releases, 0);
    pair_fini(&pair);
}

/* While the policy waits for something that memory cannot change, memory is looked at now and then:
 * rounds of a few pages do not follow one another without a pause. */
static void small_rounds_keep_a_distance(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.source_config.parameters.downtime_limit_ms = 50;
    pair.source_config.parameters.deadline_ms = 3000;
    pair.to->load_ms = pair.to->final_load_ms = 200;
    start(&pair);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    assert_int_not_equal(pair_source_info(&pair).error.code, GW_CODE_CORRUPT);
    assert_in_range(pair_source_info(&pair).round, 3, 160);
    pair_fini(&pair);
}

static void a_longer_budget_given_later_lets_it_end(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.source_config.parameters.downtime_limit_ms = 50;
    pair.to->load_ms = pair.to->final_load_ms = 200;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    usleep(600000);
    assert_int_equal(pair_source_info(&pair).status, GW_MIGRATE_ACTIVE);
    pair.source_config.parameters.downtime_limit_ms = 2000;
    gw_source_set_parameters(pair.source, &pair.source_config.parameters);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
}

/* ---- Refusals and failures of the machines ---- */

struct failure {
    const char *name;
    size_t member; /* of struct fake_vmm: the sentence */
    bool on_source;
    uint64_t epoch; /* of the source afterwards */
};

static void fails_with(const struct failure *failure)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    struct fake_vmm *vmm = failure->on_source ? pair.from : pair.to;
    *(const char **)((char *)vmm + failure->member) = failure->name;
    start(&pair);
    pair_wait_source(&pair);
    pair_assert_stayed(&pair, failure->epoch);
    struct gw_migrate_info info = pair_source_info(&pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_non_null(strstr(info.error.message, failure->name));
    assert_int_equal(info.error.layer, GW_LAYER_VMM);
    if (failure->member != offsetof(struct fake_vmm, refuse_prepare)) {
        pair_wait_destination(&pair);
        struct gw_migrate_info there = pair_destination_info(&pair);
        assert_int_equal(there.status, GW_MIGRATE_FAILED);
        assert_non_null(strstr(there.error.message, failure->name));
        assert_int_equal(pair.to->discards, 1);
        assert_int_equal(pair_record(pair.to_owner).state, GW_OWNER_REFUSED);
    }
    struct gw_ownership record = pair_record(pair.from_owner);
    assert_true(record.epoch == 0 ||
                (record.state == GW_OWNER_OWNER && record.epoch == failure->epoch));
    pair_fini(&pair);
}

#define FAILURE(member, source, epoch)                                                             \
    static void member##_reaches_both_sides(void **state)                                          \
    {                                                                                              \
        fails_with(&(struct failure){"injected: " #member, offsetof(struct fake_vmm, member),      \
                                     source, epoch});                                              \
    }
FAILURE(refuse_prepare, false, 1)
FAILURE(fail_load, false, 1)
FAILURE(fail_final_load, false, 1)
FAILURE(fail_acquire, false, 3)
FAILURE(fail_start, false, 3)
FAILURE(fail_save, true, 1)
FAILURE(fail_release, true, 1)
FAILURE(fail_pause, true, 1)
FAILURE(fail_prepare_pause, true, 1)

static void a_pause_is_prepared_while_the_guest_runs(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.from->prepare_pause_ms = 3000; /* thirty times the pause budget */
    start(&pair);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    assert_int_equal(pair.from->pauses_prepared, 1);
    assert_true(pair_source_info(&pair).pause_us < 3000000);
    pair_fini(&pair);
}

static void a_state_that_cannot_be_loaded_is_found_by_the_rehearsal(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.to->fail_load = "register 7 is out of range";
    start(&pair);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    assert_int_equal(pair.from->pauses, 1);
    assert_non_null(strstr(pair_source_info(&pair).error.message, "rehearsal"));
    pair_fini(&pair);
}

static void damaged_memory_is_found_by_the_hash(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.to->damage_memory = true;
    start(&pair);
    pair_wait(&pair);
    pair_assert_stayed(&pair, 1);
    assert_non_null(
        strstr(pair_source_info(&pair).error.message, "memory of the two sides differs"));
    assert_non_null(
        strstr(pair_destination_info(&pair).error.message, "memory of the two sides differs"));
    pair_fini(&pair);
}

static void a_refused_offer_leaves_the_destination_waiting(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    pair.to->refuse_prepare = "no disk named 'root' here";
    start(&pair);
    pair_wait_source(&pair);
    assert_non_null(strstr(pair_source_info(&pair).error.message, "no disk named 'root' here"));
    gw_source_free(pair.source);
    pair.to->refuse_prepare = NULL;
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
}

static void a_side_that_does_not_own_the_guest_cannot_send_it(void **state)
{
    struct pair pair;
    struct gw_error error = {0};
    pair_init(&pair, MIB_PAGES, 0);
    struct gw_ownership record = {.state = GW_OWNER_RELEASED, .epoch = 4};
    snprintf(record.session, sizeof record.session, "%032d", 0);
    assert_int_equal(gw_ownership_write(pair.from_owner, &record, &error), 0);
    pair.source_config.uri = "unix:/nowhere";
    assert_true(gw_source_start(&pair.source_config, &pair.source, &error) < 0);
    assert_int_equal(error.code, GW_CODE_STATE);
    pair_fini(&pair);
}

static void an_address_that_makes_no_sense_fails_at_once(void **state)
{
    struct pair pair;
    struct gw_error error = {0};
    pair_init(&pair, MIB_PAGES, 0);
    pair.source_config.uri = "carrier-pigeon:home";
    assert_true(gw_source_start(&pair.source_config, &pair.source, &error) < 0);
    assert_int_equal(error.code, GW_CODE_INVALID);
    pair_fini(&pair);
}

static void nobody_there_is_an_error_with_the_address(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, 0);
    pair_send(&pair, "unix:/nowhere/at-all");
    pair_wait_source(&pair);
    assert_int_equal(pair_source_info(&pair).status, GW_MIGRATE_FAILED);
    assert_non_null(strstr(pair_source_info(&pair).error.message, "/nowhere/at-all"));
    pair_fini(&pair);
}

static void the_second_source_is_told_that_the_destination_is_busy(void **state)
{
    struct pair pair, other;
    pair_init(&pair, 8 * MIB_PAGES, 8 * MIB_PAGES);
    pair_init(&other, MIB_PAGES, 0);
    pair.source_config.parameters.max_bandwidth = 8 << 20;
    start(&pair);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    pair_send(&other, pair.connect);
    pair_wait_source(&other);
    assert_non_null(strstr(pair_source_info(&other).error.message, "another guest already"));
    assert_int_equal(pair_source_info(&other).error.code, GW_CODE_BUSY);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&other);
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_while_the_destination_builds_the_machine),
        cmocka_unit_test(cancelled_while_connecting),
        cmocka_unit_test(cancelled_while_memory_moves),
        cmocka_unit_test(cancelled_during_the_pause),
        cmocka_unit_test(cancelling_after_commit_changes_nothing),
        cmocka_unit_test(cancelled_on_the_destination_while_memory_moves),
        cmocka_unit_test(a_waiting_destination_can_be_cancelled),
        cmocka_unit_test(freeing_a_running_migration_ends_it),
        cmocka_unit_test(the_deadline_ends_it_on_the_source),
        cmocka_unit_test(a_deadline_out_of_reach_is_told_once),
        cmocka_unit_test(the_bandwidth_limit_is_kept),
        cmocka_unit_test(a_limit_that_is_lifted_lets_it_end),
        cmocka_unit_test(a_pause_that_takes_too_long_is_taken_back),
        cmocka_unit_test(a_state_that_loads_too_slowly_never_pauses_the_guest),
        cmocka_unit_test(small_rounds_keep_a_distance),
        cmocka_unit_test(a_longer_budget_given_later_lets_it_end),
        cmocka_unit_test(refuse_prepare_reaches_both_sides),
        cmocka_unit_test(fail_load_reaches_both_sides),
        cmocka_unit_test(fail_final_load_reaches_both_sides),
        cmocka_unit_test(fail_acquire_reaches_both_sides),
        cmocka_unit_test(fail_start_reaches_both_sides),
        cmocka_unit_test(fail_save_reaches_both_sides),
        cmocka_unit_test(fail_release_reaches_both_sides),
        cmocka_unit_test(fail_pause_reaches_both_sides),
        cmocka_unit_test(fail_prepare_pause_reaches_both_sides),
        cmocka_unit_test(a_pause_is_prepared_while_the_guest_runs),
        cmocka_unit_test(a_state_that_cannot_be_loaded_is_found_by_the_rehearsal),
        cmocka_unit_test(damaged_memory_is_found_by_the_hash),
        cmocka_unit_test(a_refused_offer_leaves_the_destination_waiting),
        cmocka_unit_test(a_side_that_does_not_own_the_guest_cannot_send_it),
        cmocka_unit_test(an_address_that_makes_no_sense_fails_at_once),
        cmocka_unit_test(nobody_there_is_an_error_with_the_address),
        cmocka_unit_test(the_second_source_is_told_that_the_destination_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
