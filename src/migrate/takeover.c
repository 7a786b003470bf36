/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handoff on the destination: docs/protocol.md section 9.
 *
 *     OPEN --COMMIT--> DECIDING --recorded "owner", started--> OWNER
 *       |                  |
 *       |                  +--cannot run it--> REFUSED
 *       +--session lost, or the source asks: recorded "refused"--> REFUSED
 *
 * A question can come on another thread while the coordinator works on COMMIT: it waits while DECIDING.
 * Leaving OPEN is done under the monitor, so COMMIT and a question cannot both win.
 */
#include "migrate/destination.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static int record(struct gw_destination *destination, enum gw_owner_state state, uint64_t epoch,
                  struct gw_error *error)
{
    struct gw_ownership owner = {.state = state, .epoch = epoch};
    for (unsigned i = 0; i < WIRE_SESSION_BYTES; i++)
        snprintf(owner.session + 2 * i, 3, "%02x", destination->takeover_id[i]);
    snprintf(owner.peer, sizeof owner.peer, "%.255s", destination->address);
    return destination->config.ownership_path
               ? gw_ownership_write(destination->config.ownership_path, &owner, error)
               : 0;
}

static bool move(struct gw_destination *destination, enum takeover from, enum takeover to)
{
    monitor_enter(&destination->monitor);
    bool moved = destination->takeover == from;
    if (moved)
        destination->takeover = to;
    destination->info.owner = destination->takeover == TAKEOVER_OWNER;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
    return moved;
}

/* A record of an earlier time must not be overwritten while it says that the guest is ours. */
static int check_record(struct gw_destination *destination, struct gw_error *error)
{
    struct gw_ownership owner;
    struct gw_error ignored;
    const char *path = destination->config.ownership_path;
    if (!path || gw_ownership_read(path, &owner, &ignored) < 0 || owner.state != GW_OWNER_OWNER)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_STATE, -EBUSY,
                        "the record '%s' says that a guest of this name is owned here already (epoch "
                        "%llu)",
                        path, (unsigned long long)owner.epoch);
}

int takeover_open(struct gw_destination *destination, uint64_t epoch, uint64_t *ret_record_ns,
                  struct gw_error *error)
{
    int r = check_record(destination, error);
    if (r < 0)
        return r;
    monitor_enter(&destination->monitor);
    destination->takeover = TAKEOVER_OPEN;
    destination->takeover_epoch = epoch + 1;
    destination->info.epoch = epoch + 1;
    memcpy(destination->takeover_id, destination->own_session.id, WIRE_SESSION_BYTES);
    monitor_leave(&destination->monitor);
    uint64_t began = host_monotonic_ns();
    r = record(destination, GW_OWNER_INCOMING, epoch + 1, error);
    *ret_record_ns = host_monotonic_ns() - began;
    return r;
}

/* The guest cannot be run here: say so durably. Without a record nothing may be said, so the source stays
 * unanswered; then the guest is nobody's until an operator decides. */
static void refuse_decided(struct gw_destination *destination, const struct gw_error *why)
{
    struct gw_error error;
    if (record(destination, GW_OWNER_REFUSED, destination->takeover_epoch, &error) < 0) {
        destination_event(destination, "that the guest is refused cannot be recorded: %s",
                          error.message);
        move(destination, TAKEOVER_DECIDING, TAKEOVER_UNKNOWN);
        return;
    }
    destination->refusal = *why;
    move(destination, TAKEOVER_DECIDING, TAKEOVER_REFUSED);
}

void takeover_refuse(struct gw_destination *destination, const struct gw_error *why)
{
    if (move(destination, TAKEOVER_OPEN, TAKEOVER_DECIDING))
        refuse_decided(destination, why);
}

static void post_refused(struct gw_destination *destination, const struct gw_error *why)
{
    size_t length = strlen(why->message);
    union wire_body body = {.refused = {.epoch = destination->takeover_epoch,
                                        .layer = (uint32_t)why->layer,
                                        .code = (uint32_t)why->code,
                                        .text_bytes = (uint32_t)length}};
    session_post(&destination->own_session, WIRE_REFUSED, &body, why->message, length);
}

/* From "owner e+1" on disk to the running guest. */
static int take_guest(struct gw_destination *destination, const struct wire_commit *commit,
                      struct wire_running *running, struct gw_error *error)
{
    const struct gw_destination_ops *ops = destination->config.ops;
    uint64_t began = host_monotonic_ns();
    int r = record(destination, GW_OWNER_OWNER, commit->epoch, error);
    uint64_t recorded = host_monotonic_ns();
    if (r == 0)
        r = ops->acquire(destination->config.vm, error);
    uint64_t acquired = host_monotonic_ns();
    if (r == 0)
        r = ops->start(destination->config.vm, commit->run == 1, error);
    *running = (struct wire_running){.epoch = commit->epoch,
                                     .started_ns = acquired,
                                     .record_ns = recorded - began,
                                     .acquire_ns = acquired - recorded,
                                     .start_ns = host_monotonic_ns() - acquired};
    return r;
}

