/* SPDX-License-Identifier: Apache-2.0 */
/* The first release of a device. */
#ifndef TEST_STATE_GROW_1_H
#define TEST_STATE_GROW_1_H

#include <godwit/state.h>

struct grow_part_1 {
    GW_SAVED(1) uint16_t first;
} GW_PART;

struct grow_1 {
    GW_SAVED(1) uint32_t value;
    GW_SAVED(1) struct grow_part_1 parts[2];
} GW_DEVICE("grow", 1, 1);
extern const struct gw_state_type grow_1_state_type;

#endif
