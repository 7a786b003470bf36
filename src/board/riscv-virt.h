/* SPDX-License-Identifier: Apache-2.0 */
/* The machine "riscv-virt-1": its map is guest ABI, so this table never changes under this name. */
#ifndef BOARD_RISCV_VIRT_H
#define BOARD_RISCV_VIRT_H

#include <stdint.h>

#define RISCV_VIRT_NAME "riscv-virt-1"
#define RISCV_VIRT_TIMEBASE_HZ 10000000
#define RISCV_VIRT_SLOTS 8
#define RISCV_VIRT_RNG_SLOT 0
#define RISCV_VIRT_DISK_SLOT 1 /* the first of BOARD_MAX_DISKS */
#define RISCV_VIRT_BUTTON_SLOT 7

/* Devices that are there once come first; the value is also their place in riscv_virt_map. */
enum riscv_virt_part {
    PART_CLINT,
    PART_PLIC,
    PART_UART,
    PART_RTC,
    PART_TEST,
    PART_VIRTIO, /* slot 0, the other slots follow */
    PART_COUNT = PART_VIRTIO + RISCV_VIRT_SLOTS,
};

struct riscv_virt_window {
    uint64_t base, bytes;
    unsigned irq; /* PLIC source; 0: none */
};

extern const struct riscv_virt_window riscv_virt_map[PART_COUNT];

#endif
