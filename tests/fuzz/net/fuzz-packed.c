/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that came from another host, and frames whose checksum is filled in. */
#include <stdlib.h>
#include <string.h>

#include "net/checksum.h"
#include "net/net.h"
#include "net/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* What is taken must be what would be written. */
static void decode(const uint8_t *data, size_t size)
{
    struct packed packed;
    struct gw_buf again = {0};
    if (packed_decode(data, size, &packed) < 0)
        return;
    check(packed_encode(&packed, &again) == 0);
    check(again.length == size && memcmp(again.data, data, size) == 0);
    gw_buf_fini(&again);
}

/* Twice is the same as once. */
static void fill(const uint8_t *data, size_t size)
{
    uint8_t *once = malloc(size + 1), *twice = malloc(size + 1);
    check(once && twice);
    memcpy(once, data, size);
    frame_fill_checksum(once, size);
    memcpy(twice, once, size);
    frame_fill_checksum(twice, size);
    check(memcmp(once, twice, size) == 0);
    free(once);
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(data, size);
    if (size <= NET_FRAME_BYTES)
        fill(data, size);
    return 0;
}
