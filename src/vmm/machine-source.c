/* SPDX-License-Identifier: Apache-2.0 */
/* Sending the machine away: the engine's operations onto the board, and what the engine tells. */
#include "vmm/machine-internal.h"

#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "vmm/log.h"

#define NAP_MS 5
#define STOP_ASKING_MS 3000

/* An operation of the engine, on its way to the loop thread. */
struct operation {
    struct machine *machine;
    struct gw_error *error;
    struct gw_buf *out;
};

static int on_loop(void *vm, int (*function)(void *), struct gw_buf *out, struct gw_error *error)
{
    struct machine *machine = vm;

    return loop_calls_run(machine->calls, function,
                          &(struct operation){.machine = machine, .error = error, .out = out});
}

static int pause_on_loop(void *argument)
{
    struct operation *operation = argument;

    operation->machine->engine_paused = true;
    board_stop(operation->machine->board);
    return 0;
}

static int op_pause(void *vm, struct gw_error *error)
{
    return on_loop(vm, pause_on_loop, NULL, error);
}

static int resume_on_loop(void *argument)
{
    struct operation *operation = argument;
    struct machine *machine = operation->machine;
    int r;

    machine->engine_paused = false;
    machine->given_away = false;
    r = machine_apply_run(machine, operation->error);
    if (machine->stop_told && machine->run_wanted)
        machine_event(machine, "RESUME", NULL);
    machine->stop_told = false;
    return r;
}

static int op_resume(void *vm, struct gw_error *error)
{
    return on_loop(vm, resume_on_loop, NULL, error);
}

static int leave_on_loop(void *argument)
{
    struct machine *machine = ((struct operation *)argument)->machine;

    board_pack_nets(machine->board);
    machine_tell_broken_networks(machine);
    return 0;
}

static void op_leave(void *vm)
{
    on_loop(vm, leave_on_loop, NULL, NULL);
}

static void connections_refused(void *opaque, const char *sentence)
{
    const struct machine *machine = opaque;

    log_line("machine '%s': %s", machine->options->name, sentence);
}

static int stay_on_loop(void *argument)
{
    struct machine *machine = ((struct operation *)argument)->machine;

    board_unpack_nets(machine->board, connections_refused, machine);
    return 0;
}

static void op_stay(void *vm)
{
    on_loop(vm, stay_on_loop, NULL, NULL);
}

/* On the engine's own thread: the machine is stopped, and the board allows it. */
static int op_save_state(void *vm, struct gw_buf *out, struct gw_error *error)
{
    struct machine *machine = vm;

    return board_save(machine->board, out, error);
}

/* On the engine's own thread: the guest and the loop go on meanwhile. */
static int op_prepare(void *vm, struct gw_error *error)
{
    struct machine *machine = vm;

    return board_sync_disks(machine->board, error);
}

static int describe_on_loop(void *argument)
{
    struct operation *operation = argument;
    json_t *description = board_describe(operation->machine->board);
    _cleanup_free_ char *text = description ? json_dumps(description, JSON_COMPACT) : NULL;

    json_decref(description);
    if (!text || gw_buf_append(operation->out, text, strlen(text)) < 0)
        return machine_fail(operation->error, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "there is no memory to describe the machine");
    return 0;
}

static int op_describe(void *vm, struct gw_buf *out, struct gw_error *error)
{
    return on_loop(vm, describe_on_loop, out, error);
}

static int release_on_loop(void *argument)
{
    struct operation *operation = argument;

    if (operation->machine->powered_off || operation->machine->ending)
        return machine_fail(operation->error, GW_CODE_STATE, -ESHUTDOWN,
                            "the machine is shutting down and stays here");
    return machine_release(operation->machine, operation->error);
}

static int op_release(void *vm, struct gw_error *error)
{
    return on_loop(vm, release_on_loop, NULL, error);
}

static int reacquire_on_loop(void *argument)
{
    struct operation *operation = argument;
    int r = machine_acquire(operation->machine, operation->error);

    if (r == 0)
        board_announce_nets(operation->machine->board);
    return r;
}

static int op_reacquire(void *vm, struct gw_error *error)
{
    return on_loop(vm, reacquire_on_loop, NULL, error);
}

static int is_running_on_loop(void *argument)
{
    struct operation *operation = argument;

    return operation->machine->run_wanted;
}

static bool op_is_running(void *vm)
{
    return on_loop(vm, is_running_on_loop, NULL, NULL) > 0;
}

static const struct gw_source_ops source_ops = {
    .prepare = op_prepare,
    .pause = op_pause,
    .resume = op_resume,
    .leave = op_leave,
    .stay = op_stay,
    .save_state = op_save_state,
    .describe = op_describe,
    .release = op_release,
    .reacquire = op_reacquire,
    .is_running = op_is_running,
    .look_networks = machine_look_networks,
};

/* ---- What the engine tells ---- */

static void source_reaped(void *opaque)
{
    struct machine *machine = opaque;
    struct gw_migrate_info final = machine->final;

    machine->final.status = GW_MIGRATE_NONE;
    if (final.status == GW_MIGRATE_COMPLETED)
        machine->moved_out++;
    if (final.status != GW_MIGRATE_NONE)
        machine_publish_info(machine, &final);
    machine_reaped(machine);
}

static void free_source(void *source)
{
    gw_source_free(source);
}

void machine_reap_source(struct machine *machine)
{
    struct gw_source *source = TAKE_PTR(machine->source);
    int r;

    machine->reaping++;
    r = loop_calls_detach(machine->calls, free_source, source, source_reaped, machine);
    if (r < 0) {
        log_line("a migration that has ended is kept: no thread to free it (%s)", strerror(-r));
        source_reaped(machine);
    }
}

