/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CLINT: software interrupts and the timer of every hart, as SiFive's FU540 manual (chapter 9) and
 * QEMU's virt machine have it. mtime counts ticks of 100 ns of the machine's clock and cannot be
 * written.
 */
#ifndef DEVICE_CLINT_H
#define DEVICE_CLINT_H

#include "base/clock.h"
#include "device/device.h"

#define CLINT_MAX_HARTS 8
#define CLINT_BYTES 0x10000
#define CLINT_TICK_NS 100

struct clint_hart {
    GW_SAVED(1) uint64_t compare; /* mtimecmp, in ticks */
    GW_SAVED(1) bool software;    /* msip */
    GW_HOST struct clint *clint;
    GW_HOST struct irq_line software_line, timer_line;      /* set before the machine runs */
    GW_DERIVED(clint_hart_loaded) struct clock_timer timer; /* armed while compare lies ahead */
} GW_PART;

struct clint {
    GW_HOST struct clock *clock;
    GW_HOST uint32_t hart_count;
    GW_SAVED(1) struct clint_hart hart[CLINT_MAX_HARTS];
} GW_DEVICE("clint", 1, 1);

extern const struct device_ops clint_ops;
extern const struct gw_state_type clint_state_type;

/* Power-on state. The lines are the caller's to fill in afterwards. */
void clint_init(struct clint *clint, struct clock *clock, unsigned hart_count);

/* State hook: arms the timer and drives the lines. */
int clint_hart_loaded(struct clint_hart *hart, struct gw_error *error);

#endif
