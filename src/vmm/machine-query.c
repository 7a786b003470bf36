/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine reports (docs/control.md), and the parameters of migrations. */
#include "vmm/machine-internal.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vmm/json-text.h"
#include "virtio/net.h"
#include "vmm/log.h"

#define MAX_FLIGHTS 256
#define MAX_FLIGHT_BYTES ((off_t)3 << 20)

/* ---- Migration ---- */

bool machine_info_final(enum gw_migrate_status status)
{
    return status == GW_MIGRATE_COMPLETED || status == GW_MIGRATE_FAILED ||
           status == GW_MIGRATE_CANCELLED;
}

static const char *status_name(enum gw_migrate_status status)
{
    return status == GW_MIGRATE_COMMITTING ? "x-godwit-committing" : gw_migrate_status_name(status);
}

/* One sentence for a migration that has ended, NULL before. */
static const char *verdict(const struct machine *machine, const struct gw_migrate_info *info,
                           char text[1024])
{
    const char *direction = machine->outgoing ? "to" : "at";
    const char *uri = machine->uri ? machine->uri : "";

    if (info->status == GW_MIGRATE_COMPLETED)
        snprintf(text, 1024, "%s %s %s, pause %.1f ms",
                 machine->outgoing ? "the machine moved" : "the machine arrived", direction, uri,
                 (double)info->pause_us / 1000);
    else if (info->status == GW_MIGRATE_FAILED)
        snprintf(text, 1024, "%s: %s",
                 machine->given_away ? "it is not known whether the machine runs there"
                 : machine->outgoing ? "the machine stayed here"
                                     : "no machine arrived",
                 info->error.message);
    else if (info->status == GW_MIGRATE_CANCELLED)
        snprintf(text, 1024, "cancelled; the machine %s",
                 machine->outgoing ? "stayed here" : "did not arrive");
    else
        return NULL;
    return text;
}

static void announce_pause(struct machine *machine, const struct gw_migrate_info *info)
{
    if (info->status != GW_MIGRATE_DEVICE || !machine->outgoing || machine->stop_told ||
        !machine->run_wanted)
        return;
    machine->stop_told = true;
    machine_event(machine, "STOP", NULL);
}

void machine_publish_info(struct machine *machine, const struct gw_migrate_info *info)
{
    enum gw_migrate_status before = machine->has_info ? machine->info.status : GW_MIGRATE_NONE;
    char text[1024];

    machine->info = *info;
    machine->has_info = info->status != GW_MIGRATE_NONE;
    if (machine->outgoing && (info->status == GW_MIGRATE_COMMITTING ||
                              (machine_info_final(info->status) && !info->owner)))
        machine->given_away = true;
    announce_pause(machine, info);
    if (info->status != before && info->status != GW_MIGRATE_NONE)
        machine_event(machine, "MIGRATION",
                      json_pack("{s:s}", "status", status_name(info->status)));
    if (info->round > machine->announced_round && machine->outgoing) {
        machine->announced_round = info->round;
        machine_event(machine, "MIGRATION_PASS",
                      json_pack("{s:I}", "pass", (json_int_t)info->round));
    }
    if (verdict(machine, info, text))
        log_line("machine '%s': %s", machine->options->name, text);
}

static json_int_t ms_rounded_up(uint64_t us)
{
    return (json_int_t)((us + 999) / 1000);
}

static json_t *ram_json(const struct gw_migrate_info *info)
{
    json_int_t normal = (json_int_t)info->pages_normal;

    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:i, s:I, s:i, s:i, s:i}",
                     "transferred", (json_int_t)info->ram_transferred, "remaining",
                     (json_int_t)info->ram_remaining, "total", (json_int_t)info->ram_total,
                     "duplicate", (json_int_t)info->pages_zero, "normal", normal, "normal-bytes",
                     normal * GW_PAGE_BYTES, "dirty-pages-rate", (json_int_t)info->dirty_rate,
                     "mbps", (double)info->bandwidth * 8 / 1e6, "dirty-sync-count",
                     (json_int_t)info->round, "page-size", (int)GW_PAGE_BYTES, "pages-per-second",
                     (json_int_t)(info->bandwidth / GW_PAGE_BYTES), "multifd-bytes", 0,
                     "postcopy-requests", 0, "skipped", 0);
}

static json_t *pause_json(const struct gw_migrate_info *info)
{
    const struct {
        const char *name;
        uint64_t us;
    } parts[] = {
        {"stop", info->pause.stop},   {"ram", info->pause.ram},
        {"save", info->pause.save},   {"send", info->pause.send},
        {"load", info->pause.load},   {"verify", info->pause.verify},
        {"ready", info->pause.ready}, {"commit", info->pause.commit},
        {"start", info->pause.start},
    };
    json_t *pause = json_object();

    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        json_object_set_new(pause, parts[i].name, json_integer((json_int_t)parts[i].us));
    return pause;
}

