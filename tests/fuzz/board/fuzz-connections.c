/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind a machine's state. */
#include <stdlib.h>
#include <string.h>

#include "board/board-connections.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct board_connections all[] = {{.name = "net0"}, {.name = "net1"}};
    struct gw_buf again = {0};
    struct gw_error error;
    size_t length, sum = 0;
    if (connections_find(data, size, all, 2, &length, &error) < 0)
        return 0;
    for (unsigned i = 0; i < 2; i++)
        sum += all[i].length;
    if (length > size || sum > size - length)
        abort();
    if (gw_buf_append(&again, data, length) < 0 || connections_append(all, 2, &again, &error) < 0)
        abort();
    gw_buf_fini(&again);
    return 0;
}
