/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer with an upper limit. Not thread-safe; the owner frees it with gw_buf_fini(). */
#ifndef GODWIT_BUF_H
#define GODWIT_BUF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gw_buf {
    uint8_t *data;    /* owned; NULL while empty */
    size_t length;    /* bytes in use */
    size_t capacity;  /* bytes allocated */
    size_t limit;     /* never grows past this many bytes; 0 means GW_BUF_DEFAULT_LIMIT */
};

#define GW_BUF_DEFAULT_LIMIT ((size_t)256 << 20)

void gw_buf_fini(struct gw_buf *buf); /* frees the bytes; the struct is empty and usable afterwards */
void gw_buf_clear(struct gw_buf *buf); /* keeps the allocation */

/* Makes room for `length` more bytes and returns where they begin, counted as used; NULL at the
 * limit or without memory (the buffer is then unchanged). */
void *gw_buf_extend(struct gw_buf *buf, size_t length);

/* 0, or -ENOBUFS at the limit, -ENOMEM without memory; the buffer is unchanged on failure. */
int gw_buf_append(struct gw_buf *buf, const void *bytes, size_t length);
int gw_buf_append_le(struct gw_buf *buf, uint64_t value, unsigned bytes); /* bytes: 1, 2, 4 or 8 */
int gw_buf_printf(struct gw_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops `length` bytes from the front. */
void gw_buf_consume(struct gw_buf *buf, size_t length);

#ifdef __cplusplus
}
#endif
#endif
