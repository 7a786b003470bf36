/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of frames from a hostile peer. The first byte chooses the pieces in which the rest
 * arrives; whatever they are, the same frames must come out as from a reader that sees all at once,
 * and the stream must end at the same place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/frames.h"
#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* The plain reader. */
struct reader {
    const uint8_t *data;
    size_t size, at;
};

static int read_next(struct reader *reader, const uint8_t **ret_frame, size_t *ret_bytes)
{
    while (reader->size - reader->at >= 4) {
        const uint8_t *from = reader->data + reader->at;
        size_t bytes =
            (size_t)from[0] << 24 | (size_t)from[1] << 16 | (size_t)from[2] << 8 | from[3];
        if (bytes > NET_FRAME_BYTES)
            return -EPROTO;
        if (reader->size - reader->at - 4 < bytes)
            return 0;
        reader->at += 4 + bytes;
        *ret_frame = from + 4;
        *ret_bytes = bytes;
        if (bytes >= FRAMES_LEAST_BYTES)
            return 1;
    }
    return 0;
}

/* Everything that can be had; false: the stream is broken, and so it must be for the reader. */
static bool take_frames(struct net_frames *frames, struct reader *reader)
{
    const uint8_t *frame, *expected;
    size_t bytes, expected_bytes;
    int r;
    while ((r = frames_next(frames, &frame, &bytes)) > 0) {
        check(read_next(reader, &expected, &expected_bytes) == 1);
        check(bytes == expected_bytes && memcmp(frame, expected, bytes) == 0);
    }
    if (r < 0)
        check(r == -EPROTO && bytes > NET_FRAME_BYTES &&
              read_next(reader, &expected, &expected_bytes) == -EPROTO);
    return r == 0;
}

static void feed(struct net_frames *frames, struct reader *reader, size_t piece)
{
    for (size_t at = 0; at < reader->size;) {
        uint8_t *to;
        size_t room = frames_room(frames, &to), left = reader->size - at;
        check(room > 0);
        size_t part = piece < left ? piece : left;
        if (part > room)
            part = room;
        memcpy(to, reader->data + at, part);
        frames_filled(frames, part);
        at += part;
        if (!take_frames(frames, reader))
            return;
    }
    const uint8_t *frame;
    size_t bytes;
    check(read_next(reader, &frame, &bytes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct net_frames frames;
    if (!frames.bytes && frames_init(&frames) < 0)
        abort();
    if (size == 0)
        return 0;
    struct reader reader = {data + 1, size - 1, 0};
    frames_clear(&frames);
    feed(&frames, &reader, data[0] < 128 ? data[0] + 1u : (size_t)(data[0] - 127) * 1024);
    return 0;
}
