/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The course of a migration on the destination: wait for a source, build the machine that OFFER
 * describes, let memory arrive, rehearse, and take over when COMMIT comes.
 *
 *     NONE --> SETUP --> ACTIVE --> DEVICE --> COMPLETED
 *       ^        |         |          |  |
 *       |        |         |<---------+  CANCEL_SWITCH: back to ACTIVE
 *       +--------+         v             v
 *      refused:          FAILED, CANCELLED (without COMMIT the machine is thrown away)
 *      wait on
 */
#include "migrate/destination.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MILLISECOND_NS 1000000ull
#define DEFAULT_LINGER_MS 60000
#define GOODBYE_MS 5000  /* for the source's CONFIRM and flight log */
#define NETWORKS_MS 1000 /* for the guest's first frames */
#define LOOK_NS (50 * MILLISECOND_NS)

uint64_t destination_elapsed_ns(const struct gw_destination *destination)
{
    return host_monotonic_ns() - destination->began_ns;
}

/* ---- Telling ---- */

/* Inside the monitor. */
static void refresh_info(struct gw_destination *destination)
{
    struct gw_migrate_info *info = &destination->info;
    if (!destination->ended)
        info->total_ms = destination_elapsed_ns(destination) / MILLISECOND_NS;
    if (!destination->receiver)
        return;
    info->round = receiver_rounds(destination->receiver) + (destination->ended ? 0 : 1);
    info->pages_normal = receiver_raw_pages(destination->receiver);
    info->pages_zero = receiver_zero_pages(destination->receiver);
    info->ram_transferred = info->pages_normal << GW_PAGE_SHIFT;
}

void destination_publish(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    refresh_info(destination);
    struct gw_migrate_info info = destination->info;
    monitor_leave(&destination->monitor);
    if (destination->config.listener.changed)
        destination->config.listener.changed(destination->config.listener.opaque, &info);
}

void destination_set_status(struct gw_destination *destination, enum gw_migrate_status status,
                            const char *phase)
{
    monitor_enter(&destination->monitor);
    destination->info.status = status;
    monitor_leave(&destination->monitor);
    destination->phase = phase;
    flightlog_add_phase(destination->log, destination_elapsed_ns(destination), phase);
    destination_publish(destination);
}

void destination_event(struct gw_destination *destination, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    flightlog_add_event(destination->log, destination_elapsed_ns(destination), sentence);
}

/* ---- One session ---- */

static int open_session(struct gw_destination *destination, struct channel *control,
                        struct gw_error *error)
{
    struct session *session = &destination->own_session;
    session_init(session, &destination->monitor, false, destination->arrived_id,
                 destination->parameters.peer_timeout_ms);
    session->bulk = destination_take_bulk;
    session->opaque = destination;
    int r = session_start(session, control, error);
    if (r < 0) {
        channel_free(control);
        return r;
    }
    monitor_enter(&destination->monitor);
    destination->session = session;
    snprintf(destination->info.session, sizeof destination->info.session, "%s", session->hex);
    monitor_leave(&destination->monitor);
    return 0;
}

/* Channels first, then the threads that work on them, then what they work on. */
static void close_session(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    destination->session = NULL;
    destination->data_expected = 0;
    destination->accepted = false;
    monitor_leave(&destination->monitor);
    session_close(&destination->own_session);
    for (unsigned i = 0; i < destination->data_thread_count; i++)
        pthread_join(destination->data_threads[i], NULL);
    destination->data_thread_count = 0;
    monitor_enter(&destination->monitor);
    refresh_info(destination);
    struct receiver *receiver = destination->receiver;
    destination->receiver = NULL;
    monitor_leave(&destination->monitor);
    receiver_free(receiver);
    session_fini(&destination->own_session);
    gw_buf_fini(&destination->state);
}

static void discard(struct gw_destination *destination)
{
    if (destination->memory)
        destination->config.ops->discard(destination->config.vm);
    destination->memory = NULL;
}

/* Our document is on disk already: it is written again with the source's beside it. */
static void write_both_flights(struct gw_destination *destination)
{
    struct gw_error ignored;
    if (destination->config.log_directory)
        (void)flightlog_write(destination->log, destination->config.log_directory, &ignored);
}

/* Its counter overflows only when it is readable already. */
static void make_readable(int event_fd)
{
    (void)eventfd_write(event_fd, 1);
}

static void stop_accepting(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    destination->finished = true;
    make_readable(destination->door_fd);
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
}

static void stop_connections(struct gw_destination *destination)
{
    make_readable(destination->cancel_fd);
    stop_accepting(destination);
}

/* Nobody has anything to ask any more: the address is free again before the source hears END, so
 * that whoever waits for the source may use it at once. */
