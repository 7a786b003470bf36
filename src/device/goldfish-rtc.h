/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goldfish RTC (Android's goldfish hardware description, "RTC device"; Linux
 * drivers/rtc/rtc-goldfish.c): wall-clock time in nanoseconds since 1970 and one alarm.
 *
 * With a host clock the time is the host's plus an offset, which the guest changes by setting the
 * time, so that the time goes on while the machine stands still or moves. With an instruction clock
 * it is a fixed epoch plus the machine's clock plus the offset.
 */
#ifndef DEVICE_GOLDFISH_RTC_H
#define DEVICE_GOLDFISH_RTC_H

#include "base/clock.h"
#include "device/device.h"

#define GOLDFISH_RTC_BYTES 0x1000
#define GOLDFISH_RTC_EPOCH_NS 1735689600000000000ull /* 2025-01-01 00:00 UTC */

struct goldfish_rtc {
    GW_SAVED(1) uint64_t offset_ns; /* added to the base, modulo 2^64 */
    GW_SAVED(1) uint64_t alarm_ns;  /* in the guest's time */
    GW_SAVED(1) bool alarm_armed;
    GW_SAVED(1) bool interrupt_enabled;
    GW_SAVED(1) bool interrupt_pending;
    GW_SAVED(1) uint32_t time_high;  /* latched by reading the low word */
    GW_SAVED(1) uint32_t alarm_high; /* waits for the low word */
    GW_HOST struct clock *clock;
    GW_HOST struct irq_line irq;
    GW_DERIVED(goldfish_rtc_loaded) struct clock_timer timer; /* armed like the alarm */
} GW_DEVICE("goldfish-rtc", 1, 1);

extern const struct device_ops goldfish_rtc_ops;
extern const struct gw_state_type goldfish_rtc_state_type;

void goldfish_rtc_init(struct goldfish_rtc *rtc, struct clock *clock, struct irq_line irq);

/* State hook: arms the alarm's timer and drives the interrupt line. */
int goldfish_rtc_loaded(struct goldfish_rtc *rtc, struct gw_error *error);

#endif
