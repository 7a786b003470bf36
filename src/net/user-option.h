/* SPDX-License-Identifier: Apache-2.0 */
/* What is forwarded to the guest, as passt's own arguments. */
#ifndef NET_USER_OPTION_H
#define NET_USER_OPTION_H

#include <godwit/error.h>

#define FORWARDS_MAX 16u

struct forwards {
    char *arguments[2 * FORWARDS_MAX + 1]; /* NULL-terminated, owned */
    unsigned count;
};

/* `text` is tcp=… and udp=…, separated by commas. -EINVAL with a sentence; forwards_fini() also
 * then. */
int forwards_read(struct forwards *forwards, const char *text, struct gw_error *error);
void forwards_fini(struct forwards *forwards);

#endif