static json_t *godwit_json(struct machine *machine, const struct gw_migrate_info *info)
{
    char text[1024];
    const char *sentence = verdict(machine, info, text);
    json_t *own = json_pack(
        "{s:o, s:s, s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:o}", "session", json_text(info->session),
        "direction", machine->outgoing ? "outgoing" : "incoming", "uri", json_text(machine->uri),
        "round", (json_int_t)info->round, "decision", json_text(info->decision), "bytes-sent",
        (json_int_t)info->bytes_sent, "bandwidth", (json_int_t)info->bandwidth,
        "predicted-pause-us", (json_int_t)info->predicted_pause_us, "pause-us",
        (json_int_t)info->pause_us, "pause", pause_json(info));

    if (sentence)
        json_object_set_new(own, "verdict", json_text(sentence));
    if (machine->outgoing && machine->broken_networks)
        json_object_set(own, "broken-networks", machine->broken_networks);
    if (info->status == GW_MIGRATE_FAILED)
        json_object_set_new(own, "error",
                            json_pack("{s:s, s:s, s:o}", "layer", gw_layer_name(info->error.layer),
                                      "code", gw_code_name(info->error.code), "sentence",
                                      json_text(info->error.message)));
    return own;
}

/* Fresh figures; the status is the one that was told last once the engine has ended. */
static struct gw_migrate_info current_info(struct machine *machine)
{
    struct gw_migrate_info info = machine->info;

    if (machine->source && machine->outgoing)
        gw_source_info(machine->source, &info);
    else if (machine->destination && !machine->outgoing)
        gw_destination_info(machine->destination, &info);
    if (info.status == GW_MIGRATE_NONE || machine_info_final(info.status))
        info.status = machine->info.status;
    return info;
}

json_t *machine_query_migrate(struct machine *machine)
{
    struct gw_migrate_info info;
    json_t *all;

    if (!machine->has_info)
        return json_object();
    info = current_info(machine);
    all =
        json_pack("{s:s, s:I, s:I, s:I, s:o, s:o}", "status", status_name(info.status),
                  "total-time", (json_int_t)info.total_ms, "setup-time", (json_int_t)info.setup_ms,
                  "expected-downtime", ms_rounded_up(info.predicted_pause_us), "ram",
                  ram_json(&info), "x-godwit", godwit_json(machine, &info));
    if (all && info.pause_us > 0)
        json_object_set_new(all, "downtime", json_integer(ms_rounded_up(info.pause_us)));
    if (all && info.status == GW_MIGRATE_FAILED)
        json_object_set_new(all, "error-desc", json_text(info.error.message));
    return all;
}

/* ---- Parameters ---- */

static const struct {
    const char *name;
    size_t offset; /* of a uint64_t */
    uint64_t minimum, maximum;
} parameters[] = {
    {"max-bandwidth", offsetof(struct gw_migrate_parameters, max_bandwidth), 0, INT64_MAX},
    {"downtime-limit", offsetof(struct gw_migrate_parameters, downtime_limit_ms), 1, 2000000},
    {"x-godwit-deadline", offsetof(struct gw_migrate_parameters, deadline_ms), 0, 1000000000},
    {"x-godwit-peer-timeout", offsetof(struct gw_migrate_parameters, peer_timeout_ms), 100, 600000},
};
#define VERIFY_RAM "x-godwit-verify-ram"

static uint64_t *parameter_field(struct gw_migrate_parameters *all, size_t offset)
{
    return (uint64_t *)((char *)all + offset);
}

int machine_set_parameters(struct machine *machine, const json_t *given, struct gw_error *error)
{
    struct gw_migrate_parameters changed = machine->parameters;
    const json_t *verify = json_object_get(given, VERIFY_RAM);

    for (size_t i = 0; i < ARRAY_COUNT(parameters); i++) {
        const json_t *value = json_object_get(given, parameters[i].name);
        uint64_t number = (uint64_t)json_integer_value(value);

        if (!value)
            continue;
        if (number < parameters[i].minimum || number > parameters[i].maximum)
            return machine_fail(error, GW_CODE_INVALID, -ERANGE,
                                "Parameter '%s' must be %llu to %llu", parameters[i].name,
                                (unsigned long long)parameters[i].minimum,
                                (unsigned long long)parameters[i].maximum);
        *parameter_field(&changed, parameters[i].offset) = number;
    }
    if (verify)
        changed.verify_ram = json_is_true(verify);
    machine->parameters = changed;
    if (machine->source)
        gw_source_set_parameters(machine->source, &changed);
    return 0;
}

