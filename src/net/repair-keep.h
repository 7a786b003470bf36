/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of net/repair.h. */
#ifndef NET_REPAIR_KEEP_H
#define NET_REPAIR_KEEP_H

#include "net/repair.h"

/* Takes descriptors over, from the end; how many: no more than there is room for. */
unsigned repair_keep_add(struct repair_keep *keep, const int *sockets, unsigned count);

/* Asks whoever keeps sockets under this token in this network namespace to let them go, and waits a
 * moment for that. Nobody there is no error: then they are on another host. */
void repair_keep_ask(const uint8_t token[REPAIR_TOKEN_BYTES]);

#define REPAIR_ORDER_SOCKETS 253u /* SCM_MAX_FD */

/* repair.c. TCP_REPAIR, of no more than REPAIR_ORDER_SOCKETS. -errno. */
int repair_set(struct repair_helper *helper, int8_t value, const int *sockets, unsigned count);
/* repair-deaf.c. -errno. */
int repair_deafen(int fd);
void repair_undeafen(int fd);

/* repair-helper.c: one that waits for orders, started unless it is there. -ENOENT: it is not
 * installed; -ECHILD: it ended. */
int repair_helper_start(struct repair_helper *helper);

#endif
