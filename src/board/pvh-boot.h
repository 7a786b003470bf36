/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF files with a PVH entry: 32-bit, flat, without paging, ebx pointing to a hvm_start_info (Xen,
 * docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h). Linux's vmlinux is one,
 * and so are many small kernels.
 */
#ifndef BOARD_PVH_BOOT_H
#define BOARD_PVH_BOOT_H

#include "board/boot-images.h"
#include "board/image-file.h"

struct pvh_kernel {
    uint32_t entry;
    bool is_linux; /* its notes say so */
};

/* Adds the loadable segments of `image` to `images`; each must lie in [1 MiB, images->top). */
int pvh_place_kernel(const struct board_config *config, const struct image *image,
                     struct boot_images *images, struct pvh_kernel *ret_kernel,
                     struct gw_error *error);

struct pvh_range {
    uint64_t base, bytes;
    uint32_t type; /* as in e820 */
};

/* Writes the start info of `images` (its initrd, if any) for guest address `address`, with what it
 * points to, into `bytes`; returns how many bytes it takes. `command_line` and `rsdp` are guest
 * addresses. */
#define PVH_START_INFO_MAX_BYTES 1024
size_t pvh_start_info(const struct boot_images *images, uint64_t address, uint64_t command_line,
                      uint64_t rsdp, const struct pvh_range *map, unsigned ranges,
                      uint8_t bytes[PVH_START_INFO_MAX_BYTES]);

#endif
