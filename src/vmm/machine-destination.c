/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving a machine. What a source sends is hostile until it has been checked: the description
 * goes through the board's reader, and disks are taken from this side's command line or, without
 * any, from the source's paths where such files exist; networks from this side's command line, by
 * name.
 */
#include "vmm/machine-internal.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmm/log.h"

struct operation {
    struct machine *machine;
    struct gw_error *error;
    const void *bytes;
    size_t length;
    struct gw_memory **ret_memory;
    bool run;
};

/* ---- Disks ---- */

static int copy_path(struct board_disk *disk, const char *path, struct gw_error *error)
{
    free(disk->path);
    disk->path = strdup(path);
    return disk->path ? 0 : machine_fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
}

/* The file that stands for a disk must be there with the size that the guest knows. */
static int check_file(const struct board_disk *disk, unsigned slot, struct gw_error *error)
{
    _cleanup_close_ int fd = open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    off_t bytes;

    if (fd < 0)
        return machine_fail(error, gw_code_from_errno(errno), -errno,
                            "disk %u of the machine: cannot open '%s' here: %s", slot, disk->path,
                            strerror(errno));
    bytes = lseek(fd, 0, SEEK_END);
    if (bytes < 0 || (uint64_t)bytes != disk->size_bytes)
        return machine_fail(error, GW_CODE_INVALID, -EINVAL,
                            "disk %u of the machine has %llu bytes, but '%s' here has %lld", slot,
                            (unsigned long long)disk->size_bytes, disk->path, (long long)bytes);
    return 0;
}

static int match_given(struct board_disk *disk, const struct board_disk *given, unsigned slot,
                       struct gw_error *error)
{
    if (given->read_only != disk->read_only)
        return machine_fail(error, GW_CODE_INVALID, -EINVAL,
                            "disk %u of the machine is %s, but --disk '%s' here is %s", slot,
                            disk->read_only ? "read-only" : "writable", given->path,
                            given->read_only ? "read-only" : "writable");
    if (given->serial && (!disk->serial || strcmp(given->serial, disk->serial) != 0))
        return machine_fail(
            error, GW_CODE_INVALID, -EINVAL,
            "disk %u of the machine has the serial '%s', but --disk '%s' here says '%s'", slot,
            disk->serial ? disk->serial : "", given->path, given->serial);
    return copy_path(disk, given->path, error);
}

static int match_hint(struct board_disk *disk, const json_t *described, unsigned slot,
                      struct gw_error *error)
{
    const char *hint = json_string_value(json_object_get(described, "path_hint"));

    if (!hint || access(hint, F_OK) < 0)
        return machine_fail(
            error, GW_CODE_NOT_FOUND, -ENOENT,
            "disk %u of the machine ('%s' at the source) is not here: name its file with "
            "--disk",
            slot, hint ? hint : "");
    return copy_path(disk, hint, error);
}

static int match_disks(const struct board_config *given, const json_t *description,
                       struct board_config *config, struct gw_error *error)
{
    const json_t *described = json_object_get(description, "disks");
    int r = 0;

    if (given->disk_count > 0 && given->disk_count != config->disk_count)
        return machine_fail(error, GW_CODE_INVALID, -EINVAL,
                            "the machine has %u disk(s), but --disk was given %u time(s) here",
                            config->disk_count, given->disk_count);
    for (unsigned i = 0; i < config->disk_count && r == 0; i++) {
        r = given->disk_count > 0
                ? match_given(&config->disks[i], &given->disks[i], i, error)
                : match_hint(&config->disks[i], json_array_get(described, i), i, error);
        if (r == 0)
            r = check_file(&config->disks[i], i, error);
    }
    return r;
}

/* ---- The engine's operations ---- */

static int read_description(struct operation *operation, struct board_config *ret_config)
{
    json_error_t at;
    json_t *description =
        json_loadb(operation->bytes, operation->length, JSON_REJECT_DUPLICATES, &at);
    int r;

    if (!description)
        return machine_fail(operation->error, GW_CODE_CORRUPT, -EBADMSG,
                            "the machine's description is no JSON (at byte %d)", at.position);
    r = board_config_from_description(description, ret_config, operation->error);
    if (r == 0) {
        r = match_disks(&operation->machine->options->config, description, ret_config,
                        operation->error);
        if (r == 0)
            r = machine_match_nets(&operation->machine->options->config, ret_config,
                                   operation->error);
        if (r < 0)
            board_config_fini(ret_config);
    }
    json_decref(description);
    return r;
}

