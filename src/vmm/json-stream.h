/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a byte stream into the JSON values that stand in it one after another (docs/control.md,
 * Conversation). It finds where a value ends and keeps its limits; whether the value is JSON is for
 * a parser to say. No I/O.
 */
#ifndef VMM_JSON_STREAM_H
#define VMM_JSON_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include <godwit/buf.h>

#define JSON_STREAM_MAX_BYTES ((size_t)1 << 20)
#define JSON_STREAM_MAX_DEPTH 64

enum json_stream_result {
    JSON_STREAM_MORE,     /* all input is consumed, no value is complete */
    JSON_STREAM_VALUE,    /* a value is complete in `value` */
    JSON_STREAM_TOO_LONG, /* a value passed JSON_STREAM_MAX_BYTES and is being skipped */
    JSON_STREAM_TOO_DEEP, /* a value passed JSON_STREAM_MAX_DEPTH and is being skipped */
};

struct json_stream {
    struct gw_buf value;
    unsigned depth; /* brackets open */
    bool in_string;
    bool escaped;  /* the next byte of the string is taken as it is */
    bool in_word;  /* a value without brackets: true, 5, garbage */
    bool skipping; /* the value broke a limit; nothing is stored until it ends */
};

void json_stream_init(struct json_stream *stream);
void json_stream_fini(struct json_stream *stream);

/*
 * Takes bytes until something is to be told; *ret_consumed says how many. After JSON_STREAM_VALUE
 * the value stays in `stream->value` until the next call.
 */
enum json_stream_result json_stream_feed(struct json_stream *stream, const char *bytes,
                                         size_t length, size_t *ret_consumed);

#endif
