/* SPDX-License-Identifier: Apache-2.0 */
/* Where sockets are, as people write it: "unix:PATH", "tcp:HOST:PORT"; an IPv6 address stands in
 * brackets. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#include <godwit/error.h>

struct net_address {
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    };
    socklen_t bytes;
};

/* -EINVAL, -ENAMETOOLONG, -ENOENT (no such host) with a sentence. */
int address_parse_stream(const char *text, struct net_address *ret_address, struct gw_error *error);
int address_parse_path(const char *path, struct net_address *ret_address, struct gw_error *error);

/* "HOST:PORT", up to the end or a colon behind it; *at moves behind that, to NULL at the end. */
int address_parse_host(const char **at, int socket_type, struct net_address *ret_address,
                       struct gw_error *error);

/* A bound socket that does not block. What a process that is gone has left at a path is taken away;
 * -EBUSY with a sentence when somebody answers there. */
int address_bind(const struct net_address *address, int socket_type, int *ret_fd,
                 struct gw_error *error);
void address_remove(const struct net_address *address); /* the path; nothing for others */

/* The address for a sentence. */
#define ADDRESS_TEXT_BYTES 128
void address_text(const struct net_address *address, char text[ADDRESS_TEXT_BYTES]);

#endif
