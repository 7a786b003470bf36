/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving bytes. Every transport is a stream socket, whatever it was made from, so one pair of calls
 * (recvmsg and sendmsg, never blocking, never raising SIGPIPE) serves all; when the socket has
 * nothing to give or no room, the caller waits in poll() for it, for the cancel descriptor, or for
 * the timeout. The timeout counts silence, not the whole transfer: each byte that moves starts it
 * again.
 */
#include "migrate/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/command.h"
#include "migrate/socket.h"

#define DEFAULT_TIMEOUT_MS 5000
#define VECTORS_AT_ONCE 64

struct transport {
    /* set before its threads exist */
    int fd;
    int cancel_fd;
    char *name;
    bool has_command;
    /* set by the writer */
    struct ratelimit *limiter;
    /* under command_lock: reader and writer both look at it when the stream has ended */
    pthread_mutex_t command_lock;
    struct command command;
    /* any thread */
    _Atomic int timeout_ms;
    _Atomic uint64_t bytes_read, bytes_written;
};

int transport_from_socket(int fd, const char *name, int cancel_fd, struct transport **ret_transport,
                          struct gw_error *error)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INVALID, -EINVAL,
                            "descriptor %d is no connected stream socket; a migration talks both "
                            "ways, so pass a socket or one end of a socketpair",
                            fd);
    struct transport *transport = calloc(1, sizeof *transport);
    char *copy = strdup(name);
    if (!transport || !copy) {
        free(transport);
        free(copy);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for the connection to %s", name);
    }
    *transport = (struct transport){.fd = fd, .cancel_fd = cancel_fd, .name = copy};
    pthread_mutex_init(&transport->command_lock, NULL);
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    atomic_init(&transport->timeout_ms, DEFAULT_TIMEOUT_MS);
    socket_tune(fd);
    *ret_transport = transport;
    return 0;
}

/* ---- Opening ---- */

static int open_tcp(const struct gw_uri *uri, struct transport_wait wait, struct command *command,
                    struct gw_error *error)
{
    return socket_connect_tcp(uri, wait, error);
}

static int open_unix(const struct gw_uri *uri, struct transport_wait wait, struct command *command,
                     struct gw_error *error)
{
    return socket_connect_unix(uri, wait, error);
}

static int open_fd(const struct gw_uri *uri, struct transport_wait wait, struct command *command,
                   struct gw_error *error)
{
    return uri->fd;
}

static int open_exec(const struct gw_uri *uri, struct transport_wait wait, struct command *command,
                     struct gw_error *error)
{
    int fd = -1;
    int r = command_start(uri->text, command, &fd, error);
    return r < 0 ? r : fd;
}

static int (*const openers[])(const struct gw_uri *, struct transport_wait, struct command *,
                              struct gw_error *) = {
    [GW_URI_TCP] = open_tcp,
    [GW_URI_UNIX] = open_unix,
    [GW_URI_FD] = open_fd,
    [GW_URI_EXEC] = open_exec,
};

int transport_connect(const struct gw_uri *uri, struct transport_wait wait,
                      struct transport **ret_transport, struct gw_error *error)
{
    struct command command = {0};
    int fd = openers[uri->kind](uri, wait, &command, error);
    if (fd < 0)
        return fd;
    struct gw_buf name = {0};
    (void)gw_uri_format(uri, &name);
    (void)gw_buf_append(&name, "", 1);
    int r = transport_from_socket(fd, name.data ? (char *)name.data : "peer", wait.cancel_fd,
                                  ret_transport, error);
    gw_buf_fini(&name);
    if (r == 0) {
        (*ret_transport)->command = command;
        (*ret_transport)->has_command = command.pid != 0;
        return 0;
    }
    if (uri->kind != GW_URI_FD)
        close(fd);
    command_end(&command);
    return r;
}

/* ---- Ending ---- */

void transport_shutdown(struct transport *transport)
{
    (void)shutdown(transport->fd, SHUT_RDWR);
}

