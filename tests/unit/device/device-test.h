/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of devices share: cmocka, register access, a line that remembers its level. */
#ifndef DEVICE_TEST_H
#define DEVICE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "device/device.h"

/* Levels of up to 64 lines, by number. */
struct lines {
    bool level[64];
    unsigned changes;
};

static inline void lines_set(void *opaque, unsigned number, bool level)
{
    struct lines *lines = opaque;
    lines->changes += lines->level[number] != level;
    lines->level[number] = level;
}

static inline struct irq_line line_of(struct lines *lines, unsigned number)
{
    return (struct irq_line){lines_set, lines, number};
}

/* A stopped host clock is moved by hand: both modes do as the test says. */
static inline void move_clock(struct clock *clock, uint64_t to_ns)
{
    if (clock->mode == GW_CLOCK_INSTRUCTIONS)
        clock_advance_ns(clock, to_ns - clock_now_ns(clock));
    else
        clock_set_ns(clock, to_ns);
    clock_fire(clock);
}

/* Saves `from` and loads it into `to`. */
static inline void copy_state(const struct gw_state_type *type, void *from, void *to)
{
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    struct gw_state_item item = {type, 0, from};
    assert_int_equal(gw_state_save(&item, 1, &stream, &error), 0);
    item.object = to;
    if (gw_state_load(&item, 1, stream.data, stream.length, &error) != 0)
        fail_msg("%s", error.message);
    gw_buf_fini(&stream);
}

#endif
