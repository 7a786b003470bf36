/* SPDX-License-Identifier: Apache-2.0 */
/* With a file name as argument: writes the picture of the sample flight there, to be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "flight-sample.h"

static struct gw_flight_log *read_back(struct flightlog *log)
{
    struct gw_buf text = {0};
    struct gw_flight_log *read = NULL;
    struct gw_error error = {0};
    assert_int_equal(flightlog_serialise(log, &text), 0);
    if (gw_flight_log_parse(text.data, text.length, &read, &error) < 0)
        fail_msg("%s", error.message);
    gw_buf_fini(&text);
    flightlog_free(log);
    return read;
}

static char *text_of(struct flightlog *log, unsigned width)
{
    struct gw_flight_log *read = read_back(log);
    struct gw_buf out = {0};
    assert_int_equal(gw_flight_log_explain_text(read, width, &out, NULL), 0);
    assert_int_equal(gw_buf_append(&out, "", 1), 0);
    gw_flight_log_free(read);
    return (char *)out.data;
}

static char *svg_of(struct flightlog *log)
{
    struct gw_flight_log *read = read_back(log);
    struct gw_buf out = {0};
    assert_int_equal(gw_flight_log_explain_svg(read, &out, NULL), 0);
    assert_int_equal(gw_buf_append(&out, "", 1), 0);
    gw_flight_log_free(read);
    return (char *)out.data;
}

static struct flightlog *failed_flight(const char *sentence)
{
    struct flightlog *log = sample_flight(true, 2);
    struct gw_error error = {.layer = GW_LAYER_BLOCK, .code = GW_CODE_BUSY};
    snprintf(error.message, sizeof error.message, "%s", sentence);
    flightlog_set_verdict(log, 700 * MS, GW_MIGRATE_FAILED, "device", "destination", &error,
                          "release the disk on beta, then migrate again");
    return log;
}

static void assert_has(const char *text, const char *words)
{
    if (!strstr(text, words))
        fail_msg("'%s' is not in:\n%s", words, text);
}

static void a_completed_flight_is_told(void **state)
{
    _cleanup_free_ char *text = text_of(sample_flight(true, 6), 100);
    assert_has(text, "Migration 1 of web,");
    assert_has(text, " to beta (tcp:beta.example:4444), told by the source");
    assert_has(text, "It completed in 1.1 s.");
    assert_has(text,
               "The guest stood still for 16 ms; the budget was 100 ms, predicted were 17 ms.");
    assert_has(text, "pause budget 100 ms, no deadline, at most 668 MiB/s");
    assert_has(text,
               "switch: pause of 13 ms expected (4.4 ms for 3.1 MB of memory, 8.2 ms for state");
    assert_has(text, "rehearsal: the destination loaded the state in 2.3 ms");
    assert_has(text, "  commit     5.2 ms  █");
}

static void a_failed_flight_tells_where_why_and_what_to_do(void **state)
{
    _cleanup_free_ char *text = text_of(failed_flight("disk 'a.raw' is locked"), 200);
    assert_has(text, "It failed after 700 ms in phase device, on the destination: disk 'a.raw' is "
                     "locked (busy)");
    assert_has(text, "What to do: release the disk on beta, then migrate again");
}

static void a_flight_without_an_end_says_so(void **state)
{
    _cleanup_free_ char *text = text_of(flightlog_new(false, SAMPLE_SESSION, NULL, "tcp:x:1"), 80);
    assert_has(text, "No end is recorded");
    assert_has(text, "an unnamed machine");
}

static void the_destination_tells_it_with_the_figures_of_the_source(void **state)
{
    struct flightlog *source = sample_flight(true, 6);
    struct flightlog *destination = flightlog_new(false, SAMPLE_SESSION, "web", "tcp:x:1");
    struct gw_buf document = {0};
    assert_int_equal(flightlog_format_condensed(source, &document), 0);
    assert_int_equal(flightlog_set_other_side(destination, document.data, document.length, NULL),
                     0);
    flightlog_set_verdict(destination, 99999 * MS, GW_MIGRATE_COMPLETED, "x", "", NULL, "");
    _cleanup_free_ char *text = text_of(destination, 100);
    assert_has(text, "told by the destination");
    assert_has(text, "It completed in 1.1 s.");
    assert_has(text, "the budget was 100 ms");
    assert_has(text, "switch: pause of 13 ms expected");
    gw_buf_fini(&document);
    flightlog_free(source);
}

/* What a machine tells at `at_ns` of a migration, of times since its beginning. */
static void tell_networks(struct flightlog *log, uint64_t at_ns, struct gw_network_times network)
{
    uint64_t began_ns = host_realtime_ns() - at_ns;
    network.last_out_ns += network.last_out_ns ? began_ns : 0;
    network.first_out_ns += network.first_out_ns ? began_ns : 0;
    network.first_in_ns += network.first_in_ns ? began_ns : 0;
    flightlog_set_networks(log, at_ns, &network, 1);
}

