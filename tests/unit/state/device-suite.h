/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests that every device gets for being marked: from its table alone they make states, streams
 * and damage. all-devices.c lists the devices.
 */
#ifndef TEST_STATE_DEVICE_SUITE_H
#define TEST_STATE_DEVICE_SUITE_H

#include <godwit/state.h>

/* One device under test. */
struct suite_device {
    const struct gw_state_type *type;
    /* A device as its owner makes it, with all that its `loaded` functions need; never NULL. */
    void *(*make)(void);
    void (*destroy)(void *object);
    /* Mends a random state where `loaded` wants fields to agree with each other; NULL: nothing to
     * mend. Should mend no more than that. */
    void (*settle)(void *object);
};

/* Ends with a row whose type is NULL. */
extern const struct suite_device all_devices[];

/* Runs the whole suite over one device; the number of failed tests. */
int suite_run(const struct suite_device *device);

#endif
