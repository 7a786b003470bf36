/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for connections. A TCP host name can stand for several addresses; each has its socket and
 * all are waited for together. fd: is either a listening socket that somebody else has bound, or
 * the connection itself, which then is the only one; exec: is one connection too.
 */
#include "migrate/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/socket.h"

#define MAX_SOCKETS 8

struct transport_listener {
    struct gw_uri uri;
    char *text;           /* what to connect to */
    int fds[MAX_SOCKETS]; /* listening sockets */
    size_t count;         /* 0: the URI is itself the one connection */
    bool spent;           /* that one connection has been given */
    dev_t device;         /* of our Unix socket file, which is removed at the end */
    ino_t inode;
};

static int listen_tcp(struct transport_listener *listener, struct gw_error *error)
{
    int count =
        socket_listen_tcp(&listener->uri, listener->fds, MAX_SOCKETS, &listener->uri.port, error);
    if (count < 0)
        return count;
    listener->count = (size_t)count;
    return 0;
}

static int listen_unix(struct transport_listener *listener, struct gw_error *error)
{
    int fd = socket_listen_unix(&listener->uri, error);
    if (fd < 0)
        return fd;
    listener->fds[listener->count++] = fd;
    struct stat status;
    if (lstat(listener->uri.text, &status) == 0) {
        listener->device = status.st_dev;
        listener->inode = status.st_ino;
    }
    return 0;
}

static int listen_fd(struct transport_listener *listener, struct gw_error *error)
{
    int accepting = 0, fd = listener->uri.fd;
    socklen_t length = sizeof accepting;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &length) < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INVALID, -EINVAL,
                            "descriptor %d is no socket: %s", fd, strerror(errno));
    if (accepting) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
        listener->fds[listener->count++] = fd;
    }
    return 0;
}

static int listen_exec(struct transport_listener *listener, struct gw_error *error)
{
    return 0;
}

static int (*const listeners[])(struct transport_listener *, struct gw_error *) = {
    [GW_URI_TCP] = listen_tcp,
    [GW_URI_UNIX] = listen_unix,
    [GW_URI_FD] = listen_fd,
    [GW_URI_EXEC] = listen_exec,
};

static char *format_uri(const struct gw_uri *uri)
{
    struct gw_buf text = {0};
    if (gw_uri_format(uri, &text) < 0 || gw_buf_append(&text, "", 1) < 0) {
        gw_buf_fini(&text);
        return NULL;
    }
    return (char *)text.data;
}

int transport_listen(const struct gw_uri *uri, struct transport_listener **ret_listener,
                     struct gw_error *error)
{
    struct transport_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory to listen for a migration");
    listener->uri = *uri;
    int r = listeners[uri->kind](listener, error);
    if (r == 0 && !(listener->text = format_uri(&listener->uri)))
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                         "no memory to listen for a migration");
    if (r < 0) {
        transport_listener_free(listener);
        return r;
    }
    *ret_listener = listener;
    return 0;
}

const char *transport_listener_uri(const struct transport_listener *listener)
{
    return listener->text;
}

void transport_listener_free(struct transport_listener *listener)
{
    if (!listener)
        return;
    for (size_t i = 0; i < listener->count; i++)
        close(listener->fds[i]);
    struct stat status;
    if (listener->inode && lstat(listener->uri.text, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode)
        (void)unlink(listener->uri.text);
    free(listener->text);
    free(listener);
}

/* A connection that was gone again before it was taken is no failure: the next one is waited for.
 */
static bool is_passing(int error_number)
{
    switch (error_number) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static int accept_one(struct transport_listener *listener, struct transport_wait wait)
{
    uint64_t began = host_monotonic_ns();
    for (;;) {
        size_t index;
        int r = socket_wait_any(listener->fds, listener->count, POLLIN,
                                socket_wait_left(wait, began), &index);
        if (r < 0)
            return r;
        int fd = accept4(listener->fds[index], NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (!is_passing(errno))
            return -errno;
    }
}

static int explain(const struct transport_listener *listener, int r, struct gw_error *error)
{
    if (r == -ETIMEDOUT)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, r,
                            "nobody connected to %s in time", listener->text);
    if (r == -ECANCELED)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CANCELLED, r,
                            "waiting on %s was cancelled", listener->text);
    return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r,
                        "cannot accept a connection on %s: %s", listener->text, strerror(-r));
}

static int take_only_connection(struct transport_listener *listener, struct transport_wait wait,
                                struct transport **ret_transport, struct gw_error *error)
{
    if (listener->spent)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_STATE, -ENOTCONN,
                            "%s is one connection and it is used already", listener->text);
    int r = transport_connect(&listener->uri, wait, ret_transport, error);
    listener->spent = r == 0;
    return r;
}

int transport_accept(struct transport_listener *listener, struct transport_wait wait,
                     struct transport **ret_transport, struct gw_error *error)
{
    if (listener->count == 0)
        return take_only_connection(listener, wait, ret_transport, error);
    _cleanup_close_ int fd = accept_one(listener, wait);
    if (fd < 0)
        return explain(listener, fd, error);
    char peer[128], name[sizeof peer + 16] = "the sender";
    socket_peer_name(fd, peer, sizeof peer);
    if (peer[0])
        snprintf(name, sizeof name, "tcp:%s", peer);
    else if (listener->uri.kind == GW_URI_UNIX)
        snprintf(name, sizeof name, "unix:%.*s", (int)sizeof name - 6, listener->uri.text);
    int r = transport_from_socket(fd, name, wait.cancel_fd, ret_transport, error);
    if (r == 0)
        fd = -1;
    return r;
}
