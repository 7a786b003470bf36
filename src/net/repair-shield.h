/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the end of the socket that was kept and the connect() of the one that passt makes in its
 * place, the kernel would answer what arrives with a reset, or a listener of passt's would. A
 * listener at the very local address of the connection, deaf and in repair mode, takes it instead,
 * and the sender sends it again.
 */
#ifndef NET_REPAIR_SHIELD_H
#define NET_REPAIR_SHIELD_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/buf.h>

struct repair_helper;

#define SHIELD_PLACE_BYTES 20u /* as places travel: docs/network.md, "What travels" */
#define SHIELD_MAX_PLACES 1024u

struct shield {
    int sockets[SHIELD_MAX_PLACES];
    unsigned count;
};

/* One that stands there: IPv4 or IPv6. */
bool shield_is_place(const uint8_t place[SHIELD_PLACE_BYTES]);
/* Adds the local address of a connection, once. What has none that means the same elsewhere
 * (link-local), and what there is no room for, is left out. */
void shield_note(struct gw_buf *places, int fd);

/* Wherever it can: who may not listen there goes without. */
void shield_raise(struct shield *shield, struct repair_helper *helper, const uint8_t *places,
                  size_t bytes);
void shield_lower(struct shield *shield); /* idempotent */

#endif
