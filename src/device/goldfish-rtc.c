/* SPDX-License-Identifier: Apache-2.0 */
#include "device/goldfish-rtc.h"

enum {
    TIME_LOW = 0x00,
    TIME_HIGH = 0x04,
    ALARM_LOW = 0x08,
    ALARM_HIGH = 0x0c,
    INTERRUPT_ENABLE = 0x10,
    CLEAR_ALARM = 0x14,
    ALARM_STATUS = 0x18,
    CLEAR_INTERRUPT = 0x1c,
};

static uint64_t time_now_ns(const struct goldfish_rtc *rtc)
{
    if (rtc->clock->mode == GW_CLOCK_INSTRUCTIONS)
        return GOLDFISH_RTC_EPOCH_NS + clock_now_ns(rtc->clock) + rtc->offset_ns;
    return host_realtime_ns() + rtc->offset_ns;
}

static void update_irq(struct goldfish_rtc *rtc)
{
    irq_line_set(&rtc->irq, rtc->interrupt_enabled && rtc->interrupt_pending);
}

/* Arms the machine's timer for the alarm; one that is due fires as soon as the machine runs. */
static void arm_timer(struct goldfish_rtc *rtc)
{
    uint64_t now_ns = time_now_ns(rtc);
    uint64_t wait_ns = rtc->alarm_ns > now_ns ? rtc->alarm_ns - now_ns : 0;
    uint64_t deadline_ns;
    if (!rtc->alarm_armed ||
        __builtin_add_overflow(clock_now_ns(rtc->clock), wait_ns, &deadline_ns))
        deadline_ns = CLOCK_NEVER;
    clock_timer_arm(&rtc->timer, deadline_ns);
}

/* After the time or the alarm changed. */
static void update_alarm(struct goldfish_rtc *rtc)
{
    if (rtc->alarm_armed && rtc->alarm_ns <= time_now_ns(rtc)) {
        rtc->alarm_armed = false;
        rtc->interrupt_pending = true;
    }
    arm_timer(rtc);
    update_irq(rtc);
}

static void alarm_expired(void *opaque)
{
    update_alarm(opaque);
}

static uint64_t goldfish_rtc_read(void *device, uint64_t offset, unsigned size)
{
    struct goldfish_rtc *rtc = device;
    uint64_t now_ns;
    if (size != 4)
        return 0;
    switch (offset) {
    case TIME_LOW:
        now_ns = time_now_ns(rtc);
        rtc->time_high = (uint32_t)(now_ns >> 32);
        return (uint32_t)now_ns;
    case TIME_HIGH:
        return rtc->time_high;
    case ALARM_LOW:
        return (uint32_t)rtc->alarm_ns;
    case ALARM_HIGH:
        return rtc->alarm_ns >> 32;
    case INTERRUPT_ENABLE:
        return rtc->interrupt_enabled;
    case ALARM_STATUS:
        return rtc->alarm_armed;
    default:
        return 0;
    }
}

/* Half of the time is set: the offset takes up the difference. */
static void set_time_part(struct goldfish_rtc *rtc, uint32_t value, unsigned shift)
{
    uint64_t now_ns = time_now_ns(rtc);
    uint64_t wanted_ns = (now_ns & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
    rtc->offset_ns += wanted_ns - now_ns;
    update_alarm(rtc);
}

static void goldfish_rtc_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    struct goldfish_rtc *rtc = device;
    if (size != 4)
        return;
    switch (offset) {
    case TIME_LOW:
        set_time_part(rtc, (uint32_t)value, 0);
        break;
    case TIME_HIGH:
        set_time_part(rtc, (uint32_t)value, 32);
        break;
    case ALARM_LOW:
        rtc->alarm_ns = (uint64_t)rtc->alarm_high << 32 | (uint32_t)value;
        rtc->alarm_armed = true;
        update_alarm(rtc);
        break;
    case ALARM_HIGH:
        rtc->alarm_high = (uint32_t)value;
        break;
    case INTERRUPT_ENABLE:
        rtc->interrupt_enabled = value & 1;
        update_irq(rtc);
        break;
    case CLEAR_ALARM:
        rtc->alarm_armed = false;
        update_alarm(rtc);
        break;
    case CLEAR_INTERRUPT:
        rtc->interrupt_pending = false;
        update_irq(rtc);
        break;
    default:
        break;
    }
}

/* A battery keeps the time: the offset survives. */
static void goldfish_rtc_reset(void *device)
{
    struct goldfish_rtc *rtc = device;
    rtc->alarm_ns = 0;
    rtc->alarm_armed = rtc->interrupt_enabled = rtc->interrupt_pending = false;
    rtc->time_high = rtc->alarm_high = 0;
    update_alarm(rtc);
}

/* The host's time went on while the machine's clock stood still. */
static void goldfish_rtc_resume(void *device)
{
    update_alarm(device);
}

void goldfish_rtc_init(struct goldfish_rtc *rtc, struct clock *clock, struct irq_line irq)
{
    *rtc = (struct goldfish_rtc){.clock = clock, .irq = irq};
    clock_timer_init(&rtc->timer, clock, alarm_expired, rtc);
}

int goldfish_rtc_loaded(struct goldfish_rtc *rtc, struct gw_error *error)
{
    arm_timer(rtc);
    update_irq(rtc);
    return 0;
}

const struct device_ops goldfish_rtc_ops = {
    .read = goldfish_rtc_read,
    .write = goldfish_rtc_write,
    .reset = goldfish_rtc_reset,
    .resume = goldfish_rtc_resume,
};
