/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The course of a migration on the source: connect, OFFER, rounds until the policy says so,
 * switchover.
 *
 *     SETUP --> ACTIVE --> DEVICE --> COMMITTING --> COMPLETED
 *       |         ^  |       |             |
 *       |         |  |       +-- budget overrun: back to ACTIVE
 *       |         +--|-------+             |
 *       +------------+--> FAILED, CANCELLED <-- refused by the destination, or nobody answers
 *
 * Whatever goes wrong before COMMITTING, the guest runs on here; handoff.c tells about afterwards.
 */
#include "migrate/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MILLISECOND_NS 1000000ull
#define FLUSH_NS (500 * MILLISECOND_NS)

uint64_t source_elapsed_ns(const struct gw_source *source)
{
    return host_monotonic_ns() - source->began_ns;
}

struct gw_migrate_parameters source_parameters(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    struct gw_migrate_parameters parameters = source->parameters;
    monitor_leave(&source->monitor);
    return parameters;
}

/* ---- Telling ---- */

/* Inside the monitor: the figures that change by themselves. */
static void refresh_info(struct gw_source *source)
{
    struct gw_migrate_info *info = &source->info;
    if (!source->ended)
        info->total_ms = source_elapsed_ns(source) / MILLISECOND_NS;
    if (!source->rounds)
        return;
    info->round = rounds_number(source->rounds);
    info->ram_remaining = rounds_remaining_bytes(source->rounds);
    info->pages_normal = rounds_raw_pages(source->rounds);
    info->pages_zero = rounds_zero_pages(source->rounds);
    info->ram_transferred = rounds_sent_bytes(source->rounds);
    info->bytes_sent = transport_bytes_written(source->session.control->transport);
    for (unsigned i = 0; i < source->session.data_count; i++)
        info->bytes_sent += transport_bytes_written(source->session.data[i]->transport);
}

void source_publish(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    refresh_info(source);
    struct gw_migrate_info info = source->info;
    monitor_leave(&source->monitor);
    if (source->config.listener.changed)
        source->config.listener.changed(source->config.listener.opaque, &info);
}

void source_set_status(struct gw_source *source, enum gw_migrate_status status, const char *phase)
{
    monitor_enter(&source->monitor);
    source->info.status = status;
    monitor_leave(&source->monitor);
    source->phase = phase;
    flightlog_add_phase(source->log, source_elapsed_ns(source), phase);
    source_publish(source);
}

void source_event(struct gw_source *source, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    flightlog_add_event(source->log, source_elapsed_ns(source), sentence);
}

/* ---- The end ---- */

static void stop_tracking(struct gw_source *source)
{
    if (source->tracking)
        source->config.tracker.ops->stop(source->config.tracker.opaque);
    source->tracking = false;
}

static void farewell(struct gw_source *source, struct gw_error *error)
{
    bool gave_away = source->owner.state == GW_OWNER_RELEASED;
    if (gave_away || !source->session.started)
        return;
    session_flush(&source->session, host_monotonic_ns() + FLUSH_NS);
    if (error->code == GW_CODE_CANCELLED)
        session_post(&source->session, WIRE_CANCEL, NULL, NULL, 0);
    else
        session_fail(&source->session, SESSION_LOCAL, error);
}

static const char *what_next(const struct gw_source *source, const struct gw_error *error)
{
    if (source->owner.state == GW_OWNER_RELEASED)
        return "find out whether the guest runs on the destination (godwit status there); if that "
               "host "
               "is off for good, godwit reclaim takes the guest back";
    switch (error->code) {
    case GW_CODE_BUDGET:
        return "allow a longer pause, more bandwidth, or migrate when the guest is less busy";
    case GW_CODE_TIMEOUT:
    case GW_CODE_DISCONNECTED:
        return "check the network and the destination, then migrate again; the guest runs on here";
    default:
        return "the guest runs on here; remove the cause and migrate again";
    }
}

/* Before anything moves: what does not come along is told while one may still change one's mind. */
static void warn_of_networks(struct gw_source *source)
{
    struct gw_network_times networks[GW_MIGRATE_MAX_NETWORKS];
    const struct gw_source_ops *ops = source->config.ops;
    unsigned count = ops->look_networks ? ops->look_networks(source->config.vm, networks,
                                                             ARRAY_COUNT(networks))
                                        : 0;
    for (unsigned i = 0; i < count; i++)
        if (networks[i].stays[0])
            source_event(source,
                         "connections that are open on network '%s' end with this move, because %s",
                         networks[i].name, networks[i].stays);
}

static void note_networks(struct gw_source *source)
{
    struct gw_network_times networks[GW_MIGRATE_MAX_NETWORKS];
    const struct gw_source_ops *ops = source->config.ops;
    if (!ops->look_networks)
        return;
    unsigned count = ops->look_networks(source->config.vm, networks, ARRAY_COUNT(networks));
    flightlog_set_networks(source->log, source_elapsed_ns(source), networks, count);
}

