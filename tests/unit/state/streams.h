/* SPDX-License-Identifier: Apache-2.0 */
/* Streams made by hand, for the tests of the loader. */
#ifndef TEST_STATE_STREAMS_H
#define TEST_STATE_STREAMS_H

#include <godwit/buf.h>
#include <godwit/state.h>

void stream_begin(struct gw_buf *out);
/* Any header and payload, with a right CRC; name and payload are padded. */
void stream_section(struct gw_buf *out, uint32_t kind, const char *name, uint32_t instance,
                    uint32_t version, const void *payload, size_t length);
void stream_end(struct gw_buf *out, uint32_t sections);

/* The section at `at` gets the CRC that fits what it holds now. */
void stream_repair(struct gw_buf *out, size_t at);

/* Saves one object; fails the test if that fails. */
void stream_save(const struct gw_state_type *type, void *object, struct gw_buf *out);

/* Loads into one object and expects a refusal with this sentence and an unchanged object. */
void expect_refused(const struct gw_state_type *type, void *object, const struct gw_buf *stream,
                    const char *sentence);

#endif
