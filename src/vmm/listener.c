/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When the process has no descriptor left, accept() fails and the connection stays in the queue, so
 * the socket would be readable for ever: listening then pauses for a second instead of spinning.
 */
#include "vmm/listener.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/unix-socket.h"

#define PAUSE_US 1000000
#define BACKLOG 16

struct listener {
    char *path;
    int fd;
    sd_event_source *io;
    sd_event_source *timer;
    void (*connected)(void *opaque, int fd);
    void *opaque;
};

static int resume_listening(sd_event_source *source, uint64_t now_us, void *opaque)
{
    struct listener *listener = opaque;

    return sd_event_source_set_enabled(listener->io, SD_EVENT_ON);
}

static void pause_listening(struct listener *listener)
{
    sd_event_source_set_enabled(listener->io, SD_EVENT_OFF);
    sd_event_source_set_time_relative(listener->timer, PAUSE_US);
    sd_event_source_set_enabled(listener->timer, SD_EVENT_ONESHOT);
}

static int readable(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct listener *listener = opaque;
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (connection >= 0)
        listener->connected(listener->opaque, connection);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        pause_listening(listener);
    return 0;
}

static int open_socket(const char *path, struct gw_error *error)
{
    struct sockaddr_un address;
    _cleanup_close_ int fd = -1;
    mode_t mask;
    int r = unix_address(path, &address, error);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return gw_error_set(error, GW_LAYER_VMM, gw_code_from_errno(errno), -errno,
                            "cannot make a socket: %s", strerror(errno));
    unlink(path);
    mask = umask(0077);
    r = bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0
            ? -errno
            : 0;
    umask(mask);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_VMM, gw_code_from_errno(r), r,
                            "cannot listen on '%s': %s", path, strerror(-r));
    return TAKE_FD(fd);
}

int listener_new(sd_event *loop, const char *path, void (*connected)(void *opaque, int fd),
                 void *opaque, struct listener **ret_listener, struct gw_error *error)
{
    struct listener *listener;
    int fd = open_socket(path, error);
    int r;

    if (fd < 0)
        return fd;
    listener = calloc(1, sizeof *listener);
    if (!listener) {
        close(fd);
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    }
    *listener =
        (struct listener){.path = strdup(path), .fd = fd, .connected = connected, .opaque = opaque};
    r = sd_event_add_io(loop, &listener->io, fd, EPOLLIN, readable, listener);
    if (r >= 0)
        r = sd_event_add_time_relative(loop, &listener->timer, CLOCK_MONOTONIC, PAUSE_US, 0,
                                       resume_listening, listener);
    if (r >= 0)
        r = sd_event_source_set_enabled(listener->timer, SD_EVENT_OFF);
    if (r < 0 || !listener->path) {
        listener_free(listener);
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "cannot watch the socket '%s'", path);
    }
    *ret_listener = listener;
    return 0;
}

void listener_free(struct listener *listener)
{
    if (!listener)
        return;
    sd_event_source_disable_unref(listener->io);
    sd_event_source_disable_unref(listener->timer);
    close(listener->fd);
    if (listener->path)
        unlink(listener->path);
    free(listener->path);
    free(listener);
}
