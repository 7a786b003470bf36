/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value in brackets ends where as many are closed as were opened, not counting those in strings;
 * a string ends at its quote; any other word ends before whitespace or the start of another value.
 * Which bracket closes which does not matter here: a value with mixed ones ends somewhere and the
 * parser refuses it. So one bad request never takes the next one with it, unless it leaves brackets
 * open.
 */
#include "vmm/json-stream.h"

#include <string.h>

#define RESET_BYTE '\xff' /* never part of UTF-8; QEMU's clients send it to begin afresh */

void json_stream_init(struct json_stream *stream)
{
    *stream = (struct json_stream){.value.limit = JSON_STREAM_MAX_BYTES};
}

void json_stream_fini(struct json_stream *stream)
{
    gw_buf_fini(&stream->value);
}

static void begin_afresh(struct json_stream *stream)
{
    gw_buf_clear(&stream->value);
    stream->depth = 0;
    stream->in_string = stream->escaped = stream->in_word = stream->skipping = false;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static bool ends_word(char byte)
{
    return is_space(byte) || strchr("{}[]\"", byte);
}

/* Inside a string; true when this byte ends a value. */
static bool step_string(struct json_stream *stream, char byte)
{
    if (stream->escaped)
        stream->escaped = false;
    else if (byte == '\\')
        stream->escaped = true;
    else if (byte == '"')
        stream->in_string = false;
    return !stream->in_string && stream->depth == 0;
}

/* Outside strings and words; true when this byte ends a value. */
static bool step_plain(struct json_stream *stream, char byte)
{
    switch (byte) {
    case '"':
        stream->in_string = true;
        return false;
    case '{':
    case '[':
        stream->depth++;
        return false;
    case '}':
    case ']':
        if (stream->depth > 0)
            stream->depth--;
        return stream->depth == 0;
    default:
        stream->in_word = stream->depth == 0;
        return false;
    }
}

static enum json_stream_result finish(struct json_stream *stream)
{
    bool skipped = stream->skipping;

    stream->in_word = stream->skipping = false;
    return skipped ? JSON_STREAM_MORE : JSON_STREAM_VALUE;
}

static enum json_stream_result give_up(struct json_stream *stream, enum json_stream_result why)
{
    gw_buf_fini(&stream->value);
    stream->skipping = true;
    return why;
}

/* Stores a byte of the value and checks the limits. */
static enum json_stream_result keep(struct json_stream *stream, char byte)
{
    if (stream->skipping)
        return JSON_STREAM_MORE;
    if (stream->depth > JSON_STREAM_MAX_DEPTH)
        return give_up(stream, JSON_STREAM_TOO_DEEP);
    if (gw_buf_append(&stream->value, &byte, 1) < 0)
        return give_up(stream, JSON_STREAM_TOO_LONG);
    return JSON_STREAM_MORE;
}

enum json_stream_result json_stream_feed(struct json_stream *stream, const char *bytes,
                                         size_t length, size_t *ret_consumed)
{
    bool idle = stream->depth == 0 && !stream->in_string && !stream->in_word;

    if (idle)
        gw_buf_clear(&stream->value);
    for (size_t i = 0; i < length; i++) {
        enum json_stream_result result;
        bool ended;

        if (bytes[i] == RESET_BYTE) {
            begin_afresh(stream);
            continue;
        }
        idle = stream->depth == 0 && !stream->in_string && !stream->in_word;
        if (idle && is_space(bytes[i]))
            continue;
        if (stream->in_word && ends_word(bytes[i])) {
            result = finish(stream);
            *ret_consumed = i; /* the byte belongs to what follows */
            if (result != JSON_STREAM_MORE)
                return result;
            gw_buf_clear(&stream->value);
            i--;
            continue;
        }
        if (stream->in_string)
            ended = step_string(stream, bytes[i]);
        else
            ended = !stream->in_word && step_plain(stream, bytes[i]);
        result = keep(stream, bytes[i]);
        if (ended) {
            enum json_stream_result end = finish(stream);

            if (result == JSON_STREAM_MORE)
                result = end;
        }
        if (result != JSON_STREAM_MORE) {
            *ret_consumed = i + 1;
            return result;
        }
    }
    *ret_consumed = length;
    return JSON_STREAM_MORE;
}
