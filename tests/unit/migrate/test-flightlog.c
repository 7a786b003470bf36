/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "flight-sample.h"

static char folder[64];

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/test-flightlog-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return 0;
}

static int tear_down(void **state)
{
    DIR *directory = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(directory));)
        (void)unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    return rmdir(folder);
}

static struct gw_buf serialised(struct flightlog *log)
{
    struct gw_buf text = {0};
    assert_int_equal(flightlog_serialise(log, &text), 0);
    return text;
}

static void what_is_written_is_read_back(void **state)
{
    struct flightlog *log = sample_flight(true, 6);
    struct gw_buf text = serialised(log);
    struct gw_flight_log *read = NULL;
    struct gw_flight_log_summary summary;
    assert_int_equal(gw_flight_log_parse(text.data, text.length, &read, NULL), 0);
    gw_flight_log_summarise(read, &summary);
    assert_string_equal(summary.session, SAMPLE_SESSION);
    assert_string_equal(summary.machine, "web");
    assert_string_equal(summary.peer, "beta");
    assert_string_equal(summary.status, "completed");
    assert_true(summary.is_source);
    assert_int_equal(summary.rounds, 6);
    assert_int_equal(summary.pause_us, 15600);
    assert_int_equal(summary.total_ms, 1080);
    gw_flight_log_free(read);
    gw_buf_fini(&text);
    flightlog_free(log);
}

static json_t *member(const struct gw_buf *text, const char *name)
{
    json_t *document = json_loadb((char *)text->data, text->length, 0, NULL);
    assert_non_null(document);
    json_t *value = json_incref(json_object_get(document, name));
    json_decref(document);
    return value;
}

static void equal_decisions_of_one_round_are_joined(void **state)
{
    struct flightlog *log = flightlog_new(true, SAMPLE_SESSION, "web", "tcp:x:1");
    struct policy_decision go_on = {.reason = "go on: 1"}, change = {.action = POLICY_SWITCH};
    for (unsigned i = 0; i < 5; i++)
        flightlog_add_decision(log, i, &go_on);
    flightlog_add_round(log, &(struct gw_round){.number = 1});
    flightlog_add_decision(log, 5, &go_on);
    flightlog_add_decision(log, 6, &change);
    struct gw_buf text = serialised(log);
    json_t *decisions = member(&text, "decisions");
    assert_int_equal(json_array_size(decisions), 3);
    const json_t *first = json_array_get(decisions, 0);
    assert_int_equal(json_integer_value(json_object_get(first, "count")), 5);
    assert_int_equal(json_integer_value(json_object_get(first, "last_ns")), 4);
    json_decref(decisions);
    gw_buf_fini(&text);
    flightlog_free(log);
}

/* Everything that can be long is as long as it can be, and of characters that JSON has to escape.
 */
static void an_endless_migration_stays_within_the_limit(void **state)
{
    struct flightlog *log = sample_flight(true, 3);
    char worst[600];
    memset(worst, '"', sizeof worst - 1);
    worst[sizeof worst - 1] = '\0';
    struct gw_round round;
    memset(&round, 0x7f, sizeof round);
    for (unsigned i = 0; i < 10000; i++) {
        struct policy_decision decision = {.action = i % 2 ? POLICY_GO_ON : POLICY_SWITCH};
        snprintf(decision.reason, sizeof decision.reason, "%.150s", worst);
        flightlog_add_round(log, &round);
        flightlog_add_decision(log, UINT64_MAX, &decision);
        flightlog_add_event(log, UINT64_MAX, worst);
        flightlog_add_phase(log, UINT64_MAX, worst);
    }
    struct gw_buf text = serialised(log);
    assert_true(text.length <= GW_FLIGHT_LOG_MAX_BYTES);
    json_t *rounds = member(&text, "rounds");
    assert_int_equal(json_array_size(rounds), 1500);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rounds, 0), "number")), 1);
    struct gw_flight_log *read = NULL;
    assert_int_equal(gw_flight_log_parse(text.data, text.length, &read, NULL), 0);
    json_decref(rounds);
    gw_flight_log_free(read);
    gw_buf_fini(&text);
    flightlog_free(log);
}

