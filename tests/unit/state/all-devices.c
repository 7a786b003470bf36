/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every device of the project, once. One line a device: type, how to make and destroy one, and, where its
 * `loaded` function wants fields to agree, how to mend a random state.
 */
#include "device-suite.h"
#include "grow-3.h"
#include "samples.h"

#include <stdlib.h>

static void *make_sample(void)
{
    return calloc(1, sizeof(struct sample));
}

static void destroy_sample(void *object)
{
    sample_fini(object);
    free(object);
}

static void *make_grow(void)
{
    return calloc(1, sizeof(struct grow_3));
}

const struct suite_device all_devices[] = {
    {&sample_state_type, make_sample, destroy_sample, sample_settle},
    {&grow_3_state_type, make_grow, free, NULL},
    {NULL, NULL, NULL, NULL},
};