static void write_log(struct gw_source *source, enum gw_migrate_status status,
                      const struct gw_error *error)
{
    bool failed = status != GW_MIGRATE_COMPLETED;
    bool at_peer = status == GW_MIGRATE_FAILED && session_failed_at_peer(&source->session);
    const char *side = !failed ? "" : at_peer ? "destination" : "source";
    flightlog_set_verdict(source->log, source_elapsed_ns(source), status, source->phase, side,
                          failed ? error : NULL, failed ? what_next(source, error) : "");
    monitor_enter(&source->monitor);
    refresh_info(source);
    struct gw_migrate_info info = source->info;
    monitor_leave(&source->monitor);
    flightlog_set_totals(source->log, &info);
    if (!failed)
        note_networks(source);
    struct gw_error ignored;
    if (source->config.log_directory)
        (void)flightlog_write(source->log, source->config.log_directory, &ignored);
}

static void post_flight(struct gw_source *source)
{
    struct gw_buf text = {0};
    if (flightlog_format_condensed(source->log, &text) == 0 &&
        text.length <= WIRE_FLIGHT_MAX_BYTES) {
        union wire_body body = {.flight = {.bytes = (uint32_t)text.length}};
        session_post(&source->session, WIRE_FLIGHT, &body, text.data, text.length);
    }
    gw_buf_fini(&text);
}

static void end(struct gw_source *source, int r, struct gw_error *error)
{
    bool cancelled = r < 0 && error->code == GW_CODE_CANCELLED && source->cancel_asked;
    enum gw_migrate_status status = r == 0      ? GW_MIGRATE_COMPLETED
                                    : cancelled ? GW_MIGRATE_CANCELLED
                                                : GW_MIGRATE_FAILED;
    if (cancelled && source->owner.state == GW_OWNER_OWNER)
        source_set_status(source, GW_MIGRATE_CANCELLING, "cancelling");
    if (source->rounds)
        rounds_abandon(source->rounds);
    if (r < 0)
        farewell(source, error);
    stop_tracking(source);
    monitor_enter(&source->monitor);
    source->info.error = r < 0 ? *error : (struct gw_error){0};
    source->info.owner = source->owner.state == GW_OWNER_OWNER;
    source->info.epoch = source->owner.epoch;
    monitor_leave(&source->monitor);
    write_log(source, status, error);
    if (r == 0)
        post_flight(source);
    if (r == 0)
        session_post(&source->session, WIRE_END, NULL, NULL, 0);
    session_close(&source->session);

    monitor_enter(&source->monitor);
    refresh_info(source);
    struct rounds *rounds = source->rounds;
    source->rounds = NULL;
    monitor_leave(&source->monitor);
    rounds_free(rounds);
    session_fini(&source->session);
    monitor_enter(&source->monitor);
    source->info.status = status;
    source->ended = true;
    struct gw_migrate_info info = source->info;
    monitor_leave(&source->monitor);
    if (source->config.listener.changed)
        source->config.listener.changed(source->config.listener.opaque, &info);
    monitor_enter(&source->monitor);
    source->told = true;
    monitor_notify(&source->monitor);
    monitor_leave(&source->monitor);
}

static void *coordinator_main(void *opaque)
{
    struct gw_source *source = opaque;
    struct gw_error error = {0};
    warn_of_networks(source);
    int r = source_set_up(source, &error);
    monitor_enter(&source->monitor);
    source->info.setup_ms = source_elapsed_ns(source) / MILLISECOND_NS;
    monitor_leave(&source->monitor);
    if (r == 0) {
        source_post_resident(source);
        r = source_start_rounds(source, &error);
    }
    if (r == 0)
        r = source_run_rounds(source, &error);
    if (r < 0 && (source->paused || source->left) && source->owner.state == GW_OWNER_OWNER) {
        struct gw_error why = {0};
        if (source_resume(source, &why) < 0)
            gw_error_set(&error, why.layer, why.code, 0,
                         "%.220s; and the guest could not be resumed: %.220s", error.message,
                         why.message);
    }
    end(source, r, &error);
    return NULL;
}

/* ---- Public functions ---- */

static int read_owner(const char *path, struct gw_ownership *ret_owner, struct gw_error *error)
{
    struct gw_ownership owner = {.state = GW_OWNER_OWNER, .epoch = 1};
    int r = path ? gw_ownership_read(path, &owner, error) : 0;
    if (r == -ENOENT)
        owner = (struct gw_ownership){.state = GW_OWNER_OWNER, .epoch = 1};
    else if (r < 0)
        return r;
    if (owner.state != GW_OWNER_OWNER)
        return gw_error_set(
            error, GW_LAYER_MIGRATE, GW_CODE_STATE, -EBUSY,
            "this side does not own the guest (it is %s, epoch %llu, peer '%s'), so "
            "it cannot send it",
            gw_owner_state_name(owner.state), (unsigned long long)owner.epoch, owner.peer);
    *ret_owner = owner;
    return 0;
}

