/* SPDX-License-Identifier: Apache-2.0 */
#include "device/clint.h"

#include <assert.h>

enum { MSIP = 0x0, MTIMECMP = 0x4000, MTIME = 0xbff8 };

static uint64_t ticks_now(const struct clint *clint)
{
    return clock_now_ns(clint->clock) / CLINT_TICK_NS;
}

/* Drives the timer line from the comparison, and arms the timer for its next rise. */
static void update_timer(struct clint_hart *hart)
{
    uint64_t deadline_ns;
    bool due = ticks_now(hart->clint) >= hart->compare;
    if (due || __builtin_mul_overflow(hart->compare, CLINT_TICK_NS, &deadline_ns))
        deadline_ns = CLOCK_NEVER;
    clock_timer_arm(&hart->timer, deadline_ns);
    irq_line_set(&hart->timer_line, due);
}

static void timer_expired(void *opaque)
{
    update_timer(opaque);
}

static void clint_reset(void *device)
{
    struct clint *clint = device;
    for (unsigned i = 0; i < clint->hart_count; i++) {
        clint->hart[i].compare = UINT64_MAX;
        clint->hart[i].software = false;
        irq_line_set(&clint->hart[i].software_line, false);
        update_timer(&clint->hart[i]);
    }
}

void clint_init(struct clint *clint, struct clock *clock, unsigned hart_count)
{
    assert(hart_count >= 1 && hart_count <= CLINT_MAX_HARTS);
    *clint = (struct clint){.clock = clock, .hart_count = hart_count};
    for (unsigned i = 0; i < hart_count; i++) {
        clint->hart[i].clint = clint;
        clint->hart[i].compare = UINT64_MAX;
        clock_timer_init(&clint->hart[i].timer, clock, timer_expired, &clint->hart[i]);
    }
}

int clint_hart_loaded(struct clint_hart *hart, struct gw_error *error)
{
    if (!hart->clint)
        return 0; /* a place for a hart that this machine does not have */
    irq_line_set(&hart->software_line, hart->software);
    update_timer(hart);
    return 0;
}

/* The part of a 64-bit register that an access of 4 or 8 bytes at `offset` means. */
static uint64_t read_part(uint64_t value, uint64_t offset, unsigned size)
{
    return size == 8 ? value : (uint32_t)(value >> (offset & 4) * 8);
}

static uint64_t clint_read(void *device, uint64_t offset, unsigned size)
{
    struct clint *clint = device;
    if (size < 4)
        return 0;
    if (offset >= MTIME && offset < MTIME + 8)
        return read_part(ticks_now(clint), offset, size);
    if (offset < MSIP + 4ull * clint->hart_count && size == 4)
        return clint->hart[offset / 4].software;
    if (offset >= MTIMECMP && offset < MTIMECMP + 8ull * clint->hart_count)
        return read_part(clint->hart[(offset - MTIMECMP) / 8].compare, offset, size);
    return 0;
}

static void write_compare(struct clint_hart *hart, uint64_t offset, uint64_t value, unsigned size)
{
    if (size == 4) {
        unsigned shift = (offset & 4) * 8;
        value = (hart->compare & ~(0xffffffffull << shift)) | (uint64_t)(uint32_t)value << shift;
    }
    hart->compare = value;
    update_timer(hart);
}

static void clint_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    struct clint *clint = device;
    if (size < 4)
        return;
    if (offset < MSIP + 4ull * clint->hart_count && size == 4) {
        struct clint_hart *hart = &clint->hart[offset / 4];
        hart->software = value & 1;
        irq_line_set(&hart->software_line, hart->software);
    } else if (offset >= MTIMECMP && offset < MTIMECMP + 8ull * clint->hart_count) {
        write_compare(&clint->hart[(offset - MTIMECMP) / 8], offset, value, size);
    }
}

const struct device_ops clint_ops = {
    .read = clint_read,
    .write = clint_write,
    .reset = clint_reset,
};
