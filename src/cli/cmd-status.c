/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "cli/progress.h"

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

static void print_machine(const json_t *machine)
{
    char memory[16];
    printf("status     %s\n", text(machine, "status"));
    printf("machine    %s, %lld CPU%s, %s RAM, process %lld\n", text(machine, "machine"),
           (long long)json_integer_value(json_object_get(machine, "cpus")),
           json_integer_value(json_object_get(machine, "cpus")) == 1 ? "" : "s",
           format_bytes(json_number_value(json_object_get(machine, "memory-bytes")), memory),
           (long long)json_integer_value(json_object_get(machine, "pid")));
    if (*text(machine, "cpu-model"))
        printf("CPU model  %s, dirty pages by %s\n", text(machine, "cpu-model"),
               text(machine, "dirty-tracker"));
    size_t i;
    json_t *disk, *net;
    json_array_foreach(json_object_get(machine, "disks"), i, disk)
        printf("disk %zu     %s%s\n", i + 1, text(disk, "path"),
               json_is_true(json_object_get(disk, "read-only")) ? " (read-only)" : "");
    json_array_foreach(json_object_get(machine, "nets"), i, net)
        printf("network %zu  %s, %s, %s, link %s\n", i + 1, text(net, "name"), text(net, "network"),
               text(net, "mac"), json_is_true(json_object_get(net, "link-up")) ? "up" : "down");
    json_array_foreach(json_object_get(machine, "nets"), i, net)
        if (json_object_get(net, "connections-stay"))
            printf("a move ends the connections that are open on %s, because %s\n",
                   text(net, "name"), text(net, "connections-stay"));
    if (*text(machine, "incoming"))
        printf("waits at   %s\n", text(machine, "incoming"));
}

/* What the record means, for a person. */
static void print_ownership(const json_t *owner)
{
    static const struct {
        const char *state, *meaning;
    } meanings[] = {
        {"owner", "this side owns the guest and may run it"},
        {"released", "given away; this side must not run it"},
        {"incoming", "being received; it does not run here yet"},
        {"refused", "this side has promised never to run it"},
        {"nobody", "the guest has ended"},
    };
    const char *state = text(owner, "state");
    for (size_t i = 0; i < ARRAY_COUNT(meanings); i++)
        if (strcmp(meanings[i].state, state) == 0)
            printf("ownership  %s: %s (epoch %lld%s%s)\n", state, meanings[i].meaning,
                   (long long)json_integer_value(json_object_get(owner, "epoch")),
                   *text(owner, "peer") ? ", peer " : "", text(owner, "peer"));
}

static void print_migration(const json_t *migration)
{
    const json_t *own = json_object_get(migration, "x-godwit");
    if (!*text(migration, "status"))
        return;
    printf("migration  %s %s, %s\n", text(own, "direction"), text(own, "uri"), text(migration, "status"));
    if (*text(own, "verdict"))
        printf("           %s\n", text(own, "verdict"));
    else if (*text(own, "decision"))
        printf("           %s\n", text(own, "decision"));
}

int cmd_status(const struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    bool as_json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            as_json = true;
        else if (argv[i][0] == '-' || name)
            return cli_usage("status", "'%s' is not expected", argv[i]);
        else
            name = argv[i];
    }
    if (!name)
        return cli_usage("status", "a machine name is needed");
    struct gw_error error;
    if (machine_check(cli, name, &error) < 0)
        return cli_fail(&error);
    json_t *all = gather(cli, name);
    json_t *machine = json_object_get(all, "machine"), *last = json_object_get(all, "last");
    if (as_json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        printf("name       %s\n", name);
        if (machine)
            print_machine(machine);
        else
            printf("status     no process; %s\n", text(all, "last-words"));
        if (json_object_get(all, "ownership"))
            print_ownership(json_object_get(all, "ownership"));
        print_migration(machine ? json_object_get(all, "migration") : json_object_get(last, "migration"));
    }
    json_decref(all);
    return EXIT_DONE;
}
