/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMClock (UAPI.13; Linux include/uapi/linux/vmclock-abi.h, version 1): a page of guest memory by
 * which software in the guest learns that its machine has moved. The disruption marker changes
 * between the last instruction at the source and the first one at the destination, and at nothing
 * else: not at stopping and going on, not at a reset, not when a state is loaded on trial.
 *
 * The clock of the interface is not offered: no counter is named, and the status says that times
 * and periods mean nothing.
 *
 * The page is memory like any other: it travels, and the guest can write to it. Nothing is ever
 * read from it here; each update writes all of it.
 */
#ifndef DEVICE_VMCLOCK_H
#define DEVICE_VMCLOCK_H

#include <godwit/memory.h>

#include "device/device.h"

#define VMCLOCK_BYTES 0x1000
#define VMCLOCK_MAGIC 0x4b4c4356u

/* Offsets in the page, little-endian; up to the time type they never change. What is not named
 * belongs to the clock and is zero. */
enum vmclock_field {
    VMCLOCK_FIELD_MAGIC = 0x00,      /* 4 bytes */
    VMCLOCK_FIELD_SIZE = 0x04,       /* 4: of the page */
    VMCLOCK_FIELD_VERSION = 0x08,    /* 2 */
    VMCLOCK_FIELD_COUNTER_ID = 0x0a, /* 1 */
    VMCLOCK_FIELD_TIME_TYPE = 0x0b,  /* 1 */
    VMCLOCK_FIELD_SEQUENCE = 0x0c,   /* 4: odd while the rest is written */
    VMCLOCK_FIELD_MARKER = 0x10,     /* 8 */
    VMCLOCK_FIELD_FLAGS = 0x18,      /* 8 */
    VMCLOCK_FIELD_STATUS = 0x22,     /* 1 */
    VMCLOCK_FIELDS_END = 0x68,
};
#define VMCLOCK_VERSION 1
#define VMCLOCK_NO_COUNTER 0xff
#define VMCLOCK_TIME_TAI 1
#define VMCLOCK_STATUS_UNKNOWN 0
#define VMCLOCK_FLAG_NOTIFICATION (UINT64_C(1) << 9)

struct vmclock {
    GW_SAVED(1) GW_MASK(0xfffffffe) uint32_t sequence; /* even: of the last update */
    GW_SAVED(1) uint64_t disruption_marker;
    GW_DERIVED(vmclock_loaded) bool arrived; /* loaded, and has not run here since */
    GW_HOST struct gw_memory *memory;
    GW_HOST uint64_t base;
    GW_HOST struct irq_line notice; /* one pulse for each update; may lead nowhere */
} GW_DEVICE("vmclock", 1, 1);

extern const struct device_ops vmclock_ops; /* reset and resume; it has no registers */
extern const struct gw_state_type vmclock_state_type;

/* `memory` has a region of VMCLOCK_BYTES at `base`. */
void vmclock_init(struct vmclock *vmclock, struct gw_memory *memory, uint64_t base,
                  struct irq_line notice);
/* Another marker, and the guest is told. I/O lock held, CPUs running or not. */
void vmclock_disrupt(struct vmclock *vmclock);

int vmclock_loaded(struct vmclock *vmclock, struct gw_error *error); /* state hook */

#endif
