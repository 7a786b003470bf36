/* SPDX-License-Identifier: Apache-2.0 */
#include "net/packed.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "net/frames.h"
#include "net/net.h"
#include "net/vhost-net.h"

static const uint8_t magic[8] = {'G', 'W', 'P', 'A', 'S', 'S', 'T', 2};

enum {
    TOKEN_AT = 8,
    STATE_BYTES_AT = 24,
    FRAMES_BYTES_AT = 28,
    PLACES_BYTES_AT = 32,
    HEAD_BYTES = 36
};

int packed_encode(const struct packed *packed, struct gw_buf *out)
{
    size_t before = out->length;
    uint8_t head[HEAD_BYTES];
    if (packed->state_bytes > UINT32_MAX || packed->frames_bytes > UINT32_MAX ||
        packed->places_bytes > UINT32_MAX)
        return -ENOBUFS;
    memcpy(head, magic, sizeof magic);
    memcpy(head + TOKEN_AT, packed->token, REPAIR_TOKEN_BYTES);
    put_le32(head + STATE_BYTES_AT, (uint32_t)packed->state_bytes);
    put_le32(head + FRAMES_BYTES_AT, (uint32_t)packed->frames_bytes);
    put_le32(head + PLACES_BYTES_AT, (uint32_t)packed->places_bytes);
    int r = gw_buf_append(out, head, sizeof head);
    if (r == 0)
        r = gw_buf_append(out, packed->state, packed->state_bytes);
    if (r == 0)
        r = gw_buf_append(out, packed->frames, packed->frames_bytes);
    if (r == 0)
        r = gw_buf_append(out, packed->places, packed->places_bytes);
    if (r < 0)
        out->length = before;
    return r;
}

static bool are_frames(const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        if (length < 4)
            return false;
        uint32_t frame = get_le32(bytes);
        if (frame < FRAMES_LEAST_BYTES || frame > NET_FRAME_BYTES || frame > length - 4)
            return false;
        bytes += 4 + frame;
        length -= 4 + frame;
    }
    return true;
}

static bool are_places(const uint8_t *bytes, size_t length)
{
    if (length > SHIELD_MAX_PLACES * SHIELD_PLACE_BYTES || length % SHIELD_PLACE_BYTES != 0)
        return false;
    for (size_t at = 0; at < length; at += SHIELD_PLACE_BYTES)
        if (!shield_is_place(bytes + at))
            return false;
    return true;
}

int packed_decode(const void *bytes, size_t length, struct packed *ret_packed)
{
    const uint8_t *head = bytes;
    struct packed packed = {0};
    if (length < HEAD_BYTES || memcmp(head, magic, sizeof magic) != 0)
        return -EBADMSG;
    memcpy(packed.token, head + TOKEN_AT, REPAIR_TOKEN_BYTES);
    packed.state_bytes = get_le32(head + STATE_BYTES_AT);
    packed.frames_bytes = get_le32(head + FRAMES_BYTES_AT);
    packed.places_bytes = get_le32(head + PLACES_BYTES_AT);
    if (packed.state_bytes > VHOST_NET_STATE_MAX_BYTES ||
        (uint64_t)HEAD_BYTES + packed.state_bytes + packed.frames_bytes + packed.places_bytes !=
            length)
        return -EBADMSG;
    packed.state = head + HEAD_BYTES;
    packed.frames = packed.state + packed.state_bytes;
    packed.places = packed.frames + packed.frames_bytes;
    if (!are_frames(packed.frames, packed.frames_bytes) ||
        !are_places(packed.places, packed.places_bytes))
        return -EBADMSG;
    *ret_packed = packed;
    return 0;
}
