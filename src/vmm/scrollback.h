/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last bytes that the guest wrote to its serial port: a ring that is part of the machine's
 * state, so that whoever looks at a machine that has moved still sees what came before. The caller
 * locks.
 */
#ifndef VMM_SCROLLBACK_H
#define VMM_SCROLLBACK_H

#include <stddef.h>
#include <stdint.h>

#include <godwit/error.h>
#include <godwit/state.h>

#define SCROLLBACK_BYTES 65536

struct scrollback {
    GW_SAVED(1) GW_MAX(SCROLLBACK_BYTES) uint32_t count; /* bytes held */
    GW_SAVED(1)
    GW_MAX(SCROLLBACK_BYTES - 1) uint32_t start; /* oldest of them; 0 until the ring is full */
    GW_SAVED(1) GW_COUNT(count) uint8_t bytes[SCROLLBACK_BYTES];
    GW_SAVED(1)
    uint64_t total; /* bytes that the guest ever wrote: a reader's position counts these */
    GW_DERIVED(scrollback_loaded) uint64_t oldest; /* position of the oldest byte held */
} GW_DEVICE("vmm-console", 1, 1);

void scrollback_append(struct scrollback *scrollback, const uint8_t *bytes, size_t length);

/* Copies up to `length` bytes from *position on, and moves it behind them. A position that the ring
 * does not hold (any more) first jumps to the oldest byte. Returns 0 at the end. */
size_t scrollback_read(const struct scrollback *scrollback, uint64_t *position, uint8_t *to,
                       size_t length);

/* Refuses counts that contradict each other. */
int scrollback_loaded(struct scrollback *scrollback, struct gw_error *error);

/* As if the guest had never written anything. */
void scrollback_clear(struct scrollback *scrollback);

extern const struct gw_state_type scrollback_state_type;

#endif