/* The source's pause begins 900 ms after its beginning, the destination's 400 ms after its. */
static struct flightlog *flight_with_networks(struct gw_network_times last,
                                              struct gw_network_times first)
{
    const struct gw_pause_parts parts = {0};
    struct flightlog *source = sample_flight(true, 6);
    struct flightlog *destination = flightlog_new(false, SAMPLE_SESSION, "web", "tcp:x:1");
    struct gw_buf document = {0};
    flightlog_set_pause(source, 900 * MS, 20000, &parts, 0, 0, 0);
    tell_networks(source, 2000 * MS, last);
    flightlog_set_pause(destination, 400 * MS, 20000, &parts, 0, 0, 0);
    tell_networks(destination, 1500 * MS, first);
    flightlog_set_verdict(destination, 430 * MS, GW_MIGRATE_COMPLETED, "completed", "", NULL, "");
    assert_int_equal(flightlog_format_condensed(source, &document), 0);
    assert_int_equal(flightlog_set_other_side(destination, document.data, document.length, NULL),
                     0);
    gw_buf_fini(&document);
    flightlog_free(source);
    return destination;
}

static void assert_networks_are_told(const char *text)
{
    assert_has(text, "    lan0  the guest's last frame left 35 ms before the pause");
    assert_has(text, "    lan0  when the guest ran again, the first left after 25 ms and the first "
                     "came in after 15 ms; 3 had waited");
    assert_has(text, "    lan0  so nothing was heard of the guest for 80 ms");
}

static void networks_are_told_as_both_sides_saw_them(void **state)
{
    struct flightlog *log = flight_with_networks(
        (struct gw_network_times){.name = "lan0", .last_out_ns = 865 * MS},
        (struct gw_network_times){
            .name = "lan0", .first_out_ns = 445 * MS, .first_in_ns = 435 * MS, .waited = 3});
    struct gw_buf condensed = {0};
    assert_int_equal(flightlog_format_condensed(log, &condensed), 0);
    _cleanup_free_ char *text = text_of(log, 120);
    assert_networks_are_told(text);

    struct gw_flight_log *read = NULL;
    struct gw_buf out = {0};
    assert_int_equal(gw_flight_log_parse(condensed.data, condensed.length, &read, NULL), 0);
    assert_int_equal(gw_flight_log_explain_text(read, 120, &out, NULL), 0);
    assert_int_equal(gw_buf_append(&out, "", 1), 0);
    assert_networks_are_told((char *)out.data);
    gw_flight_log_free(read);
    gw_buf_fini(&condensed);
    gw_buf_fini(&out);
}

static char *text_of_frames(uint64_t last_out_ns, uint64_t first_out_ns)
{
    return text_of(flight_with_networks(
                       (struct gw_network_times){.name = "lan0", .last_out_ns = last_out_ns},
                       (struct gw_network_times){.name = "lan0", .first_out_ns = first_out_ns}),
                   120);
}

