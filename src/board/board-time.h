/* SPDX-License-Identifier: Apache-2.0 */
/* The part of a board's state that is no device's: its clock, and which harts wait for an
 * interrupt. */
#ifndef BOARD_BOARD_TIME_H
#define BOARD_BOARD_TIME_H

#include <godwit/state.h>

#include "base/clock.h"

#define BOARD_TIME_HARTS 8

struct board_time {
    GW_SAVED(1) GW_SAVING(board_time_saving) GW_MAX(0x3fffffffffffffff) uint64_t now_ns;
    /* In WFI with nothing pending when the machine stopped. */
    GW_SAVED(1) bool waiting[BOARD_TIME_HARTS];
    GW_DERIVED(board_time_loaded) struct clock clock;
} GW_DEVICE("board-time", 1, 1);

extern const struct gw_state_type board_time_state_type;

void board_time_saving(struct board_time *time);                        /* state hook */
int board_time_loaded(struct board_time *time, struct gw_error *error); /* state hook */

#endif
