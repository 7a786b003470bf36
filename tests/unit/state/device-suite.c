/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "device-suite.h"
#include "leaves.h"
#include "streams.h"

enum { SEEDS = 60, HEADER = 16, MANY = 3000 };

/* ---- One object in a random state, and its stream ---- */

struct subject {
    const struct suite_device *device;
    struct gw_state_item item;
    struct gw_buf stream;
};

static int subject_open(void **state)
{
    struct subject *subject = calloc(1, sizeof *subject);
    subject->device = *state;
    subject->item = (struct gw_state_item){subject->device->type, 0, subject->device->make()};
    *state = subject;
    return 0;
}

static int subject_close(void **state)
{
    struct subject *subject = *state;
    subject->device->destroy(subject->item.object);
    gw_buf_fini(&subject->stream);
    free(subject);
    return 0;
}

static void randomize(struct subject *subject, uint64_t seed)
{
    gw_state_random(subject->item.type, subject->item.object, seed);
    if (subject->device->settle)
        subject->device->settle(subject->item.object);
    stream_save(subject->item.type, subject->item.object, &subject->stream);
}

static int load(struct subject *subject, const struct gw_buf *stream, struct gw_error *error)
{
    return gw_state_load(&subject->item, 1, stream->data, stream->length, error);
}

static size_t payload_at(const struct subject *subject)
{
    return HEADER + 32 + align_up(strlen(subject->item.type->name), 8);
}

static void copy(const struct gw_buf *from, struct gw_buf *to)
{
    gw_buf_clear(to);
    assert_int_equal(gw_buf_append(to, from->data, from->length), 0);
}

/* Steps over `total` places so that at most MANY are visited, the last ones always. */
static size_t step(size_t total)
{
    return total / MANY + 1;
}

/* ---- The tests ---- */

static void a_random_valid_state_saves_loads_and_saves_the_same(void **state)
{
    struct subject *subject = *state;
    _cleanup_(gw_buf_fini) struct gw_buf first = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct gw_error error = {0};
        randomize(subject, seed);
        copy(&subject->stream, &first);
        randomize(subject, seed + SEEDS); /* so that the load has something to do */
        if (load(subject, &first, &error) < 0)
            fail_msg("seed %" PRIu64 ": %s", seed, error.message);
        stream_save(subject->item.type, subject->item.object, &subject->stream);
        assert_int_equal(first.length, subject->stream.length);
        assert_memory_equal(first.data, subject->stream.data, first.length);
    }
}

static void loading_twice_gives_the_same(void **state)
{
    struct subject *subject = *state;
    _cleanup_(gw_buf_fini) struct gw_buf first = {0};
    randomize(subject, 1);
    copy(&subject->stream, &first);
    assert_int_equal(load(subject, &first, NULL), 0);
    assert_int_equal(load(subject, &first, NULL), 0);
    stream_save(subject->item.type, subject->item.object, &subject->stream);
    assert_int_equal(first.length, subject->stream.length);
    assert_memory_equal(first.data, subject->stream.data, first.length);
}

/* Puts `value` where the leaf stands in the subject's stream and repairs the CRC. */
static void plant(const struct subject *subject, const struct leaf *leaf, uint64_t value,
                  unsigned bytes, struct gw_buf *to)
{
    copy(&subject->stream, to);
    uint64_t encoded = htole64(value);
    memcpy(to->data + payload_at(subject) + leaf->at, &encoded, bytes);
    stream_repair(to, HEADER);
}

static void expect_leaf_refused(struct subject *subject, const struct leaf *leaf, uint64_t value,
                                const char *why)
{
    _cleanup_(gw_buf_fini) struct gw_buf bad = {0};
    char sentence[512], number[32];
    bool is_signed = leaf->field->kind == STATE_SIGNED;
    snprintf(number, sizeof number, is_signed ? "%" PRId64 : "%" PRIu64, value);
    if (leaf->field->kind != STATE_SIGNED && ~leaf->field->mask)
        snprintf(number, sizeof number, "0x%" PRIx64, value);
    snprintf(sentence, sizeof sentence, "%s/0: field %s: %s %s", subject->item.type->name,
             leaf->path, number, why);
    plant(subject, leaf, value, leaf->field->bytes, &bad);
    expect_refused(subject->item.type, subject->item.object, &bad, sentence);
}

