/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that were cut or changed on their way. */
#include "suite.h"

enum { MANY = 3000 };

/* Steps over `total` places so that at most MANY are visited, the last ones always. */
static size_t step(size_t total)
{
    return total / MANY + 1;
}

/* Refused with any sentence that names the stream or the device; the object stays. */
static void expect_some_refusal(struct subject *subject, const struct gw_buf *bad, size_t place)
{
    struct gw_error error = {0};
    char ours[80];
    snprintf(ours, sizeof ours, "%s/0: ", subject->item.type->name);
    int r = subject_load(subject, bad, &error);
    if (r != -EBADMSG)
        fail_msg("damage at %zu is not refused: %d %s", place, r, error.message);
    if (strncmp(error.message, "state stream: ", 14) != 0 &&
        strncmp(error.message, ours, strlen(ours)) != 0)
        fail_msg("damage at %zu: the sentence has no subject: %s", place, error.message);
}

void a_stream_cut_anywhere_is_refused(void **state)
{
    struct subject *subject = *state;
    subject_randomize(subject, 2);
    uint64_t before = gw_state_hash(&subject->item, 1);
    size_t length = subject->stream.length;
    for (size_t cut = 0; cut < length; cut += cut + 64 < length ? step(length) : 1) {
        /* a copy of exactly this size, so that a sanitizer sees a read behind it */
        _cleanup_free_ uint8_t *bytes = malloc(cut ? cut : 1);
        memcpy(bytes, subject->stream.data, cut);
        struct gw_buf bad = {.data = bytes, .length = cut};
        expect_some_refusal(subject, &bad, cut);
    }
    assert_true(gw_state_hash(&subject->item, 1) == before);
}

/* The lengths and checksums fit, but the fields are not all there. */
void a_payload_cut_anywhere_is_refused(void **state)
{
    struct subject *subject = *state;
    const struct gw_state_type *type = subject->item.type;
    _cleanup_(gw_buf_fini) struct gw_buf bad = {0};
    subject_randomize(subject, 2);
    uint64_t before = gw_state_hash(&subject->item, 1);
    size_t length = get_le64(subject->stream.data + SUITE_HEADER_BYTES + 24);
    for (size_t cut = 0; cut < length; cut += cut + 64 < length ? step(length) : 1) {
        stream_begin(&bad);
        stream_section(&bad, 1, type->name, 0, type->version,
                       subject->stream.data + subject_payload_at(subject), cut);
        stream_end(&bad, 1);
        expect_some_refusal(subject, &bad, cut);
    }
    assert_true(gw_state_hash(&subject->item, 1) == before);
}

void a_flipped_bit_is_refused(void **state)
{
    struct subject *subject = *state;
    subject_randomize(subject, 3);
    uint64_t before = gw_state_hash(&subject->item, 1);
    size_t bits = 8 * subject->stream.length;
    for (size_t bit = 0; bit < bits; bit += step(bits)) {
        subject->stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        expect_some_refusal(subject, &subject->stream, bit / 8);
        subject->stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(gw_state_hash(&subject->item, 1) == before);
    assert_int_equal(subject_load(subject, &subject->stream, NULL), 0);
}
