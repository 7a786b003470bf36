/* SPDX-License-Identifier: Apache-2.0 */
/* A peer's machine description: refused with a sentence, or read, written and read again as the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "board/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    json_t *json =
        json_loadb((const char *)data, length, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    struct board_config config, back;
    struct gw_error error = {0};
    if (!json)
        return 0;
    if (board_config_from_description(json, &config, &error) < 0) {
        check(error.message[0] != 0);
    } else {
        json_t *written = board_config_describe(&config);
        check(written && board_config_from_description(written, &back, NULL) == 0);
        json_t *again = board_config_describe(&back);
        check(json_equal(written, again));
        json_decref(written);
        json_decref(again);
        board_config_fini(&config);
        board_config_fini(&back);
    }
    json_decref(json);
    return 0;
}
