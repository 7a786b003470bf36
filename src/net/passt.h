/* SPDX-License-Identifier: Apache-2.0 */
/* A passt process: started with one end of a socket pair, told what to forward, ended and mourned.
 */
#ifndef NET_PASST_H
#define NET_PASST_H

#include <stdbool.h>
#include <sys/types.h>

#include <godwit/error.h>

/* What the guest sees, the same on every host, so that it need not ask again after a move. */
#define PASST_GUEST_ADDRESS "10.0.2.15"
#define PASST_GUEST_PREFIX "24"
#define PASST_GATEWAY_ADDRESS "10.0.2.2"
#define PASST_GATEWAY_MAC "52:55:0a:00:02:02"

struct passt {
    pid_t pid;    /* 0: none */
    int pid_fd;   /* readable when it has ended */
    int ready_fd; /* readable when it serves (passt_is_ready() tells) or has ended */
    int error_fd; /* what it writes for people */
    char last_line[160];
};

void passt_init(struct passt *passt);

/* Whether it is installed. -ENOENT with a sentence. */
int passt_find(struct gw_error *error);

/* Starts one. `forwards` are more arguments, NULL-terminated. *ret_fd is our end of the stream: the
 * caller's, does not block; passt ends when it is closed, so it cannot outlive us. -ENOENT with a
 * sentence when it is not installed. */
int passt_start(struct passt *passt, char *const *forwards, int *ret_fd, struct gw_error *error);

/* 1: it serves; 0: not yet; -ECHILD: it has ended or is about to. */
int passt_is_ready(struct passt *passt);
/* The same, after waiting for a few seconds at most; -ETIMEDOUT. */
int passt_wait_ready(struct passt *passt);

/* Reads what passt has written, so that it need not wait; the last line is for passt_bury(). */
void passt_listen(struct passt *passt);

/* Waits for its end, which comes by itself once the stream is closed, and hastens that after a
 * moment. `why` says how it ended. Idempotent: "" when there is none. */
void passt_bury(struct passt *passt, char *why, size_t room);

#endif