static void a_frame_that_left_while_the_guest_stopped_is_told(void **state)
{
    _cleanup_free_ char *text = text_of_frames(905 * MS, 445 * MS);
    assert_has(text, "lan0  the guest's last frame left 5.0 ms into the pause, while it stopped");
    assert_has(text, "lan0  so nothing was heard of the guest for 40 ms");
}

static void a_frame_that_left_before_the_first_instruction_ends_the_silence(void **state)
{
    _cleanup_free_ char *text = text_of_frames(905 * MS, 419 * MS);
    assert_has(text, "lan0  so nothing was heard of the guest for 15 ms");
}

static void why_connections_ended_is_told_by_both_sides(void **state)
{
    struct flightlog *log = flight_with_networks(
        (struct gw_network_times){.name = "lan0", .stays = "they are sockets of somebody's"},
        (struct gw_network_times){.name = "lan0"});
    struct gw_buf condensed = {0};
    assert_int_equal(flightlog_format_condensed(log, &condensed), 0);
    assert_non_null(memmem(condensed.data, condensed.length, "sockets of somebody's", 21));
    _cleanup_free_ char *text = text_of(log, 120);
    assert_has(text, "    lan0  connections that were open ended with this move, because they are "
                     "sockets of somebody's");
    gw_buf_fini(&condensed);
}

static void a_network_on_which_nothing_passed_is_told_so(void **state)
{
    _cleanup_free_ char *text =
        text_of(flight_with_networks((struct gw_network_times){.name = "lan0"},
                                     (struct gw_network_times){.name = "lan0"}),
                120);
    assert_has(text, "none left in the first second and none came in; 0 had waited");
    assert_null(strstr(text, "before the pause"));
    assert_null(strstr(text, "nothing was heard"));
}

static void one_host_is_told_as_one(void **state)
{
    struct flightlog *log = sample_flight(true, 2);
    flightlog_set_peer(log, "alpha", true);
    _cleanup_free_ char *text = text_of(log, 100);
    assert_has(text, "from one process to another on ");
    assert_null(strstr(text, "alpha")); /* its own name for itself */
}

static void an_unknown_peer_leaves_the_address(void **state)
{
    _cleanup_free_ char *text =
        text_of(flightlog_new(true, SAMPLE_SESSION, "web", "tcp:beta:4444"), 100);
    assert_has(text, " to tcp:beta:4444, told by the source");
    assert_null(strstr(text, "unknown"));
}

/* C1 controls, directions of writing, other characters without a look. */
static void what_is_not_text_is_written_out(void **state)
{
    static const char hostile[] = "a\xc2\x9b"
                                  "31mb\xe2\x80\xae"
                                  "c\xef\xbb\xbf";
    _cleanup_free_ char *text = text_of(failed_flight(hostile), 200);
    _cleanup_free_ char *svg = svg_of(failed_flight(hostile));
    assert_has(text, "a\\x9b31mb\\u202ec\\ufeff");
    assert_has(svg, "a\\x9b31mb\\u202ec\\ufeff");
    assert_null(strstr(text, "\xe2\x80\xae"));
    assert_null(strstr(svg, "\xc2\x9b"));
}

static void no_line_is_wider_than_the_page(void **state)
{
    static const unsigned widths[] = {40, 60, 80, 100, 200};
    for (size_t i = 0; i < ARRAY_COUNT(widths); i++) {
        struct flightlog *log = failed_flight("the disk of the guest is locked");
        tell_networks(log, 2000 * MS,
                      (struct gw_network_times){.name = "a-network-with-a-name-that-is-long",
                                                .last_out_ns = MS});
        _cleanup_free_ char *text = text_of(log, widths[i]);
        unsigned columns = 0;
        for (const char *at = text; *at; at++) {
            columns = *at == '\n' ? 0 : columns + (((unsigned char)*at & 0xc0) != 0x80);
            if (columns > widths[i])
                fail_msg("a line is wider than %u columns:\n%s", widths[i], text);
        }
    }
}

