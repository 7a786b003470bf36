/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as an address: refused, or written back as it was read. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct gw_uri *uri)
{
    struct gw_buf text = {0};
    struct gw_uri again;
    assert(gw_uri_format(uri, &text) == 0 && gw_buf_append(&text, "", 1) == 0);
    assert(gw_uri_parse((char *)text.data, &again, NULL) == 0);
    assert(again.kind == uri->kind && again.port == uri->port && again.fd == uri->fd &&
           strcmp(again.text, uri->text) == 0);
    gw_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct gw_uri uri;
    struct gw_error error;
    if (gw_uri_parse(text, &uri, &error) == 0)
        check_round_trip(&uri);
    free(text);
    return 0;
}
