/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connected stream with one peer on it, who speaks in frames (net/frames.h).
 *
 * The loop alone opens and closes. The thread of the queue reads and writes; what it finds wrong it
 * notes and shuts the connection down, and the loop sees that, closes, and says why.
 *
 * A frame that the socket took in part is kept and its rest written when there is room, by the loop
 * or before the next frame, for the stream has no other place to go on from.
 */
#ifndef NET_PEER_H
#define NET_PEER_H

#include "net/frames.h"
#include "net/link.h"

#define PEER_TAG 1u /* of the connection in link_hooks.ready() */

struct net_peer {
    struct net_link link; /* first */
    /* under the link's lock */
    int fd; /* -1: nobody is there */
    struct net_frames in;
    uint8_t *rest; /* of a frame that was written in part */
    size_t rest_begin, rest_end;
    char fault[LINK_WHY_BYTES - 128]; /* why the connection has to end; "" while it is well */
    bool broken;                      /* the fault is that of a peer who breaks the framing */
};

int peer_init(struct net_peer *peer, struct gw_error *error); /* after link_init() */
void peer_fini(struct net_peer *peer);

/* With the lock. `fd` is taken: connected, and does not block. The link is up then. */
int peer_connected(struct net_peer *peer, int fd);
void peer_close(struct net_peer *peer); /* says nothing; idempotent */

/* With the lock, on the loop: handles what epoll told of PEER_TAG. False: the connection has ended,
 * peer->fault says why, and the caller closes. */
bool peer_ready(struct net_peer *peer, uint32_t events);

/* net_ops */
ssize_t peer_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);
ssize_t peer_receive(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);

#endif