void transport_finish(struct transport *transport, int timeout_ms)
{
    uint8_t scrap[4096];
    struct transport_wait wait = {timeout_ms, transport->cancel_fd};
    uint64_t began = host_monotonic_ns();
    (void)shutdown(transport->fd, SHUT_WR);
    while (socket_wait(transport->fd, POLLIN, socket_wait_left(wait, began)) == 0)
        if (recv(transport->fd, scrap, sizeof scrap, MSG_DONTWAIT) <= 0)
            break;
}

void transport_free(struct transport *transport)
{
    if (!transport)
        return;
    close(transport->fd);
    command_end(&transport->command);
    pthread_mutex_destroy(&transport->command_lock);
    free(transport->name);
    free(transport);
}

/* ---- Looking ---- */

void transport_set_timeout(struct transport *transport, int timeout_ms)
{
    atomic_store_explicit(&transport->timeout_ms, timeout_ms, memory_order_relaxed);
}

void transport_set_cancel(struct transport *transport, int cancel_fd)
{
    transport->cancel_fd = cancel_fd;
}

void transport_set_limiter(struct transport *transport, struct ratelimit *limiter)
{
    transport->limiter = limiter;
}

int transport_fd(const struct transport *transport)
{
    return transport->fd;
}

const char *transport_name(const struct transport *transport)
{
    return transport->name;
}

uint64_t transport_bytes_read(const struct transport *transport)
{
    return atomic_load_explicit(&transport->bytes_read, memory_order_relaxed);
}

uint64_t transport_bytes_written(const struct transport *transport)
{
    return atomic_load_explicit(&transport->bytes_written, memory_order_relaxed);
}

uint64_t transport_bytes_in_flight(const struct transport *transport)
{
    int bytes = 0;
    return ioctl(transport->fd, SIOCOUTQ, &bytes) < 0 || bytes < 0 ? 0 : (uint64_t)bytes;
}

/* ---- Moving bytes ---- */

/* The stream is over: what the other end was, and how its command ended if it was one. */
static int explain_end(struct transport *transport, int r, struct gw_error *error)
{
    char ending[64] = "";
    pthread_mutex_lock(&transport->command_lock);
    if (transport->has_command && command_wait(&transport->command, 100))
        command_describe(&transport->command, ending, sizeof ending);
    pthread_mutex_unlock(&transport->command_lock);
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_DISCONNECTED, r,
                        "%s closed the connection%s%s", transport->name, ending[0] ? "; it " : "",
                        ending);
}

static int explain(struct transport *transport, int r, struct gw_error *error)
{
    switch (r) {
    case -ETIMEDOUT:
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, r,
                            "no sign of life from %s for %d ms", transport->name,
                            atomic_load_explicit(&transport->timeout_ms, memory_order_relaxed));
    case -ECANCELED:
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CANCELLED, r,
                            "the transfer with %s was cancelled", transport->name);
    case -EPIPE:
        return explain_end(transport, r, error);
    default:
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r,
                            "the connection to %s broke: %s", transport->name, strerror(-r));
    }
}

static int wait_for(struct transport *transport, short events)
{
    struct transport_wait wait = {
        atomic_load_explicit(&transport->timeout_ms, memory_order_relaxed), transport->cancel_fd};
    return socket_wait(transport->fd, events, wait);
}

/* The first vectors, together at most `most` bytes long. */
static size_t cut_vectors(const struct iovec *vectors, size_t count, uint64_t most,
                          struct iovec *ret_cut)
{
    size_t n = 0;
    for (; n < count && n < VECTORS_AT_ONCE && most > 0; n++) {
        ret_cut[n] = vectors[n];
        if (ret_cut[n].iov_len > most)
            ret_cut[n].iov_len = most;
        most -= ret_cut[n].iov_len;
    }
    return n;
}

/* Takes `moved` bytes off the front. Entries that are used up become empty; returns how many are.
 */
static size_t advance_vectors(struct iovec *vectors, size_t count, size_t moved)
{
    size_t done = 0;
    while (done < count && moved >= vectors[done].iov_len)
        moved -= vectors[done++].iov_len;
    if (done < count) {
        vectors[done].iov_base = (uint8_t *)vectors[done].iov_base + moved;
        vectors[done].iov_len -= moved;
    }
    return done;
}

