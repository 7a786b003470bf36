/* SPDX-License-Identifier: Apache-2.0 */
/* Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst): bzImage and boot_params. */
#ifndef BOARD_LINUX_BOOT_H
#define BOARD_LINUX_BOOT_H

#include "board/boot-images.h"
#include "board/image-file.h"
#include "board/pvh-boot.h"

#define LINUX_BOOT_PARAMS_BYTES 4096

struct linux_kernel {
    uint64_t entry;                         /* the 64-bit one */
    uint64_t initrd_end;                    /* the initrd lies below */
    uint32_t command_line_max;              /* bytes, without the final NUL */
    uint8_t setup[LINUX_BOOT_PARAMS_BYTES]; /* its setup header, at its place in boot_params */
};

bool linux_is_bzimage(const struct image *image);

/* Adds the protected-mode kernel at its preferred address. */
int linux_place_kernel(const struct board_config *config, const struct image *image,
                       struct boot_images *images, struct linux_kernel *ret_kernel,
                       struct gw_error *error);

/* boot_params in `bytes`, from the kernel's own setup header. */
void linux_boot_params(const struct boot_images *images, const struct linux_kernel *kernel,
                       uint64_t command_line, uint64_t rsdp, const struct pvh_range *map,
                       unsigned ranges, uint8_t bytes[LINUX_BOOT_PARAMS_BYTES]);

#endif
