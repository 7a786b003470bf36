/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SiFive's test device: a store ends the machine's run (OpenSBI lib/utils/sys/sifive_test.c and
 * Linux's syscon-poweroff and syscon-reboot use it). The low half says what, the high half is a
 * failure's code.
 */
#ifndef DEVICE_TEST_FINISHER_H
#define DEVICE_TEST_FINISHER_H

#include "device/device.h"

#define TEST_FINISHER_BYTES 0x1000

enum test_finisher_request {
    TEST_FINISHER_NONE,
    TEST_FINISHER_PASS,
    TEST_FINISHER_FAIL,
    TEST_FINISHER_RESET,
    TEST_FINISHER_REQUESTS,
};

struct test_finisher {
    GW_SAVED(1) GW_MAX(3) uint8_t request;   /* enum test_finisher_request; stays until reset */
    GW_SAVED(1) uint16_t code;               /* of FAIL */
    GW_HOST void (*requested)(void *opaque); /* I/O lock held, on the hart's thread */
    GW_HOST void *opaque;
} GW_DEVICE("test-finisher", 1, 1);

extern const struct device_ops test_finisher_ops;
extern const struct gw_state_type test_finisher_state_type;

void test_finisher_init(struct test_finisher *finisher, void (*requested)(void *opaque),
                        void *opaque);

#endif
