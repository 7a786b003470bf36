/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every device model has in common: registers on a bus, an interrupt line, and a place in the
 * state.
 *
 * Threads: register access, timers and completions all run with the machine's I/O lock held, by
 * whichever thread they come from (a hart's or the loop's). A device therefore needs no lock of its
 * own, unless it has a thread of its own, as the network card has (virtio/net.c). A device that has work in flight on another thread or in the kernel finishes it in drain(),
 * which like resume() and reset() is called with the I/O lock held.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/state.h>

/* An interrupt line into a controller. `set` may be called again with the same level. */
struct irq_line {
    void (*set)(void *opaque, unsigned number, bool level);
    void *opaque;
    unsigned number;
};

static inline void irq_line_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->number, level);
}

struct device_ops {
    /* `offset` is within the device's window, `size` is 1, 2, 4 or 8 and the access does not cross
     * the window's end. An access that the hardware does not define reads as 0 and writes nothing.
     */
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, uint64_t value, unsigned size);
    void (*reset)(void *device);  /* power-on state; may be NULL */
    void (*drain)(void *device);  /* returns with nothing in flight; may be NULL */
    void (*resume)(void *device); /* the machine is about to run (again); may be NULL */
};

enum device_space { DEVICE_SPACE_MEMORY, DEVICE_SPACE_PORTS };

/* One row of a board: a device instance at an address. */
struct device {
    const struct device_ops *ops;
    const struct gw_state_type *state; /* NULL: has no state */
    void *object;                      /* what ops and state get */
    enum device_space space;
    uint64_t base;
    uint64_t bytes;
};

#endif
