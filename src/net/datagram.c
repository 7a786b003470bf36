/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram socket to another machine or program, one frame in each: as QEMU's `-netdev dgram`.
 *
 * Connected, so that the kernel drops what others send, and says when the other side's queue has
 * room again. A unix socket is up while there is somebody at the other path: the kernel says so
 * when a frame is sent, and after that it is asked again from time to time. UDP tells nothing that
 * could be relied on: that link is up while it is held.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "net/address.h"
#include "net/backend.h"
#include "net/link.h"

#define PIECES_MAX 1024u /* UIO_MAXIOV */
#define BUFFER_BYTES (1 << 20)

struct net_datagram {
    struct net_link link; /* first */
    /* set once */
    struct net_address local, remote;
    int fd; /* changes only in acquire and release, with the link's lock; -1 unless held */
};

static struct net_datagram *from_net(struct net *net)
{
    return container_of(net, struct net_datagram, link.net);
}

/* ---- The other side goes and comes ---- */

static void look_for_peer(struct net_datagram *datagram)
{
    struct net_link *link = &datagram->link;
    if (connect(datagram->fd, &datagram->remote.any, datagram->remote.bytes) == 0)
        link_is_up(link);
    else
        link_is_down(link, "nobody is at the other side (%s); waiting for it", strerror(errno));
    if (datagram->remote.any.sa_family == AF_UNIX || !link->net.link_up)
        link_retry(link);
}

static void retry(struct net_link *link)
{
    struct net_datagram *datagram = container_of(link, struct net_datagram, link);
    if (datagram->fd >= 0)
        look_for_peer(datagram);
}

/* Once, however many frames find it out. */
static void peer_is_gone(struct net_datagram *datagram)
{
    if (!datagram->link.net.link_up)
        return;
    link_is_down(&datagram->link, "the other side is gone; waiting for it to come back");
    link_retry_reset(&datagram->link);
    link_retry(&datagram->link);
}

/* ---- Frames ---- */

static ssize_t send_locked(struct net_datagram *datagram, struct iovec *pieces, int count)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
    if (datagram->fd < 0 || !datagram->link.net.link_up)
        return -ENETDOWN;
    if (sendmsg(datagram->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    if (errno == EAGAIN || errno == ENOBUFS)
        return errno == EAGAIN ? -EAGAIN : -ENOBUFS;
    int number = errno;
    if (datagram->remote.any.sa_family == AF_UNIX &&
        (number == ECONNREFUSED || number == ECONNRESET || number == ENOTCONN))
        peer_is_gone(datagram);
    return -number;
}

static ssize_t datagram_send(struct net *net, unsigned queue, const struct iovec *iov,
                             unsigned count)
{
    struct net_datagram *datagram = from_net(net);
    struct iovec pieces[PIECES_MAX];
    size_t bytes;
    int used = iov_without(iov, count, NET_HEADER_BYTES, pieces, PIECES_MAX, &bytes);
    if (used < 0)
        return used;
    pthread_mutex_lock(&datagram->link.lock);
    ssize_t r = send_locked(datagram, pieces, used);
    pthread_mutex_unlock(&datagram->link.lock);
    return r;
}

/* An error that the socket has kept (a refused frame of UDP) is read once and over then. */
static ssize_t receive_one(int fd, struct iovec *pieces, int count)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
    for (unsigned i = 0; i < 2; i++) {
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
        if (n >= 0)
            return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
        if (errno == EAGAIN)
            break;
    }
    return -EAGAIN;
}

static ssize_t datagram_receive(struct net *net, unsigned queue, const struct iovec *iov,
                                unsigned count)
{
    struct net_datagram *datagram = from_net(net);
    struct iovec pieces[PIECES_MAX];
    size_t room;
    int used = iov_without(iov, count, NET_HEADER_BYTES, pieces, PIECES_MAX, &room);
    if (used < 0 || !iov_put(iov, count, 0, net_plain_header, NET_HEADER_BYTES))
        return -EMSGSIZE;
    ssize_t n = receive_one(datagram->fd, pieces, used);
    return n < 0 ? n : n + NET_HEADER_BYTES;
}

