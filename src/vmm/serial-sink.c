/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing use two descriptors, so that each has its own event source. Standard output
 * is shared with other processes and must not be made non-blocking: instead each readiness is
 * answered with one write that is small enough not to block (a pipe that is writable takes PIPE_BUF
 * bytes, a terminal 256). A regular file is always ready and unknown to epoll: it is written at
 * once.
 */
#include "vmm/serial-sink.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <godwit/buf.h>
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unix-socket.h"
#include "vmm/log.h"

#define RETRY_US 200000
#define TERMINAL_PIECE_BYTES 256

struct serial_sink {
    sd_event *loop;
    struct serial_sink_callbacks callbacks;
    char *socket_path; /* NULL for stdio and files */
    int in_fd, out_fd; /* -1: none now */
    bool out_direct;   /* a regular file */
    bool owned;        /* the descriptors are ours to close */
    bool accepts_input;
    bool complained; /* a failed connection is logged once until one succeeds */
    size_t piece_bytes;
    sd_event_source *in, *out, *retry;
    struct gw_buf queue;
    uint64_t dropped;
};

static void sink_disconnect(struct serial_sink *sink)
{
    sink->in = sd_event_source_disable_unref(sink->in);
    sink->out = sd_event_source_disable_unref(sink->out);
    if (sink->owned && sink->in_fd >= 0)
        close(sink->in_fd);
    if (sink->owned && sink->out_fd >= 0)
        close(sink->out_fd);
    sink->in_fd = sink->out_fd = -1;
}

static void sink_lost(struct serial_sink *sink)
{
    sink_disconnect(sink);
    if (sink->socket_path) {
        sd_event_source_set_time_relative(sink->retry, RETRY_US);
        sd_event_source_set_enabled(sink->retry, SD_EVENT_ONESHOT);
    }
}

/* One write that does not block, given that the descriptor is writable; false when it is not. */
static bool sink_write_piece(struct serial_sink *sink)
{
    size_t length = sink->queue.length < sink->piece_bytes ? sink->queue.length : sink->piece_bytes;
    ssize_t n = write(sink->out_fd, sink->queue.data, length);

    if (n >= 0) {
        gw_buf_consume(&sink->queue, (size_t)n);
        return true;
    }
    if (errno != EAGAIN && errno != EINTR) {
        log_line("the serial output cannot be written: %s", strerror(errno));
        sink_lost(sink);
    }
    return false;
}

static void sink_pump(struct serial_sink *sink)
{
    while (sink->out_direct && sink->out_fd >= 0 && sink->queue.length > 0 &&
           sink_write_piece(sink))
        continue;
    if (sink->out)
        sd_event_source_set_enabled(sink->out, sink->queue.length ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int writable(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct serial_sink *sink = opaque;

    if (sink->queue.length > 0)
        sink_write_piece(sink);
    sink_pump(sink);
    return 0;
}

static int readable(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct serial_sink *sink = opaque;
    uint8_t bytes[1024];
    ssize_t n = read(fd, bytes, sizeof bytes);

    if (n > 0)
        sink->callbacks.input(sink->callbacks.opaque, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (sink->socket_path)
            sink_lost(sink);
        else
            sd_event_source_set_enabled(source, SD_EVENT_OFF);
    }
    return 0;
}

/* Watches the descriptors that are there. */
static int sink_watch(struct serial_sink *sink)
{
    int r = sd_event_add_io(sink->loop, &sink->out, sink->out_fd, EPOLLOUT, writable, sink);

    sink->out_direct = r == -EPERM;
    if (r < 0 && !sink->out_direct)
        return r;
    if (sink->in_fd >= 0) {
        r = sd_event_add_io(sink->loop, &sink->in, sink->in_fd, EPOLLIN, readable, sink);
        if (r == -EPERM)
            sink->in_fd = -1; /* a file or /dev/null: nobody types there */
        else if (r < 0)
            return r;
        else if (!sink->accepts_input)
            sd_event_source_set_enabled(sink->in, SD_EVENT_OFF);
    }
    sink_pump(sink);
    return 0;
}

static int sink_connect(struct serial_sink *sink, struct gw_error *error)
{
    _cleanup_close_ int fd = -1;
    struct sockaddr_un address;
    int r = unix_address(sink->socket_path, &address, error);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return gw_error_set(error, GW_LAYER_VMM, gw_code_from_errno(errno), -errno,
                            "cannot connect the serial port to '%s': %s", sink->socket_path,
                            strerror(errno));
    sink->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (sink->out_fd < 0)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -errno,
                            "no descriptor is left for the serial port");
    sink->in_fd = TAKE_FD(fd);
    r = sink_watch(sink);
    if (r < 0)
        sink_disconnect(sink);
    return r;
}

static int try_connect(sd_event_source *source, uint64_t now_us, void *opaque)
{
    struct serial_sink *sink = opaque;
    struct gw_error error;

    if (sink_connect(sink, &error) < 0) {
        if (!sink->complained)
            log_line("%s; trying on", error.message);
        sink->complained = true;
        sink_lost(sink);
    } else {
        sink->complained = false;
    }
    return 0;
}

static int open_stdio(struct serial_sink *sink)
{
    sink->in_fd = STDIN_FILENO;
    sink->out_fd = STDOUT_FILENO;
    if (isatty(STDOUT_FILENO))
        sink->piece_bytes = TERMINAL_PIECE_BYTES;
    return sink_watch(sink);
}

static int open_file(struct serial_sink *sink, const char *path, struct gw_error *error)
{
    sink->owned = true;
    sink->out_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
    if (sink->out_fd < 0)
        return gw_error_set(error, GW_LAYER_VMM, gw_code_from_errno(errno), -errno,
                            "cannot write the serial output to '%s': %s", path, strerror(errno));
    return sink_watch(sink);
}

static int open_unix(struct serial_sink *sink, const char *path, struct gw_error *error)
{
    struct sockaddr_un address;
    int r = unix_address(path, &address, error);

    if (r < 0)
        return r;
    sink->owned = true;
    sink->socket_path = strdup(path);
    if (!sink->socket_path)
        return -ENOMEM;
    r = sd_event_add_time_relative(sink->loop, &sink->retry, CLOCK_MONOTONIC, RETRY_US, 0,
                                   try_connect, sink);
    if (r >= 0)
        r = sd_event_source_set_enabled(sink->retry, SD_EVENT_OFF); /* sink_lost() turns it on */
    return r < 0 ? r : try_connect(NULL, 0, sink);
}

static int open_sink(struct serial_sink *sink, const char *where, struct gw_error *error)
{
    if (strcmp(where, "stdio") == 0)
        return open_stdio(sink);
    if (strncmp(where, "file:", 5) == 0 && where[5])
        return open_file(sink, where + 5, error);
    if (strncmp(where, "unix:", 5) == 0 && where[5])
        return open_unix(sink, where + 5, error);
    return gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                        "--serial '%s' is not stdio, unix:PATH or file:PATH", where);
}

