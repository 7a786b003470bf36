/* SPDX-License-Identifier: Apache-2.0 */
#include "board/boot-images.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"

static uint64_t page_down(uint64_t address)
{
    return address & ~(uint64_t)(GW_PAGE_BYTES - 1);
}

void boot_images_add(struct boot_images *images, uint64_t guest, uint8_t *bytes, uint64_t length)
{
    assert(images->count < BOOT_MAX_SEGMENTS);
    images->segment[images->count++] =
        (struct boot_segment){.guest = guest, .bytes = bytes, .length = length};
}

void boot_images_add_low(struct boot_images *images, uint64_t guest, uint8_t *bytes,
                         uint64_t length, uint64_t memory_bytes)
{
    boot_images_add(images, guest, bytes, length);
    if (guest + memory_bytes > images->floor)
        images->floor = guest + memory_bytes;
}

uint64_t boot_images_take_top(struct boot_images *images, uint64_t length)
{
    if (images->top < images->floor || length > images->top - images->floor ||
        page_down(images->top - length) < images->floor)
        return 0;
    images->top = page_down(images->top - length);
    return images->top;
}

int boot_images_refuse_size(const struct board_config *config, const char *what, const char *path,
                            struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EFBIG,
                        "%s '%s' does not fit into %llu MiB of memory; give the machine more", what,
                        path, (unsigned long long)(config->memory_bytes >> 20));
}

void boot_images_fini(struct boot_images *images)
{
    for (unsigned i = 0; i < images->count; i++)
        free(images->segment[i].bytes);
    *images = (struct boot_images){0};
}
