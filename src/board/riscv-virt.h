/* SPDX-License-Identifier: Apache-2.0 */
/* The machine "riscv-virt-1": its map is guest ABI, so this table never changes under this name. */
#ifndef BOARD_RISCV_VIRT_H
#define BOARD_RISCV_VIRT_H

#include <stdint.h>

#include "board/machine.h"

#define RISCV_VIRT_NAME "riscv-virt-1"
#define RISCV_VIRT_TIMEBASE_HZ 10000000
#define RISCV_VIRT_MAX_HARTS 8
#define RISCV_VIRT_MAX_DISKS 6
#define RISCV_VIRT_SLOTS 8
#define RISCV_VIRT_RNG_SLOT 0
#define RISCV_VIRT_DISK_SLOT 1 /* the first of RISCV_VIRT_MAX_DISKS */
#define RISCV_VIRT_BUTTON_SLOT 7
#define RISCV_VIRT_VMCLOCK_BASE UINT64_C(0x102000)

/* Devices that are there once come first; the value is also their place in riscv_virt_map. */
enum riscv_virt_part {
    PART_CLINT,
    PART_PLIC,
    PART_UART,
    PART_RTC,
    PART_TEST,
    PART_VIRTIO, /* slot 0, the other slots follow */
    PART_VMCLOCK = PART_VIRTIO + RISCV_VIRT_SLOTS,
    PART_COUNT,
};

extern const struct board_window riscv_virt_map[PART_COUNT]; /* interrupts: PLIC sources */

#define RAM_BASE UINT64_C(0x80000000)
#define KERNEL_OFFSET UINT64_C(0x200000) /* where firmware and kernel agree that S-mode begins */

/*
 * Reads and places firmware, kernel and initrd of `config` and makes the device tree. The entry's
 * arguments are the tree's address and that of OpenSBI's information block. Each refusal is a
 * sentence with the file's name: missing, short, of another architecture or format, too big for
 * the machine's memory.
 */
int riscv_images_read(const struct board_config *config, struct boot_images *ret_images,
                      struct gw_error *error);

#endif
