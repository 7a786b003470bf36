/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine boots: images read from files once, laid out in guest memory, and kept in the
 * "boot" region.
 *
 * The boot region begins with a header page: magic, where harts start with what arguments, and a
 * list of segments, each a range of the region and the guest address that it is copied to at
 * power-on and reset. The region is memory of the machine like any other: it may be written by a
 * peer that sends the machine, so every number in it is checked when it is used.
 */
#ifndef BOARD_BOOT_IMAGES_H
#define BOARD_BOOT_IMAGES_H

#include <godwit/error.h>
#include <godwit/memory.h>

#include "board/board.h"

/* Past the 56 bits of physical address that RISC-V page tables can name. */
#define BOOT_REGION_NAME "boot"
#define BOOT_REGION_BASE (UINT64_C(1) << 56)
#define BOOT_REGION_MAX_BYTES (UINT64_C(1) << 30)
#define BOOT_MAX_SEGMENTS 8

#define RAM_BASE UINT64_C(0x80000000)
#define KERNEL_OFFSET UINT64_C(0x200000) /* where firmware and kernel agree that S-mode begins */

struct boot_segment {
    uint64_t guest;
    uint8_t *bytes; /* owned */
    uint64_t length;
};

/* Images ready to be laid out; boot_images_fini() frees them. */
struct boot_images {
    struct boot_segment segment[BOOT_MAX_SEGMENTS];
    unsigned count;
    uint64_t entry;                        /* pc of every hart */
    uint64_t tree, dynamic;                /* a1, a2 of every hart */
    uint64_t kernel, initrd, initrd_bytes; /* guest addresses; 0 where there is none */
    uint64_t floor, top;                   /* RAM that is still free */
};

/* Reads and places firmware, kernel and initrd of `config`. Each refusal is a sentence with the
 * file's name: missing, short, of another architecture or format, too big for the machine's memory.
 */
int boot_images_read(const struct board_config *config, struct boot_images *ret_images,
                     struct gw_error *error);
/* Takes `tree` (owned, even on failure) as device tree, below everything that stands at the top of
 * RAM. */
int boot_images_add_tree(struct boot_images *images, uint8_t *tree, uint64_t length,
                         struct gw_error *error);
void boot_images_fini(struct boot_images *images);

uint64_t boot_region_bytes(const struct boot_images *images); /* page multiple */
void boot_region_fill(struct gw_memory_region *region, const struct boot_images *images);

struct boot_entry {
    uint64_t pc, tree, dynamic;
};
/* Copies all segments from the boot region to RAM. -EINVAL when the region makes no sense. */
int boot_region_apply(struct gw_memory *memory, struct boot_entry *ret_entry,
                      struct gw_error *error);

#endif
