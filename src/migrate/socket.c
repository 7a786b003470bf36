/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MAX_WAIT_FDS 16
#define BACKLOG 32

/*
 * Bytes that TCP may hold which it has not sent yet. What the window allows is sent at once and
 * does not count, so throughput does not depend on it, but what waits here would have to be waited
 * for in the pause.
 */
#define UNSENT_BYTES (512 << 10)

struct transport_wait socket_wait_left(struct transport_wait wait, uint64_t began_ns)
{
    if (wait.timeout_ms < 0)
        return wait;
    uint64_t gone_ms = (host_monotonic_ns() - began_ns) / 1000000;
    wait.timeout_ms = gone_ms < (uint64_t)wait.timeout_ms ? wait.timeout_ms - (int)gone_ms : 0;
    return wait;
}

int socket_wait_any(const int *fds, size_t count, short events, struct transport_wait wait,
                    size_t *ret_index)
{
    struct pollfd polled[MAX_WAIT_FDS + 1] = {{.fd = wait.cancel_fd, .events = POLLIN}};
    if (count > MAX_WAIT_FDS)
        return -EINVAL;
    for (size_t i = 0; i < count; i++)
        polled[i + 1] = (struct pollfd){.fd = fds[i], .events = events};
    uint64_t began = host_monotonic_ns();
    int ready;
    do
        ready = poll(polled, count + 1, socket_wait_left(wait, began).timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready < 0)
        return -errno;
    if (polled[0].revents)
        return -ECANCELED;
    for (size_t i = 0; i < count; i++) {
        if (polled[i + 1].revents) {
            *ret_index = i;
            return 0;
        }
    }
    return -ETIMEDOUT;
}

int socket_wait(int fd, short events, struct transport_wait wait)
{
    size_t index;
    return socket_wait_any(&fd, 1, events, wait, &index);
}

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

/* Keepalive is the second net: the engine's own pings notice a silent peer much earlier. */
void socket_tune(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void socket_peer_name(int fd, char *name, size_t bytes)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    name[0] = '\0';
    if (getpeername(fd, (struct sockaddr *)&address, &length) < 0 ||
        (address.ss_family != AF_INET && address.ss_family != AF_INET6) ||
        getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(name, bytes, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- Connecting ---- */

static int finish_connect(int fd, struct transport_wait wait)
{
    int r = socket_wait(fd, POLLOUT, wait);
    if (r < 0)
        return r;
    int result = 0;
    socklen_t length = sizeof result;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &length) < 0)
        return -errno;
    return -result;
}

/* A connected socket, or a negative errno. A Unix listener whose queue is full says EAGAIN: asked
 * again. */
static int connect_address(const struct sockaddr *address, socklen_t length,
                           struct transport_wait wait)
{
    _cleanup_close_ int fd =
        socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    uint64_t began = host_monotonic_ns();
    for (;;) {
        if (connect(fd, address, length) == 0)
            return TAKE_FD(fd);
        int r = -errno;
        if (r == -EINPROGRESS || r == -EINTR) {
            r = finish_connect(fd, socket_wait_left(wait, began));
            return r < 0 ? r : TAKE_FD(fd);
        }
        struct transport_wait left = socket_wait_left(wait, began);
        if (r != -EAGAIN || left.timeout_ms == 0)
            return r == -EAGAIN ? -ETIMEDOUT : r;
        r = socket_wait(-1, 0, (struct transport_wait){20, wait.cancel_fd});
        if (r != -ETIMEDOUT)
            return r;
    }
}

static const char *remedy(int r)
{
    switch (-r) {
    case ECONNREFUSED:
    case ENOENT:
        return "; is the receiving side started there?";
    case ETIMEDOUT:
        return "; does a firewall stand in between?";
    default:
        return "";
    }
}

static int explain_connect(const struct gw_uri *uri, int r, struct gw_error *error)
{
    struct gw_buf text = {0};
    (void)gw_uri_format(uri, &text);
    (void)gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r,
                       "cannot connect to %.*s: %s%s", (int)text.length, (char *)text.data,
                       strerror(-r), remedy(r));
    gw_buf_fini(&text);
    return r;
}

static int count_addresses(const struct addrinfo *list)
{
    int count = 0;
    for (; list; list = list->ai_next)
        count++;
    return count;
}

/* One address after the other, each with its share of the time that is left. */
static int connect_first(const struct addrinfo *list, struct transport_wait wait, uint64_t began)
{
    int r = -EHOSTUNREACH;
    for (; list; list = list->ai_next) {
        struct transport_wait share = socket_wait_left(wait, began);
        if (share.timeout_ms > 0)
            share.timeout_ms /= count_addresses(list);
        r = connect_address(list->ai_addr, list->ai_addrlen, share);
        if (r >= 0 || r == -ECANCELED)
            break;
    }
    return r;
}

