/* SPDX-License-Identifier: Apache-2.0 */
#include "board/board-connections.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

static const uint8_t magic[8] = {'G', 'W', 'C', 'O', 'N', 'N', 'S', '\n'};

/* Of one network, and of the end. */
enum { NAME_BYTES = 64, LENGTH_AT = 64, HEAD_BYTES = 72 };
enum { ALL_BYTES_AT = 0, COUNT_AT = 8, MAGIC_AT = 16, FOOT_BYTES = 24 };

/* ---- Writing ---- */

static int append_one(const struct board_connections *one, struct gw_buf *out)
{
    uint8_t head[HEAD_BYTES] = {0};
    size_t name = strlen(one->name);
    if (name >= NAME_BYTES || one->length > UINT32_MAX)
        return -ENOBUFS;
    memcpy(head, one->name, name);
    put_le32(head + LENGTH_AT, (uint32_t)one->length);
    int r = gw_buf_append(out, head, sizeof head);
    return r < 0 ? r : gw_buf_append(out, one->bytes, one->length);
}

static int append_foot(uint64_t bytes, uint32_t count, struct gw_buf *out)
{
    uint8_t foot[FOOT_BYTES] = {0};
    put_le64(foot + ALL_BYTES_AT, bytes);
    put_le32(foot + COUNT_AT, count);
    memcpy(foot + MAGIC_AT, magic, sizeof magic);
    return gw_buf_append(out, foot, sizeof foot);
}

int connections_append(const struct board_connections *all, unsigned count, struct gw_buf *out,
                       struct gw_error *error)
{
    size_t before = out->length;
    uint32_t written = 0;
    int r = 0;
    for (unsigned i = 0; i < count && r == 0; i++)
        if (all[i].length > 0) {
            r = append_one(&all[i], out);
            written++;
        }
    if (r == 0 && written > 0)
        r = append_foot(out->length - before, written, out);
    if (r == 0)
        return 0;
    out->length = before;
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, r,
                        "the connections of the machine's networks have no room in its state");
}

/* ---- Reading ---- */

static int refuse(const char *what, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -EBADMSG,
                        "the connections behind the machine's state are wrong: %s", what);
}

static struct board_connections *find(struct board_connections *all, unsigned count,
                                      const uint8_t *name)
{
    for (unsigned i = 0; i < count; i++)
        if (memchr(name, 0, NAME_BYTES) && strcmp(all[i].name, (const char *)name) == 0)
            return &all[i];
    return NULL;
}

static int read_all(const uint8_t *bytes, size_t length, uint32_t number,
                    struct board_connections *all, unsigned count, struct gw_error *error)
{
    for (; number > 0; number--) {
        if (length < HEAD_BYTES)
            return refuse("they are cut off", error);
        uint32_t part = get_le32(bytes + LENGTH_AT);
        struct board_connections *one = find(all, count, bytes);
        if (!one || one->length > 0)
            return refuse("of a network that the machine does not have, or twice of one", error);
        if (part == 0 || part > length - HEAD_BYTES || get_le32(bytes + LENGTH_AT + 4) != 0)
            return refuse("a length is not that of what is there", error);
        one->bytes = bytes + HEAD_BYTES;
        one->length = part;
        bytes += HEAD_BYTES + part;
        length -= HEAD_BYTES + part;
    }
    return length == 0 ? 0 : refuse("there is more than was announced", error);
}

/* The end of a state stream has zeroes where the magic stands here. */
int connections_find(const void *stream, size_t length, struct board_connections *all,
                     unsigned count, size_t *ret_length, struct gw_error *error)
{
    const uint8_t *bytes = stream;
    for (unsigned i = 0; i < count; i++)
        all[i].length = 0;
    *ret_length = length;
    if (length < FOOT_BYTES)
        return 0;
    const uint8_t *foot = bytes + length - FOOT_BYTES;
    if (memcmp(foot + MAGIC_AT, magic, sizeof magic) != 0)
        return 0;
    uint64_t before = length - FOOT_BYTES, part = get_le64(foot + ALL_BYTES_AT);
    if (part > before || get_le32(foot + COUNT_AT + 4) != 0)
        return refuse("a length is not that of what is there", error);
    *ret_length = (size_t)(before - part);
    return read_all(bytes + *ret_length, (size_t)part, get_le32(foot + COUNT_AT), all, count,
                    error);
}
