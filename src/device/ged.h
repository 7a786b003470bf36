/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generic event device by which ACPI without fixed hardware works (ACPI 6.5 §5.6.9), with the
 * registers of QEMU's: a guest reads what has happened from the event window, and writes what it
 * wants to the sleep control and reset registers that the FADT names (§4.8.3.7, §4.8.3.6).
 */
#ifndef DEVICE_GED_H
#define DEVICE_GED_H

#include "device/device.h"

#define GED_EVENT_BYTES 4
#define GED_REGISTER_BYTES 3

/* Offsets in the register window, and what is written there. */
enum { GED_SLEEP_CONTROL = 0, GED_SLEEP_STATUS = 1, GED_RESET = 2 };
#define GED_SLEEP_ENABLE 0x20
#define GED_SLEEP_TYPE_SHIFT 2
#define GED_SLEEP_TYPE_OFF 5 /* the DSDT's \_S5 */
#define GED_RESET_VALUE 0x42

/* Bits of the event window. */
#define GED_EVENT_POWER_BUTTON 0x2u
#define GED_EVENT_VMCLOCK 0x100u /* past those that QEMU has given a meaning */

enum ged_request { GED_REQUEST_NONE, GED_REQUEST_POWER_OFF, GED_REQUEST_RESET, GED_REQUESTS };

struct ged {
    GW_SAVED(1) GW_MASK(0x102) uint32_t events; /* not read by the guest yet */
    GW_SAVED(1) GW_MAX(2) uint8_t request;      /* enum ged_request; stays until reset */
    GW_DERIVED(ged_loaded) bool irq_raised;
    GW_HOST struct irq_line irq;
    GW_HOST void (*requested)(void *opaque); /* I/O lock held, on any thread */
    GW_HOST void *opaque;
} GW_DEVICE("ged", 2, 1);

extern const struct device_ops ged_ops;          /* the event window */
extern const struct device_ops ged_register_ops; /* sleep and reset; the same object */
extern const struct gw_state_type ged_state_type;

void ged_init(struct ged *ged, struct irq_line irq, void (*requested)(void *opaque), void *opaque);
/* Tells the guest of these. I/O lock held, as for ged_ask(). */
void ged_tell(struct ged *ged, uint32_t events);
/* As if the guest had written it; ignored while an earlier request stands. */
void ged_ask(struct ged *ged, enum ged_request request);

int ged_loaded(struct ged *ged, struct gw_error *error); /* state hook: drives the line */

#endif