static bool fits(const struct state_field *field, int64_t value)
{
    unsigned bits = 8 * field->bytes;
    if (bits == 64)
        return true;
    return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
}

/* Every value next to the ranges of one field that its width can still hold. */
static void refuse_neighbours(struct subject *subject, const struct leaf *leaf)
{
    const struct state_field *field = leaf->field;
    uint64_t all = field->bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * field->bytes)) - 1;
    char why[64];
    if (field->kind == STATE_SIGNED) {
        int64_t low = (int64_t)field->minimum, high = (int64_t)field->maximum;
        snprintf(why, sizeof why, "is below %" PRId64, low);
        if (low > INT64_MIN && fits(field, low - 1))
            expect_leaf_refused(subject, leaf, (uint64_t)(low - 1), why);
        snprintf(why, sizeof why, "is above %" PRId64, high);
        if (high < INT64_MAX && fits(field, high + 1))
            expect_leaf_refused(subject, leaf, (uint64_t)(high + 1), why);
        return;
    }
    if (~field->mask) {
        uint64_t outside = all & ~field->mask;
        snprintf(why, sizeof why, "has bits outside 0x%" PRIx64, field->mask);
        if (outside)
            expect_leaf_refused(subject, leaf, outside & -outside, why);
        return;
    }
    snprintf(why, sizeof why, "is below %" PRIu64, field->minimum);
    if (field->minimum > 0)
        expect_leaf_refused(subject, leaf, field->minimum - 1, why);
    snprintf(why, sizeof why, "is above %" PRIu64, field->maximum);
    if (field->maximum < all)
        expect_leaf_refused(subject, leaf, field->maximum + 1, why);
}

static void refuse_part_version(struct subject *subject, const struct leaf *leaf)
{
    _cleanup_(gw_buf_fini) struct gw_buf bad = {0};
    uint32_t known = leaf->field->part->version;
    char sentence[512];
    snprintf(sentence, sizeof sentence,
             "%s/0: field %s: its version %" PRIu32 " is newer than %" PRIu32
             ", the newest known here", subject->item.type->name, leaf->path, known + 1, known);
    plant(subject, leaf, known + 1, 4, &bad);
    expect_refused(subject->item.type, subject->item.object, &bad, sentence);
}

/* Fields of a layout and its parts that have limits, except those that `seen` holds already. */
static void expect_all_seen(const struct state_layout *layout, const struct leaves *seen)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        bool found = field->kind != STATE_PART && state_is_free(field);
        for (size_t j = 0; j < seen->count; j++)
            found |= seen->leaf[j].field == field;
        if (!found)
            fail_msg("no random state had a value of %s.%s", layout->tag, field->name);
        if (field->kind == STATE_PART)
            expect_all_seen(field->part, seen);
    }
}

static void note(struct leaves *seen, const struct leaf *leaf)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->leaf[i].field == leaf->field)
            return;
    seen->leaf = realloc(seen->leaf, (seen->count + 1) * sizeof *seen->leaf);
    seen->leaf[seen->count++] = *leaf;
}

/* At most a few elements of each field, so that large arrays of parts do not take all day. */
static bool is_first_of_its_field(const struct leaves *leaves, size_t index)
{
    unsigned before = 0;
    for (size_t i = 0; i < index; i++)
        before += leaves->leaf[i].field == leaves->leaf[index].field;
    return before < 3;
}

