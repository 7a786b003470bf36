/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/flights.h"
#include "cli/progress.h"

static void print_row(const struct gw_flight_log_summary *flight)
{
    time_t started = (time_t)(flight->started_ms / 1000);
    char when[32], sent[16];
    struct tm local;
    strftime(when, sizeof when, "%F %T", localtime_r(&started, &local));
    printf("%.8s  %s  %-4s %-24s  %-9s", flight->session, when, flight->is_source ? "to" : "from",
           flight->peer, flight->status);
    if (strcmp(flight->status, "completed") == 0)
        printf("  %.2f s, %s, pause %.1f ms", (double)flight->total_ms / 1000,
               format_bytes((double)flight->wire_bytes, sent), (double)flight->pause_us / 1000);
    else
        printf("  %s", flight->sentence);
    putchar('\n');
}

static json_t *as_json(const struct gw_flight_log_summary *flight)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "session", flight->session,
                     "machine", flight->machine, "direction", flight->is_source ? "out" : "in", "peer",
                     flight->peer, "started-ms", (json_int_t)flight->started_ms, "total-ms",
                     (json_int_t)flight->total_ms, "pause-us", (json_int_t)flight->pause_us, "bytes",
                     (json_int_t)flight->wire_bytes, "rounds", (json_int_t)flight->rounds, "status",
                     flight->status, "sentence", flight->sentence);
}

int cmd_log(const struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-' || name)
            return cli_usage("log", "'%s' is not expected", argv[i]);
        else
            name = argv[i];
    }
    if (!name)
        return cli_usage("log", "a machine name is needed");
    struct gw_error error;
    _cleanup_free_ struct gw_flight_log_entry *entries = NULL;
    size_t count = 0;
    if (flights_list(cli, name, &entries, &count, &error) < 0)
        return cli_fail(&error);
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        if (json)
            json_array_append_new(all, as_json(&entries[i].summary));
        else
            print_row(&entries[i].summary);
    }
    if (json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (count == 0) {
        printf("machine '%s' has never been moved\n", name);
    }
    json_decref(all);
    return EXIT_DONE;
}
