/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of a passt as bytes: docs/network.md, "What travels". Where they come from is not
 * trusted. No I/O here.
 */
#ifndef NET_PACKED_H
#define NET_PACKED_H

#include <stddef.h>
#include <stdint.h>

#include <godwit/buf.h>
#include "net/repair.h"

struct packed {
    uint8_t token[REPAIR_TOKEN_BYTES]; /* of who keeps the sockets meanwhile */
    const uint8_t *state;              /* passt's own */
    size_t state_bytes;
    const uint8_t *frames; /* for the guest, each behind its length in four bytes, little-endian */
    size_t frames_bytes;
    const uint8_t *places; /* local addresses of the connections, net/repair-shield.h's */
    size_t places_bytes;
};

int packed_encode(const struct packed *packed, struct gw_buf *out); /* -ENOMEM, -ENOBUFS */
/* What is returned points into `bytes`. -EBADMSG. */
int packed_decode(const void *bytes, size_t length, struct packed *ret_packed);

#endif
