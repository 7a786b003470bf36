/* SPDX-License-Identifier: Apache-2.0 */
/* A listening Unix stream socket on the event loop. Loop thread only. */
#ifndef VMM_LISTENER_H
#define VMM_LISTENER_H

#include <systemd/sd-event.h>

#include <godwit/error.h>

struct listener;

/* Replaces whatever socket is at `path`. Each connection is given to `connected`, which owns the
 * non-blocking descriptor. */
int listener_new(sd_event *loop, const char *path, void (*connected)(void *opaque, int fd),
                 void *opaque, struct listener **ret_listener, struct gw_error *error);
void listener_free(struct listener *listener); /* removes the socket file; NULL is fine */

#endif