json_t *machine_query_parameters(struct machine *machine)
{
    json_t *all = json_object();

    for (size_t i = 0; i < ARRAY_COUNT(parameters); i++)
        json_object_set_new(
            all, parameters[i].name,
            json_integer((json_int_t)*parameter_field(&machine->parameters, parameters[i].offset)));
    json_object_set_new(all, VERIFY_RAM, json_boolean(machine->parameters.verify_ram));
    return all;
}

/* ---- The machine ---- */

static json_t *disks_json(const struct board_config *config)
{
    json_t *disks = json_array();

    for (unsigned i = 0; i < config->disk_count; i++)
        json_array_append_new(disks,
                              json_pack("{s:o, s:b, s:o}", "path", json_text(config->disks[i].path),
                                        "read-only", config->disks[i].read_only, "serial",
                                        json_text(config->disks[i].serial)));
    return disks;
}

static json_t *nets_json(struct machine *machine, const struct board_config *config)
{
    json_t *nets = options_nets_json(config);

    for (unsigned i = 0; i < config->net_count; i++) {
        struct virtio_net_view view;
        board_look_net(machine->board, i, &view);
        const struct virtio_net_counters *counters = &view.counters;
        json_t *live = json_pack(
            "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "link-up", view.link_up, "frames-in",
            (json_int_t)counters->frames_in, "bytes-in", (json_int_t)counters->bytes_in,
            "frames-out", (json_int_t)counters->frames_out, "bytes-out",
            (json_int_t)counters->bytes_out, "filtered", (json_int_t)counters->filtered,
            "dropped-in", (json_int_t)counters->dropped_in, "dropped-out",
            (json_int_t)counters->dropped_out);
        const char *stays = board_net_stays(machine->board, i);
        if (stays)
            json_object_set_new(live, "connections-stay", json_text(stays));
        json_object_update(json_array_get(nets, i), live);
        json_decref(live);
    }
    return nets;
}

/* The parts that only a machine has that is there. */
static void add_board(struct machine *machine, json_t *all)
{
    const struct board_config *config = board_settled_config(machine->board);

    json_object_set_new(all, "machine", json_string(config->machine));
    json_object_set_new(all, "memory-bytes", json_integer((json_int_t)config->memory_bytes));
    json_object_set_new(all, "cpus", json_integer(config->cpus));
    json_object_set_new(all, "clock",
                        json_string(config->clock == GW_CLOCK_HOST ? "host" : "instructions"));
    json_object_set_new(all, "cpu-model",
                        json_text(config->cpu_model ? config->cpu_model->name : NULL));
    json_object_set_new(all, "dirty-tracker", json_string(board_tracker(machine->board).ops->name));
    json_object_set_new(all, "disks", disks_json(config));
    json_object_set_new(all, "nets", nets_json(machine, config));
    json_object_set_new(all, "instructions",
                        json_integer((json_int_t)board_instructions(machine->board)));
}

static json_t *ownership_json(struct machine *machine)
{
    struct gw_ownership record = machine_ownership(machine);

    return json_pack("{s:s, s:I, s:o, s:o}", "state", gw_owner_state_name(record.state), "epoch",
                     (json_int_t)record.epoch, "session", json_text(record.session), "peer",
                     json_text(record.peer));
}

json_t *machine_query(struct machine *machine)
{
    static const char *const of_board[] = {"machine",   "memory-bytes",  "cpus",  "clock",
                                           "cpu-model", "dirty-tracker", "disks", "instructions"};
    const struct vmm_options *options = machine->options;
    json_t *all = json_pack(
        "{s:s, s:i, s:s, s:s, s:I, s:{s:i, s:i}, s:o, s:o, s:o, s:o, s:{s:i, s:I, s:I}}", "name",
        options->name, "pid", (int)getpid(), "version", GW_VERSION, "status",
        machine_status(machine), "uptime-ms",
        (json_int_t)((host_monotonic_ns() - machine->born_ns) / 1000000), "migrations", "out",
        machine->moved_out, "in", machine->moved_in, "incoming", json_text(machine->listen_uri),
        "ownership", ownership_json(machine), "run-dir", json_text(options->run_dir), "serial",
        json_text(options->serial), "console", "viewers", console_viewer_count(machine->console),
        "bytes", (json_int_t)console_total_bytes(machine->console), "sink-dropped",
        (json_int_t)console_dropped_bytes(machine->console));

    if (!all)
        return NULL;
    for (size_t i = 0; i < ARRAY_COUNT(of_board); i++)
        json_object_set_new(all, of_board[i], json_null());
    if (machine->board && !machine->arriving)
        add_board(machine, all);
    return all;
}

