/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_UNIX_SOCKET_H
#define BASE_UNIX_SOCKET_H

#include <sys/un.h>

#include <godwit/error.h>

/* Fills `ret_address`; -ENAMETOOLONG with a sentence when the path does not fit. */
int unix_address(const char *path, struct sockaddr_un *ret_address, struct gw_error *error);

/* A connected stream socket (close-on-exec) that the caller closes, or a negative errno with a sentence;
 * DISCONNECTED when nothing listens there. */
int unix_connect(const char *path, struct gw_error *error);

#endif
