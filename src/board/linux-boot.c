/* SPDX-License-Identifier: Apache-2.0 */
#include "board/linux-boot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

/* Offsets in the file's first sectors and, the same, in boot_params. */
enum {
    PARAMS_RSDP = 0x070,
    PARAMS_E820_COUNT = 0x1e8,
    SETUP_BEGIN = 0x1f1,
    SETUP_SECTORS = 0x1f1,
    SETUP_SYSTEM_BYTES = 0x1f4, /* in units of 16 */
    SETUP_BOOT_FLAG = 0x1fe,
    SETUP_JUMP = 0x201, /* its operand: where the header ends, counted from 0x202 */
    SETUP_MAGIC = 0x202,
    SETUP_VERSION = 0x206,
    SETUP_LOADER = 0x210,
    SETUP_FLAGS = 0x211,
    SETUP_INITRD = 0x218,
    SETUP_INITRD_BYTES = 0x21c,
    SETUP_COMMAND_LINE = 0x228,
    SETUP_INITRD_MAX = 0x22c,
    SETUP_XLOADFLAGS = 0x236,
    SETUP_COMMAND_LINE_BYTES = 0x238,
    SETUP_PREFERRED = 0x258,
    SETUP_INIT_BYTES = 0x260,
    SETUP_END = 0x280,
    PARAMS_E820 = 0x2d0,
};
#define VERSION_2_12 0x020c
#define XLOADFLAG_64_BIT 1
#define LOADER_UNDEFINED 0xff
#define SECTOR_BYTES 512u
#define ENTRY_64_BIT 0x200
#define LOWEST_ADDRESS UINT64_C(0x100000)
#define E820_ENTRY_BYTES 20

#define refuse(code, number, ...) gw_error_set(error, GW_LAYER_BOARD, code, number, __VA_ARGS__)

bool linux_is_bzimage(const struct image *image)
{
    return image->length >= SETUP_VERSION && memcmp(image->bytes + SETUP_MAGIC, "HdrS", 4) == 0;
}

static int refuse_truncated(const struct board_config *config, const struct image *image,
                            uint64_t wanted, struct gw_error *error)
{
    return refuse(GW_CODE_CORRUPT, -ENOEXEC, "kernel '%s' is truncated: it has %zu of %llu bytes",
                  config->kernel, image->length, (unsigned long long)wanted);
}

/* The kernel proper, behind the real-mode part. */
static int find_system(const struct board_config *config, const struct image *image,
                       uint64_t *ret_offset, uint64_t *ret_bytes, struct gw_error *error)
{
    unsigned sectors = image->bytes[SETUP_SECTORS] ? image->bytes[SETUP_SECTORS] : 4;
    uint64_t offset = (sectors + 1) * (uint64_t)SECTOR_BYTES;
    uint64_t bytes = get_le32(image->bytes + SETUP_SYSTEM_BYTES) * UINT64_C(16);
    /* The last paragraph may be cut short by the signature's alignment, never by more. */
    if (offset >= image->length || bytes > image->length - offset + 15)
        return refuse_truncated(config, image, offset + bytes, error);
    *ret_offset = offset;
    *ret_bytes = image->length - offset;
    return 0;
}

static int check_header(const struct board_config *config, const struct image *image,
                        struct gw_error *error)
{
    const uint8_t *bytes = image->bytes;
    if (image->length < SETUP_END)
        return refuse_truncated(config, image, SETUP_END, error);
    if (get_le16(bytes + SETUP_BOOT_FLAG) != 0xaa55 ||
        get_le16(bytes + SETUP_VERSION) < VERSION_2_12)
        return refuse(GW_CODE_UNSUPPORTED, -ENOEXEC,
                      "kernel '%s' has boot protocol %u.%02u; microvm-1 needs 2.12 (Linux 3.8)",
                      config->kernel, bytes[SETUP_VERSION + 1], bytes[SETUP_VERSION]);
    if (!(get_le16(bytes + SETUP_XLOADFLAGS) & XLOADFLAG_64_BIT))
        return refuse(GW_CODE_INVALID, -ENOEXEC,
                      "kernel '%s' is a 32-bit x86 kernel; microvm-1 needs an x86-64 one",
                      config->kernel);
    return 0;
}

int linux_place_kernel(const struct board_config *config, const struct image *image,
                       struct boot_images *images, struct linux_kernel *ret_kernel,
                       struct gw_error *error)
{
    uint64_t offset = 0, length = 0, end;
    int r = check_header(config, image, error);
    if (r == 0)
        r = find_system(config, image, &offset, &length, error);
    if (r < 0)
        return r;
    uint64_t at = get_le64(image->bytes + SETUP_PREFERRED);
    uint64_t needs = get_le32(image->bytes + SETUP_INIT_BYTES);
    needs = needs > length ? needs : length;
    if (at < LOWEST_ADDRESS || __builtin_add_overflow(at, needs, &end))
        return refuse(GW_CODE_CORRUPT, -ENOEXEC, "kernel '%s' is damaged: it wants to be at 0x%llx",
                      config->kernel, (unsigned long long)at);
    if (end > images->top)
        return boot_images_refuse_size(config, "kernel", config->kernel, error);
    uint8_t *bytes = malloc(length);
    if (!bytes)
        return refuse(GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory for kernel '%s'",
                      config->kernel);
    memcpy(bytes, image->bytes + offset, length);
    boot_images_add_low(images, at, bytes, length, needs);
    size_t header_end = 0x202u + image->bytes[SETUP_JUMP];
    header_end = header_end < SETUP_END ? header_end : SETUP_END;
    *ret_kernel = (struct linux_kernel){
        .entry = at + ENTRY_64_BIT,
        .initrd_end = get_le32(image->bytes + SETUP_INITRD_MAX) + UINT64_C(1),
        .command_line_max = get_le32(image->bytes + SETUP_COMMAND_LINE_BYTES),
    };
    memcpy(ret_kernel->setup + SETUP_BEGIN, image->bytes + SETUP_BEGIN, header_end - SETUP_BEGIN);
    return 0;
}

void linux_boot_params(const struct boot_images *images, const struct linux_kernel *kernel,
                       uint64_t command_line, uint64_t rsdp, const struct pvh_range *map,
                       unsigned ranges, uint8_t bytes[LINUX_BOOT_PARAMS_BYTES])
{
    memcpy(bytes, kernel->setup, LINUX_BOOT_PARAMS_BYTES);
    put_le64(bytes + PARAMS_RSDP, rsdp);
    bytes[SETUP_LOADER] = LOADER_UNDEFINED;
    bytes[SETUP_FLAGS] |= 1; /* loaded high */
    put_le32(bytes + SETUP_INITRD, (uint32_t)images->initrd);
    put_le32(bytes + SETUP_INITRD_BYTES, (uint32_t)images->initrd_bytes);
    put_le32(bytes + SETUP_COMMAND_LINE, (uint32_t)command_line);
    bytes[PARAMS_E820_COUNT] = (uint8_t)ranges;
    for (unsigned i = 0; i < ranges; i++) {
        uint8_t *entry = bytes + PARAMS_E820 + i * E820_ENTRY_BYTES;
        put_le64(entry, map[i].base);
        put_le64(entry + 8, map[i].bytes);
        put_le32(entry + 16, map[i].type);
    }
}