static void leave_address(struct gw_destination *destination, uint64_t until_ns)
{
    stop_accepting(destination);
    bool in_time = true;
    monitor_enter(&destination->monitor);
    while (!destination->connections_over && in_time)
        in_time = monitor_wait(&destination->monitor, until_ns);
    monitor_leave(&destination->monitor);
}

/* After RUNNING or REFUSED: the source's confirmation and its flight log, if they come. */
static void say_goodbye(struct gw_destination *destination)
{
    struct session *session = &destination->own_session;
    uint64_t until = host_monotonic_ns() + GOODBYE_MS * MILLISECOND_NS;
    bool in_time = true, got_flight = false;
    monitor_enter(&destination->monitor);
    while (in_time) {
        struct message message;
        if (!session_pop(session, &message)) {
            if (session->peer_ended || session->failed)
                break;
            in_time = monitor_wait(&destination->monitor, until);
            continue;
        }
        if (message.type == WIRE_CONFIRM)
            destination->confirmed = true;
        struct gw_error ignored;
        if (message.type == WIRE_FLIGHT)
            got_flight = flightlog_set_other_side(destination->log, message.tail,
                                                  message.body.flight.bytes, &ignored) == 0;
        message_fini(&message);
    }
    monitor_leave(&destination->monitor);
    if (got_flight)
        write_both_flights(destination);
    if (destination->confirmed)
        leave_address(destination, until);
    session_post(session, WIRE_END, NULL, NULL, 0);
}

/* Tells the source why, the way it has to be told. */
static void fail_session(struct gw_destination *destination, const struct gw_error *error)
{
    struct session *session = &destination->own_session;
    if (destination->accepted) {
        session_fail(session, SESSION_LOCAL, error);
        return;
    }
    size_t length = strlen(error->message);
    union wire_body body = {.error = {.layer = (uint32_t)error->layer,
                                      .code = (uint32_t)error->code,
                                      .text_bytes = (uint32_t)length}};
    session_post(session, WIRE_REFUSE, &body, error->message, length);
}

/* The source may have released the guest and sent COMMIT: it will ask. Until then, or for a while,
 * this side stays to answer. */
static void linger(struct gw_destination *destination)
{
    uint64_t limit_ms = destination->parameters.handoff_timeout_ms;
    uint64_t until =
        host_monotonic_ns() + (limit_ms ? limit_ms : DEFAULT_LINGER_MS) * MILLISECOND_NS;
    destination_event(destination,
                      "the session ended after READY: waiting for the source's question");
    bool in_time = true;
    monitor_enter(&destination->monitor);
    while (!destination->confirmed && !destination->leaving && in_time &&
           !destination->connections_over)
        in_time = monitor_wait(&destination->monitor, until);
    monitor_leave(&destination->monitor);
}

/* A source that says itself that it failed or was cancelled has not released the guest, and one
 * that waits for the result of the hashes has not either. */
static bool may_be_asked(struct gw_destination *destination, bool source_gave_up)
{
    monitor_enter(&destination->monitor);
    bool unanswered = !destination->confirmed && destination->takeover == TAKEOVER_REFUSED;
    monitor_leave(&destination->monitor);
    return unanswered && destination->ready_sent &&
           (!destination->verify || destination->verified) && !source_gave_up;
}

static bool is_cancelled(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    bool asked = destination->cancel_asked;
    monitor_leave(&destination->monitor);
    return asked;
}

/* -EAGAIN: nothing had moved yet and another source may come. */
static int abandon(struct gw_destination *destination, int r, struct gw_error *error)
{
    bool source_gave_up = session_failed_at_peer(&destination->own_session) ||
                          (r == -ECANCELED && !is_cancelled(destination));
    bool accepted = destination->accepted;
    if (accepted)
        takeover_refuse(destination, error);
    if (destination->refused_commit)
        say_goodbye(destination);
    else if (!source_gave_up)
        fail_session(destination, error);
    close_session(destination);
    discard(destination);
    if (accepted && may_be_asked(destination, source_gave_up))
        linger(destination);
    if (accepted || is_cancelled(destination))
        return r;
    monitor_enter(&destination->monitor);
    bool again = !destination->connections_over;
    destination->turned_away = *error;
    snprintf(destination->info.decision, sizeof destination->info.decision,
             "turned away a source: %.130s", error->message);
    monitor_leave(&destination->monitor);
    if (again) {
        destination_event(destination, "turned away a source: %s", error->message);
        destination_set_status(destination, GW_MIGRATE_NONE, "waiting");
    }
    monitor_enter(&destination->monitor);
    destination->busy = false;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
    return again ? -EAGAIN : r;
}

