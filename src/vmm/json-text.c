/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/json-text.h"

#include <string.h>

#include "base/cleanup.h"

json_t *json_text(const char *text)
{
    _cleanup_free_ char *ascii = NULL;
    json_t *string;

    if (!text)
        return json_null();
    string = json_string(text);
    if (string)
        return string;
    ascii = strdup(text);
    for (char *at = ascii; at && *at; at++)
        if (*at & 0x80)
            *at = '?';
    return ascii ? json_string(ascii) : NULL;
}
