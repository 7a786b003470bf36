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

/* Past what any guest can name: the 56 bits of RISC-V's page tables, the 52 of x86-64's. */
#define BOOT_REGION_NAME "boot"
#define BOOT_REGION_BASE (UINT64_C(1) << 56)
#define BOOT_REGION_MAX_BYTES (UINT64_C(1) << 30)
#define BOOT_MAX_SEGMENTS 16

struct boot_segment {
    uint64_t guest;
    uint8_t *bytes; /* owned */
    uint64_t length;
};

/* Where CPUs begin, and with what; the arguments are what the kind of machine makes of them. */
struct boot_entry {
    uint64_t pc;
    uint64_t argument[2];
};

/* Images ready to be laid out; boot_images_fini() frees them. */
struct boot_images {
    struct boot_segment segment[BOOT_MAX_SEGMENTS];
    unsigned count;
    struct boot_entry entry;
    uint64_t kernel, initrd, initrd_bytes; /* guest addresses; 0 where there is none */
    bool is_linux;                         /* as far as that can be told, and matters */
    uint64_t floor, top;                   /* RAM that is still free, set by who begins */
};

/* Adds a segment and takes `bytes`. There is room for BOOT_MAX_SEGMENTS. */
void boot_images_add(struct boot_images *images, uint64_t guest, uint8_t *bytes, uint64_t length);
/* The same at the bottom of free RAM, where it will occupy `memory_bytes`: free RAM begins behind
 * it. */
void boot_images_add_low(struct boot_images *images, uint64_t guest, uint8_t *bytes,
                         uint64_t length, uint64_t memory_bytes);
/* Moves the end of free RAM down by `length`, to a page boundary; 0 when there is not so much. */
uint64_t boot_images_take_top(struct boot_images *images, uint64_t length);
/* "kernel 'x' does not fit into 16 MiB of memory; …" */
int boot_images_refuse_size(const struct board_config *config, const char *what, const char *path,
                            struct gw_error *error);
void boot_images_fini(struct boot_images *images);

uint64_t boot_region_bytes(const struct boot_images *images); /* page multiple */
void boot_region_fill(struct gw_memory_region *region, const struct boot_images *images);

/* Copies all segments from the boot region to RAM. -EINVAL when the region makes no sense. */
int boot_region_apply(struct gw_memory *memory, struct boot_entry *ret_entry,
                      struct gw_error *error);

#endif
