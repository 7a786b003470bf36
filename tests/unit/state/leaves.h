/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where each value of an object stands in memory and in its stream, worked out from the table and
 * docs/state.md alone, not with the codec.
 */
#ifndef TEST_STATE_LEAVES_H
#define TEST_STATE_LEAVES_H

#include "state/table.h"

struct leaf {
    char path[STATE_MAX_PATH];
    const struct state_field
        *field; /* of kind STATE_PART: the part's version in front of its fields */
    const void *element;
    size_t at; /* in the section's payload */
};

struct leaves {
    struct leaf *leaf; /* owned */
    size_t count;
    size_t payload_bytes; /* of the whole payload */
};

/* Of arrays of integers only the first and the last element in use get a leaf. */
void leaves_find(const struct gw_state_type *type, const void *object, struct leaves *ret_leaves);
void leaves_fini(struct leaves *leaves);

#endif
