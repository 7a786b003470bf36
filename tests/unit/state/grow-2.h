/* SPDX-License-Identifier: Apache-2.0 */
/* The second: a field more in the device and in its part. */
#ifndef TEST_STATE_GROW_2_H
#define TEST_STATE_GROW_2_H

#include <godwit/state.h>

struct grow_part_2 {
    GW_SAVED(1) uint16_t first;
    GW_SAVED(2) uint16_t second;
} GW_PART;

struct grow_2 {
    GW_SAVED(1) uint32_t value;
    GW_SAVED(1) struct grow_part_2 parts[2];
    GW_SAVED(2) GW_MIN(1) uint8_t added;
} GW_DEVICE("grow", 2, 1);
extern const struct gw_state_type grow_2_state_type;

#endif
