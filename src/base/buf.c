/* SPDX-License-Identifier: Apache-2.0 */
#include <godwit/buf.h>

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

void gw_buf_fini(struct gw_buf *buf)
{
    free(buf->data);
    *buf = (struct gw_buf){.limit = buf->limit};
}

void gw_buf_clear(struct gw_buf *buf)
{
    buf->length = 0;
}

/* Room for `length` more bytes: 0, -ENOBUFS, -ENOMEM. Grows by doubling. */
static int reserve(struct gw_buf *buf, size_t length)
{
    size_t limit = buf->limit ? buf->limit : GW_BUF_DEFAULT_LIMIT;
    size_t wanted;
    if (__builtin_add_overflow(buf->length, length, &wanted) || wanted > limit)
        return -ENOBUFS;
    if (wanted <= buf->capacity)
        return 0;
    size_t capacity = buf->capacity ? buf->capacity : 256;
    while (capacity < wanted)
        capacity = capacity > limit / 2 ? limit : capacity * 2;
    uint8_t *data = realloc(buf->data, capacity);
    if (!data)
        return -ENOMEM;
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

void *gw_buf_extend(struct gw_buf *buf, size_t length)
{
    if (reserve(buf, length) < 0 || !buf->data)
        return NULL;
    void *begin = buf->data + buf->length;
    buf->length += length;
    return begin;
}

int gw_buf_append(struct gw_buf *buf, const void *bytes, size_t length)
{
    if (length == 0)
        return 0;
    int r = reserve(buf, length);
    if (r < 0)
        return r;
    memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    return 0;
}

int gw_buf_append_le(struct gw_buf *buf, uint64_t value, unsigned bytes)
{
    assert(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8);
    uint8_t encoded[8];
    put_le64(encoded, value);
    return gw_buf_append(buf, encoded, bytes);
}

int gw_buf_printf(struct gw_buf *buf, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return -ENOMEM;
    int r = gw_buf_append(buf, text, (size_t)length);
    free(text);
    return r;
}

void gw_buf_consume(struct gw_buf *buf, size_t length)
{
    assert(length <= buf->length);
    memmove(buf->data, buf->data + length, buf->length - length);
    buf->length -= length;
}
