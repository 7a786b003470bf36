/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to a peer: a reliable stream of bytes in both directions over TCP, a Unix socket, a
 * passed socket or a command's stdin and stdout. Nothing here waits without an end: every wait is
 * limited by a timeout and ends at once when the cancel descriptor (an eventfd that the owner makes
 * readable and never drains; -1: none) says so.
 *
 * Threads: one reader and one writer at a time per transport; they may be different threads.
 */
#ifndef MIGRATE_TRANSPORT_H
#define MIGRATE_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <godwit/error.h>
#include "migrate/ratelimit.h"
#include "migrate/uri.h"

/* How long and until when a call may wait. Borrowed descriptor. */
struct transport_wait {
    int timeout_ms; /* negative: no limit */
    int cancel_fd;  /* -1: none */
};

struct transport;

/*
 * Opens a connection. For fd: takes over the descriptor (only on success). The wait's cancel
 * descriptor is kept for reads and writes and must live as long as the transport; its timeout is
 * the one for the connection, transport_set_timeout() sets the one for silence afterwards (default
 * 5000 ms).
 */
int transport_connect(const struct gw_uri *uri, struct transport_wait wait,
                      struct transport **ret_transport, struct gw_error *error);

/* A transport over a connected stream socket, which it takes over (only on success). `name` is for
 * people. */
int transport_from_socket(int fd, const char *name, int cancel_fd, struct transport **ret_transport,
                          struct gw_error *error);

struct transport_listener;

/* Listens (tcp, unix, fd: a listening socket) or stands for the one connection there is (fd, exec).
 * A stale Unix socket file is replaced, a live one refused. */
int transport_listen(const struct gw_uri *uri, struct transport_listener **ret_listener,
                     struct gw_error *error);
/* What to connect to, with the real port ("tcp:127.0.0.1:40123"). */
const char *transport_listener_uri(const struct transport_listener *listener);
/* May be called again for more channels. -ETIMEDOUT, -ECANCELED; -ENOTCONN when fd: or exec: has
 * given its only connection already. */
int transport_accept(struct transport_listener *listener, struct transport_wait wait,
                     struct transport **ret_transport, struct gw_error *error);
void transport_listener_free(
    struct transport_listener *listener); /* removes the socket file; NULL is fine */

/* Ends both directions at once; readers and writers in other threads return. Any thread. */
void transport_shutdown(struct transport *transport);
/* After the last write: tells the peer that no more comes, then throws away what still arrives
 * until the peer closes too or the time is over. Closing with unread bytes would reset the
 * connection, and a reset can overtake what was written last. */
void transport_finish(struct transport *transport, int timeout_ms);
/* Closes. A command gets two seconds to end by itself, then SIGTERM, then SIGKILL; it is always
 * reaped. */
void transport_free(struct transport *transport);

/* A read or write that moves no byte for this long fails with -ETIMEDOUT; negative: never. Any
 * thread. */
void transport_set_timeout(struct transport *transport, int timeout_ms);
/* Everything written by transport_write*() is paced by it; NULL: nothing is. Borrowed. Set by the
 * writer. */
/* Another cancel descriptor for reads and writes than that of accepting; before any thread uses it.
 */
void transport_set_cancel(struct transport *transport, int cancel_fd);
void transport_set_limiter(struct transport *transport, struct ratelimit *limiter);

int transport_fd(const struct transport *transport);                 /* non-blocking, for poll() */
const char *transport_name(const struct transport *transport);       /* of the peer, for people */
uint64_t transport_bytes_read(const struct transport *transport);    /* any thread */
uint64_t transport_bytes_written(const struct transport *transport); /* any thread */
/* Bytes accepted by write but not yet acknowledged by the peer's host (TCP) or read by the peer
 * (others; then an upper bound). */
uint64_t transport_bytes_in_flight(const struct transport *transport);

/*
 * All or nothing: 0 when every byte moved; otherwise the stream is unusable. -ECONNRESET (the peer
 * closed, also in the middle), -EPIPE, -ETIMEDOUT, -ECANCELED, … with a sentence. The vectors are
 * used up: entries are changed while they are worked off. No SIGPIPE.
 */
int transport_read(struct transport *transport, void *to, size_t length, struct gw_error *error);
int transport_readv(struct transport *transport, struct iovec *vectors, size_t count,
                    struct gw_error *error);
int transport_write(struct transport *transport, const void *from, size_t length,
                    struct gw_error *error);
int transport_writev(struct transport *transport, struct iovec *vectors, size_t count,
                     struct gw_error *error);

/* Waits until at least one byte can be read. 0, -ETIMEDOUT (nothing yet, the stream stays usable;
 * `error` is filled in all the same), -ECANCELED, -ECONNRESET when the peer closed. */
int transport_wait_readable(struct transport *transport, int timeout_ms, struct gw_error *error);

#endif