static uint64_t total_bytes(const struct iovec *vectors, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += vectors[i].iov_len;
    return total;
}

/* One recvmsg or sendmsg of at most `most` bytes, after as much waiting as it takes. Bytes moved
 * (0: the peer has closed its writing end), or a negative errno. */
static ssize_t move_some(struct transport *transport, const struct iovec *vectors, size_t count,
                         uint64_t most, bool writing)
{
    struct iovec cut[VECTORS_AT_ONCE];
    struct msghdr message = {.msg_iov = cut, .msg_iovlen = cut_vectors(vectors, count, most, cut)};
    for (;;) {
        ssize_t moved = writing ? sendmsg(transport->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                                : recvmsg(transport->fd, &message, MSG_DONTWAIT);
        if (moved >= 0)
            return moved;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        int r = wait_for(transport, writing ? POLLOUT : POLLIN);
        if (r < 0)
            return r;
    }
}

int transport_readv(struct transport *transport, struct iovec *vectors, size_t count,
                    struct gw_error *error)
{
    for (uint64_t left = total_bytes(vectors, count); left > 0;) {
        ssize_t moved = move_some(transport, vectors, count, left, false);
        if (moved == 0)
            return explain_end(transport, -ECONNRESET, error);
        if (moved < 0)
            return explain(transport, (int)moved, error);
        atomic_fetch_add_explicit(&transport->bytes_read, (uint64_t)moved, memory_order_relaxed);
        size_t done = advance_vectors(vectors, count, (size_t)moved);
        vectors += done;
        count -= done;
        left -= (uint64_t)moved;
    }
    return 0;
}

/* Writes all of `granted` bytes; what the limiter has given must not be asked for again. */
static int write_granted(struct transport *transport, struct iovec **vectors, size_t *count,
                         uint64_t granted)
{
    while (granted > 0) {
        ssize_t moved = move_some(transport, *vectors, *count, granted, true);
        if (moved < 0)
            return (int)moved;
        atomic_fetch_add_explicit(&transport->bytes_written, (uint64_t)moved, memory_order_relaxed);
        size_t done = advance_vectors(*vectors, *count, (size_t)moved);
        *vectors += done;
        *count -= done;
        granted -= (uint64_t)moved;
    }
    return 0;
}

int transport_writev(struct transport *transport, struct iovec *vectors, size_t count,
                     struct gw_error *error)
{
    for (uint64_t left = total_bytes(vectors, count); left > 0;) {
        uint64_t granted = left;
        int r = 0;
        if (transport->limiter)
            r = ratelimit_take(transport->limiter, left, transport->cancel_fd, &granted);
        if (r == 0)
            r = write_granted(transport, &vectors, &count, granted);
        if (r < 0)
            return explain(transport, r, error);
        left -= granted;
    }
    return 0;
}

int transport_read(struct transport *transport, void *to, size_t length, struct gw_error *error)
{
    struct iovec vector = {.iov_base = to, .iov_len = length};
    return transport_readv(transport, &vector, 1, error);
}

int transport_write(struct transport *transport, const void *from, size_t length,
                    struct gw_error *error)
{
    struct iovec vector = {.iov_base = (void *)from, .iov_len = length};
    return transport_writev(transport, &vector, 1, error);
}

int transport_wait_readable(struct transport *transport, int timeout_ms, struct gw_error *error)
{
    struct transport_wait wait = {timeout_ms, transport->cancel_fd};
    int r = socket_wait(transport->fd, POLLIN, wait);
    if (r == -ETIMEDOUT)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_TIMEOUT, r,
                            "nothing came from %s for %d ms", transport->name, timeout_ms);
    if (r < 0)
        return explain(transport, r, error);
    char byte;
    ssize_t peeked = recv(transport->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (peeked == 0)
        return explain_end(transport, -ECONNRESET, error);
    if (peeked < 0 && errno != EAGAIN && errno != EINTR)
        return explain(transport, -errno, error);
    return 0;
}