static void a_long_series_of_rounds_is_told_by_its_ends(void **state)
{
    _cleanup_free_ char *text = text_of(sample_flight(true, 400), 80);
    unsigned lines = 0;
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    assert_true(lines < 80);
    assert_has(text, "\n      4 ");
    assert_has(text, "\n    400 ");
}

static void the_picture_holds_every_panel(void **state)
{
    _cleanup_free_ char *svg = svg_of(sample_flight(true, 6));
    assert_has(svg, "<svg xmlns=");
    assert_has(svg, "Migration 1 of web");
    assert_has(svg, "Memory left to send");
    assert_has(svg, "<polyline");
    assert_has(svg, "The pause: 16 ms of a budget of 100 ms");
    assert_has(svg, "commit 5.2 ms");
    assert_has(svg, "</svg>\n");
}

static void foreign_text_cannot_become_markup(void **state)
{
    _cleanup_free_ char *svg = svg_of(failed_flight("</text><script>alert(1)</script> & more"));
    assert_null(strstr(svg, "<script"));
    assert_has(svg, "&lt;script&gt;");
    assert_has(svg, "&amp; more");
}

/* All figures zero, or all as large as they may be: nothing divides by them, nothing leaves the
 * picture. */
static void extreme_figures_stay_in_the_picture(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct flightlog *log = flightlog_new(true, SAMPLE_SESSION, "web", "tcp:x:1");
        struct gw_round round;
        struct gw_pause_parts parts;
        memset(&round, i ? 0x1f : 0, sizeof round);
        memset(&parts, i ? 0x1f : 0, sizeof parts);
        flightlog_add_round(log, &round);
        flightlog_set_pause(log, i ? UINT64_MAX : 0, i ? UINT64_MAX : 0, &parts, 0, 0, 0);
        _cleanup_free_ char *svg = svg_of(log);
        assert_null(strstr(svg, "nan"));
        assert_null(strstr(svg, "inf"));
        assert_null(strstr(svg, "=\"-"));
        assert_true(strlen(svg) < 20000);
    }
}

static int write_picture(const char *path)
{
    _cleanup_free_ char *svg = svg_of(sample_flight(true, 6));
    _cleanup_fclose_ FILE *file = fopen(path, "we");
    return file && fputs(svg, file) >= 0 ? 0 : 1;
}

int main(int argument_count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_completed_flight_is_told),
        cmocka_unit_test(a_failed_flight_tells_where_why_and_what_to_do),
        cmocka_unit_test(a_flight_without_an_end_says_so),
        cmocka_unit_test(the_destination_tells_it_with_the_figures_of_the_source),
        cmocka_unit_test(networks_are_told_as_both_sides_saw_them),
        cmocka_unit_test(a_frame_that_left_while_the_guest_stopped_is_told),
        cmocka_unit_test(a_frame_that_left_before_the_first_instruction_ends_the_silence),
        cmocka_unit_test(why_connections_ended_is_told_by_both_sides),
        cmocka_unit_test(a_network_on_which_nothing_passed_is_told_so),
        cmocka_unit_test(one_host_is_told_as_one),
        cmocka_unit_test(an_unknown_peer_leaves_the_address),
        cmocka_unit_test(what_is_not_text_is_written_out),
        cmocka_unit_test(no_line_is_wider_than_the_page),
        cmocka_unit_test(a_long_series_of_rounds_is_told_by_its_ends),
        cmocka_unit_test(the_picture_holds_every_panel),
        cmocka_unit_test(foreign_text_cannot_become_markup),
        cmocka_unit_test(extreme_figures_stay_in_the_picture),
    };
    if (argument_count == 2)
        return write_picture(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
