/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the machine comes to run and to stand still.
 *
 * Two parties may stop it: the operator (stop, cont; `run_wanted`) and the migration engine, for a
 * rehearsal or for the switch (`engine_paused`). The board runs when the operator wants it, the
 * engine does not hold it, and the guest is ours (`arriving` and `given_away` false). Whoever
 * changes one of these calls machine_apply_run(). So an operator's stop in the middle of a
 * rehearsal holds after it, and a cont never runs a guest that the engine has stopped.
 *
 * Threads: the engine calls its operations on its own threads; all that touch the machine run on
 * the loop thread by loop_calls_run(), while the engine's thread waits. The loop therefore never
 * waits for the engine: gw_source_free() and gw_destination_free() run on a detached thread
 * (machine_reap_*), and the end of a migration is published only after that, so that whoever hears
 * of it can begin the next one.
 *
 * The end: machine_end() stops the board and starts to free the migrations; when the last one has
 * gone (machine_reaped), the record and the last status are written and the owner of the loop is
 * told.
 */
#include "vmm/machine-internal.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "vmm/log.h"

#define FLUSH_MS 2000

void machine_event(struct machine *machine, const char *name, json_t *data)
{
    machine->callbacks.event(machine->callbacks.opaque, name, data);
}

const char *machine_status(const struct machine *machine)
{
    if (machine->powered_off)
        return "shutdown";
    if (machine->arriving)
        return "inmigrate";
    if (machine->given_away)
        return "postmigrate";
    if (machine->ending)
        return "shutdown";
    if (machine->engine_paused && machine->info.status == GW_MIGRATE_DEVICE)
        return "finish-migrate";
    if (machine_running(machine))
        return "running";
    return machine->ever_ran ? "paused" : "prelaunch";
}

bool machine_running(const struct machine *machine)
{
    if (machine->powered_off || machine->ending || machine->arriving || machine->given_away ||
        !machine->ever_ran)
        return false;
    if (machine->engine_paused && machine->info.status == GW_MIGRATE_DEVICE)
        return false;
    return machine->run_wanted;
}

const char *machine_incoming_uri(const struct machine *machine)
{
    return machine->listen_uri;
}

int machine_apply_run(struct machine *machine, struct gw_error *error)
{
    bool may_run = machine->board && !machine->engine_paused && !machine->arriving &&
                   !machine->given_away && !machine->powered_off && !machine->ending;
    int r = 0;

    if (may_run && machine->reset_wanted) {
        machine->reset_wanted = false;
        r = board_reset(machine->board, error);
        machine_event(machine, "RESET",
                      json_pack("{s:b, s:s}", "guest", 0, "reason", "host-qmp-system-reset"));
    }
    if (r < 0 || !machine->board)
        return r;
    if (!may_run || !machine->run_wanted) {
        board_stop(machine->board);
        return 0;
    }
    r = board_start(machine->board, error);
    if (r == 0)
        machine->ever_ran = true;
    return r;
}

/* What the guest did by itself. */
static void board_happened(void *opaque, enum board_event event, const char *failure)
{
    struct machine *machine = opaque;

    switch (event) {
    case BOARD_EVENT_RESET:
        machine_event(machine, "RESET",
                      json_pack("{s:b, s:s}", "guest", 1, "reason", "guest-reset"));
        return;
    case BOARD_EVENT_SHUTDOWN:
        machine->powered_off = true;
        if (!failure)
            machine_end(machine, "guest-shutdown", EXIT_STATUS_DONE, "the guest powered off");
        else
            machine_end(machine, "guest-panic", EXIT_STATUS_GUEST_FAILED, failure);
        return;
    case BOARD_EVENT_PANIC:
        machine->powered_off = true;
        machine_end(machine, "guest-panic", EXIT_STATUS_GUEST_FAILED, failure);
        return;
    }
}

static void serial_output(void *opaque, const uint8_t *bytes, size_t length)
{
    struct machine *machine = opaque;

    console_output(machine->console, bytes, length);
}

static void serial_room(void *opaque)
{
    struct machine *machine = opaque;

    console_room(machine->console);
}

static size_t serial_input(void *opaque, const uint8_t *bytes, size_t length)
{
    return board_serial_input(opaque, bytes, length);
}

