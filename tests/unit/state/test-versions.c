/* SPDX-License-Identifier: Apache-2.0 */
/* Streams between releases, and subsections (docs/state.md, "Versions"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "grow-1.h"
#include "grow-2.h"
#include "grow-3.h"
#include "streams.h"

static int load(const struct gw_state_type *type, void *object, const struct gw_buf *stream)
{
    struct gw_error error = {0};
    struct gw_state_item item = {type, 0, object};
    int r = gw_state_load(&item, 1, stream->data, stream->length, &error);
    if (r < 0)
        print_message("%s\n", error.message);
    return r;
}

static void an_older_stream_loads_and_new_fields_keep_their_values(void **state)
{
    struct grow_1 old = {.value = 5, .parts = {{6}, {7}}};
    struct grow_2 now = {.value = 1, .parts = {{1, 2}, {3, 4}}, .added = 9};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_1_state_type, &old, &stream);
    assert_int_equal(load(&grow_2_state_type, &now, &stream), 0);
    assert_int_equal(now.value, 5);
    assert_int_equal(now.parts[0].first, 6);
    assert_int_equal(now.parts[0].second, 2);
    assert_int_equal(now.parts[1].first, 7);
    assert_int_equal(now.parts[1].second, 4);
    assert_int_equal(now.added, 9);
}

static void a_newer_version_is_refused_by_name(void **state)
{
    struct grow_1 old = {0};
    struct grow_2 now = {.added = 1};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_2_state_type, &now, &stream);
    expect_refused(&grow_1_state_type, &old, &stream,
                   "grow/0: its version 2 is newer than 1, the newest known here; a newer release "
                   "can load it");
}

static void a_version_below_the_minimum_is_refused_by_name(void **state)
{
    struct grow_1 old = {0};
    struct grow_3 now = {.added = 1};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_1_state_type, &old, &stream);
    expect_refused(&grow_3_state_type, &now, &stream,
                   "grow/0: its version 1 is older than 2, the oldest that this release loads");
}

static void a_subsection_that_is_not_needed_is_not_sent(void **state)
{
    struct grow_3 now = {.value = 3, .added = 1, .level = 50};
    struct grow_2 old = {0};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_3_state_type, &now, &stream);
    assert_int_equal(load(&grow_2_state_type, &old, &stream), 0);
    assert_int_equal(old.value, 3);
}

static void an_unknown_subsection_is_refused_by_name(void **state)
{
    struct grow_3 now = {.added = 1, .level = 4, .on = true};
    struct grow_2 old = {.added = 1};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_3_state_type, &now, &stream);
    expect_refused(&grow_2_state_type, &old, &stream,
                   "grow/0: subsection rare is unknown here; it needs a newer release");
}

static void a_needed_subsection_arrives(void **state)
{
    struct grow_3 here = {.added = 1, .level = 50, .on = true, .odd = {1, 2, 3}}, there = {0};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_3_state_type, &here, &stream);
    assert_int_equal(load(&grow_3_state_type, &there, &stream), 0);
    assert_int_equal(there.level, 50);
    assert_true(there.on);
    assert_int_equal(there.odd[2], 3);
}

static void an_absent_subsection_becomes_zero_or_the_minimum(void **state)
{
    struct grow_3 here = {.added = 1, .level = 4};
    struct grow_3 there = {.added = 1, .level = 50, .on = true, .odd = {1, 2, 3}};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_save(&grow_3_state_type, &here, &stream);
    assert_int_equal(load(&grow_3_state_type, &there, &stream), 0);
    assert_int_equal(there.level, 4);
    assert_false(there.on);
    assert_int_equal(there.odd[0], 0);
    assert_int_equal(there.odd[2], 0);
}

/* clang-format off */
/* value, part version 1, parts 0 0, added 1, padding to 16, number of subsections. */
static const uint8_t main_fields[24] = {0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
static const uint8_t rare[] = {4, 0, 0, 0, 3, 0, 0, 0, 'r', 'a', 'r', 'e', 0, 0, 0, 0,
                               9, 0, 1, 0, 0, 0, 0, 0};
static const uint8_t odd[] = {3, 0, 0, 0, 3, 0, 0, 0, 'o', 'd', 'd', 0, 0, 0, 0, 0,
                              7, 8, 9, 0, 0, 0, 0, 0};
/* clang-format on */

static void build(struct gw_buf *stream, uint32_t count, const uint8_t *first,
                  const uint8_t *second)
{
    uint8_t payload[24 + 48];
    memcpy(payload, main_fields, 24);
    put_le32(payload + 16, count);
    memcpy(payload + 24, first, 24);
    memcpy(payload + 48, second, 24);
    stream_begin(stream);
    stream_section(stream, 1, "grow", 0, 2, payload, sizeof payload);
    stream_end(stream, 1);
}

static void subsections_load_in_any_order(void **state)
{
    struct grow_3 there = {0};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    build(&stream, 2, odd, rare);
    assert_int_equal(load(&grow_3_state_type, &there, &stream), 0);
    assert_int_equal(there.level, 9);
    assert_int_equal(there.odd[1], 8);
}

static void wrong_subsections_are_refused(void **state)
{
    struct grow_3 there = {.added = 1, .level = 4};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    uint8_t changed[24];
    build(&stream, 2, rare, rare);
    expect_refused(&grow_3_state_type, &there, &stream, "grow/0: subsection rare comes twice");
    build(&stream, 1, rare, odd);
    expect_refused(&grow_3_state_type, &there, &stream, "grow/0: 24 bytes are left over");
    build(&stream, 3, rare, odd);
    expect_refused(&grow_3_state_type, &there, &stream, "grow/0: a subsection ends too early");
    build(&stream, UINT32_MAX, rare, odd);
    expect_refused(&grow_3_state_type, &there, &stream, "grow/0: a subsection ends too early");

    memcpy(changed, rare, 24);
    changed[4] = 4;
    build(&stream, 2, odd, changed);
    expect_refused(&grow_3_state_type, &there, &stream,
                   "grow/0: subsection rare: 1 bytes are left over");
    changed[4] = 2;
    changed[18] = 0;
    build(&stream, 2, odd, changed);
    expect_refused(&grow_3_state_type, &there, &stream,
                   "grow/0: field on: the section ends too early");
    changed[4] = 9;
    build(&stream, 2, odd, changed);
    expect_refused(&grow_3_state_type, &there, &stream,
                   "grow/0: a subsection's name or length is wrong");
    memcpy(changed, rare, 24);
    changed[16] = 3;
    build(&stream, 2, odd, changed);
    expect_refused(&grow_3_state_type, &there, &stream, "grow/0: field level: 3 is below 4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_stream_loads_and_new_fields_keep_their_values),
        cmocka_unit_test(a_newer_version_is_refused_by_name),
        cmocka_unit_test(a_version_below_the_minimum_is_refused_by_name),
        cmocka_unit_test(a_subsection_that_is_not_needed_is_not_sent),
        cmocka_unit_test(an_unknown_subsection_is_refused_by_name),
        cmocka_unit_test(a_needed_subsection_arrives),
        cmocka_unit_test(an_absent_subsection_becomes_zero_or_the_minimum),
        cmocka_unit_test(subsections_load_in_any_order),
        cmocka_unit_test(wrong_subsections_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
