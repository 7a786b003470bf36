/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the tap back end: the kernel's interface behind it, and how it goes to another process. */
#ifndef NET_TAP_H
#define NET_TAP_H

#include <net/if.h>

#include "net/net.h"

/* ---- tap-interface.c: an interface of this network namespace, by its name ---- */

/* 1 to 15 characters without '/', ':', '%', '"' and space, and not "." or "..". */
bool interface_name_is_valid(const char *name);
bool interface_exists(const char *name);
unsigned interface_mtu(const char *name); /* 0: unknown */
bool interface_is_up(const char *name);   /* as its administrator wants it */
/* Whether a bridge forwards to it: with a carrier, and the kernel has told others of that. */
bool interface_is_running(const char *name);
bool interface_is_tap(const char *name);
bool interface_has_carrier(const char *name); /* of a tap that is up: some process has it open */
int interface_set_up(const char *name);       /* negative errno */
int interface_watch(void); /* readable when any changes; a descriptor, or -errno */
void interface_watch_clear(int watch_fd);
/* Whether the tap behind `fd` is the interface of that name here, and not in another namespace. */
bool interface_is_of(const char *name, int fd);

/* ---- tap-offer.c ---- */

/*
 * Gives the open files of a tap to another process of this host, which finds us by the name of the
 * interface (an abstract unix socket, so within the network namespace) and must be of the same user
 * or root. The files are the same then in both: what waits in them waits for who reads next.
 */
struct tap_offer;

/* Offers until tap_offer_end(), which a NULL ends as well. NULL without means, or when another
 * process offers it already; nothing is lost then but the chance. */
struct tap_offer *tap_offer_begin(const char *name, const int *fds, unsigned count);
void tap_offer_end(struct tap_offer *offer);

/* Takes from who offers it: how many descriptors came into `fds` (room for NET_MAX_QUEUES), or
 * -ENOENT when nobody does. Waits for a moment at most. */
int tap_offer_take(const char *name, int *fds);

#endif