/* 0: the guest runs here, and the session is still open. */
static int receive(struct gw_destination *destination, struct channel *control,
                   struct gw_error *error)
{
    destination->began_ns = host_monotonic_ns();
    flightlog_set_started(destination->log);
    destination->attempt = destination->cancelled_attempt = 0;
    destination->ready_sent = destination->refused_commit = false;
    destination->data_expected = 0;
    int r = open_session(destination, control, error);
    if (r < 0)
        return r;
    destination_set_status(destination, GW_MIGRATE_SETUP, "setup");
    r = destination_await_offer(destination, error);
    if (r == 0)
        r = destination_run_session(destination, error);
    return r < 0 ? abandon(destination, r, error) : 0;
}

/* ---- The whole course ---- */

static int await_source(struct gw_destination *destination, struct channel **ret_control,
                        struct gw_error *error)
{
    monitor_enter(&destination->monitor);
    while (!destination->arrived && !destination->cancel_asked &&
           !(destination->connections_over && destination->greetings == 0))
        monitor_wait(&destination->monitor, UINT64_MAX);
    int r = 0;
    if (destination->cancel_asked)
        r = destination_cancelled(error);
    else if (!destination->arrived)
        r = -ENOTCONN;
    *ret_control = r == 0 ? TAKE_PTR(destination->arrived) : NULL;
    if (r == -ENOTCONN)
        *error = destination->turned_away;
    monitor_leave(&destination->monitor);
    if (r == -ENOTCONN && error->code == GW_CODE_NONE)
        gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, r, "no source came");
    return r;
}

static void write_log(struct gw_destination *destination, enum gw_migrate_status status,
                      const struct gw_error *error)
{
    bool failed = status != GW_MIGRATE_COMPLETED;
    monitor_enter(&destination->monitor);
    refresh_info(destination);
    struct gw_migrate_info info = destination->info;
    monitor_leave(&destination->monitor);
    if (!info.session[0])
        return; /* nobody came: there was no flight */
    bool at_peer = session_failed_at_peer(&destination->own_session) ||
                   (status == GW_MIGRATE_CANCELLED && !is_cancelled(destination));
    const char *side = !failed ? "" : at_peer ? "source" : "destination";
    flightlog_set_verdict(destination->log, destination_elapsed_ns(destination), status,
                          destination->phase, side, failed ? error : NULL,
                          failed ? "the guest stays with the source; receive again" : "");
    flightlog_set_totals(destination->log, &info);
    struct gw_error ignored;
    if (destination->config.log_directory)
        (void)flightlog_write(destination->log, destination->config.log_directory, &ignored);
}

static void tell_end(struct gw_destination *destination, int r, const struct gw_error *error)
{
    enum gw_migrate_status status = r == 0                             ? GW_MIGRATE_COMPLETED
                                    : error->code == GW_CODE_CANCELLED ? GW_MIGRATE_CANCELLED
                                                                       : GW_MIGRATE_FAILED;
    monitor_enter(&destination->monitor);
    refresh_info(destination);
    destination->info.status = status;
    destination->info.error = r < 0 ? *error : (struct gw_error){0};
    destination->ended = true;
    struct gw_migrate_info info = destination->info;
    monitor_leave(&destination->monitor);
    write_log(destination, status, error);
    if (destination->config.listener.changed)
        destination->config.listener.changed(destination->config.listener.opaque, &info);
    monitor_enter(&destination->monitor);
    destination->told = true;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
}

static bool have_spoken(const struct gw_network_times *networks, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!networks[i].first_out_ns || !networks[i].first_in_ns)
            return false;
    return true;
}

/* The guest's first frames here come some time after it began to run. */
static void note_networks(struct gw_destination *destination)
{
    struct gw_network_times networks[GW_MIGRATE_MAX_NETWORKS];
    const struct gw_destination_ops *ops = destination->config.ops;
    uint64_t until_ns = host_monotonic_ns() + NETWORKS_MS * MILLISECOND_NS;
    unsigned count = 0;
    bool leaving = !ops->look_networks;
    while (!leaving) {
        uint64_t now_ns = host_monotonic_ns();
        count = ops->look_networks(destination->config.vm, networks, ARRAY_COUNT(networks));
        flightlog_set_networks(destination->log, destination_elapsed_ns(destination), networks,
                               count);
        if (have_spoken(networks, count) || now_ns >= until_ns)
            break;
        monitor_enter(&destination->monitor);
        while (!destination->leaving && monitor_wait(&destination->monitor, now_ns + LOOK_NS))
            continue;
        leaving = destination->leaving;
        monitor_leave(&destination->monitor);
    }
    if (count > 0)
        write_both_flights(destination);
}

/* The guest runs here: until the source knows that, its questions are answered. */
static void wait_for_confirmation(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    while (!destination->confirmed && !destination->leaving && !destination->connections_over)
        monitor_wait(&destination->monitor, UINT64_MAX);
    monitor_leave(&destination->monitor);
}

