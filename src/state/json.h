/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STATE_JSON_H
#define STATE_JSON_H

#include <jansson.h>

#include <godwit/buf.h>

/* Appends the text and a newline; -ENOMEM or -ENOBUFS with `out` unchanged. NULL json: -ENOMEM. */
int json_append(const json_t *json, struct gw_buf *out);

/* For _cleanup_(). */
static inline void json_release(json_t **json)
{
    json_decref(*json);
}

#endif
