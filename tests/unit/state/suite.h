/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the suite: the device that a test works on, and the tests themselves. */
#ifndef TEST_STATE_SUITE_H
#define TEST_STATE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "device-suite.h"
#include "leaves.h"
#include "streams.h"

enum { SUITE_SEEDS = 60, SUITE_HEADER_BYTES = 16 };

/* One object in a random state, and its stream. */
struct subject {
    const struct suite_device *device;
    struct gw_state_item item;
    struct gw_buf stream;
};

void subject_randomize(struct subject *subject, uint64_t seed);
int subject_load(struct subject *subject, const struct gw_buf *stream, struct gw_error *error);
size_t subject_payload_at(const struct subject *subject); /* offset in the stream */
void suite_copy(const struct gw_buf *from, struct gw_buf *to);

/* At most a few elements of each field, so that large arrays of parts do not take all day. */
bool leaf_is_first_of_its_field(const struct leaves *leaves, size_t index);

/* suite-ranges.c */
void each_value_out_of_range_is_refused_by_name(void **state);
void the_next_version_is_refused_by_name(void **state);

/* suite-damage.c */
void a_stream_cut_anywhere_is_refused(void **state);
void a_payload_cut_anywhere_is_refused(void **state);
void a_flipped_bit_is_refused(void **state);

#endif
