/* SPDX-License-Identifier: Apache-2.0 */
/* PEER (docs/protocol.md section 5): each side's host, for the other's flight log. */
#ifndef MIGRATE_PEER_H
#define MIGRATE_PEER_H

#include "migrate/flightlog.h"
#include "migrate/session.h"

void peer_post(struct session *session);
void peer_take(const struct message *message, struct flightlog *log);

#endif