static int check_stopped(struct machine *machine, const char *command, struct gw_error *error)
{
    if (!machine->board || machine->arriving)
        return machine_fail(error, GW_CODE_STATE, -EAGAIN, "no machine has arrived here yet");
    if (board_running(machine->board) || (machine->engine_paused && machine->source))
        return machine_fail(error, GW_CODE_STATE, -EBUSY,
                            "%s needs a stopped machine: stop it first", command);
    return 0;
}

json_t *machine_query_hash(struct machine *machine, struct gw_error *error)
{
    char ram[17], state[17];

    if (check_stopped(machine, "x-godwit-hash", error) < 0)
        return NULL;
    snprintf(ram, sizeof ram, "%016llx",
             (unsigned long long)gw_memory_hash(board_memory(machine->board)));
    snprintf(state, sizeof state, "%016llx", (unsigned long long)board_state_hash(machine->board));
    return json_pack("{s:s, s:s, s:I}", "ram", ram, "state", state, "instructions",
                     (json_int_t)board_instructions(machine->board));
}

json_t *machine_query_state(struct machine *machine, struct gw_error *error)
{
    struct gw_buf text = {0};
    json_t *state = NULL;

    if (check_stopped(machine, "x-godwit-query-state", error) < 0)
        return NULL;
    if (board_print(machine->board, &text, error) == 0) {
        state = json_loadb((char *)text.data, text.length, 0, NULL);
        if (!state)
            machine_fail(error, GW_CODE_INTERNAL, -EBADMSG, "the printed state is no JSON");
    }
    gw_buf_fini(&text);
    return state;
}

/* ---- Flight logs ---- */

static int is_log(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return length > 5 && entry->d_name[0] != '.' &&
           strcmp(entry->d_name + length - 5, ".json") == 0;
}

/* One entry of the list, NULL if the file has gone. */
static json_t *flight_json(const char *path, const char *session)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return NULL;
    return json_pack("{s:o, s:o, s:I, s:I}", "session", json_text(session), "path", json_text(path),
                     "bytes", (json_int_t)status.st_size, "modified", (json_int_t)status.st_mtime);
}

static int by_age(const void *one, const void *other)
{
    json_int_t a = json_integer_value(json_object_get(*(json_t *const *)one, "modified"));
    json_int_t b = json_integer_value(json_object_get(*(json_t *const *)other, "modified"));

    return (a > b) - (a < b);
}

static json_t *list_flights(struct machine *machine)
{
    struct dirent **entries = NULL;
    json_t *flights[MAX_FLIGHTS], *list = json_array();
    int count = scandir(machine->flights_path, &entries, is_log, NULL);
    size_t found = 0;

    for (int i = 0; i < count; i++) {
        _cleanup_free_ char *path = NULL;
        json_t *flight = NULL;

        if (asprintf(&path, "%s/%s", machine->flights_path, entries[i]->d_name) >= 0) {
            entries[i]->d_name[strlen(entries[i]->d_name) - 5] = 0;
            flight = found < MAX_FLIGHTS ? flight_json(path, entries[i]->d_name) : NULL;
        }
        if (flight)
            flights[found++] = flight;
        free(entries[i]);
    }
    free(entries);
    qsort(flights, found, sizeof *flights, by_age);
    for (size_t i = 0; i < found; i++)
        json_array_append_new(list, flights[i]);
    return list;
}

static json_t *one_flight(struct machine *machine, const char *session, struct gw_error *error)
{
    _cleanup_free_ char *path = NULL;
    json_t *flight, *document;

    if (strspn(session, "0123456789abcdef") != strlen(session) || !session[0] ||
        asprintf(&path, "%s/%s.json", machine->flights_path, session) < 0 ||
        !(flight = flight_json(path, session))) {
        machine_fail(error, GW_CODE_NOT_FOUND, -ENOENT, "there is no migration log of session '%.64s'",
                     session);
        return NULL;
    }
    document = json_integer_value(json_object_get(flight, "bytes")) <= MAX_FLIGHT_BYTES
                   ? json_load_file(path, 0, NULL)
                   : NULL;
    if (!document) {
        json_decref(flight);
        machine_fail(error, GW_CODE_CORRUPT, -EBADMSG, "the migration log '%s' is too long or is not JSON",
                     path);
        return NULL;
    }
    json_object_set_new(flight, "flight", document);
    return json_pack("[o]", flight);
}

json_t *machine_query_flights(struct machine *machine, const char *session, struct gw_error *error)
{
    return session ? one_flight(machine, session, error) : list_flights(machine);
}
