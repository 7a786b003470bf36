/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long tests wait. What must happen is waited for until it happens: the limit only ends a hang,
 * and no test passes or fails by how fast the host is. GODWIT_PATIENCE in the environment
 * multiplies it, for builds and machines that are slow by themselves. (Python:
 * godwit_tools/patience.py.)
 */
#ifndef TESTS_PATIENCE_H
#define TESTS_PATIENCE_H

#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"

#define PATIENCE_SECONDS 60.0

static inline uint64_t patience_ns(void)
{
    const char *factor = getenv("GODWIT_PATIENCE");
    return (uint64_t)(PATIENCE_SECONDS * 1e9 * (factor ? strtod(factor, NULL) : 1));
}

static inline int patience_ms(void)
{
    return (int)(patience_ns() / 1000000);
}

/* For loops: when they have waited long enough. */
static inline uint64_t patience_end_ns(void)
{
    return host_monotonic_ns() + patience_ns();
}

#endif