int serial_sink_new(sd_event *loop, const char *where,
                    const struct serial_sink_callbacks *callbacks, struct serial_sink **ret_sink,
                    struct gw_error *error)
{
    struct serial_sink *sink = calloc(1, sizeof *sink);
    int r;

    gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM,
                 "cannot set up the serial port at '%s': no memory or descriptor is left", where);
    if (!sink)
        return -ENOMEM;
    *sink = (struct serial_sink){.loop = sd_event_ref(loop),
                                 .callbacks = *callbacks,
                                 .in_fd = -1,
                                 .out_fd = -1,
                                 .accepts_input = true,
                                 .piece_bytes = PIPE_BUF,
                                 .queue.limit = SERIAL_SINK_QUEUE_BYTES};
    r = open_sink(sink, where, error);
    if (r < 0) {
        serial_sink_free(sink);
        return r;
    }
    *ret_sink = sink;
    return 0;
}

void serial_sink_free(struct serial_sink *sink)
{
    if (!sink)
        return;
    sink_disconnect(sink);
    sd_event_source_disable_unref(sink->retry);
    sd_event_unref(sink->loop);
    gw_buf_fini(&sink->queue);
    free(sink->socket_path);
    free(sink);
}

void serial_sink_write(struct serial_sink *sink, const uint8_t *bytes, size_t length)
{
    if (gw_buf_append(&sink->queue, bytes, length) < 0)
        sink->dropped += length;
    sink_pump(sink);
}

void serial_sink_accept_input(struct serial_sink *sink, bool accept)
{
    sink->accepts_input = accept;
    if (sink->in)
        sd_event_source_set_enabled(sink->in, accept ? SD_EVENT_ON : SD_EVENT_OFF);
}

uint64_t serial_sink_dropped(const struct serial_sink *sink)
{
    return sink->dropped;
}

void serial_sink_flush(struct serial_sink *sink, int timeout_ms)
{
    uint64_t end_ns = host_monotonic_ns() + (uint64_t)timeout_ms * 1000000;

    while (sink->out_fd >= 0 && sink->queue.length > 0) {
        struct pollfd poll_fd = {.fd = sink->out_fd, .events = POLLOUT};
        uint64_t now_ns = host_monotonic_ns();

        if (now_ns >= end_ns || poll(&poll_fd, 1, (int)((end_ns - now_ns) / 1000000) + 1) <= 0)
            return;
        if (!sink_write_piece(sink) && sink->out_fd < 0)
            return;
    }
}
