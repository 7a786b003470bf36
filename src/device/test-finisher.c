/* SPDX-License-Identifier: Apache-2.0 */
#include "device/test-finisher.h"

static const uint16_t commands[TEST_FINISHER_REQUESTS] = {
    [TEST_FINISHER_PASS] = 0x5555,
    [TEST_FINISHER_FAIL] = 0x3333,
    [TEST_FINISHER_RESET] = 0x7777,
};

static uint64_t test_finisher_read(void *device, uint64_t offset, unsigned size)
{
    return 0;
}

/* The first request counts: harts that store at the same time do not change it. */
static void test_finisher_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    struct test_finisher *finisher = device;
    if (offset != 0 || (size != 2 && size != 4) || finisher->request != TEST_FINISHER_NONE)
        return;
    for (uint8_t request = TEST_FINISHER_PASS; request < TEST_FINISHER_REQUESTS; request++) {
        if ((value & 0xffff) != commands[request])
            continue;
        finisher->request = request;
        finisher->code = request == TEST_FINISHER_FAIL ? (uint16_t)(value >> 16) : 0;
        if (finisher->requested)
            finisher->requested(finisher->opaque);
    }
}

static void test_finisher_reset(void *device)
{
    struct test_finisher *finisher = device;
    finisher->request = TEST_FINISHER_NONE;
    finisher->code = 0;
}

void test_finisher_init(struct test_finisher *finisher, void (*requested)(void *opaque),
                        void *opaque)
{
    *finisher = (struct test_finisher){.requested = requested, .opaque = opaque};
}

const struct device_ops test_finisher_ops = {
    .read = test_finisher_read,
    .write = test_finisher_write,
    .reset = test_finisher_reset,
};