/* What each side chooses for itself. */
static int adopt_own_affairs(const struct board_config *own, struct board_config *config,
                             struct gw_error *error)
{
    config->tracking = own->tracking;
    config->backing = own->backing;
    config->backing.path = own->backing.path ? strdup(own->backing.path) : NULL;
    if (own->backing.path && !config->backing.path)
        return machine_fail(error, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    return 0;
}

/* What was ready and does not fit is given back: its time has passed. */
static int build_with_ready(struct machine *machine, struct gw_error *error)
{
    machine->received.backing.ready = machine->ready;
    int r = machine_build_board(machine, &machine->received, true, error);
    machine->received.backing.ready = NULL;
    gw_memory_free(machine->ready);
    machine->ready = NULL;
    return r;
}

static int prepare_on_loop(void *argument)
{
    struct operation *operation = argument;
    struct machine *machine = operation->machine;
    struct board_config config;
    int r;

    if (!machine->arriving || machine->ending || machine->board)
        return machine_fail(operation->error, GW_CODE_STATE, -EBUSY,
                            "this process receives no machine now");
    r = read_description(operation, &config);
    if (r < 0)
        return r;
    r = adopt_own_affairs(&machine->options->config, &config, operation->error);
    if (r < 0) {
        board_config_fini(&config);
        return r;
    }
    board_config_fini(&machine->received);
    machine->received = config;
    r = build_with_ready(machine, operation->error);
    if (r == 0)
        *operation->ret_memory = board_memory(machine->board);
    return r;
}

static int op_prepare(void *vm, const char *description, size_t length,
                      struct gw_memory **ret_memory, struct gw_error *error)
{
    struct machine *machine = vm;

