/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may stand behind a machine's state (docs/state.md, "Connections"): what the back ends of its
 * networks carry along, by the networks' names. Most machines have none, and then nothing stands
 * there, as in streams of releases that know nothing of it.
 */
#ifndef BOARD_CONNECTIONS_H
#define BOARD_CONNECTIONS_H

#include <stddef.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>

struct board_connections {
    const char *name;
    const void *bytes;
    size_t length;
};

/* Appends those that have a length; nothing when none has. -ENOMEM, -ENOBUFS with a sentence. */
int connections_append(const struct board_connections *all, unsigned count, struct gw_buf *out,
                       struct gw_error *error);

/* Finds those of `count` networks, whose names are filled in, in a hostile stream; *ret_length is
 * the length of what stands before them. Networks that are not mentioned get a length of 0.
 * -EBADMSG with a sentence. */
int connections_find(const void *stream, size_t length, struct board_connections *all,
                     unsigned count, size_t *ret_length, struct gw_error *error);

#endif
