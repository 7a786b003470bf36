/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets underneath the transport: waiting, names, connecting, binding. Descriptors are O_CLOEXEC.
 */
#ifndef MIGRATE_SOCKET_H
#define MIGRATE_SOCKET_H

#include <netdb.h>
#include <sys/socket.h>

#include <godwit/error.h>
#include "migrate/transport.h"

/* Waits for one of `events` (poll) on `fd`. 0, -ETIMEDOUT, -ECANCELED. */
int socket_wait(int fd, short events, struct transport_wait wait);
/* The same for several descriptors (at most 16); *ret_index is the first that is ready. */
int socket_wait_any(const int *fds, size_t count, short events, struct transport_wait wait,
                    size_t *ret_index);
/* What is left of `wait` after `began_ns` (CLOCK_MONOTONIC); 0 ms when it is over. */
struct transport_wait socket_wait_left(struct transport_wait wait, uint64_t began_ns);

/* Both return a new socket, or a negative errno with a sentence. */
int socket_connect_tcp(const struct gw_uri *uri, struct transport_wait wait,
                       struct gw_error *error);
int socket_connect_unix(const struct gw_uri *uri, struct transport_wait wait,
                        struct gw_error *error);

/* Listening sockets, non-blocking. TCP: one per address of the host, at most `room`, all with the
 * same port, which is returned. Number of sockets, or a negative errno. */
int socket_listen_tcp(const struct gw_uri *uri, int *fds, size_t room, uint16_t *ret_port,
                      struct gw_error *error);
int socket_listen_unix(const struct gw_uri *uri, struct gw_error *error);

/* Options that every connection gets; harmless on sockets that have no such option. */
void socket_tune(int fd);
/* The other end as "ADDRESS:PORT", "" where it has no such thing. */
void socket_peer_name(int fd, char *name, size_t bytes);

/* Addresses of a host; the caller frees them with freeaddrinfo(). `flags`: AI_PASSIVE or 0. */
int resolve_host(const struct gw_uri *uri, int flags, struct transport_wait wait,
                 struct addrinfo **ret_list, struct gw_error *error);

#endif