    return loop_calls_run(machine->calls, prepare_on_loop,
                          &(struct operation){.machine = machine,
                                              .error = error,
                                              .bytes = description,
                                              .length = length,
                                              .ret_memory = ret_memory});
}

static int load_on_loop(void *argument)
{
    struct operation *operation = argument;
    struct machine *machine = operation->machine;
    int r = board_load(machine->board, operation->bytes, operation->length, operation->error);

    if (r == 0)
        console_loaded(machine->console);
    return r;
}

static int op_load_state(void *vm, const void *stream, size_t length, struct gw_error *error)
{
    struct machine *machine = vm;

    return loop_calls_run(
        machine->calls, load_on_loop,
        &(struct operation){.machine = machine, .error = error, .bytes = stream, .length = length});
}

static int acquire_on_loop(void *argument)
{
    struct operation *operation = argument;

    return machine_acquire(operation->machine, operation->error);
}

static int op_acquire(void *vm, struct gw_error *error)
{
    struct machine *machine = vm;

    return loop_calls_run(machine->calls, acquire_on_loop,
                          &(struct operation){.machine = machine, .error = error});
}

static int expect_on_loop(void *argument)
{
    const struct machine *machine = ((struct operation *)argument)->machine;
    uint64_t us = machine->board ? board_expect_acquire_us(machine->board) : 0;

    return us < INT_MAX ? (int)us : INT_MAX;
}

static uint64_t op_expect_acquire_us(void *vm)
{
    struct machine *machine = vm;

    return (uint64_t)loop_calls_run(machine->calls, expect_on_loop,
                                    &(struct operation){.machine = machine});
}

static int start_on_loop(void *argument)
{
    struct operation *operation = argument;
    struct machine *machine = operation->machine;
    int r;

    if (machine->ending)
        return machine_fail(operation->error, GW_CODE_STATE, -ESHUTDOWN,
                            "the receiving process is ending");
    machine->arriving = false;
    machine->ever_ran = true;
    machine->run_wanted = operation->run;
    board_announce_nets(machine->board);
    r = machine_apply_run(machine, operation->error);
    if (r < 0) {
        machine->arriving = true;
        machine->ever_ran = machine->run_wanted = false;
        return r;
    }
    machine->moved_in++;
    if (operation->run)
        machine_event(machine, "RESUME", NULL);
    return 0;
}

static int op_start(void *vm, bool run, struct gw_error *error)
{
    struct machine *machine = vm;

    return loop_calls_run(machine->calls, start_on_loop,
                          &(struct operation){.machine = machine, .error = error, .run = run});
}

static int discard_on_loop(void *argument)
{
    struct operation *operation = argument;
    struct machine *machine = operation->machine;

    if (machine->board)
        machine_drop_board(machine);
    board_config_fini(&machine->received);
    machine->received = (struct board_config){0};
    scrollback_clear(console_scrollback(machine->console));
    return 0;
}

static void op_discard(void *vm)
{
    struct machine *machine = vm;

    loop_calls_run(machine->calls, discard_on_loop, &(struct operation){.machine = machine});
}

static const struct gw_destination_ops destination_ops = {
    .prepare = op_prepare,
    .load_state = op_load_state,
    .acquire = op_acquire,
    .expect_acquire_us = op_expect_acquire_us,
    .start = op_start,
    .discard = op_discard,
    .look_networks = machine_look_networks,
};

/* ---- What the engine tells ---- */

static bool can_listen_again(const char *uri)
{
    return strncmp(uri, "tcp:", 4) == 0 || strncmp(uri, "unix:", 5) == 0;
}

/* An attempt is over without the guest being ours. */
static void go_on_waiting(struct machine *machine)
{
    _cleanup_free_ char *uri = TAKE_PTR(machine->listen_uri);
    struct gw_error error = machine->info.error;

    if (machine->ending)
        return;
    if (machine->cancel_wanted) {
        machine_end(machine, "host-qmp-quit", EXIT_STATUS_FAILED,
                    "cancelled before a machine arrived");
        return;
    }
    log_line("machine '%s': nothing arrived: %s", machine->options->name, error.message);
    if (uri && can_listen_again(uri) && machine_listen(machine, uri, &error) == 0)
        return;
    if (strcmp(machine->options->incoming, "defer") != 0)
        machine_end(machine, "host-error", EXIT_STATUS_FAILED, error.message);
}

static void destination_reaped(void *opaque)
{
    struct machine *machine = opaque;
    struct gw_migrate_info final = machine->final;

    machine->final.status = GW_MIGRATE_NONE;
    if (final.status != GW_MIGRATE_NONE && final.status != GW_MIGRATE_COMPLETED) {
        machine_publish_info(machine, &final);
        go_on_waiting(machine);
    }
    machine_reaped(machine);
}

static void free_destination(void *destination)
{
    gw_destination_free(destination);
}

void machine_reap_destination(struct machine *machine)
{
    struct gw_destination *destination = TAKE_PTR(machine->destination);
    int r;

    machine->reaping++;
    r = loop_calls_detach(machine->calls, free_destination, destination, destination_reaped,
                          machine);
    if (r < 0) {
        log_line("a migration that has ended is kept: no thread to free it (%s)", strerror(-r));
        destination_reaped(machine);
    }
}

/* A destination that has succeeded is kept until the process ends: it still answers the source when
 * the link broke at the last moment. */
static void changed_on_loop(void *opaque, void *argument)
{
    struct machine *machine = opaque;
    const struct gw_migrate_info *info = argument;

    if (info->status == GW_MIGRATE_COMPLETED)
        machine->listen_uri = (free(machine->listen_uri), NULL);
    if (!machine_info_final(info->status) || info->status == GW_MIGRATE_COMPLETED) {
        machine_publish_info(machine, info);
        return;
    }
    machine->final = *info;
    if (machine->destination)
        machine_reap_destination(machine);
}

static void destination_changed(void *opaque, const struct gw_migrate_info *info)
{
    struct machine *machine = opaque;
    struct gw_migrate_info *copy = malloc(sizeof *copy);

    if (!copy)
        return;
    *copy = *info;
    loop_calls_post(machine->calls, changed_on_loop, machine, copy);
}

int machine_listen(struct machine *machine, const char *uri, struct gw_error *error)
{
    struct gw_destination_config config = {
        .ops = &destination_ops,
        .vm = machine,
        .uri = uri,
        .ownership_path = machine->ownership_path,
        .log_directory = machine->flights_path,
        .parameters = machine->parameters,
        .listener = {.opaque = machine, .changed = destination_changed},
    };
    int r = gw_destination_start(&config, &machine->destination, error);

    if (r < 0)
        return r;
    machine->outgoing = false;
    free(machine->listen_uri);
    machine->listen_uri = strdup(gw_destination_uri(machine->destination));
    free(machine->uri);
    machine->uri = strdup(gw_destination_uri(machine->destination));
    return 0;
}

int machine_migrate_incoming(struct machine *machine, const char *uri, struct gw_error *error)
{
    if (!machine->options->incoming || strcmp(machine->options->incoming, "defer") != 0)
        return machine_fail(
            error, GW_CODE_STATE, -EPERM,
            "'migrate-incoming' needs a process that was started with --incoming defer");
    if (!machine->arriving || machine->destination || machine->reaping > 0)
        return machine_fail(error, GW_CODE_STATE, -EBUSY,
                            "this process receives a machine already, or has received one");
    return machine_listen(machine, uri, error);
}
