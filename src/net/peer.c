/* SPDX-License-Identifier: Apache-2.0 */
#include "net/peer.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define PEER_EVENTS (EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define PIECES_MAX 1024u /* UIO_MAXIOV */
#define REST_BYTES (FRAMES_PREFIX_BYTES + NET_FRAME_BYTES)

int peer_init(struct net_peer *peer, struct gw_error *error)
{
    peer->fd = -1;
    peer->rest = malloc(REST_BYTES);
    if (frames_init(&peer->in) < 0 || !peer->rest)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    return 0;
}

void peer_fini(struct net_peer *peer)
{
    frames_fini(&peer->in);
    free(peer->rest);
}

int peer_connected(struct net_peer *peer, int fd)
{
    int r = link_watch(&peer->link, fd, PEER_TAG, PEER_EVENTS);
    if (r < 0) {
        close(fd);
        return r;
    }
    peer->fd = fd;
    peer->fault[0] = 0;
    peer->broken = false;
    peer->rest_begin = peer->rest_end = 0;
    frames_clear(&peer->in);
    link_show(&peer->link, 0, fd);
    link_is_up(&peer->link);
    return 0;
}

void peer_close(struct net_peer *peer)
{
    if (peer->fd < 0)
        return;
    link_unwatch(&peer->link, peer->fd);
    link_hide(&peer->link, 0);
    shutdown(peer->fd, SHUT_RDWR); /* wakes who polls it */
    close(TAKE_FD(peer->fd));
}

__attribute__((format(printf, 2, 3))) static ssize_t end(struct net_peer *peer, const char *format,
                                                         ...)
{
    if (!peer->fault[0]) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(peer->fault, sizeof peer->fault, format, arguments);
        va_end(arguments);
        shutdown(peer->fd, SHUT_RDWR);
    }
    return -ENETDOWN;
}

/* Whether what was still to be read makes it a reset is of no interest to people. */
static ssize_t end_by_errno(struct net_peer *peer, int number)
{
    if (number == 0 || number == ECONNRESET || number == EPIPE)
        return end(peer, "the other side closed the connection");
    return end(peer, "the connection broke: %s", strerror(number));
}

/* ---- Out ---- */

static void watch_for_room(struct net_peer *peer, bool wanted)
{
    link_watch_change(&peer->link, peer->fd, PEER_TAG, PEER_EVENTS | (wanted ? EPOLLOUT : 0));
}

/* 0 when nothing is left, or a negative errno. */
static ssize_t write_rest(struct net_peer *peer)
{
    while (peer->rest_begin < peer->rest_end) {
        ssize_t n = send(peer->fd, peer->rest + peer->rest_begin, peer->rest_end - peer->rest_begin,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? -EAGAIN : end_by_errno(peer, errno);
        peer->rest_begin += (size_t)n;
    }
    return 0;
}

static void keep_rest(struct net_peer *peer, const struct iovec *iov, unsigned count, size_t done)
{
    peer->rest_begin = peer->rest_end = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t part = iov[i].iov_len < done ? iov[i].iov_len : done;
        memcpy(peer->rest + peer->rest_end, (const uint8_t *)iov[i].iov_base + part,
               iov[i].iov_len - part);
        peer->rest_end += iov[i].iov_len - part;
        done -= part;
    }
    watch_for_room(peer, true);
}

/* `iov` begins with the length and is no longer than a frame may be. */
static ssize_t write_frame(struct net_peer *peer, struct iovec *iov, unsigned count, size_t bytes)
{
    ssize_t n;
    do {
        n = sendmsg(peer->fd, &(struct msghdr){.msg_iov = iov, .msg_iovlen = count},
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -EAGAIN : end_by_errno(peer, errno);
    if ((size_t)n < bytes)
        keep_rest(peer, iov, count, (size_t)n);
    return 0;
}

static ssize_t send_locked(struct net_peer *peer, struct iovec *iov, unsigned count, size_t bytes)
{
    if (peer->fd < 0 || peer->fault[0])
        return -ENETDOWN;
    ssize_t r = write_rest(peer);
    return r < 0 ? r : write_frame(peer, iov, count, bytes);
}

ssize_t peer_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    struct net_peer *peer = container_of(net, struct net_peer, link.net);
    struct iovec pieces[PIECES_MAX];
    size_t bytes;
    int used = iov_without(iov, count, NET_HEADER_BYTES, pieces + 1, PIECES_MAX - 1, &bytes);
    if (used < 0 || bytes > NET_FRAME_BYTES)
        return -EMSGSIZE;
    uint8_t prefix[FRAMES_PREFIX_BYTES] = {0, (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8),
                                           (uint8_t)bytes};
    pieces[0] = (struct iovec){prefix, sizeof prefix};
    pthread_mutex_lock(&peer->link.lock);
    ssize_t r = send_locked(peer, pieces, (unsigned)used + 1, sizeof prefix + bytes);
    pthread_mutex_unlock(&peer->link.lock);
    return r;
}

/* ---- In ---- */

/* Bytes that were read, or a negative errno. */
static ssize_t read_more(struct net_peer *peer)
{
    uint8_t *to;
    size_t room = frames_room(&peer->in, &to);
    ssize_t n = recv(peer->fd, to, room, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : end_by_errno(peer, errno);
    if (n == 0)
        return end_by_errno(peer, 0);
    frames_filled(&peer->in, (size_t)n);
    return n;
}

static ssize_t give(const struct iovec *iov, unsigned count, const uint8_t *frame, size_t bytes)
{
    if (!iov_put(iov, count, 0, net_plain_header, NET_HEADER_BYTES) ||
        !iov_put(iov, count, NET_HEADER_BYTES, frame, bytes))
        return -EMSGSIZE;
    return (ssize_t)(NET_HEADER_BYTES + bytes);
}

static ssize_t receive_locked(struct net_peer *peer, const struct iovec *iov, unsigned count)
{
    const uint8_t *frame;
    size_t bytes;
    if (peer->fd < 0)
        return -EAGAIN;
    while (!peer->fault[0]) {
        int r = frames_next(&peer->in, &frame, &bytes);
        if (r > 0) {
            link_retry_reset(&peer->link);
            return give(iov, count, frame, bytes);
        }
        if (r < 0) {
            peer->broken = true;
            return end(peer,
                       "the other side announced a frame of %zu bytes, more than the %u that one "
                       "may have, and the connection was closed",
                       bytes, NET_FRAME_BYTES);
        }
        ssize_t n = read_more(peer);
        if (n < 0)
            return n;
    }
    return -EAGAIN;
}

ssize_t peer_receive(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    struct net_peer *peer = container_of(net, struct net_peer, link.net);
    pthread_mutex_lock(&peer->link.lock);
    ssize_t r = receive_locked(peer, iov, count);
    pthread_mutex_unlock(&peer->link.lock);
    return r;
}

/* ---- On the loop ---- */

bool peer_ready(struct net_peer *peer, uint32_t events)
{
    if (events & EPOLLOUT && write_rest(peer) == 0)
        watch_for_room(peer, false);
    if (events & PEER_EVENTS) {
        int number = 0;
        socklen_t length = sizeof number;
        getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &number, &length);
        end_by_errno(peer, number);
    }
    return !peer->fault[0];
}
