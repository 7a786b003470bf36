/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a tap, for tap.c and tap-open.c: how it works is told in tap.c. */
#ifndef NET_TAP_INTERNAL_H
#define NET_TAP_INTERNAL_H

#include <net/if.h>

#include "base/cleanup.h"
#include "net/link.h"
#include "net/tap.h"

#define NAME_TEMPLATE "godwit%d"

struct net_tap {
    struct net_link link; /* first */
    /* set once */
    bool passed;     /* by descriptor */
    bool has_header; /* always, unless it was passed without */
    /* changes only in acquire */
    char name[IFNAMSIZ]; /* NAME_TEMPLATE until the kernel has chosen */
    int fds[NET_MAX_QUEUES];
    unsigned count; /* of them; 0: not open */
    bool is_fresh;  /* opened by preopen, and what waits is not for the guest */
    bool is_local;  /* the interface is in our network namespace */
    struct tap_offer *offer;
    /* under the link's lock */
    bool gone;    /* the interface was removed */
    int watch_fd; /* of interfaces; -1: none */
    unsigned offloads_in, queues_in_use;
};

static inline struct net_tap *tap_from_link(struct net_link *link)
{
    return container_of(link, struct net_tap, link);
}

static inline struct net_tap *tap_from_net(struct net *net)
{
    return container_of(net, struct net_tap, link.net);
}

/* tap-open.c */
void tap_set_name(struct net_tap *tap, const char *name);
/* Opens or takes over the files of the interface of the name; a sentence when that is refused. */
int tap_open_named(struct net_tap *tap, unsigned queues, struct gw_error *error);
/* The same if they are not open yet or not as many, and makes them ready for frames. */
int tap_open(struct net_tap *tap, unsigned queues, struct gw_error *error);
void tap_close(struct net_tap *tap);
/* The interface is no more. */
bool tap_is_dead(const struct net_tap *tap);
/* Ties the files to the new interface of the name. -errno. */
int tap_tie_again(struct net_tap *tap);
void tap_enable_queues(const struct net_tap *tap); /* those in use; detaches the others */
int tap_apply_offloads(const struct net_tap *tap, unsigned offloads); /* -errno */
/* Throws away what a switch has sent to everybody since the files were opened, which may be long
 * ago. */
void tap_drop_waiting(const struct net_tap *tap);

#endif