int machine_build_board(struct machine *machine, const struct board_config *config,
                        bool defer_disks, struct gw_error *error)
{
    struct board_callbacks callbacks = {.opaque = machine,
                                        .event = board_happened,
                                        .serial_output = serial_output,
                                        .serial_room = serial_room,
                                        .link = machine_link_changed};
    int r = board_new(config, machine->loop, &callbacks, defer_disks, &machine->board, error);

    if (r < 0)
        return r;
    r = board_add_state_item(machine->board, &scrollback_state_type,
                             console_scrollback(machine->console));
    if (r < 0) {
        machine_drop_board(machine);
        return machine_fail(error, GW_CODE_INTERNAL, r, "the console cannot be part of the state");
    }
    console_set_input(machine->console, serial_input, machine->board);
    return 0;
}

void machine_drop_board(struct machine *machine)
{
    console_set_input(machine->console, NULL, NULL);
    board_free(machine->board);
    machine->board = NULL;
}

struct gw_ownership machine_ownership(struct machine *machine)
{
    struct gw_ownership record;

    if (gw_ownership_read(machine->ownership_path, &record, NULL) < 0)
        record = (struct gw_ownership){.state = GW_OWNER_NOBODY};
    return record;
}

int machine_record_owner(struct machine *machine, enum gw_owner_state state, unsigned epochs,
                         struct gw_error *error)
{
    struct gw_ownership record = machine_ownership(machine);

    record.state = state;
    record.epoch += epochs;
    return gw_ownership_write(machine->ownership_path, &record, error);
}

/* Whether the record that a former process left allows this one. A missing record does. */
static int check_ownership(struct machine *machine, struct gw_error *error)
{
    struct gw_ownership record;
    int r = gw_ownership_read(machine->ownership_path, &record, error);

    if (r == -ENOENT)
        return 0;
    if (r < 0) {
        gw_error_prefix(error, "machine '%s' may not start before '%s' is mended or removed",
                        machine->options->name, machine->ownership_path);
        return r;
    }
    return rundir_check_record(machine->options->name, machine->ownership_path, &record,
                               machine->options->incoming, error);
}

static int build(struct machine *machine, struct gw_error *error)
{
    const struct vmm_options *options = machine->options;
    int r = console_new(machine->loop, &machine->console, error);

    if (r == 0)
        r = loop_calls_new(machine->loop, &machine->calls, error);
    if (r == 0)
        r = check_ownership(machine, error);
    if (r == 0 && options->serial)
        r = console_set_sink(machine->console, options->serial, error);
    if (r < 0)
        return r;
    if (!options->incoming)
        return machine_build_board(machine, &options->config, false, error);
    return options->ready_bytes
               ? board_make_ready_memory(options->ready_bytes, &options->config.backing,
                                         &machine->ready, error)
               : 0;
}

int machine_new(const struct vmm_options *options, const struct rundir *rundir, sd_event *loop,
                const struct machine_callbacks *callbacks, struct machine **ret_machine,
                struct gw_error *error)
{
    struct machine *machine = calloc(1, sizeof *machine);
    int r;

    if (!machine)
        return machine_fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    machine->options = options;
    machine->rundir = rundir;
    machine->loop = sd_event_ref(loop);
    machine->callbacks = *callbacks;
    machine->ownership_path = rundir_path(rundir, "owner.json");
    machine->flights_path = rundir_path(rundir, "flights");
    machine->born_ns = host_monotonic_ns();
    machine->arriving = options->incoming;
    gw_migrate_parameters_default(&machine->parameters);
    r = machine->ownership_path && machine->flights_path
            ? build(machine, error)
            : machine_fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    if (r < 0) {
        machine_free(machine);
        return r;
    }
    *ret_machine = machine;
    return 0;
}

void machine_free(struct machine *machine)
{
    if (!machine)
        return;
    if (machine->board)
        machine_drop_board(machine);
    gw_memory_free(machine->ready);
    console_free(machine->console);
    loop_calls_free(machine->calls);
    board_config_fini(&machine->received);
    sd_event_unref(machine->loop);
    free(machine->ownership_path);
    free(machine->flights_path);
    free(machine->verdict);
    free(machine->uri);
    json_decref(machine->broken_networks);
    free(machine->listen_uri);
    free(machine);
}