static void report_pause(struct gw_destination *destination, const struct wire_running *running,
                         bool run)
{
    uint64_t stopped = session_local_ns(&destination->own_session, destination->stopped_there_ns);
    uint64_t whole_us = running->started_ns > stopped ? (running->started_ns - stopped) / 1000 : 0;
    struct gw_pause_parts parts = {
        .load_us = destination->load_ns / 1000,
        .verify_us = destination->hash_ns / 1000,
        .commit_us = running->record_ns / 1000,
        .start_us = running->acquire_ns / 1000,
    };
    monitor_enter(&destination->monitor);
    destination->info.pause_us = run ? whole_us : 0;
    destination->info.pause.load = parts.load_us;
    destination->info.pause.verify = parts.verify_us;
    destination->info.pause.commit = parts.commit_us;
    destination->info.pause.start = parts.start_us;
    uint64_t error_us = destination->own_session.clock_error_ns / 1000;
    monitor_leave(&destination->monitor);
    flightlog_set_pause(destination->log,
                        stopped > destination->began_ns ? stopped - destination->began_ns : 0,
                        run ? whole_us : 0, &parts, 0, 0, error_us);
}

int takeover_commit(struct gw_destination *destination, const struct wire_commit *commit,
                    struct gw_error *error)
{
    if (!move(destination, TAKEOVER_OPEN, TAKEOVER_DECIDING))
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_STATE, -ESTALE,
                            "the guest was refused before COMMIT came");
    struct wire_running running;
    int r = take_guest(destination, commit, &running, error);
    if (r < 0) {
        refuse_decided(destination, error);
        destination->refused_commit = destination->takeover == TAKEOVER_REFUSED;
        if (destination->refused_commit)
            post_refused(destination, error);
        return r;
    }
    move(destination, TAKEOVER_DECIDING, TAKEOVER_OWNER);
    union wire_body body = {.running = running};
    session_post(&destination->own_session, WIRE_RUNNING, &body, NULL, 0);
    report_pause(destination, &running, commit->run == 1);
    return 0;
}

/* ---- Answering ---- */

/* What the record on disk says about a session of an earlier process. */
static bool answer_from_record(struct gw_destination *destination,
                               const uint8_t id[WIRE_SESSION_BYTES], uint64_t epoch, bool *ret_owner,
                               struct gw_error *ret_refusal)
{
    struct gw_ownership owner;
    struct gw_error error;
    char hex[33];
    for (unsigned i = 0; i < WIRE_SESSION_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
    if (!destination->config.ownership_path ||
        gw_ownership_read(destination->config.ownership_path, &owner, &error) < 0 ||
        strcmp(owner.session, hex) != 0 || owner.epoch != epoch)
        return false;
    if (owner.state == GW_OWNER_INCOMING) {
        owner.state = GW_OWNER_REFUSED;
        if (gw_ownership_write(destination->config.ownership_path, &owner, &error) < 0)
            return false;
    }
    *ret_owner = owner.state == GW_OWNER_OWNER;
    gw_error_set(ret_refusal, GW_LAYER_MIGRATE, GW_CODE_REFUSED, 0,
                 "the process that received the guest ended before it took over");
    return owner.state == GW_OWNER_OWNER || owner.state == GW_OWNER_REFUSED;
}

bool takeover_answer(struct gw_destination *destination, const uint8_t id[WIRE_SESSION_BYTES],
                     uint64_t epoch, bool *ret_owner, struct gw_error *ret_refusal)
{
    monitor_enter(&destination->monitor);
    bool ours = destination->takeover_epoch == epoch &&
                memcmp(destination->takeover_id, id, WIRE_SESSION_BYTES) == 0;
    monitor_leave(&destination->monitor);
    if (!ours)
        return answer_from_record(destination, id, epoch, ret_owner, ret_refusal);

    struct gw_error why;
    gw_error_set(&why, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, 0,
                 "the link broke before the guest was handed over");
    takeover_refuse(destination, &why);
    monitor_enter(&destination->monitor);
    if (destination->session && destination->takeover == TAKEOVER_REFUSED)
        session_fail_inside(destination->session, SESSION_LINK, &why);
    while (destination->takeover == TAKEOVER_DECIDING && !destination->finished)
        monitor_wait(&destination->monitor, UINT64_MAX);
    enum takeover takeover = destination->takeover;
    *ret_owner = takeover == TAKEOVER_OWNER;
    *ret_refusal = destination->refusal;
    monitor_leave(&destination->monitor);
    return takeover == TAKEOVER_OWNER || takeover == TAKEOVER_REFUSED;
}

void takeover_confirm(struct gw_destination *destination, const uint8_t id[WIRE_SESSION_BYTES])
{
    monitor_enter(&destination->monitor);
    if (memcmp(destination->takeover_id, id, WIRE_SESSION_BYTES) == 0)
        destination->confirmed = true;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
}
