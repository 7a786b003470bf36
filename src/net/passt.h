/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A passt process: which one is installed, started, told what to forward, ended and mourned.
 *
 * It is spoken to in one of two ways: by a stream of frames over one end of a socket pair, which
 * every passt can, or as a vhost-user back end (net/vhost-net.h), over which newer ones can also
 * hand their connections to another passt (net/repair.h).
 */
#ifndef NET_PASST_H
#define NET_PASST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <godwit/error.h>

/* What the guest sees, the same on every host, so that it need not ask again after a move. */
#define PASST_GUEST_ADDRESS "10.0.2.15"
#define PASST_GUEST_PREFIX "24"
#define PASST_GATEWAY_ADDRESS "10.0.2.2"
#define PASST_GATEWAY_MAC "52:55:0a:00:02:02"

enum passt_way { PASST_STREAM, PASST_VHOST_USER };

/* The passt that is installed. */
struct passt_kind {
    enum passt_way way; /* the best that it has */
    char version[48];   /* for people */
};

struct passt {
    pid_t pid;    /* 0: none */
    int pid_fd;   /* readable when it has ended */
    int ready_fd; /* readable when it serves (passt_is_ready() tells) or has ended */
    int error_fd; /* what it writes for people */
    char last_line[160];
    uint64_t started_ns;
    /* as a vhost-user back end */
    char folder[40]; /* where its sockets are; "": nowhere */
    bool alone;      /* nobody has connected to it, so it does not end by itself */
};

void passt_init(struct passt *passt);

/* Asks the installed one. Runs it for a moment. -ENOENT with a sentence. */
int passt_look(struct passt_kind *ret_kind, struct gw_error *error);

/* Starts one. `forwards` are more arguments, NULL-terminated. Of a stream *ret_fd is our end: the
 * caller's, does not block; passt ends when it is closed, so it cannot outlive us. Else it is -1,
 * and passt_connect() follows when it is ready. -ENOENT with a sentence when it is not
 * installed. */
int passt_start(struct passt *passt, enum passt_way way, char *const *forwards, int *ret_fd,
                struct gw_error *error);
/* The descriptors are the caller's and do not block. For vhost-user, with which passt also ends;
 * and for net/repair.h: one at a time, which passt closes after each transfer. -errno. */
int passt_connect(struct passt *passt, int *ret_fd);
int passt_connect_repair(struct passt *passt, int *ret_fd);
/* Nobody connects to it any more. */
void passt_hide(struct passt *passt);

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
