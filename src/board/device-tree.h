/* SPDX-License-Identifier: Apache-2.0 */
/* The flattened device tree of riscv-virt-1 (Devicetree Specification 0.4), as QEMU's virt
 * describes the same devices. */
#ifndef BOARD_DEVICE_TREE_H
#define BOARD_DEVICE_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/error.h>

#define DEVICE_TREE_SEED_BYTES 32

struct device_tree_config {
    uint64_t memory_bytes;
    unsigned cpus;
    bool vmclock;
    const char *append;                   /* kernel command line or NULL */
    uint64_t initrd, initrd_bytes;        /* guest address; 0: none */
    uint8_t seed[DEVICE_TREE_SEED_BYTES]; /* "rng-seed" */
};

/* *ret_tree is malloc'ed. -E2BIG when the command line is too long, -ENOMEM. */
int device_tree_build(const struct device_tree_config *config, uint8_t **ret_tree,
                      uint64_t *ret_length, struct gw_error *error);

#endif