static void each_value_out_of_range_is_refused_by_name(void **state)
{
    struct subject *subject = *state;
    _cleanup_(leaves_fini) struct leaves seen = {0};
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
        _cleanup_(leaves_fini) struct leaves leaves = {0};
        randomize(subject, seed);
        leaves_find(subject->item.type, subject->item.object, &leaves);
        for (size_t i = 0; i < leaves.count; i++) {
            if (!is_first_of_its_field(&leaves, i))
                continue;
            note(&seen, &leaves.leaf[i]);
            if (leaves.leaf[i].field->kind == STATE_PART)
                refuse_part_version(subject, &leaves.leaf[i]);
            else
                refuse_neighbours(subject, &leaves.leaf[i]);
        }
    }
    expect_all_seen(subject->item.type->layout, &seen);
}

static void the_payload_is_as_long_as_the_specification_says(void **state)
{
    struct subject *subject = *state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        _cleanup_(leaves_fini) struct leaves leaves = {0};
        randomize(subject, seed);
        leaves_find(subject->item.type, subject->item.object, &leaves);
        assert_int_equal(get_le64(subject->stream.data + HEADER + 24), leaves.payload_bytes);
    }
}

static void the_next_version_is_refused_by_name(void **state)
{
    struct subject *subject = *state;
    const struct gw_state_type *type = subject->item.type;
    char sentence[512];
    randomize(subject, 1);
    put_le32(subject->stream.data + HEADER + 12, type->version + 1);
    stream_repair(&subject->stream, HEADER);
    snprintf(sentence, sizeof sentence,
             "%s/0: its version %" PRIu32 " is newer than %" PRIu32
             ", the newest known here; a newer release can load it",
             type->name, type->version + 1, type->version);
    expect_refused(type, subject->item.object, &subject->stream, sentence);
}

/* Refused with any sentence that names the stream or the device; the object stays. */
static void expect_some_refusal(struct subject *subject, const struct gw_buf *bad, size_t place)
{
    struct gw_error error = {0};
    char ours[80];
    snprintf(ours, sizeof ours, "%s/0: ", subject->item.type->name);
    int r = load(subject, bad, &error);
    if (r != -EBADMSG)
        fail_msg("damage at %zu is not refused: %d %s", place, r, error.message);
    if (strncmp(error.message, "state stream: ", 14) != 0 &&
        strncmp(error.message, ours, strlen(ours)) != 0)
        fail_msg("damage at %zu: the sentence has no subject: %s", place, error.message);
}

