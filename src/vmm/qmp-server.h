/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP over stream sockets: several clients at once, each with bounded memory, none of which can
 * make anybody wait (docs/control.md, Limits). Loop thread only.
 */
#ifndef VMM_QMP_SERVER_H
#define VMM_QMP_SERVER_H

#include <systemd/sd-event.h>

#include "vmm/qmp-dispatch.h"

#define QMP_MAX_CLIENTS 32
/* A client that leaves more unread is disconnected. */
#define QMP_MAX_QUEUE_BYTES ((size_t)4 << 20)
/* A client's requests wait while it leaves this much unread. */
#define QMP_HIGH_WATER_BYTES ((size_t)256 << 10)
/* Requests of one client that are served before others have their turn. */
#define QMP_TURN_REQUESTS 32

struct qmp_server;

/* `commands` outlives the server. */
int qmp_server_new(sd_event *loop, const struct qmp_command *commands, size_t count, void *backend,
                   struct qmp_server **ret_server, struct gw_error *error);
void qmp_server_free(struct qmp_server *server); /* closes all connections; NULL is fine */

/* Takes a connected stream socket and greets; closes it when there are too many. */
void qmp_server_add_client(struct qmp_server *server, int fd);
unsigned qmp_server_client_count(const struct qmp_server *server);

/* Tells every client that has negotiated. Steals `data`, which may be NULL. */
void qmp_server_event(struct qmp_server *server, const char *name, json_t *data);

/* Writes what can be written without waiting; for the end of the process. */
void qmp_server_flush(struct qmp_server *server);

#endif
