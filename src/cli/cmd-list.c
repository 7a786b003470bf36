/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/words.h"
#include "cli/cli.h"
#include "cli/machine.h"

/* What the machine itself says, else what its files say; always an object with "name" and "status". */
static json_t *describe(const struct cli *cli, const char *name)
{
    _cleanup_qmp_ struct qmp_client *client = NULL;
    struct gw_error error;
    json_t *found = NULL;
    if (machine_connect(cli, name, &client, &error) == 0 &&
        qmp_client_call(client, "x-godwit-query-machine", NULL, &found, &error) == 0 &&
        json_is_object(found))
        return found;
    json_decref(found);
    _cleanup_free_ char *words = machine_last_words(cli, name);
    return json_pack("{s:s, s:s, s:s?}", "name", name, "status", "ended", "verdict", words);
}

static void add_row(struct text_table *table, const json_t *machine)
{
    const char *name = json_string_value(json_object_get(machine, "name"));
    const char *status = json_string_value(json_object_get(machine, "status"));
    const char *verdict = json_string_value(json_object_get(machine, "verdict"));
    json_int_t memory = json_integer_value(json_object_get(machine, "memory-bytes"));
    json_int_t cpus = json_integer_value(json_object_get(machine, "cpus"));
    json_int_t pid = json_integer_value(json_object_get(machine, "pid"));
    text_table_cell(table, "%s", name ? name : "?");
    text_table_cell(table, "%s", status ? status : "unknown");
    if (verdict) {
        text_table_rest(table, "%s", verdict);
        return;
    }
    if (memory) {
        text_table_cell(table, "%s", bytes_in_words((double)memory).text);
        text_table_cell(table, "%lld", (long long)cpus);
    } else { /* it has not arrived yet */
        text_table_cell(table, "-");
        text_table_cell(table, "-");
    }
    text_table_cell(table, "%lld", (long long)pid);
}

static void print_table(const struct cli *cli, const json_t *machines)
{
    static const struct text_column columns[] = {{.title = "NAME"},
                                                 {.title = "STATUS"},
                                                 {.title = "MEMORY", .right = true},
                                                 {.title = "CPUS", .right = true},
                                                 {.title = "PROCESS", .right = true}};
    struct text_table table = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    size_t i;
    json_t *machine;
    if (json_array_size(machines) == 0) {
        cli_print("no machines in %s", cli->run_dir);
        cli_hint("'godwit run --help' tells how to start one");
        return;
    }
    json_array_foreach((json_t *)machines, i, machine) add_row(&table, machine);
    cli_table(&table);
}

static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};

int cmd_list(const struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        as_json = true;
    }
    if (optind < argc)
        return cli_usage("list", "'%s' is not expected", argv[optind]);
    struct gw_error error;
    char **names;
    size_t count;
    if (machine_names(cli, &names, &count, &error) < 0)
        return cli_fail(&error);
    json_t *machines = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(machines, describe(cli, names[i]));
    machine_names_free(names, count);
    if (as_json)
        cli_json(machines);
    else
        print_table(cli, machines);
    json_decref(machines);
    return EXIT_DONE;
}
