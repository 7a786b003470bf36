/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine "microvm-1": its map is guest ABI, so this table never changes under this name.
 * Addresses follow QEMU's microvm.
 */
#ifndef BOARD_MICROVM_H
#define BOARD_MICROVM_H

#include "board/machine.h"

#define MICROVM_NAME "microvm-1"
#define MICROVM_MAX_CPUS 64
#define MICROVM_MAX_DISKS 7
#define MICROVM_SLOTS 8
#define MICROVM_RNG_SLOT 0
#define MICROVM_DISK_SLOT 1 /* the first of MICROVM_MAX_DISKS */

/* RAM lies below the hole for devices, and from 4 GiB on what is more. */
#define MICROVM_LOW_RAM_END UINT64_C(0xc0000000)
#define MICROVM_HIGH_RAM_BASE UINT64_C(0x100000000)

/* Where QEMU's x86 machines have the page. */
#define MICROVM_VMCLOCK_BASE UINT64_C(0xfeffb000)

enum microvm_part {
    MICROVM_UART,
    MICROVM_GED,
    MICROVM_GED_REGISTERS,
    MICROVM_VIRTIO, /* slot 0, the other slots follow */
    MICROVM_PARTS = MICROVM_VIRTIO + MICROVM_SLOTS,
};

extern const struct board_window microvm_map[MICROVM_PARTS]; /* interrupts: IOAPIC pins */

/*
 * Reads and places kernel (bzImage or PVH ELF), initrd, command line, ACPI tables. The entry's pc
 * is where CPU 0 begins, argument[0] the address of boot_params (long mode) or hvm_start_info
 * (PVH), argument[1] one of the modes below. Each refusal is a sentence with the file's name. In
 * microvm-images.c.
 */
int microvm_images_read(const struct board_config *config, struct boot_images *ret_images,
                        struct gw_error *error);

enum microvm_entry_mode { MICROVM_ENTRY_LONG = 1, MICROVM_ENTRY_PVH = 2 };
/* For MICROVM_ENTRY_LONG, where microvm_images_read() puts the tables that CPU 0 begins with. */
#define MICROVM_GDT 0x500
#define MICROVM_PAGE_TABLES 0x9000 /* PML4; PDPT and page directories follow */
#define MICROVM_BOOT_STACK 0x8ff0

#endif
