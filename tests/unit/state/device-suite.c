/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <jansson.h>

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

void subject_randomize(struct subject *subject, uint64_t seed)
{
    gw_state_random(subject->item.type, subject->item.object, seed);
    if (subject->device->settle)
        subject->device->settle(subject->item.object);
    stream_save(subject->item.type, subject->item.object, &subject->stream);
}

int subject_load(struct subject *subject, const struct gw_buf *stream, struct gw_error *error)
{
    return gw_state_load(&subject->item, 1, stream->data, stream->length, error);
}

size_t subject_payload_at(const struct subject *subject)
{
    return SUITE_HEADER_BYTES + 32 + align_up(strlen(subject->item.type->name), 8);
}

void suite_copy(const struct gw_buf *from, struct gw_buf *to)
{
    gw_buf_clear(to);
    assert_int_equal(gw_buf_append(to, from->data, from->length), 0);
}

bool leaf_is_first_of_its_field(const struct leaves *leaves, size_t index)
{
    unsigned before = 0;
    for (size_t i = 0; i < index; i++)
        before += leaves->leaf[i].field == leaves->leaf[index].field;
    return before < 3;
}

/* ---- The tests ---- */

static void a_random_valid_state_saves_loads_and_saves_the_same(void **state)
{
    struct subject *subject = *state;
    _cleanup_(gw_buf_fini) struct gw_buf first = {0};
    for (uint64_t seed = 1; seed <= SUITE_SEEDS; seed++) {
        struct gw_error error = {0};
        subject_randomize(subject, seed);
        suite_copy(&subject->stream, &first);
        subject_randomize(subject, seed + SUITE_SEEDS); /* so that the load has something to do */
        if (subject_load(subject, &first, &error) < 0)
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
    subject_randomize(subject, 1);
    suite_copy(&subject->stream, &first);
    assert_int_equal(subject_load(subject, &first, NULL), 0);
    assert_int_equal(subject_load(subject, &first, NULL), 0);
    stream_save(subject->item.type, subject->item.object, &subject->stream);
    assert_int_equal(first.length, subject->stream.length);
    assert_memory_equal(first.data, subject->stream.data, first.length);
}

static void the_payload_is_as_long_as_the_specification_says(void **state)
{
    struct subject *subject = *state;
    for (uint64_t seed = 1; seed <= SUITE_SEEDS; seed++) {
        _cleanup_(leaves_fini) struct leaves leaves = {0};
        subject_randomize(subject, seed);
        leaves_find(subject->item.type, subject->item.object, &leaves);
        assert_int_equal(get_le64(subject->stream.data + SUITE_HEADER_BYTES + 24),
                         leaves.payload_bytes);
    }
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
    bool differs =
        gw_state_compare(subject->item.type, subject->item.object, twin, name, sizeof name);
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
        subject_randomize(subject, seed);
        memcpy(twin, subject->item.object, bytes);
        assert_false(
            gw_state_compare(subject->item.type, subject->item.object, twin, name, sizeof name));
        leaves_find(subject->item.type, subject->item.object, &leaves);
        for (size_t i = 0; i < leaves.count; i++)
            if (leaves.leaf[i].field->kind != STATE_PART && leaf_is_first_of_its_field(&leaves, i))
                expect_difference(subject, twin, &leaves.leaf[i]);
    }
}

static void the_text_is_json_with_every_field(void **state)
{
    struct subject *subject = *state;
    const struct gw_state_type *type = subject->item.type;
    _cleanup_(gw_buf_fini) struct gw_buf text = {0};
    char name[80];
    subject_randomize(subject, 1);
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
#define TEST(function)                                                                             \
    {                                                                                              \
#function, function, subject_open, subject_close, (void *)device                           \
    }
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
