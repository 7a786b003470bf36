/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream socket to another machine or program: frames as QEMU's `-netdev stream` has them.
 *
 *   waiting --- time is up: connect(), or accept() is allowed ---> connecting ---> connected
 *      ^                                                               |              |
 *      +------------------ refused, closed, or the peer broke the rules --------------+
 *
 * Who listens serves one peer at a time; the next one waits in the backlog. A peer that was gone is
 * waited for, after growing times: also one that is refused again and again costs nothing then.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "net/address.h"
#include "net/backend.h"
#include "net/peer.h"

enum { TAG_LISTENER = PEER_TAG + 1, TAG_DIAL };

struct net_socket {
    struct net_peer peer; /* first */
    /* set once */
    struct net_address address;
    bool listens;
    /* under the link's lock */
    int listen_fd; /* -1 unless held and listening */
    int dial_fd;   /* a connection that is not yet made; -1: none */
};

static struct net_socket *from_link(struct net_link *link)
{
    return container_of(link, struct net_socket, peer.link);
}

static struct net_socket *from_net(struct net *net)
{
    return container_of(net, struct net_socket, peer.link.net);
}

/* ---- A connection begins and ends ---- */

static void wait_for_peer(struct net_socket *socket)
{
    link_retry(&socket->peer.link);
}

