/* SPDX-License-Identifier: Apache-2.0 */
/* Text from the host (paths, sentences) as JSON strings, which must be UTF-8 where text need not
 * be. */
#ifndef VMM_JSON_TEXT_H
#define VMM_JSON_TEXT_H

#include <jansson.h>

/* New reference: null for NULL; text that is not UTF-8 gets '?' for each byte above 0x7f. */
json_t *json_text(const char *text);

#endif
