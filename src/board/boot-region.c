/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot region's header page, little-endian:
 *
 *      0  "gwboot1\n"
 *      8  where CPUs begin, 16 first argument, 24 second argument
 *     32  number of segments
 *     40  per segment: guest address, offset in the region, length
 */
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/boot-images.h"

enum { PC = 8, FIRST = 16, SECOND = 24, COUNT = 32, SEGMENTS = 40, SEGMENT_BYTES = 24 };

static const char magic[8] = "gwboot1\n";

uint64_t boot_region_bytes(const struct boot_images *images)
{
    uint64_t bytes = GW_PAGE_BYTES;
    for (unsigned i = 0; i < images->count; i++)
        bytes += align_up(images->segment[i].length, GW_PAGE_BYTES);
    return bytes;
}

void boot_region_fill(struct gw_memory_region *region, const struct boot_images *images)
{
    uint8_t *header = region->host;
    uint64_t offset = GW_PAGE_BYTES;
    memcpy(header, magic, sizeof magic);
    put_le64(header + PC, images->entry.pc);
    put_le64(header + FIRST, images->entry.argument[0]);
    put_le64(header + SECOND, images->entry.argument[1]);
    put_le64(header + COUNT, images->count);
    for (unsigned i = 0; i < images->count; i++) {
        const struct boot_segment *segment = &images->segment[i];
        uint8_t *entry = header + SEGMENTS + i * SEGMENT_BYTES;
        put_le64(entry, segment->guest);
        put_le64(entry + 8, offset);
        put_le64(entry + 16, segment->length);
        memcpy(region->host + offset, segment->bytes, segment->length);
        offset += align_up(segment->length, GW_PAGE_BYTES);
    }
}

static struct gw_memory_region *find_region(struct gw_memory *memory)
{
    uint64_t offset;
    struct gw_memory_region *region = gw_memory_find(memory, BOOT_REGION_BASE, 1, &offset);
    return region && offset == 0 ? region : NULL;
}

static int apply_segment(struct gw_memory *memory, const struct gw_memory_region *region,
                         const uint8_t *entry)
{
    uint64_t guest = get_le64(entry), offset = get_le64(entry + 8), length = get_le64(entry + 16);
    if (offset > region->bytes || length > region->bytes - offset || guest >= BOOT_REGION_BASE)
        return -EINVAL;
    return gw_memory_write(memory, guest, region->host + offset, length);
}

int boot_region_apply(struct gw_memory *memory, struct boot_entry *ret_entry,
                      struct gw_error *error)
{
    const struct gw_memory_region *region = find_region(memory);
    if (!region)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_STATE, -EINVAL,
                            "the machine has nothing to boot from");
    const uint8_t *header = region->host;
    uint64_t count = get_le64(header + COUNT);
    bool sound = memcmp(header, magic, sizeof magic) == 0 && count <= BOOT_MAX_SEGMENTS;
    for (uint64_t i = 0; sound && i < count; i++)
        sound = apply_segment(memory, region, header + SEGMENTS + i * SEGMENT_BYTES) == 0;
    if (!sound)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -EINVAL,
                            "the machine's boot images are damaged: it cannot be reset");
    *ret_entry = (struct boot_entry){
        .pc = get_le64(header + PC),
        .argument = {get_le64(header + FIRST), get_le64(header + SECOND)},
    };
    return 0;
}