static void a_stream_cut_anywhere_is_refused(void **state)
{
    struct subject *subject = *state;
    randomize(subject, 2);
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
static void a_payload_cut_anywhere_is_refused(void **state)
{
    struct subject *subject = *state;
    const struct gw_state_type *type = subject->item.type;
    _cleanup_(gw_buf_fini) struct gw_buf bad = {0};
    randomize(subject, 2);
    uint64_t before = gw_state_hash(&subject->item, 1);
    size_t length = get_le64(subject->stream.data + HEADER + 24);
    for (size_t cut = 0; cut < length; cut += cut + 64 < length ? step(length) : 1) {
        stream_begin(&bad);
        stream_section(&bad, 1, type->name, 0, type->version,
                       subject->stream.data + payload_at(subject), cut);
        stream_end(&bad, 1);
        expect_some_refusal(subject, &bad, cut);
    }
    assert_true(gw_state_hash(&subject->item, 1) == before);
}

static void a_flipped_bit_is_refused(void **state)
{
    struct subject *subject = *state;
    randomize(subject, 3);
    uint64_t before = gw_state_hash(&subject->item, 1);
    size_t bits = 8 * subject->stream.length;
    for (size_t bit = 0; bit < bits; bit += step(bits)) {
        subject->stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        expect_some_refusal(subject, &subject->stream, bit / 8);
        subject->stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(gw_state_hash(&subject->item, 1) == before);
    assert_int_equal(load(subject, &subject->stream, NULL), 0);
}

/* Another valid value, or the same where there is only one. */
static uint64_t other_value(const struct state_field *field, uint64_t value)
{
    char fault[STATE_MAX_FAULT];
    const uint64_t candidates[] = {value + 1, value - 1, field->minimum, field->maximum,
                                   value ^ (field->mask & -field->mask)};
    for (size_t i = 0; i < ARRAY_COUNT(candidates); i++)
        if (candidates[i] != value && !state_value_fault(field, candidates[i], fault, sizeof fault))
            return candidates[i];
    return value;
}

/* Changes one value in memory, asks for the difference, and changes it back. */
static void expect_difference(struct subject *subject, const void *twin, const struct leaf *leaf)
{
    void *element = (void *)leaf->element;
    uint64_t value = state_get(leaf->field, element), other = other_value(leaf->field, value);
    char name[STATE_MAX_PATH] = "";
    if (other == value || (char *)element < (char *)subject->item.object ||
        (char *)element >= (char *)subject->item.object + subject->item.type->layout->bytes)
        return; /* what a GW_ARRAY points to is shared with the twin */
    state_set(leaf->field, element, other);
    bool differs = gw_state_compare(subject->item.type, subject->item.object, twin, name,
                                    sizeof name);
    state_set(leaf->field, element, value);
    if (!differs || strcmp(name, leaf->path) != 0)
        fail_msg("a change of %s was seen in '%s'", leaf->path, name);
}

static void compare_names_the_field_that_differs(void **state)
{
    struct subject *subject = *state;
    size_t bytes = subject->item.type->layout->bytes;
    _cleanup_free_ void *twin = malloc(bytes);
    char name[STATE_MAX_PATH];
    for (uint64_t seed = 1; seed <= 5; seed++) {
        _cleanup_(leaves_fini) struct leaves leaves = {0};
        randomize(subject, seed);
        memcpy(twin, subject->item.object, bytes);
        assert_false(gw_state_compare(subject->item.type, subject->item.object, twin, name,
                                      sizeof name));
        leaves_find(subject->item.type, subject->item.object, &leaves);
        for (size_t i = 0; i < leaves.count; i++)
            if (leaves.leaf[i].field->kind != STATE_PART && is_first_of_its_field(&leaves, i))
                expect_difference(subject, twin, &leaves.leaf[i]);
    }
}

static void the_text_is_json_with_every_field(void **state)
{
    struct subject *subject = *state;
    const struct gw_state_type *type = subject->item.type;
    _cleanup_(gw_buf_fini) struct gw_buf text = {0};
    char name[80];
    randomize(subject, 1);
    assert_int_equal(gw_state_print(&subject->item, 1, &text, NULL), 0);
    json_t *json = json_loadb((char *)text.data, text.length, JSON_REJECT_DUPLICATES, NULL);
    snprintf(name, sizeof name, "%s/0", type->name);
    const json_t *fields = json_object_get(json, name);
    assert_non_null(fields);
    for (size_t i = 0; i < type->layout->field_count; i++)
        if (!type->layout->fields[i].subsection)
            assert_non_null(json_object_get(fields, type->layout->fields[i].name));
    json_decref(json);
}

int suite_run(const struct suite_device *device)
{
#define TEST(function) {#function, function, subject_open, subject_close, (void *)device}
    const struct CMUnitTest tests[] = {
        TEST(a_random_valid_state_saves_loads_and_saves_the_same),
        TEST(loading_twice_gives_the_same),
        TEST(each_value_out_of_range_is_refused_by_name),
        TEST(the_payload_is_as_long_as_the_specification_says),
        TEST(the_next_version_is_refused_by_name),
        TEST(a_stream_cut_anywhere_is_refused),
        TEST(a_payload_cut_anywhere_is_refused),
        TEST(a_flipped_bit_is_refused),
        TEST(compare_names_the_field_that_differs),
        TEST(the_text_is_json_with_every_field),
    };
#undef TEST
    return cmocka_run_group_tests_name(device->type->name, tests, NULL, NULL);
}
