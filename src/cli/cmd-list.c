/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
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

static void print_row(json_t *machine)
{
    const char *name = json_string_value(json_object_get(machine, "name"));
    const char *status = json_string_value(json_object_get(machine, "status"));
    const char *verdict = json_string_value(json_object_get(machine, "verdict"));
    json_int_t memory = json_integer_value(json_object_get(machine, "memory-bytes"));
    json_int_t cpus = json_integer_value(json_object_get(machine, "cpus"));
    json_int_t pid = json_integer_value(json_object_get(machine, "pid"));
    printf("%-20s %-15s", name, status ? status : "unknown");
    if (memory)
        printf(" %5lld MiB %2lld CPU%s  process %lld", (long long)(memory >> 20), (long long)cpus,
               cpus == 1 ? " " : "s", (long long)pid);
    if (verdict)
        printf(" %s", verdict);
    putchar('\n');
}

int cmd_list(const struct cli *cli, int argc, char **argv)
{
    bool as_json = argc == 2 && strcmp(argv[1], "--json") == 0;
    if (argc > 2 || (argc == 2 && !as_json))
        return cli_usage("list", "'%s' is not an option", argv[1]);
    struct gw_error error;
    char **names;
    size_t count;
    if (machine_names(cli, &names, &count, &error) < 0)
        return cli_fail(&error);
    json_t *machines = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(machines, describe(cli, names[i]));
    machine_names_free(names, count);
    if (as_json) {
        json_dumpf(machines, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (count == 0) {
        printf("no machines in %s\n", cli->run_dir);
    }
    for (size_t i = 0; i < count && !as_json; i++)
        print_row(json_array_get(machines, i));
    json_decref(machines);
    return EXIT_DONE;
}
