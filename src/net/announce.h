/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells a network where a guest is now: RARP requests (RFC 903) from its addresses to everybody, at
 * once and then on a falling schedule. Bridges and switches learn the new port from any of them,
 * and no host has to understand more than the source address. They learn it for each VLAN by
 * itself, hence the tags. For a network that may be slow to forward (a port that just came up), and
 * because frames may be lost, it is said more than once.
 */
#ifndef NET_ANNOUNCE_H
#define NET_ANNOUNCE_H

#include "net/net.h"

#define ANNOUNCE_TIMES 6u    /* after 0, 50, 200, 450, 800 and 1250 ms */
#define ANNOUNCE_STEP_MS 50u /* the waits: 50, 150, 250, 350, 450 ms */
#define ANNOUNCE_GROWTH_MS 100u
#define ANNOUNCE_FRAME_BYTES 60u
#define ANNOUNCE_TAGGED_BYTES 64u /* in a VLAN */
#define ANNOUNCE_STATIONS 256u

struct net_announcer;

/* All calls are the loop's. Both outlive the announcer. -ENOMEM, … */
int net_announcer_new(struct net *net, sd_event *loop, struct net_announcer **ret_announcer,
                      struct gw_error *error);
void net_announcer_free(struct net_announcer *announcer); /* NULL is fine */

/* From the beginning, the first before it returns; `net` is held. Of more than ANNOUNCE_STATIONS
 * the first ones. A frame for which there is no room, or no link, counts as one that was lost on
 * the way. */
void net_announcer_start(struct net_announcer *announcer, const struct net_station *stations,
                         unsigned count);
void net_announcer_stop(struct net_announcer *announcer); /* before net_release(); idempotent */

/* Frames since the last start that the network took. */
unsigned net_announcer_sent(const struct net_announcer *announcer);

#endif
