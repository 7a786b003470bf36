/* SPDX-License-Identifier: Apache-2.0 */
/* The third: two subsections more, the first version is given up, the version stays. */
#ifndef TEST_STATE_GROW_3_H
#define TEST_STATE_GROW_3_H

#include <godwit/state.h>

#include "grow-2.h"

struct grow_3 {
    GW_SAVED(1) uint32_t value;
    GW_SAVED(1) struct grow_part_2 parts[2];
    GW_SAVED(2) GW_MIN(1) uint8_t added;
    GW_SAVED(2) GW_SUBSECTION("rare") GW_MIN(4) uint16_t level;
    GW_SAVED(2) GW_SUBSECTION("rare") bool on;
    GW_SAVED(2) GW_SUBSECTION("odd") uint8_t odd[3];
} GW_DEVICE("grow", 2, 2);
extern const struct gw_state_type grow_3_state_type;
bool grow_3_rare_needed(const struct grow_3 *grow);
bool grow_3_odd_needed(const struct grow_3 *grow);

#endif