static void *coordinator_main(void *opaque)
{
    struct gw_destination *destination = opaque;
    struct gw_error error = {0};
    int r;
    do {
        struct channel *control = NULL;
        error = (struct gw_error){0};
        r = await_source(destination, &control, &error);
        if (r == 0)
            r = receive(destination, control, &error);
    } while (r == -EAGAIN);
    tell_end(destination, r, &error);
    if (r == 0) {
        say_goodbye(destination);
        close_session(destination);
        note_networks(destination);
        wait_for_confirmation(destination);
    }
    stop_connections(destination);
    return NULL;
}

/* ---- Public functions ---- */

static void destroy(struct gw_destination *destination)
{
    channel_free(destination->arrived);
    transport_listener_free(destination->listener);
    if (destination->cancel_fd >= 0)
        close(destination->cancel_fd);
    if (destination->door_fd >= 0)
        close(destination->door_fd);
    flightlog_free(destination->log);
    gw_buf_fini(&destination->state);
    monitor_fini(&destination->monitor);
    free(destination->address);
    free((char *)destination->config.uri);
    free((char *)destination->config.ownership_path);
    free((char *)destination->config.log_directory);
    free(destination);
}

static int copy_strings(struct gw_destination *destination,
                        const struct gw_destination_config *config, struct gw_error *error)
{
    struct gw_destination_config *mine = &destination->config;
    *mine = *config;
    mine->uri = strdup(config->uri);
    mine->ownership_path = config->ownership_path ? strdup(config->ownership_path) : NULL;
    mine->log_directory = config->log_directory ? strdup(config->log_directory) : NULL;
    destination->log = flightlog_new(false, "", NULL, config->uri);
    destination->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    destination->door_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mine->uri && (mine->ownership_path || !config->ownership_path) &&
        (mine->log_directory || !config->log_directory) && destination->log &&
        destination->cancel_fd >= 0 && destination->door_fd >= 0)
        return 0;
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                        "no memory or descriptor to receive a migration");
}

static int listen_for_source(struct gw_destination *destination, struct gw_error *error)
{
    int r = gw_uri_parse(destination->config.uri, &destination->uri, error);
    if (r == 0)
        r = transport_listen(&destination->uri, &destination->listener, error);
    if (r < 0)
        return r;
    destination->address = strdup(transport_listener_uri(destination->listener));
    flightlog_set_uri(destination->log, transport_listener_uri(destination->listener));
    return destination->address ? 0
                                : gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE,
                                               -ENOMEM, "no memory to receive a migration");
}

int gw_destination_start(const struct gw_destination_config *config,
                         struct gw_destination **ret_destination, struct gw_error *error)
{
    struct gw_destination *destination = calloc(1, sizeof *destination);
    if (!destination)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory to receive a migration");
    destination->began_ns = host_monotonic_ns();
    destination->cancel_fd = destination->door_fd = -1;
    destination->phase = "setup";
    destination->parameters = config->parameters;
    monitor_init(&destination->monitor);
    int r = copy_strings(destination, config, error);
    if (r == 0)
        r = listen_for_source(destination, error);
    if (r == 0)
        r = acceptor_start(destination, error);
    if (r == 0) {
        r = -pthread_create(&destination->coordinator, NULL, coordinator_main, destination);
        if (r < 0) {
            stop_connections(destination);
            acceptor_stop(destination);
            gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, r,
                         "no thread to receive a migration: %s", strerror(-r));
        }
    }
    if (r < 0)
        destroy(destination);
    else
        *ret_destination = destination;
    return r;
}

const char *gw_destination_uri(struct gw_destination *destination)
{
    return destination->address;
}

void gw_destination_cancel(struct gw_destination *destination)
{
    monitor_enter(&destination->monitor);
    destination->cancel_asked = true;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
}

void gw_destination_info(struct gw_destination *destination, struct gw_migrate_info *ret_info)
{
    monitor_enter(&destination->monitor);
    refresh_info(destination);
    *ret_info = destination->info;
    monitor_leave(&destination->monitor);
}

int gw_destination_wait(struct gw_destination *destination, int timeout_ms)
{
    uint64_t until =
        timeout_ms < 0 ? UINT64_MAX : host_monotonic_ns() + (uint64_t)timeout_ms * MILLISECOND_NS;
    bool in_time = true;
    monitor_enter(&destination->monitor);
    while (!destination->told && in_time)
        in_time = monitor_wait(&destination->monitor, until);
    bool told = destination->told;
    monitor_leave(&destination->monitor);
    return told ? 0 : -ETIMEDOUT;
}

void gw_destination_free(struct gw_destination *destination)
{
    if (!destination)
        return;
    monitor_enter(&destination->monitor);
    destination->cancel_asked = true;
    destination->leaving = true;
    monitor_notify(&destination->monitor);
    monitor_leave(&destination->monitor);
    pthread_join(destination->coordinator, NULL);
    acceptor_stop(destination);
    destroy(destination);
}