int machine_begin(struct machine *machine, struct gw_error *error)
{
    struct gw_ownership record = machine_ownership(machine);
    int r;

    if (machine->options->incoming)
        return strcmp(machine->options->incoming, "defer") == 0
                   ? 0
                   : machine_listen(machine, machine->options->incoming, error);
    r = board_boot(machine->board, error);
    if (r < 0)
        return r;
    record = (struct gw_ownership){.state = GW_OWNER_OWNER, .epoch = record.epoch + 1};
    r = gw_ownership_write(machine->ownership_path, &record, error);
    if (r < 0)
        return r;
    machine->run_wanted = !machine->options->paused;
    r = machine_apply_run(machine, error);
    if (r == 0 && machine->run_wanted)
        machine_event(machine, "RESUME", NULL);
    return r;
}

/* ---- The operator ---- */

static int check_ours(struct machine *machine, struct gw_error *error)
{
    struct gw_ownership record;

    if (machine->powered_off || machine->ending)
        return machine_fail(error, GW_CODE_STATE, -ESHUTDOWN, "the machine is shutting down");
    if (machine->arriving)
        return machine_fail(error, GW_CODE_STATE, -EAGAIN,
                            "no machine has arrived here yet: it is still its source's");
    if (!machine->given_away)
        return 0;
    if (machine->info.status == GW_MIGRATE_COMPLETED)
        return machine_fail(error, GW_CODE_STATE, -EPERM,
                            "machine '%s' has moved to %s and runs there; what is here is its old "
                            "process, which 'godwit stop --force %s' ends",
                            machine->options->name, machine->uri ? machine->uri : "its destination",
                            machine->options->name);
    record = machine_ownership(machine);
    return machine_fail(
        error, GW_CODE_STATE, -EPERM,
        "machine '%s' was given away to %s (epoch %llu) and may run there: 'godwit status' on both "
        "hosts tells more; only if that host is known to be dead can it be reclaimed",
        machine->options->name, record.peer[0] ? record.peer : "its destination",
        (unsigned long long)record.epoch);
}

int machine_stop(struct machine *machine, struct gw_error *error)
{
    bool ran = machine_running(machine);
    int r = check_ours(machine, error);

    if (r < 0)
        return r;
    machine->run_wanted = false;
    r = machine_apply_run(machine, error);
    if (ran)
        machine_event(machine, "STOP", NULL);
    return r;
}

int machine_cont(struct machine *machine, struct gw_error *error)
{
    bool ran = machine->run_wanted;
    int r = check_ours(machine, error);

    if (r < 0)
        return r;
    machine->run_wanted = true;
    r = machine_apply_run(machine, error);
    if (r < 0)
        machine->run_wanted = ran;
    else if (!ran && !machine->engine_paused)
        machine_event(machine, "RESUME", NULL);
    return r;
}

static int check_not_switching(struct machine *machine, struct gw_error *error)
{
    int r = check_ours(machine, error);

    if (r == 0 && machine->engine_paused && machine->info.status == GW_MIGRATE_DEVICE)
        return machine_fail(error, GW_CODE_STATE, -EBUSY,
                            "the machine is being handed over: try again where it then runs");
    return r;
}

int machine_reset(struct machine *machine, struct gw_error *error)
{
    int r = check_not_switching(machine, error);

    if (r < 0)
        return r;
    machine->reset_wanted = true; /* in a rehearsal: done after it */
    return machine_apply_run(machine, error);
}

/* There is no guest to ask: a process that waits just ends. One that receives may be about to own
 * the guest, so that takes a request that says so. */
static int end_wait(struct machine *machine, struct gw_error *error)
{
    struct gw_migrate_info info = {.status = GW_MIGRATE_NONE};

    if (machine->destination)
        gw_destination_info(machine->destination, &info);
    if (info.status != GW_MIGRATE_NONE && !machine_info_final(info.status))
        return machine_fail(error, GW_CODE_STATE, -EBUSY,
                            "a migration is arriving; 'godwit stop --force %s' ends it, and the "
                            "guest stays at its source",
                            machine->options->name);
    machine_end(machine, "host-qmp-quit", EXIT_STATUS_DONE,
                "ended by request before a machine arrived");
    return 0;
}

