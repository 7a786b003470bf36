/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of a peer, written as QEMU writes them. Parsing opens and resolves nothing. */
#ifndef MIGRATE_URI_H
#define MIGRATE_URI_H

#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>

enum gw_uri_kind {
    GW_URI_TCP,  /* tcp:HOST:PORT; HOST a name, an IPv4 address, [IPv6 address], or empty for any */
    GW_URI_UNIX, /* unix:PATH */
    GW_URI_FD,   /* fd:N */
    GW_URI_EXEC, /* exec:COMMAND, run by /bin/sh */
};

struct gw_uri {
    enum gw_uri_kind kind;
    uint16_t port;   /* tcp */
    int fd;          /* fd */
    char text[4096]; /* tcp: host without brackets; unix: path; exec: command; NUL-terminated */
};

/* -EINVAL with a sentence that shows the right form. */
int gw_uri_parse(const char *text, struct gw_uri *ret_uri, struct gw_error *error);
int gw_uri_format(const struct gw_uri *uri, struct gw_buf *out); /* the inverse; no final NUL */

#endif
