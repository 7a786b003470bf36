/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/words.h"
#include "cli/cli.h"
#include "cli/flights.h"

static const struct text_column columns[] = {{.title = "SESSION"},
                                             {.title = "STARTED"},
                                             {.title = "WAY"},
                                             {.title = "STATUS"},
                                             {.title = "TOOK", .right = true, .optional = true},
                                             {.title = "PAUSE", .right = true},
                                             {.title = "SENT", .right = true, .optional = true}};

static void add_row(struct text_table *table, const struct gw_flight_log_summary *flight)
{
    time_t started = (time_t)(flight->started_ms / 1000);
    char when[32] = "";
    struct tm local;
    if (localtime_r(&started, &local))
        strftime(when, sizeof when, "%F %H:%M", &local);
    text_table_cell(table, "%.8s", flight->session);
    text_table_cell(table, "%s", when);
    text_table_cell(table, "%s %s", flight->is_source ? "to" : "from", flight->peer);
    text_table_cell(table, "%s", flight->status);
    if (strcmp(flight->status, "completed") != 0) {
        text_table_rest(table, "%s", flight->sentence);
        return;
    }
    text_table_cell(table, "%.2f s", (double)flight->total_ms / 1000);
    text_table_cell(table, "%.1f ms", (double)flight->pause_us / 1000);
    text_table_cell(table, "%s", bytes_in_words((double)flight->wire_bytes).text);
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

static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};

int cmd_log(const struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        json = true;
    }
    if (optind + 1 != argc)
        return cli_usage("log", "exactly one machine name is needed");
    name = argv[optind];
    struct gw_error error;
    _cleanup_free_ struct gw_flight_log_entry *entries = NULL;
    size_t count = 0;
    if (flights_list(cli, name, &entries, &count, &error) < 0)
        return cli_fail(&error);
    struct text_table table = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    json_t *all = json_array();
    for (size_t i = 0; i < count; i++) {
        if (json)
            json_array_append_new(all, as_json(&entries[i].summary));
        else
            add_row(&table, &entries[i].summary);
    }
    if (json) {
        cli_json(all);
    } else if (count == 0) {
        cli_print("machine '%s' has never been moved", name);
        cli_hint("'godwit migrate --help' tells how to move it");
    } else {
        cli_table(&table);
        cli_hint("'godwit explain %s SESSION' tells one of them", name);
    }
    json_decref(all);
    return EXIT_DONE;
}
