/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the user network, for user*.c: how it works is told in user.c. */
#ifndef NET_USER_INTERNAL_H
#define NET_USER_INTERNAL_H

#include "base/cleanup.h"
#include "net/packed.h"
#include "net/passt.h"
#include "net/peer.h"
#include "net/repair.h"
#include "net/user-option.h"
#include "net/vhost-net.h"

struct net_user {
    struct net_peer peer; /* first; connected when passt is spoken to by a stream */
    /* set once */
    struct forwards forwards;
    /* from the first time it is looked at: what is installed, and what may be done with it */
    bool looked;
    struct passt_kind kind;
    bool may_repair;
    char may_not[NET_STAYS_BYTES]; /* repair, because */
    /* under the link's lock */
    struct repair_helper helper;
    struct passt passt;
    int stream_fd; /* of a passt that is not served yet; -1: none */
    int repair_fd; /* of one that is a vhost-user back end; -1: none */
    struct vhost_net vhost;
    bool has_vhost; /* `vhost` exists */
    /* connections: what was packed here, or is to be opened by the next passt */
    struct gw_buf packed;
    bool is_packed;           /* nothing passes until it is opened again */
    struct repair_keep *keep; /* of their sockets, packed here */
    struct repair repair;     /* while they are transferred */
};

static inline struct net_user *user_from_net(struct net *net)
{
    return container_of(net, struct net_user, peer.link.net);
}

static inline bool user_uses_vhost(const struct net_user *user)
{
    return user->kind.way == PASST_VHOST_USER;
}

/* user.c, with the lock */
void user_say_whether_they_follow(struct net_user *user);
/* A passt that waits for its service to begin. */
int user_launch(struct net_user *user, struct gw_error *error);
/* Opens what was packed in the one that was launched, and begins its service. */
int user_serve(struct net_user *user, struct gw_error *error);
/* Closes everything; `why` says how passt ended. */
void user_stop(struct net_user *user, char *why, size_t room);
/* Stops, and starts one again later. `fault`: what it was ended for; NULL: it ended by itself. */
void user_mourn(struct net_user *user, const char *fault);

/* user-connections.c */
int user_pack(struct net *net, struct gw_error *error);
int user_unpack(struct net *net, struct gw_error *error);
void user_packed(const struct net *net, const void **ret_bytes, size_t *ret_length);
int user_give_packed(struct net *net, const void *bytes, size_t length);
/* With the lock: opens in the passt that was launched what was packed. What is wrong is no error:
 * `lost` says why they could not be opened, "" otherwise; -ECHILD: passt is broken by it. */
int user_open_connections(struct net_user *user, char *lost, size_t room);

#endif