/* ---- Operations ---- */

static int datagram_acquire(struct net *net, struct gw_error *error)
{
    struct net_datagram *datagram = from_net(net);
    const int bytes = BUFFER_BYTES;
    int r = link_open(&datagram->link, net->queues, error);
    if (r < 0)
        return r;
    r = address_bind(&datagram->local, SOCK_DGRAM, &datagram->fd, error);
    if (r < 0) {
        link_close(&datagram->link);
        return r;
    }
    setsockopt(datagram->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(datagram->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    link_show(&datagram->link, 0, datagram->fd);
    pthread_mutex_lock(&datagram->link.lock);
    look_for_peer(datagram);
    pthread_mutex_unlock(&datagram->link.lock);
    return 0;
}

static void datagram_release(struct net *net)
{
    struct net_datagram *datagram = from_net(net);
    pthread_mutex_lock(&datagram->link.lock);
    close(TAKE_FD(datagram->fd));
    address_remove(&datagram->local);
    pthread_mutex_unlock(&datagram->link.lock);
    link_close(&datagram->link);
}

static void datagram_free(struct net *net)
{
    struct net_datagram *datagram = from_net(net);
    link_fini(&datagram->link);
    free(datagram);
}

static const struct net_ops datagram_ops = {
    .name = "socket",
    .acquire = datagram_acquire,
    .release = datagram_release,
    .attach = link_attach,
    .detach = link_detach,
    .send = datagram_send,
    .receive = datagram_receive,
    .free = datagram_free,
};
static const struct link_hooks datagram_hooks = {.retry = retry};

static int make(const char *kind, const struct net_address *local, const struct net_address *remote,
                struct net **ret_net, struct gw_error *error)
{
    struct net_datagram *datagram = calloc(1, sizeof *datagram);
    char local_text[ADDRESS_TEXT_BYTES], remote_text[ADDRESS_TEXT_BYTES], *what = NULL;
    if (!datagram)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    address_text(local, local_text);
    address_text(remote, remote_text);
    if (asprintf(&what, "socket '%s:%s:%s'", kind, local_text, remote_text) < 0)
        what = NULL;
    datagram->local = *local;
    datagram->remote = *remote;
    datagram->fd = -1;
    datagram->link.net.follows = true;
    int r = link_init(&datagram->link, &datagram_ops, &datagram_hooks, what, error);
    if (r < 0) {
        datagram_free(&datagram->link.net);
        return r;
    }
    *ret_net = &datagram->link.net;
    return 0;
}

int net_datagram_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    struct net_address local = {0}, remote = {0};
    const char *colon = strchr(text, ':');
    if (!colon || strchr(colon + 1, ':'))
        return net_invalid("--net socket: '%s' is not LOCALPATH:REMOTEPATH, two paths without a "
                           "colon in them",
                           text);
    _cleanup_free_ char *path = strndup(text, (size_t)(colon - text));
    if (!path)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    int r = address_parse_path(path, &local, error);
    if (r == 0)
        r = address_parse_path(colon + 1, &remote, error);
    return r < 0 ? r : make("dgram", &local, &remote, ret_net, error);
}

int net_udp_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    struct net_address local = {0}, remote = {0};
    const char *at = text;
    int r = address_parse_host(&at, SOCK_DGRAM, &local, error);
    if (r < 0)
        return r;
    if (!at)
        return net_invalid("--net socket: 'udp:%s' has no remote address: "
                           "udp:LOCALHOST:PORT:REMOTEHOST:PORT",
                           text);
    r = address_parse_host(&at, SOCK_DGRAM, &remote, error);
    if (r < 0)
        return r;
    if (at || local.any.sa_family != remote.any.sa_family)
        return net_invalid("--net socket: 'udp:%s' is not two addresses of one family", text);
    return make("udp", &local, &remote, ret_net, error);
}