int machine_powerdown(struct machine *machine, struct gw_error *error)
{
    int r;

    if (machine->arriving && !machine->ending)
        return end_wait(machine, error);
    r = check_not_switching(machine, error);
    if (r == 0)
        r = board_power_button(machine->board, error);
    if (r == 0)
        machine_event(machine, "POWERDOWN", NULL);
    return r;
}

static void reached(void *opaque, uint64_t instructions)
{
    struct machine *machine = opaque;

    machine->run_wanted = false;
    machine_event(machine, "STOP", NULL);
    machine_event(machine, "X_GODWIT_REACHED",
                  json_pack("{s:I}", "instructions", (json_int_t)instructions));
}

int machine_run_until(struct machine *machine, uint64_t instructions, struct gw_error *error)
{
    int r = check_ours(machine, error);

    if (r < 0)
        return r;
    if (machine->engine_paused || machine_running(machine))
        return machine_fail(error, GW_CODE_STATE, -EBUSY,
                            "x-godwit-run-until needs a stopped machine: stop it first");
    r = board_run_until(machine->board, instructions, reached, machine, error);
    return r < 0 ? r : machine_cont(machine, error);
}

void machine_add_viewer(struct machine *machine, int fd)
{
    console_add_viewer(machine->console, fd);
}

/* ---- The end ---- */

static void end_posted(void *opaque, void *argument)
{
    machine_reaped(opaque);
}

void machine_end(struct machine *machine, const char *reason, int exit_status, const char *verdict)
{
    bool guest = strncmp(reason, "guest-", 6) == 0;

    if (machine->ending)
        return;
    machine->ending = true;
    machine->exit_status = exit_status;
    machine->verdict = strdup(verdict);
    log_line("machine '%s': %s", machine->options->name, verdict);
    machine_event(machine, "SHUTDOWN", json_pack("{s:b, s:s}", "guest", guest, "reason", reason));
    machine->reaping++; /* keeps the end from coming inside of this function */
    if (machine->source)
        machine_reap_source(machine);
    if (machine->destination)
        machine_reap_destination(machine);
    if (!machine->engine_paused)
        machine_apply_run(machine, NULL);
    loop_calls_post(machine->calls, end_posted, machine, NULL);
}

void machine_quit(struct machine *machine)
{
    const char *peer = machine->uri ? machine->uri : "its destination";
    char verdict[1024] = "ended by request (quit)";

    if (machine->given_away && machine->info.status == GW_MIGRATE_COMPLETED)
        snprintf(verdict, sizeof verdict, "moved to %s", peer);
    else if (machine->given_away)
        snprintf(verdict, sizeof verdict,
                 "ended by request (quit) while it was not known whether the guest runs at %s", peer);
    machine_end(machine, "host-qmp-quit", EXIT_STATUS_DONE, verdict);
}

static void write_last_status(struct machine *machine)
{
    json_t *status = json_pack("{s:s, s:i, s:s, s:o, s:i, s:o}", "name", machine->options->name,
                               "pid", (int)getpid(), "status", machine_status(machine), "verdict",
                               json_string(machine->verdict ? machine->verdict : ""), "exit-status",
                               machine->exit_status, "migration", machine_query_migrate(machine));

    if (status)
        rundir_write_json(machine->rundir, "status.json", status);
    json_decref(status);
}

/* The guest ends with this process if it is ours; what another side may run is not touched. */
static void record_end(struct machine *machine)
{
    struct gw_error error;

    if (machine->arriving || machine->given_away ||
        machine_ownership(machine).state != GW_OWNER_OWNER)
        return;
    if (machine_record_owner(machine, GW_OWNER_NOBODY, 0, &error) < 0)
        log_line("%s", error.message);
}

void machine_reaped(struct machine *machine)
{
    machine->reaping--;
    if (!machine->ending || machine->reaping > 0)
        return;
    if (machine->board)
        board_stop(machine->board);
    console_flush(machine->console, FLUSH_MS);
    record_end(machine);
    write_last_status(machine);
    machine->callbacks.ended(machine->callbacks.opaque, machine->exit_status);
}
