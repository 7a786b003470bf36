/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames out of a byte stream: each behind its length in four bytes, big-endian (what QEMU's
 * `-netdev stream` and passt speak). Whoever wrote the bytes is not trusted. No I/O here.
 */
#ifndef NET_FRAMES_H
#define NET_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define FRAMES_PREFIX_BYTES 4u
#define FRAMES_BUFFER_BYTES (256u << 10) /* several of the largest frames, read in one go */
#define FRAMES_LEAST_BYTES 14u           /* an Ethernet header; what is shorter is left out */

struct net_frames {
    uint8_t *bytes; /* owned */
    size_t begin, end;
};

int frames_init(struct net_frames *frames); /* -ENOMEM */
void frames_fini(struct net_frames *frames);
void frames_clear(struct net_frames *frames); /* another stream begins */

/* Where the next bytes of the stream go, and how many fit: at least one after frames_next() gave 0.
 * Frames that frames_next() has given are gone then. */
size_t frames_room(struct net_frames *frames, uint8_t **ret_to);
void frames_filled(struct net_frames *frames, size_t bytes);

/* 1: a frame; 0: more bytes are needed; -EPROTO: *ret_bytes is no length that a frame may have, and
 * there is no way to find where the next one begins. */
int frames_next(struct net_frames *frames, const uint8_t **ret_frame, size_t *ret_bytes);

#endif
