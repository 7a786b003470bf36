/* SPDX-License-Identifier: Apache-2.0 */
/* A blocking client of a machine's control socket (docs/control.md), with time limits on everything. */
#ifndef CLI_QMP_CLIENT_H
#define CLI_QMP_CLIENT_H

#include <jansson.h>

#include <godwit/error.h>

struct qmp_client;

/* Connects and negotiates capabilities. Errors: NOT_FOUND without a socket, DISCONNECTED when nobody
 * listens on it, TIMEOUT, CORRUPT for what is not QMP. */
int qmp_client_open(const char *path, struct qmp_client **ret_client, struct gw_error *error);
void qmp_client_free(struct qmp_client *client);
static inline void cleanup_qmp_client(struct qmp_client **client)
{
    qmp_client_free(*client);
}
#define _cleanup_qmp_ _cleanup_(cleanup_qmp_client)

/* Executes `command`; takes over `arguments` (may be NULL). *ret_value (may be NULL) is the caller's.
 * A QMP error becomes code REFUSED with its own sentence. Events that come meanwhile are dropped. */
int qmp_client_call(struct qmp_client *client, const char *command, json_t *arguments,
                    json_t **ret_value, struct gw_error *error);

/* The same, with descriptor `fd` attached (SCM_RIGHTS), for getfd. The descriptor stays the caller's. */
int qmp_client_call_with_fd(struct qmp_client *client, const char *command, json_t *arguments, int fd,
                            json_t **ret_value, struct gw_error *error);

#endif