/* Small frames at once; a peer whose host is gone is noticed. Not all of it exists for unix. */
static void set_options(int fd)
{
    const int yes = 1, idle_s = 5, every_s = 2, probes = 3, unacknowledged_ms = 15000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

static void connected(struct net_socket *socket, int fd)
{
    if (socket->address.any.sa_family != AF_UNIX)
        set_options(fd);
    int r = peer_connected(&socket->peer, fd);
    if (r == 0)
        return;
    link_is_down(&socket->peer.link, "the connection cannot be watched: %s", strerror(-r));
    wait_for_peer(socket);
}

static void refused(struct net_socket *socket, int number)
{
    const char *remedy = number == ENOENT || number == ECONNREFUSED
                             ? "; nobody listens there, and it is tried again"
                             : "; it is tried again";
    link_is_down(&socket->peer.link, "no connection: %s%s", strerror(number), remedy);
    wait_for_peer(socket);
}

static void stop_dialling(struct net_socket *socket)
{
    if (socket->dial_fd < 0)
        return;
    link_unwatch(&socket->peer.link, socket->dial_fd);
    close(TAKE_FD(socket->dial_fd));
}

static void dial(struct net_socket *self)
{
    _cleanup_close_ int fd =
        socket(self->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        refused(self, errno);
    } else if (connect(fd, &self->address.any, self->address.bytes) == 0) {
        connected(self, TAKE_FD(fd));
    } else if (errno != EINPROGRESS) {
        refused(self, errno);
    } else if (link_watch(&self->peer.link, fd, TAG_DIAL, EPOLLOUT) == 0) {
        self->dial_fd = TAKE_FD(fd);
        link_is_down(&self->peer.link, "connecting");
    } else {
        refused(self, ENOMEM);
    }
}

/* ---- On the loop ---- */

static void finish_dialling(struct net_socket *socket)
{
    int number = 0;
    socklen_t length = sizeof number;
    getsockopt(socket->dial_fd, SOL_SOCKET, SO_ERROR, &number, &length);
    link_unwatch(&socket->peer.link, socket->dial_fd);
    _cleanup_close_ int fd = TAKE_FD(socket->dial_fd);
    if (number)
        refused(socket, number);
    else
        connected(socket, TAKE_FD(fd));
}

static void listen_for_next(struct net_socket *socket, bool wanted)
{
    link_watch_change(&socket->peer.link, socket->listen_fd, TAG_LISTENER, wanted ? EPOLLIN : 0);
}

static void accept_peer(struct net_socket *socket)
{
    int fd = accept4(socket->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    listen_for_next(socket, false);
    connected(socket, fd);
}

static void peer_event(struct net_socket *socket, uint32_t events)
{
    struct net_peer *peer = &socket->peer;
    if (peer_ready(peer, events))
        return;
    peer_close(peer);
    link_is_down(&peer->link, "%s; waiting for it to come back", peer->fault);
    wait_for_peer(socket);
}

static void ready(struct net_link *link, unsigned tag, uint32_t events)
{
    struct net_socket *socket = from_link(link);
    if (tag == PEER_TAG)
        peer_event(socket, events);
    else if (tag == TAG_LISTENER)
        accept_peer(socket);
    else
        finish_dialling(socket);
}

static void retry(struct net_link *link)
{
    struct net_socket *socket = from_link(link);
    if (socket->peer.fd >= 0 || socket->dial_fd >= 0)
        return;
    if (socket->listens)
        listen_for_next(socket, true);
    else
        dial(socket);
}

/* ---- Operations ---- */

static int start_listening(struct net_socket *socket, struct gw_error *error)
{
    int r = address_bind(&socket->address, SOCK_STREAM, &socket->listen_fd, error);
    if (r < 0)
        return r;
    if (listen(socket->listen_fd, 1) < 0 ||
        link_watch(&socket->peer.link, socket->listen_fd, TAG_LISTENER, EPOLLIN) < 0) {
        int number = errno;
        close(TAKE_FD(socket->listen_fd));
        return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(number), -number,
                            "%s: nobody can connect: %s", socket->peer.link.net.what,
                            strerror(number));
    }
    link_is_down(&socket->peer.link, "nobody has connected yet");
    return 0;
}

static int socket_acquire(struct net *net, struct gw_error *error)
{
    struct net_socket *socket = from_net(net);
    int r = link_open(&socket->peer.link, net->queues, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&socket->peer.link.lock);
    if (socket->listens)
        r = start_listening(socket, error);
    else
        dial(socket);
    pthread_mutex_unlock(&socket->peer.link.lock);
    if (r < 0)
        link_close(&socket->peer.link);
    return r;
}

static void stop_listening(struct net_socket *socket)
{
    if (socket->listen_fd < 0)
        return;
    link_unwatch(&socket->peer.link, socket->listen_fd);
    close(TAKE_FD(socket->listen_fd));
    address_remove(&socket->address);
}

static void socket_release(struct net *net)
{
    struct net_socket *socket = from_net(net);
    pthread_mutex_lock(&socket->peer.link.lock);
    stop_dialling(socket);
    stop_listening(socket);
    peer_close(&socket->peer);
    pthread_mutex_unlock(&socket->peer.link.lock);
    link_close(&socket->peer.link);
}

static void socket_free(struct net *net)
{
    struct net_socket *socket = from_net(net);
    peer_fini(&socket->peer);
    link_fini(&socket->peer.link);
    free(socket);
}

static const struct net_ops socket_ops = {
    .name = "socket",
    .acquire = socket_acquire,
    .release = socket_release,
    .attach = link_attach,
    .detach = link_detach,
    .send = peer_send,
    .receive = peer_receive,
    .free = socket_free,
};
static const struct link_hooks socket_hooks = {.ready = ready, .retry = retry};

static int make_stream(const struct net_address *address, bool listens, struct net **ret_net,
                       struct gw_error *error)
{
    struct net_socket *socket = calloc(1, sizeof *socket);
    char text[ADDRESS_TEXT_BYTES], *what = NULL;
    if (!socket)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    address_text(address, text);
    if (asprintf(&what, "socket '%s%s'", listens ? "listen:" : "", text) < 0)
        what = NULL;
    socket->address = *address;
    socket->listens = listens;
    socket->listen_fd = socket->dial_fd = -1;
    socket->peer.link.net.follows = true;
    int r = link_init(&socket->peer.link, &socket_ops, &socket_hooks, what, error);
    if (r == 0)
        r = peer_init(&socket->peer, error);
    if (r < 0) {
        socket_free(&socket->peer.link.net);
        return r;
    }
    *ret_net = &socket->peer.link.net;
    return 0;
}

int net_socket_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    struct net_address address = {0};
    bool listens = strncmp(text, "listen:", 7) == 0;
    if (strncmp(text, "dgram:", 6) == 0)
        return net_datagram_new(text + 6, ret_net, error);
    if (strncmp(text, "udp:", 4) == 0)
        return net_udp_new(text + 4, ret_net, error);
    int r = address_parse_stream(text + (listens ? 7 : 0), &address, error);
    return r < 0 ? r : make_stream(&address, listens, ret_net, error);
}
