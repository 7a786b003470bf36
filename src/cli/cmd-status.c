/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/words.h"
#include "cli/cli.h"
#include "cli/machine.h"

enum { LABEL_WIDTH = 11 };

/* The whole answer as one object: "machine" and "migration" from the process, or "last" from its files;
 * "ownership" from the record in either case. */
static json_t *gather(const struct cli *cli, const char *name)
{
    _cleanup_qmp_ struct qmp_client *client = NULL;
    struct gw_error error;
    json_t *all = json_pack("{s:s}", "name", name);
    json_t *value = NULL;
    if (machine_connect(cli, name, &client, &error) == 0) {
        if (qmp_client_call(client, "x-godwit-query-machine", NULL, &value, &error) == 0)
            json_object_set_new(all, "machine", value);
        if (qmp_client_call(client, "query-migrate", NULL, &value, &error) == 0)
            json_object_set_new(all, "migration", value);
    } else {
        json_object_set_new(all, "no-process", json_string(error.message));
        _cleanup_free_ char *words = machine_last_words(cli, name);
        json_object_set_new(all, "last-words", json_string(words));
        json_t *last = machine_file(cli, name, "status.json");
        if (last)
            json_object_set_new(all, "last", last);
    }
    json_t *owner = machine_file(cli, name, "owner.json");
    if (owner)
        json_object_set_new(all, "ownership", owner);
    return all;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* A row of the answer. */
#define ROW(label, ...) cli_item(0, LABEL_WIDTH, label, __VA_ARGS__)

static void print_networks(const json_t *nets)
{
    size_t i;
    json_t *net;
    json_array_foreach((json_t *)nets, i, net)
    {
        char label[32];
        snprintf(label, sizeof label, "network %zu", i + 1);
        ROW(label, "%s, %s, %s, link %s", text(net, "name"), text(net, "network"), text(net, "mac"),
            json_is_true(json_object_get(net, "link-up")) ? "up" : "down");
        if (json_object_get(net, "connections-stay"))
            ROW("", "a move ends the connections that are open on %s, because %s",
                text(net, "name"), text(net, "connections-stay"));
    }
}

static void print_machine(const json_t *machine)
{
    json_int_t cpus = json_integer_value(json_object_get(machine, "cpus"));
    json_int_t pid = json_integer_value(json_object_get(machine, "pid"));
    ROW("status", "%s", text(machine, "status"));
    if (*text(machine, "incoming"))
        ROW("waits at", "%s", text(machine, "incoming"));
    if (*text(machine, "machine"))
        ROW("machine", "%s, %lld CPU%s, %s RAM, process %lld", text(machine, "machine"),
            (long long)cpus, cpus == 1 ? "" : "s",
            bytes_in_words(json_number_value(json_object_get(machine, "memory-bytes"))).text,
            (long long)pid);
    else
        ROW("machine", "none yet, process %lld", (long long)pid);
    if (*text(machine, "cpu-model"))
        ROW("CPU model", "%s, dirty pages by %s", text(machine, "cpu-model"),
            text(machine, "dirty-tracker"));
    size_t i;
    json_t *disk;
    json_array_foreach(json_object_get(machine, "disks"), i, disk)
    {
        char label[32];
        snprintf(label, sizeof label, "disk %zu", i + 1);
        ROW(label, "%s%s", text(disk, "path"),
            json_is_true(json_object_get(disk, "read-only")) ? " (read-only)" : "");
    }
    print_networks(json_object_get(machine, "nets"));
}

/* What the record means, for a person: who owns the guest, and what this side may do. `machine` is
 * NULL where there is no process. */
static void print_ownership(const json_t *owner, const json_t *machine)
{
    static const struct {
        const char *state, *meaning;
    } meanings[] = {
        {"owner", "this side owns the guest and may run it"},
        {"released",
         "the guest was given away and belongs to the other side; it does not run here"},
        {"incoming", "a guest is arriving; it still belongs to its source"},
        {"refused", "the guest that was to arrive stays at its source"},
        {"nobody", "the guest has ended"},
    };
    const char *state = text(owner, "state");
    for (size_t i = 0; i < ARRAY_COUNT(meanings); i++)
        if (strcmp(meanings[i].state, state) == 0)
            ROW("ownership", "%s: %s%s (epoch %lld%s%s)", state, meanings[i].meaning,
                strcmp(state, "refused") != 0 ? ""
                : *text(machine, "incoming")  ? "; this side is ready for another attempt"
                                              : "; this side never runs it",
                (long long)json_integer_value(json_object_get(owner, "epoch")),
                *text(owner, "peer") ? ", peer " : "", text(owner, "peer"));
}

static void print_migration(const json_t *migration)
{
    const json_t *own = json_object_get(migration, "x-godwit");
    if (!*text(migration, "status"))
        return;
    ROW("migration", "%s %s, %s", text(own, "direction"), text(own, "uri"),
        text(migration, "status"));
    if (*text(own, "verdict"))
        ROW("", "%s", text(own, "verdict"));
    else if (*text(own, "decision"))
        ROW("", "%s", text(own, "decision"));
}

static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};

int cmd_status(const struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    bool as_json = false;
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        as_json = true;
    }
    if (optind + 1 != argc)
        return cli_usage("status", "exactly one machine name is needed");
    name = argv[optind];
    struct gw_error error;
    if (machine_check(cli, name, &error) < 0)
        return cli_fail(&error);
    json_t *all = gather(cli, name);
    json_t *machine = json_object_get(all, "machine"), *last = json_object_get(all, "last");
    if (as_json) {
        cli_json(all);
    } else {
        ROW("name", "%s", name);
        if (machine)
            print_machine(machine);
        else
            ROW("status", "no process; %s", text(all, "last-words"));
        if (json_object_get(all, "ownership"))
            print_ownership(json_object_get(all, "ownership"), machine);
        print_migration(machine ? json_object_get(all, "migration") : json_object_get(last, "migration"));
    }
    json_decref(all);
    return EXIT_DONE;
}
