/* SPDX-License-Identifier: Apache-2.0 */
/* A struct with everything that makes the loader work. */
#ifndef FUZZ_STATE_FUZZED_H
#define FUZZ_STATE_FUZZED_H

#include <godwit/state.h>

struct fuzzed_item {
    GW_SAVED(1) GW_MAX(100) uint16_t value;
    GW_SAVED(2) bool on;
} GW_PART;

struct fuzzed_group {
    GW_SAVED(1) uint8_t used;
    GW_SAVED(1) GW_COUNT(used) struct fuzzed_item items[2];
} GW_PART;

struct fuzzed {
    GW_SAVED(1) GW_MIN(-4) GW_MAX(4) int8_t balance;
    GW_SAVED(1) GW_MIN(3) uint8_t low;
    GW_SAVED(1) GW_MASK(0x11) uint8_t flags;
    GW_SAVED(1) uint16_t count;
    GW_SAVED(1) GW_COUNT(count) struct fuzzed_item items[5];
    GW_SAVED(1) struct fuzzed_group groups[2];
    GW_SAVED(2) uint32_t log_length;
    GW_SAVED(2) GW_ARRAY(log_length, 20) struct fuzzed_item *log;
    GW_SAVED(3) uint64_t newest;
    GW_SAVED(1) GW_SUBSECTION("rare") uint32_t rare;
    GW_SAVED(1) GW_SUBSECTION("list") uint8_t list_count;
    GW_SAVED(1) GW_SUBSECTION("list") GW_COUNT(list_count) uint8_t list[9];
    GW_SAVED(1) GW_SUBSECTION("waiting") uint16_t waiting_count;
    GW_SAVED(1) GW_SUBSECTION("waiting") GW_ARRAY(waiting_count, 7) struct fuzzed_item *waiting;
    GW_DERIVED(fuzzed_loaded) uint64_t sum;
} GW_DEVICE("fuzzed", 3, 1);

int fuzzed_loaded(struct fuzzed *fuzzed, struct gw_error *error);
bool fuzzed_rare_needed(const struct fuzzed *fuzzed);
bool fuzzed_list_needed(const struct fuzzed *fuzzed);
bool fuzzed_waiting_needed(const struct fuzzed *fuzzed);
extern const struct gw_state_type fuzzed_state_type;

#endif
