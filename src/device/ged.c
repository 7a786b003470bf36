/* SPDX-License-Identifier: Apache-2.0 */
#include "device/ged.h"

static void update_irq(struct ged *ged)
{
    ged->irq_raised = ged->events != 0;
    irq_line_set(&ged->irq, ged->irq_raised);
}

int ged_loaded(struct ged *ged, struct gw_error *error)
{
    update_irq(ged);
    return 0;
}

void ged_tell(struct ged *ged, uint32_t events)
{
    ged->events |= events;
    update_irq(ged);
}

void ged_ask(struct ged *ged, enum ged_request request)
{
    if (ged->request != GED_REQUEST_NONE)
        return;
    ged->request = (uint8_t)request;
    if (ged->requested)
        ged->requested(ged->opaque);
}

static uint64_t event_read(void *device, uint64_t offset, unsigned size)
{
    struct ged *ged = device;
    if (offset != 0 || size != 4)
        return 0;
    uint32_t events = ged->events;
    ged->events = 0;
    update_irq(ged);
    return events;
}

static void event_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
}

static uint64_t register_read(void *device, uint64_t offset, unsigned size)
{
    return 0;
}

static void register_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    const uint8_t off = GED_SLEEP_ENABLE | GED_SLEEP_TYPE_OFF << GED_SLEEP_TYPE_SHIFT;
    if (size != 1)
        return;
    if (offset == GED_SLEEP_CONTROL && value == off)
        ged_ask(device, GED_REQUEST_POWER_OFF);
    if (offset == GED_RESET && value == GED_RESET_VALUE)
        ged_ask(device, GED_REQUEST_RESET);
}

static void ged_reset(void *device)
{
    struct ged *ged = device;
    ged->events = 0;
    ged->request = GED_REQUEST_NONE;
    update_irq(ged);
}

void ged_init(struct ged *ged, struct irq_line irq, void (*requested)(void *opaque), void *opaque)
{
    *ged = (struct ged){.irq = irq, .requested = requested, .opaque = opaque};
}

const struct device_ops ged_ops = {
    .read = event_read,
    .write = event_write,
    .reset = ged_reset,
};

const struct device_ops ged_register_ops = {
    .read = register_read,
    .write = register_write,
};