static void foreign_text_is_made_harmless(void **state)
{
    struct flightlog *log = flightlog_new(false, NULL, "a\nb\x1b[2J\xff", "tcp:x:1");
    struct gw_buf text = serialised(log);
    json_t *machine = member(&text, "machine");
    assert_string_equal(json_string_value(machine), "a?b?[2J?");
    json_decref(machine);
    gw_buf_fini(&text);
    flightlog_free(log);
}

#define GOOD                                                                                       \
    "\"format\":\"godwit-flight-log\",\"version\":1,\"session\":\"" SAMPLE_SESSION                 \
    "\",\"role\":\"source\",\"started_ms\":1"

static void hostile_documents_are_refused_with_the_field(void **state)
{
    static const char *const documents[][2] = {
        {"", "not a migration log"},
        {"[]", "format"},
        {"{}", "format"},
        {"{" GOOD, "not a migration log"},
        {"{" GOOD ",\"role\":\"source\"}", "duplicate"},
        {"{\"format\":\"godwit-flight-log\",\"version\":2}", "version 1 only"},
        {"{\"format\":\"godwit-flight-log\",\"version\":1}", "'session' is missing"},
        {"{" GOOD ",\"number\":-1}", "'number'"},
        {"{" GOOD ",\"number\":9007199254740993}", "'number'"},
        {"{" GOOD ",\"number\":\"1\"}", "'number'"},
        {"{" GOOD ",\"number\":1.5}", "'number'"},
        {"{" GOOD ",\"condensed\":1}", "'condensed'"},
        {"{" GOOD ",\"machine\":7}", "'machine'"},
        {"{" GOOD ",\"machine\":\"a\\u0007\"}", "'machine'"},
        {"{" GOOD
         ",\"machine\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
         "'machine'"},
        {"{" GOOD ",\"rounds\":{}}", "'rounds'"},
        {"{" GOOD ",\"rounds\":[1]}", "'rounds'"},
        {"{" GOOD ",\"rounds\":[{\"bandwidth\":-1}]}", "'bandwidth'"},
        {"{" GOOD ",\"pause\":[]}", "'pause'"},
        {"{" GOOD ",\"networks\":[{\"waited\":-1}]}", "'waited'"},
        {"{" GOOD ",\"pause\":{\"parts\":{\"stop_us\":null}}}", "'stop_us'"},
        {"{" GOOD ",\"verdict\":{\"status\":\"a-status-that-is-too-long\"}}", "'status'"},
        {"{" GOOD ",\"other_side\":{}}", "format"},
        {"{" GOOD ",\"other_side\":{\"format\":\"godwit-flight-log\",\"version\":1,\"session\":"
         "\"ffffffffffffffffffffffffffffffff\",\"role\":\"source\",\"started_ms\":1}}",
         "another session"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(documents); i++) {
        struct gw_flight_log *log = NULL;
        struct gw_error error = {0};
        int r = gw_flight_log_parse(documents[i][0], strlen(documents[i][0]), &log, &error);
        if (r != -EINVAL || !strstr(error.message, documents[i][1]))
            fail_msg("%s: %d, %s", documents[i][0], r, error.message);
    }
}

static void unknown_names_are_ignored_and_most_may_be_absent(void **state)
{
    static const char text[] = "{" GOOD ",\"of-a-later-release\":[{}]}";
    struct gw_flight_log *log = NULL;
    struct gw_flight_log_summary summary;
    assert_int_equal(gw_flight_log_parse(text, strlen(text), &log, NULL), 0);
    gw_flight_log_summarise(log, &summary);
    assert_string_equal(summary.status, "active");
    gw_flight_log_free(log);
}

static void too_long_a_series_is_refused(void **state)
{
    struct gw_buf text = {0};
    struct gw_flight_log *log = NULL;
    gw_buf_printf(&text, "{" GOOD ",\"rounds\":[{}");
    for (unsigned i = 0; i < 1500; i++)
        gw_buf_printf(&text, ",{}");
    gw_buf_printf(&text, "]}");
    assert_int_equal(gw_flight_log_parse(text.data, text.length, &log, NULL), -EINVAL);
    gw_buf_fini(&text);
}

/* ---- Directories ---- */

static void write_flight(unsigned number, uint64_t status)
{
    char session[33];
    snprintf(session, sizeof session, "%032x", number);
    struct flightlog *log = flightlog_new(true, session, "web", "tcp:x:1");
    for (unsigned i = 0; i < 100; i++)
        flightlog_add_round(log, &(struct gw_round){.number = i + 1});
    flightlog_inherit(log, folder);
    flightlog_set_verdict(log, number, (enum gw_migrate_status)status, "x", "", NULL, "");
    assert_int_equal(flightlog_write(log, folder, NULL), 0);
    flightlog_free(log);
    usleep(1100); /* the order of flights is that of their first milliseconds */
}

static size_t count_files(size_t *ret_bad)
{
    struct gw_flight_log_entry *entries = NULL;
    size_t count = 0;
    assert_int_equal(gw_flight_log_list(folder, &entries, &count, ret_bad, NULL), 0);
    for (size_t i = 1; i < count; i++)
        assert_true(entries[i - 1].summary.started_ms <= entries[i].summary.started_ms);
    free(entries);
    return count;
}

static void a_directory_is_listed_in_order_without_its_rubbish(void **state)
{
    size_t bad = 0;
    for (unsigned i = 5; i > 0; i--)
        write_flight(i, GW_MIGRATE_COMPLETED);
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, "rubbish.json");
    FILE *file = fopen(path, "we");
    fputs("rubbish", file);
    fclose(file);
    assert_int_equal(count_files(&bad), 5);
    assert_int_equal(bad, 1);
    struct gw_flight_log_entry *none = NULL;
    size_t count = 1;
    assert_int_equal(gw_flight_log_list("/nonexistent/flights", &none, &count, &bad, NULL), 0);
    assert_int_equal(count, 0);
}

