/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a client's bytes flow:
 *
 *   socket -> input (one read) -> json_stream -> qmp_dispatch -> output queue -> socket
 *
 * A client is read only while its input is used up and its output queue is below the high-water
 * mark; so replies cannot pile up, and only events can fill the queue of a client that does not
 * read, which then loses its connection. `more` is a deferred source that serves the rest of an
 * input after a turn.
 *
 * A connection may break while its own request runs (an event that the request causes fills its
 * queue). So breaking only marks the client; the server's reaper frees it when nobody is using it.
 */
#include "vmm/qmp-server.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "vmm/json-stream.h"

#define INPUT_BYTES 16384

struct qmp_client {
    struct qmp_server *server;
    struct qmp_client *next;
    int fd;
    bool broken;
    bool ended; /* the client sends no more, but may still read */
    bool deaf;  /* the client reads no more; what it has sent is still served */
    sd_event_source *io;
    sd_event_source *more;
    struct qmp_session session;
    struct json_stream stream;
    struct gw_buf output;
    size_t input_begin, input_end;
    char input[INPUT_BYTES];
};

struct qmp_server {
    sd_event *loop;
    struct qmp_dispatch dispatch;
    struct qmp_client *clients;
    unsigned client_count; /* broken ones not counted */
    sd_event_source *reaper;
};

static void client_free(struct qmp_client *client)
{
    sd_event_source_disable_unref(client->io);
    sd_event_source_disable_unref(client->more);
    close(client->fd);
    qmp_session_fini(&client->session);
    json_stream_fini(&client->stream);
    gw_buf_fini(&client->output);
    free(client);
}

static void client_break(struct qmp_client *client)
{
    if (client->broken)
        return;
    client->broken = true;
    client->server->client_count--;
    sd_event_source_set_enabled(client->io, SD_EVENT_OFF);
    sd_event_source_set_enabled(client->more, SD_EVENT_OFF);
    shutdown(client->fd, SHUT_RDWR);
    sd_event_source_set_enabled(client->server->reaper, SD_EVENT_ONESHOT);
}

static int reap(sd_event_source *source, void *opaque)
{
    struct qmp_server *server = opaque;

    for (struct qmp_client **link = &server->clients; *link;) {
        struct qmp_client *client = *link;

        if (client->broken) {
            *link = client->next;
            client_free(client);
        } else {
            link = &client->next;
        }
    }
    return 0;
}

static bool has_input(const struct qmp_client *client)
{
    return client->input_begin < client->input_end;
}

/* Decides what the client waits for next. */
static void client_watch(struct qmp_client *client)
{
    bool congested = client->output.length > QMP_HIGH_WATER_BYTES;
    bool serve = has_input(client) && !congested;
    bool read = !client->ended && !has_input(client) && !congested;

    if (client->broken)
        return;
    if (client->ended && !has_input(client) && client->output.length == 0) {
        client_break(client);
        return;
    }
    sd_event_source_set_io_events(client->io,
                                  (read ? EPOLLIN : 0U) | (client->output.length ? EPOLLOUT : 0U));
    sd_event_source_set_enabled(client->more, serve ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void client_write(struct qmp_client *client)
{
    while (!client->broken && client->output.length > 0) {
        ssize_t n = send(client->fd, client->output.data, client->output.length,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0)
            gw_buf_consume(&client->output, (size_t)n);
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && errno == EAGAIN)
            return;
        else {
            client->deaf = true;
            gw_buf_fini(&client->output);
        }
    }
}

/* Queues `text` with a newline; a queue that is full breaks the connection. */
static void client_queue(struct qmp_client *client, const char *text)
{
    if (client->broken || client->deaf)
        return;
    if (!text || gw_buf_append(&client->output, text, strlen(text)) < 0 ||
        gw_buf_append(&client->output, "\n", 1) < 0)
        client_break(client);
}

/* Steals `message`. */
static void client_send(struct qmp_client *client, json_t *message)
{
    _cleanup_free_ char *text = message ? json_dumps(message, 0) : NULL;

    json_decref(message);
    client_queue(client, text);
    client_write(client);
}

static void refuse_oversize(struct qmp_client *client, enum json_stream_result why)
{
    struct gw_error error;

    if (why == JSON_STREAM_TOO_LONG)
        gw_error_set(&error, GW_LAYER_VMM, GW_CODE_INVALID, -EMSGSIZE,
                     "JSON parse error, the request is longer than %zu bytes",
                     JSON_STREAM_MAX_BYTES);
    else
        gw_error_set(&error, GW_LAYER_VMM, GW_CODE_INVALID, -EMSGSIZE,
                     "JSON parse error, the request is nested deeper than %d",
                     JSON_STREAM_MAX_DEPTH);
    client_send(client, qmp_error_message(&error));
}

/* Serves requests from the input for one turn. */
static void client_serve(struct qmp_client *client)
{
    const struct qmp_dispatch *dispatch = &client->server->dispatch;

    for (unsigned i = 0; i < QMP_TURN_REQUESTS && has_input(client) && !client->broken &&
                         client->output.length <= QMP_HIGH_WATER_BYTES;
         i++) {
        size_t consumed;
        enum json_stream_result result =
            json_stream_feed(&client->stream, client->input + client->input_begin,
                             client->input_end - client->input_begin, &consumed);

        client->input_begin += consumed;
        if (result == JSON_STREAM_VALUE)
            client_send(client,
                        qmp_dispatch(dispatch, &client->session, (char *)client->stream.value.data,
                                     client->stream.value.length));
        else if (result != JSON_STREAM_MORE)
            refuse_oversize(client, result);
    }
}

/* Keeps the first passed descriptor for getfd and closes any other. */
static void take_passed_fds(struct qmp_client *client, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, (char *)c + at, sizeof fd);
            if (client->session.passed_fd >= 0)
                close(client->session.passed_fd);
            client->session.passed_fd = fd;
        }
    }
}

