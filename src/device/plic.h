/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PLIC, the platform-level interrupt controller (RISC-V PLIC specification 1.0.0), with the layout
 * of QEMU's virt machine: 95 sources, 7 priority levels, an M and an S context for each hart (2n
 * and 2n+1).
 *
 * All sources are level-triggered. A line that is high makes its source pending unless the source
 * is being served; a request that was made stays pending until it is claimed, even when the line
 * falls meanwhile. Completing a source whose line is still high makes it pending again.
 */
#ifndef DEVICE_PLIC_H
#define DEVICE_PLIC_H

#include "device/device.h"

#define PLIC_BYTES 0x600000
#define PLIC_SOURCES 96 /* source 0 does not exist */
#define PLIC_WORDS (PLIC_SOURCES / 32)
#define PLIC_MAX_PRIORITY 7
#define PLIC_MAX_CONTEXTS 16

struct plic_context {
    GW_SAVED(1) uint32_t enable[PLIC_WORDS];
    GW_SAVED(1) GW_MAX(7) uint32_t threshold;
    GW_HOST struct irq_line output; /* set by the board before the machine runs */
} GW_PART;

struct plic {
    GW_SAVED(1) GW_MAX(7) uint32_t priority[PLIC_SOURCES];
    GW_SAVED(1) uint32_t level[PLIC_WORDS];   /* the lines as the devices drive them */
    GW_SAVED(1) uint32_t pending[PLIC_WORDS]; /* requested, not claimed */
    GW_SAVED(1) uint32_t claimed[PLIC_WORDS]; /* being served */
    GW_HOST uint32_t context_count;
    GW_SAVED(1) struct plic_context context[PLIC_MAX_CONTEXTS];
    GW_DERIVED(plic_loaded) uint32_t raised; /* outputs that are high, a bit per context */
} GW_DEVICE("plic", 1, 1);

extern const struct device_ops plic_ops;
extern const struct gw_state_type plic_state_type;

/* Power-on state for two contexts per hart. The output lines are the caller's to fill in
 * afterwards. */
void plic_init(struct plic *plic, unsigned hart_count);

/* For irq_line: `number` is the source, 1 to PLIC_SOURCES - 1. */
void plic_set_level(void *plic, unsigned number, bool level);

/* State hook: drives the outputs. */
int plic_loaded(struct plic *plic, struct gw_error *error);

#endif