int socket_connect_tcp(const struct gw_uri *uri, struct transport_wait wait, struct gw_error *error)
{
    if (uri->port == 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INVALID, -EINVAL,
                            "port 0 is for listening only; write the port that the other side "
                            "listens on");
    uint64_t began = host_monotonic_ns();
    struct addrinfo *list;
    int r = resolve_host(uri, 0, wait, &list, error);
    if (r < 0)
        return r;
    r = connect_first(list, wait, began);
    freeaddrinfo(list);
    return r < 0 ? explain_connect(uri, r, error) : r;
}

static socklen_t unix_address(const struct gw_uri *uri, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, uri->text, strnlen(uri->text, sizeof ret_address->sun_path - 1));
    return sizeof *ret_address;
}

int socket_connect_unix(const struct gw_uri *uri, struct transport_wait wait,
                        struct gw_error *error)
{
    struct sockaddr_un address;
    socklen_t length = unix_address(uri, &address);
    int r = connect_address((struct sockaddr *)&address, length, wait);
    return r < 0 ? explain_connect(uri, r, error) : r;
}

/* ---- Listening ---- */

static int explain_listen(const struct gw_uri *uri, int r, struct gw_error *error)
{
    struct gw_buf text = {0};
    (void)gw_uri_format(uri, &text);
    (void)gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r,
                       "cannot listen on %.*s: %s%s", (int)text.length, (char *)text.data,
                       strerror(-r), r == -EADDRINUSE ? "; another program listens there" : "");
    gw_buf_fini(&text);
    return r;
}

static int bind_and_listen(int fd, const struct sockaddr *address, socklen_t length)
{
    return bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static void set_port(struct sockaddr *address, uint16_t port)
{
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    else if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                     : ((struct sockaddr_in *)(void *)&address)->sin_port);
}

static int listen_address(const struct addrinfo *at)
{
    _cleanup_close_ int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (at->ai_family == AF_INET6)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    int r = bind_and_listen(fd, at->ai_addr, at->ai_addrlen);
    return r < 0 ? r : TAKE_FD(fd);
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

/* The port that the first address got is used for the others. An address family that the host does
 * not have is no failure as long as another one works; a port in use is one, because clients that
 * try the other address would reach the wrong program. */
static int listen_all(struct addrinfo *list, int *fds, size_t room, uint16_t *port)
{
    size_t count = 0;
    int failure = -EADDRNOTAVAIL;
    for (struct addrinfo *at = list; at && count < room; at = at->ai_next) {
        set_port(at->ai_addr, *port);
        int fd = listen_address(at);
        if (fd >= 0) {
            fds[count++] = fd;
            *port = port_of(fd);
            continue;
        }
        failure = fd;
        if (fd == -EADDRINUSE) {
            close_all(fds, count);
            return fd;
        }
    }
    return count > 0 ? (int)count : failure;
}

int socket_listen_tcp(const struct gw_uri *uri, int *fds, size_t room, uint16_t *ret_port,
                      struct gw_error *error)
{
    struct addrinfo *list;
    int r = resolve_host(uri, AI_PASSIVE, (struct transport_wait){30000, -1}, &list, error);
    if (r < 0)
        return r;
    uint16_t port = uri->port;
    r = listen_all(list, fds, room, &port);
    freeaddrinfo(list);
    if (r < 0)
        return explain_listen(uri, r, error);
    *ret_port = port;
    return r;
}

/* Whether the path is a socket that nobody listens on any more. Asked with the wrong type of
 * socket, so that a living listener answers EPROTOTYPE and sees nothing of it. */
static bool is_stale(const struct sockaddr_un *address, socklen_t length)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return false;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)address, length) < 0 &&
           errno == ECONNREFUSED;
}

int socket_listen_unix(const struct gw_uri *uri, struct gw_error *error)
{
    struct sockaddr_un address;
    socklen_t length = unix_address(uri, &address);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return explain_listen(uri, -errno, error);
    /* The socket file inherits this mode: only the owner may connect. */
    (void)fchmod(fd, 0600);
    int r = bind_and_listen(fd, (struct sockaddr *)&address, length);
    if (r == -EADDRINUSE && is_stale(&address, length) && unlink(address.sun_path) == 0)
        r = bind_and_listen(fd, (struct sockaddr *)&address, length);
    return r < 0 ? explain_listen(uri, r, error) : TAKE_FD(fd);
}
