/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the marker changes when the machine is about to run and not when its state is loaded: a
 * state is loaded on trial while the guest still runs elsewhere, more than once, and its memory
 * may come after it. What was loaded and then runs has moved.
 */
#include "device/vmclock.h"

#include <assert.h>
#include <endian.h>
#include <stdatomic.h>

static void put_word(uint8_t *page, unsigned at, uint32_t value)
{
    atomic_store_explicit((_Atomic uint32_t *)(void *)(page + at), htole32(value),
                          memory_order_relaxed);
}

static void put_double(uint8_t *page, unsigned at, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)(void *)(page + at), htole64(value),
                          memory_order_relaxed);
}

static void put_constants(uint8_t *page)
{
    put_word(page, VMCLOCK_FIELD_MAGIC, VMCLOCK_MAGIC);
    put_word(page, VMCLOCK_FIELD_SIZE, VMCLOCK_BYTES);
    put_word(page, VMCLOCK_FIELD_VERSION,
             VMCLOCK_VERSION | VMCLOCK_NO_COUNTER << 16 | (uint32_t)VMCLOCK_TIME_TAI << 24);
}

/* From the marker on; the status is among the zeroes. */
static void put_variables(const struct vmclock *vmclock, uint8_t *page)
{
    static_assert(VMCLOCK_STATUS_UNKNOWN == 0, "it need not be written");
    put_double(page, VMCLOCK_FIELD_MARKER, vmclock->disruption_marker);
    put_double(page, VMCLOCK_FIELD_FLAGS, vmclock->notice.set ? VMCLOCK_FLAG_NOTIFICATION : 0);
    for (unsigned at = VMCLOCK_FIELD_FLAGS + 8; at < VMCLOCK_FIELDS_END; at += 8)
        put_double(page, at, 0);
}

/* The fences' partners are in the guest: it reads the sequence before and after the rest. */
static void write_page(const struct vmclock *vmclock)
{
    uint8_t *page = gw_memory_map(vmclock->memory, vmclock->base, VMCLOCK_BYTES);
    put_word(page, VMCLOCK_FIELD_SEQUENCE, vmclock->sequence - 1);
    atomic_thread_fence(memory_order_release);
    put_constants(page);
    put_variables(vmclock, page);
    atomic_thread_fence(memory_order_release);
    put_word(page, VMCLOCK_FIELD_SEQUENCE, vmclock->sequence);
    gw_memory_mark(vmclock->memory, vmclock->base, VMCLOCK_BYTES);
}

void vmclock_disrupt(struct vmclock *vmclock)
{
    vmclock->disruption_marker++;
    vmclock->sequence += 2;
    write_page(vmclock);
    irq_line_set(&vmclock->notice, true);
    irq_line_set(&vmclock->notice, false);
}

/* Nothing changes that the guest could be told of: it begins anew, and finds the page whole. */
static void vmclock_reset(void *device)
{
    write_page(device);
}

static void vmclock_resume(void *device)
{
    struct vmclock *vmclock = device;
    if (!vmclock->arrived)
        return;
    vmclock->arrived = false;
    vmclock_disrupt(vmclock);
}

int vmclock_loaded(struct vmclock *vmclock, struct gw_error *error)
{
    vmclock->arrived = true;
    return 0;
}

void vmclock_init(struct vmclock *vmclock, struct gw_memory *memory, uint64_t base,
                  struct irq_line notice)
{
    *vmclock = (struct vmclock){.memory = memory, .base = base, .notice = notice};
}

const struct device_ops vmclock_ops = {
    .reset = vmclock_reset,
    .resume = vmclock_resume,
};
