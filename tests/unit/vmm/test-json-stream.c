/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/json-stream.h"

/* Feeds `text` in pieces of `step` bytes; the values found, each followed by '|', limits as '!'. */
static char *cut(const char *text, size_t length, size_t step)
{
    struct json_stream stream;
    struct gw_buf found = {0};

    json_stream_init(&stream);
    for (size_t at = 0; at < length;) {
        size_t piece = length - at < step ? length - at : step;
        size_t consumed = 0;
        enum json_stream_result result = json_stream_feed(&stream, text + at, piece, &consumed);

        assert_true(consumed <= piece);
        at += consumed;
        if (result == JSON_STREAM_VALUE) {
            gw_buf_append(&found, stream.value.data, stream.value.length);
            gw_buf_append(&found, "|", 1);
        } else if (result != JSON_STREAM_MORE) {
            gw_buf_append(&found, "!", 1);
        }
    }
    json_stream_fini(&stream);
    gw_buf_append(&found, "", 1);
    return (char *)found.data;
}

static void assert_cut(const char *text, const char *expected)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        char *found = cut(text, strlen(text), step);

        assert_string_equal(found, expected);
        free(found);
    }
}

static void values_need_no_separator(void **state)
{
    assert_cut("{\"a\":1}{\"b\":[2,{}]} \n\t[3]\r\n{}", "{\"a\":1}|{\"b\":[2,{}]}|[3]|{}|");
}

static void brackets_in_strings_do_not_count(void **state)
{
    assert_cut("{\"}\\\"}]\\\\\":\"[{\"}{}", "{\"}\\\"}]\\\\\":\"[{\"}|{}|");
}

static void words_end_at_space_or_bracket(void **state)
{
    assert_cut("foo 17{\"a\":1}true[] \"s t\"x\n", "foo|17|{\"a\":1}|true|[]|\"s t\"|x|");
}

static void stray_closing_bracket_is_a_value_of_its_own(void **state)
{
    assert_cut("}{\"a\":1}]", "}|{\"a\":1}|]|");
}

static void mixed_brackets_end_somewhere(void **state)
{
    assert_cut("{]{\"a\":1}", "{]|{\"a\":1}|");
}

static void reset_byte_throws_away_what_was_begun(void **state)
{
    assert_cut("{\"a\":[\"\xff{\"b\":2}", "{\"b\":2}|");
}

static void deep_value_is_told_once_and_skipped(void **state)
{
    char text[400] = "";

    memset(text, '[', 100);
    memset(text + 100, ']', 100);
    strcat(text, "{\"after\":1}");
    assert_cut(text, "!{\"after\":1}|");
}

static void deepest_allowed_value_passes(void **state)
{
    char text[2 * JSON_STREAM_MAX_DEPTH + 1] = "";
    char *found;

    memset(text, '[', JSON_STREAM_MAX_DEPTH);
    memset(text + JSON_STREAM_MAX_DEPTH, ']', JSON_STREAM_MAX_DEPTH);
    found = cut(text, sizeof text - 1, 7);
    assert_memory_equal(found, text, sizeof text - 1);
    assert_string_equal(found + sizeof text - 1, "|");
    free(found);
}

static void long_value_is_told_once_and_skipped(void **state)
{
    size_t length = JSON_STREAM_MAX_BYTES + 100;
    char *text = malloc(length + 3);
    char *found;

    memset(text, 'x', length);
    text[0] = text[length - 1] = '"';
    memcpy(text + length, "[1]", 3);
    found = cut(text, length + 3, 10000);
    assert_string_equal(found, "![1]|");
    free(found);
    free(text);
}

static void memory_of_a_skipped_value_is_given_back(void **state)
{
    struct json_stream stream;
    char piece[4096];
    size_t consumed;

    json_stream_init(&stream);
    memset(piece, 'x', sizeof piece);
    piece[0] = '"';
    for (unsigned i = 0; i < 1000; i++) {
        for (size_t at = 0; at < sizeof piece; at += consumed)
            json_stream_feed(&stream, piece + at, sizeof piece - at, &consumed);
        piece[0] = 'x';
        assert_true(stream.value.capacity <= JSON_STREAM_MAX_BYTES);
    }
    assert_int_equal(stream.value.capacity, 0);
    json_stream_fini(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_need_no_separator),
        cmocka_unit_test(brackets_in_strings_do_not_count),
        cmocka_unit_test(words_end_at_space_or_bracket),
        cmocka_unit_test(stray_closing_bracket_is_a_value_of_its_own),
        cmocka_unit_test(mixed_brackets_end_somewhere),
        cmocka_unit_test(reset_byte_throws_away_what_was_begun),
        cmocka_unit_test(deep_value_is_told_once_and_skipped),
        cmocka_unit_test(deepest_allowed_value_passes),
        cmocka_unit_test(long_value_is_told_once_and_skipped),
        cmocka_unit_test(memory_of_a_skipped_value_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
