/* SPDX-License-Identifier: Apache-2.0 */
#include "state/json.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

int json_append(const json_t *json, struct gw_buf *out)
{
    _cleanup_free_ char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    if (!text)
        return -ENOMEM;
    size_t before = out->length;
    int r = gw_buf_append(out, text, strlen(text));
    if (r == 0)
        r = gw_buf_append(out, "\n", 1);
    if (r < 0)
        out->length = before;
    return r;
}