static int copy_strings(struct gw_source *source, const struct gw_source_config *config)
{
    struct gw_source_config *mine = &source->config;
    *mine = *config;
    mine->name = strdup(config->name ? config->name : "");
    mine->uri = strdup(config->uri);
    mine->ownership_path = config->ownership_path ? strdup(config->ownership_path) : NULL;
    mine->log_directory = config->log_directory ? strdup(config->log_directory) : NULL;
    return mine->name && mine->uri && (mine->ownership_path || !config->ownership_path) &&
                   (mine->log_directory || !config->log_directory)
               ? 0
               : -ENOMEM;
}

static void destroy(struct gw_source *source)
{
    free((char *)source->config.name);
    free((char *)source->config.uri);
    free((char *)source->config.ownership_path);
    free((char *)source->config.log_directory);
    flightlog_free(source->log);
    ratelimit_fini(&source->limiter);
    monitor_fini(&source->monitor);
    if (source->connect_cancel_fd >= 0)
        close(source->connect_cancel_fd);
    free(source);
}

static int prepare(struct gw_source *source, struct gw_error *error)
{
    uint8_t id[WIRE_SESSION_BYTES];
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(errno), -errno,
                            "no random number for the session: %s", strerror(errno));
    session_init(&source->session, &source->monitor, true, id,
                 source->config.parameters.peer_timeout_ms);
    snprintf(source->info.session, sizeof source->info.session, "%s", source->session.hex);
    source->connect_cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    source->log = flightlog_new(true, source->session.hex, source->config.name, source->config.uri);
    if (source->connect_cancel_fd < 0 || !source->log)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory or descriptor for a migration");
    source->info.ram_total = gw_memory_total_bytes(source->config.memory);
    source->info.ram_remaining = source->info.ram_total;
    source->info.owner = true;
    source->info.epoch = source->owner.epoch;
    flightlog_set_machine(source->log, source->config.name, source->info.ram_total);
    flightlog_add_parameters(source->log, 0, &source->parameters);
    if (source->config.log_directory)
        flightlog_inherit(source->log, source->config.log_directory);
    return 0;
}

int gw_source_start(const struct gw_source_config *config, struct gw_source **ret_source,
                    struct gw_error *error)
{
    struct gw_source *source = calloc(1, sizeof *source);
    if (!source)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for a migration");
    source->began_ns = host_monotonic_ns();
    source->connect_cancel_fd = -1;
    source->phase = "setup";
    source->parameters = config->parameters;
    monitor_init(&source->monitor);
    ratelimit_init(&source->limiter, config->parameters.max_bandwidth);
    int r = copy_strings(source, config);
    if (r < 0)
        gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, r, "no memory for a migration");
    if (r == 0)
        r = gw_uri_parse(config->uri, &source->uri, error);
    if (r == 0)
        r = read_owner(config->ownership_path, &source->owner, error);
    if (r == 0)
        r = prepare(source, error);
    if (r == 0) {
        r = -pthread_create(&source->coordinator, NULL, coordinator_main, source);
        if (r < 0)
            gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, r,
                         "no thread for a migration: %s", strerror(-r));
    }
    if (r < 0)
        destroy(source);
    else
        *ret_source = source;
    return r;
}

void gw_source_set_parameters(struct gw_source *source,
                              const struct gw_migrate_parameters *parameters)
{
    monitor_enter(&source->monitor);
    source->parameters = *parameters;
    source->parameters_changed = true;
    monitor_notify(&source->monitor);
    monitor_leave(&source->monitor);
}

void gw_source_cancel(struct gw_source *source)
{
    monitor_enter(&source->monitor);
    source->cancel_asked = true;
    uint64_t one = 1;
    if (source->connecting && write(source->connect_cancel_fd, &one, sizeof one) < 0)
        one = 0; /* it is readable already */
    monitor_notify(&source->monitor);
    monitor_leave(&source->monitor);
}

void gw_source_info(struct gw_source *source, struct gw_migrate_info *ret_info)
{
    monitor_enter(&source->monitor);
    refresh_info(source);
    *ret_info = source->info;
    monitor_leave(&source->monitor);
}

int gw_source_wait(struct gw_source *source, int timeout_ms)
{
    uint64_t until =
        timeout_ms < 0 ? UINT64_MAX : host_monotonic_ns() + (uint64_t)timeout_ms * MILLISECOND_NS;
    bool in_time = true;
    monitor_enter(&source->monitor);
    while (!source->told && in_time)
        in_time = monitor_wait(&source->monitor, until);
    bool told = source->told;
    monitor_leave(&source->monitor);
    return told ? 0 : -ETIMEDOUT;
}

void gw_source_free(struct gw_source *source)
{
    if (!source)
        return;
    gw_source_cancel(source);
    pthread_join(source->coordinator, NULL);
    destroy(source);
}