static void files_are_private(void **state)
{
    char path[128];
    struct stat status;
    write_flight(7, GW_MIGRATE_COMPLETED);
    snprintf(path, sizeof path, "%s/%032x.json", folder, 7);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void the_oldest_files_are_removed(void **state)
{
    size_t bad;
    for (unsigned i = 0; i < 260; i++) {
        char session[33];
        snprintf(session, sizeof session, "%032x", i);
        struct flightlog *log = flightlog_new(true, session, "web", "tcp:x:1");
        assert_int_equal(flightlog_write(log, folder, NULL), 0);
        flightlog_free(log);
    }
    assert_int_equal(count_files(&bad), 256);
    char path[128];
    snprintf(path, sizeof path, "%s/%032x.json", folder, 259);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- Travelling ---- */

static void earlier_flights_travel_and_land_as_files(void **state)
{
    write_flight(1, GW_MIGRATE_COMPLETED);
    write_flight(2, GW_MIGRATE_FAILED);
    write_flight(3, GW_MIGRATE_COMPLETED);
    struct flightlog *source = sample_flight(true, 3), *destination = sample_flight(false, 0);
    struct gw_buf earlier = {0};
    flightlog_inherit(source, folder);
    assert_int_equal(flightlog_format_earlier(source, &earlier), 0);
    tear_down(state);
    set_up(state);
    assert_int_equal(flightlog_set_earlier(destination, earlier.data, earlier.length, NULL), 0);
    assert_int_equal(flightlog_write(destination, folder, NULL), 0);
    size_t bad;
    assert_int_equal(count_files(&bad), 3);
    struct gw_buf text = serialised(destination);
    json_t *number = member(&text, "number");
    assert_int_equal(json_integer_value(number), 3);
    json_decref(number);
    gw_buf_fini(&text);
    gw_buf_fini(&earlier);
    flightlog_free(source);
    flightlog_free(destination);
}

static void no_more_than_the_last_twenty_four_travel(void **state)
{
    for (unsigned i = 1; i <= 30; i++)
        write_flight(i, GW_MIGRATE_COMPLETED);
    struct flightlog *log = sample_flight(true, 1);
    struct gw_buf earlier = {0};
    flightlog_inherit(log, folder);
    assert_int_equal(flightlog_format_earlier(log, &earlier), 0);
    assert_true(earlier.length <= FLIGHTLOG_EARLIER_BYTES);
    json_t *array = json_loadb((char *)earlier.data, earlier.length, 0, NULL);
    assert_int_equal(json_array_size(array), 24);
    const json_t *last = json_array_get(array, 23);
    assert_string_equal(json_string_value(json_object_get(last, "session")),
                        "0000000000000000000000000000001e");
    assert_int_equal(json_array_size(json_object_get(last, "rounds")), 32);
    assert_int_equal(json_integer_value(json_object_get(last, "number")), 30);
    json_decref(array);
    gw_buf_fini(&earlier);
    flightlog_free(log);
}

static void a_hostile_list_of_earlier_flights_changes_nothing(void **state)
{
    static const char *const lists[] = {"", "{}", "[1]", "[{" GOOD "},{}]", "[", "[{" GOOD "}"};
    for (size_t i = 1; i < ARRAY_COUNT(lists); i++) {
        struct flightlog *log = sample_flight(false, 1);
        struct gw_buf earlier = {0};
        struct gw_error error = {0};
        assert_int_equal(flightlog_set_earlier(log, lists[i], strlen(lists[i]), &error), -EINVAL);
        assert_int_equal(error.code, GW_CODE_CORRUPT);
        assert_int_equal(flightlog_format_earlier(log, &earlier), 0);
        assert_int_equal(earlier.length, 2);
        gw_buf_fini(&earlier);
        flightlog_free(log);
    }
}

static void the_other_side_is_kept_with_ours(void **state)
{
    struct flightlog *source = sample_flight(true, 5);
    struct flightlog *destination = flightlog_new(false, SAMPLE_SESSION, "web", "tcp:x:1");
    struct gw_buf document = {0};
    struct gw_error error = {0};
    assert_int_equal(flightlog_format_condensed(source, &document), 0);
    assert_int_equal(flightlog_set_other_side(destination, document.data, document.length, &error),
                     0);
    struct gw_buf text = serialised(destination);
    json_t *other = member(&text, "other_side");
    assert_string_equal(json_string_value(json_object_get(other, "role")), "source");
    assert_int_equal(json_array_size(json_object_get(other, "rounds")), 5);
    json_t *peer = member(&text, "peer_host");
    assert_string_equal(json_string_value(peer), json_string_value(json_object_get(other, "host")));
    json_decref(peer);
    json_decref(other);

    struct gw_buf condensed = {0};
    assert_int_equal(flightlog_format_condensed(destination, &condensed), 0);
    json_t *rounds = member(&condensed, "rounds");
    assert_int_equal(json_array_size(rounds), 5);
    json_decref(rounds);
    gw_buf_fini(&condensed);
    flightlog_set_session(destination, "ffffffffffffffffffffffffffffffff");
    assert_int_equal(flightlog_set_other_side(destination, document.data, document.length, &error),
                     -EINVAL);
    gw_buf_fini(&text);
    gw_buf_fini(&document);
    flightlog_free(source);
    flightlog_free(destination);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(equal_decisions_of_one_round_are_joined),
        cmocka_unit_test(an_endless_migration_stays_within_the_limit),
        cmocka_unit_test(foreign_text_is_made_harmless),
        cmocka_unit_test(hostile_documents_are_refused_with_the_field),
        cmocka_unit_test(unknown_names_are_ignored_and_most_may_be_absent),
        cmocka_unit_test(too_long_a_series_is_refused),
        cmocka_unit_test_setup_teardown(a_directory_is_listed_in_order_without_its_rubbish, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(files_are_private, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_oldest_files_are_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(earlier_flights_travel_and_land_as_files, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_more_than_the_last_twenty_four_travel, set_up,
                                        tear_down),
        cmocka_unit_test(a_hostile_list_of_earlier_flights_changes_nothing),
        cmocka_unit_test(the_other_side_is_kept_with_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
