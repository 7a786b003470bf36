/* SPDX-License-Identifier: Apache-2.0 */
#include "net/frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

_Static_assert(FRAMES_BUFFER_BYTES >= FRAMES_PREFIX_BYTES + NET_FRAME_BYTES,
               "the largest frame fits");

int frames_init(struct net_frames *frames)
{
    *frames = (struct net_frames){.bytes = malloc(FRAMES_BUFFER_BYTES)};
    return frames->bytes ? 0 : -ENOMEM;
}

void frames_fini(struct net_frames *frames)
{
    free(frames->bytes);
    *frames = (struct net_frames){0};
}

void frames_clear(struct net_frames *frames)
{
    frames->begin = frames->end = 0;
}

size_t frames_room(struct net_frames *frames, uint8_t **ret_to)
{
    size_t left = frames->end - frames->begin;
    if (left > 0 && frames->begin > 0)
        memmove(frames->bytes, frames->bytes + frames->begin, left);
    frames->begin = 0;
    frames->end = left;
    *ret_to = frames->bytes + left;
    return FRAMES_BUFFER_BYTES - left;
}

void frames_filled(struct net_frames *frames, size_t bytes)
{
    frames->end += bytes;
}

static size_t get_length(const uint8_t *from)
{
    return (size_t)from[0] << 24 | (size_t)from[1] << 16 | (size_t)from[2] << 8 | from[3];
}

int frames_next(struct net_frames *frames, const uint8_t **ret_frame, size_t *ret_bytes)
{
    while (frames->end - frames->begin >= FRAMES_PREFIX_BYTES) {
        const uint8_t *at = frames->bytes + frames->begin;
        size_t bytes = get_length(at);
        if (bytes > NET_FRAME_BYTES) {
            *ret_bytes = bytes;
            return -EPROTO;
        }
        if (frames->end - frames->begin - FRAMES_PREFIX_BYTES < bytes)
            return 0;
        frames->begin += FRAMES_PREFIX_BYTES + bytes;
        if (bytes < FRAMES_LEAST_BYTES)
            continue;
        *ret_frame = at + FRAMES_PREFIX_BYTES;
        *ret_bytes = bytes;
        return 1;
    }
    return 0;
}
