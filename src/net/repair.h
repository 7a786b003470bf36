/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper of a passt that hands its TCP connections over or takes them: passt sends sockets with
 * a byte, that byte is set as their TCP_REPAIR (tcp(7)), and sent back when that was done. It is
 * the part of passt-repair(1), and needs CAP_NET_ADMIN. Here it does more:
 *
 * While a passt gives its connections away, nothing that arrives may reach them: what the kernel
 * acknowledges after they were written down would be lost. And nobody may answer that they are not
 * there, which ends them. So each is made deaf, and a descriptor of ours keeps it in being after
 * passt has closed it, in repair mode and so without a word to its peer, until it is made again
 * elsewhere:
 *
 *   another host        we keep it until this process ends; the address is expected to have gone by
 *                       then
 *   this process        repair_drop() just before it is made again
 *   this host           the passt of the other process asks for that, by the name of a token: an
 *                       abstract unix socket in the network namespace, for the same user and root
 *
 * Whoever makes it again has its local address guarded meanwhile (net/repair-shield.h).
 *
 * The other side of a connection so hears nothing between, and goes on.
 *
 * Who has not the right himself asks passt-repair, where that is installed, to set the option.
 */
#ifndef NET_REPAIR_H
#define NET_REPAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/repair-shield.h"

#define REPAIR_TOKEN_BYTES 16u
#define REPAIR_MAX_SOCKETS 4096u

/* Sockets that are kept, and whoever may ask to let them go. */
struct repair_keep;

/* A passt-repair, which waits for orders from when it was found to have the right: its start is in
 * no pause. */
struct repair_helper {
    bool needed; /* else we set the option ourselves */
    pid_t pid;   /* 0: it is to be started (again) */
    int fd;
};

/* One end, to a passt. */
struct repair {
    int fd; /* ours; -1: none */
    struct repair_helper *helper;
    bool saving; /* the sockets go, else they come */
    struct repair_keep *keep;
    uint8_t token[REPAIR_TOKEN_BYTES]; /* of who keeps them, where they come */
    bool asked;                        /* him, to let them go */
    unsigned sockets;                  /* that were put into repair mode */
    struct gw_buf places; /* local addresses: filled by those that go, of those that come */
    struct shield shield; /* while they come */
};

/* 0 when somebody here may set TCP_REPAIR: we or *ret_helper; else `why` is what follows "because"
 * in a sentence. */
int repair_find_right(struct repair_helper *ret_helper, char *why, size_t room);
void repair_helper_end(struct repair_helper *helper); /* idempotent; all zeroes is fine */

/* `fd` of passt_connect() is taken, the helper borrowed. -errno: it cannot be started again. */
int repair_begin(struct repair *repair, int fd, struct repair_helper *helper);
void repair_end(struct repair *repair); /* idempotent; what is kept is not concerned */

/* To be called when `fd` is readable, while a transfer goes on. 0, also when passt has closed it
 * and `fd` is -1 now; -errno ends the transfer. */
int repair_serve(struct repair *repair);

/* ---- What is kept ---- */

/* With a token of chance. NULL without memory. */
struct repair_keep *repair_keep_new(void);
const uint8_t *repair_keep_token(const struct repair_keep *keep);
/* Closes what is kept, from any thread. */
void repair_drop(struct repair_keep *keep);
void repair_keep_free(struct repair_keep *keep); /* NULL is fine */

#endif