static void changed_on_loop(void *opaque, void *argument)
{
    struct machine *machine = opaque;
    const struct gw_migrate_info *info = argument;

    if (!machine_info_final(info->status)) {
        machine_publish_info(machine, info);
        return;
    }
    machine->final = *info;
    if (machine->source)
        machine_reap_source(machine);
}

static void source_changed(void *opaque, const struct gw_migrate_info *info)
{
    struct machine *machine = opaque;
    struct gw_migrate_info *copy = malloc(sizeof *copy);

    if (!copy)
        return;
    *copy = *info;
    loop_calls_post(machine->calls, changed_on_loop, machine, copy);
}

/* ---- The operator ---- */

static int check_can_leave(struct machine *machine, struct gw_error *error)
{
    if (machine->powered_off || machine->ending)
        return machine_fail(error, GW_CODE_STATE, -ESHUTDOWN, "the machine is shutting down");
    if (machine->arriving)
        return machine_fail(error, GW_CODE_STATE, -EAGAIN,
                            "no machine has arrived here yet, so none can leave");
    if (machine->source || machine->reaping > 0)
        return machine_fail(error, GW_CODE_STATE, -EBUSY, "a migration is under way already");
    if (machine->given_away)
        return machine_fail(error, GW_CODE_STATE, -EPERM,
                            "machine '%s' was given away already; migrate it from where it is now",
                            machine->options->name);
    return 0;
}

int machine_migrate(struct machine *machine, const char *uri, struct gw_error *error)
{
    struct gw_source_config config = {
        .ops = &source_ops,
        .vm = machine,
        .name = machine->options->name,
        .uri = uri,
        .ownership_path = machine->ownership_path,
        .log_directory = machine->flights_path,
        .parameters = machine->parameters,
        .listener = {.opaque = machine, .changed = source_changed},
    };
    char *copy;
    int r = check_can_leave(machine, error);

    if (r < 0)
        return r;
    copy = strdup(uri);
    if (!copy)
        return machine_fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    config.memory = board_memory(machine->board);
    config.tracker = board_tracker(machine->board);
    machine->final.status = GW_MIGRATE_NONE;
    r = gw_source_start(&config, &machine->source, error);
    if (r < 0) {
        free(copy);
        return r;
    }
    free(machine->uri);
    machine->uri = copy;
    machine->outgoing = true;
    machine->has_info = false;
    machine->announced_round = 0;
    machine_publish_info(machine, &(struct gw_migrate_info){.status = GW_MIGRATE_SETUP});
    log_line("machine '%s': migration to %s begins", machine->options->name, uri);
    json_decref(machine->broken_networks);
    machine->broken_networks = NULL;
    machine_tell_broken_networks(machine);
    return 0;
}

void machine_migrate_cancel(struct machine *machine)
{
    if (machine->source)
        gw_source_cancel(machine->source);
    if (machine->destination && machine->arriving) {
        machine->cancel_wanted = true;
        gw_destination_cancel(machine->destination);
    } else if (machine->arriving && !machine->ending) {
        machine_end(machine, "host-qmp-quit", EXIT_STATUS_FAILED,
                    "cancelled before a machine arrived");
    }
}

/* A source that still asks who owns its guest is told to stop, and what it says at its end is
 * heard. It may need the loop for that, so the loop's calls are served meanwhile. */
static int stop_asking(struct machine *machine, struct gw_error *error)
{
    if (machine->source && machine->info.status != GW_MIGRATE_COMMITTING)
        return machine_fail(error, GW_CODE_STATE, -EBUSY, "a migration is under way");
    if (machine->source)
        gw_source_cancel(machine->source);
    for (unsigned waited_ms = 0; machine->source || machine->reaping > 0; waited_ms += NAP_MS) {
        if (waited_ms > STOP_ASKING_MS)
            return machine_fail(error, GW_CODE_TIMEOUT, -ETIMEDOUT,
                                "the migration is still asking the other side: try again");
        nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000}, NULL);
        loop_calls_serve(machine->calls);
    }
    return 0;
}

int machine_reclaim(struct machine *machine, bool fenced, struct gw_error *error)
{
    struct gw_ownership record;
    int r;

    if (!machine->given_away)
        return machine_fail(error, GW_CODE_STATE, -EALREADY,
                            "machine '%s' was not given away: there is nothing to reclaim",
                            machine->options->name);
    if (!fenced)
        return machine_fail(error, GW_CODE_INVALID, -EPERM,
                            "'fenced' must be true: say so only when the other host cannot run the "
                            "guest any more");
    r = stop_asking(machine, error);
    if (r < 0)
        return r;
    if (!machine->given_away)
        return 0; /* the answer came meanwhile: refused there, so it runs here */
    if (machine->info.status == GW_MIGRATE_COMPLETED)
        return machine_fail(
            error, GW_CODE_STATE, -EPERM,
            "the other side has confirmed that it ran the guest: the memory here is out "
            "of date, so boot the guest from its disks instead");
    record = machine_ownership(machine);
    if (record.state != GW_OWNER_RELEASED)
        return machine_fail(error, GW_CODE_STATE, -EPERM,
                            "the ownership record says %s, not released",
                            gw_owner_state_name(record.state));
    r = machine_acquire(machine, error);
    if (r == 0)
        r = machine_record_owner(machine, GW_OWNER_OWNER, 1, error);
    if (r < 0)
        return r;
    log_line("machine '%s': reclaimed, the other side is fenced", machine->options->name);
    machine->given_away = machine->engine_paused = machine->stop_told = false;
    machine->run_wanted = false;
    return 0;
}