static void client_read(struct qmp_client *client)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec io = {client->input, sizeof client->input};
    struct msghdr message = {.msg_iov = &io,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        client_break(client);
        return;
    }
    take_passed_fds(client, &message);
    client->ended = n == 0;
    client->input_begin = 0;
    client->input_end = (size_t)n;
}

static int client_io(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct qmp_client *client = opaque;

    if (events & EPOLLOUT)
        client_write(client);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !client->broken && !has_input(client)) {
        client_read(client);
        client_serve(client);
    }
    client_watch(client);
    return 0;
}

static int client_more(sd_event_source *source, void *opaque)
{
    struct qmp_client *client = opaque;

    client_serve(client);
    client_watch(client);
    return 0;
}

void qmp_server_add_client(struct qmp_server *server, int fd)
{
    struct qmp_client *client = NULL;

    if (server->client_count < QMP_MAX_CLIENTS)
        client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->server = server;
    client->fd = fd;
    client->output.limit = QMP_MAX_QUEUE_BYTES;
    qmp_session_init(&client->session);
    json_stream_init(&client->stream);
    if (sd_event_add_io(server->loop, &client->io, fd, EPOLLIN, client_io, client) < 0 ||
        sd_event_add_defer(server->loop, &client->more, client_more, client) < 0 ||
        sd_event_source_set_enabled(client->more, SD_EVENT_OFF) < 0) {
        client_free(client);
        return;
    }
    client->next = server->clients;
    server->clients = client;
    server->client_count++;
    client_send(client, qmp_greeting());
    client_watch(client);
}

unsigned qmp_server_client_count(const struct qmp_server *server)
{
    return server->client_count;
}

void qmp_server_event(struct qmp_server *server, const char *name, json_t *data)
{
    json_t *message = qmp_event_message(name, data);
    _cleanup_free_ char *text = message ? json_dumps(message, 0) : NULL;

    json_decref(message);
    for (struct qmp_client *client = server->clients; client; client = client->next) {
        if (client->broken || !client->session.negotiated)
            continue;
        client_queue(client, text);
        client_write(client);
        client_watch(client);
    }
}

void qmp_server_flush(struct qmp_server *server)
{
    for (struct qmp_client *client = server->clients; client; client = client->next)
        client_write(client);
}

int qmp_server_new(sd_event *loop, const struct qmp_command *commands, size_t count, void *backend,
                   struct qmp_server **ret_server, struct gw_error *error)
{
    struct qmp_server *server = calloc(1, sizeof *server);

    if (!server)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    server->loop = sd_event_ref(loop);
    server->dispatch =
        (struct qmp_dispatch){.commands = commands, .count = count, .backend = backend};
    if (sd_event_add_defer(loop, &server->reaper, reap, server) < 0 ||
        sd_event_source_set_enabled(server->reaper, SD_EVENT_OFF) < 0) {
        qmp_server_free(server);
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "cannot set up the control interface");
    }
    *ret_server = server;
    return 0;
}

void qmp_server_free(struct qmp_server *server)
{
    if (!server)
        return;
    while (server->clients) {
        struct qmp_client *client = server->clients;

        server->clients = client->next;
        client_free(client);
    }
    sd_event_source_disable_unref(server->reaper);
    sd_event_unref(server->loop);
    free(server);
}
