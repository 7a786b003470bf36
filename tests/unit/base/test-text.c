/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* The buffer as a string that the test frees. */
static char *string_of(struct gw_buf *buf)
{
    assert_int_equal(gw_buf_append(buf, "", 1), 0);
    return (char *)buf->data;
}

static char *escaped(const char *text, size_t bytes)
{
    struct gw_buf out = {0};
    assert_int_equal(text_escape(&out, text, bytes), 0);
    return string_of(&out);
}

static char *wrapped(const char *text, unsigned width, unsigned column, unsigned indent)
{
    struct gw_buf out = {0};
    assert_int_equal(text_wrap(&out, text, width, column, indent), 0);
    return string_of(&out);
}

/* Calls for each line. */
static void assert_lines_fit(const char *text, unsigned width)
{
    while (*text) {
        size_t bytes = strcspn(text, "\n");
        if (text_columns(text, bytes) > width)
            fail_msg("wider than %u columns: '%.*s'", width, (int)bytes, text);
        text += bytes + (text[bytes] == '\n');
    }
}

static void assert_harmless(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\n') || *text == 0x7f)
            fail_msg("control character 0x%02x", (unsigned char)*text);
}

static void what_steers_a_terminal_is_written_out(void **state)
{
    static const struct {
        const char *text, *escaped;
    } cases[] = {
        {"plain, café → 日本", "plain, café → 日本"},
        {"\x1b[2J\a\r\n\t\x7f", "\\x1b[2J\\x07\\x0d\\x0a\\x09\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\x9b31m"}, /* C1 in UTF-8 */
        {"\x9b"
         "31m\xff",
         "\\x9b31m\\xff"}, /* and as a byte */
        {"\xe2\x80\xae"
         "evil\xe2\x81\xa9",
         "\\u202eevil\\u2069"},
        {"\xef\xbb\xbf\xe2\x80\x8b\xe2\x80\xa8", "\\ufeff\\u200b\\u2028"},
        {"\xf3\xa0\x81\x81", "\\U000e0041"},
        {"\xc0\xaf\xe0\x80\xaf", "\\xc0\\xaf\\xe0\\x80\\xaf"}, /* longer than need be */
        {"\xed\xa0\x80\xe2\x82", "\\xed\\xa0\\x80\\xe2\\x82"}, /* a surrogate; cut */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        _cleanup_free_ char *once = escaped(cases[i].text, strlen(cases[i].text));
        assert_string_equal(once, cases[i].escaped);
        _cleanup_free_ char *twice = escaped(once, strlen(once));
        assert_string_equal(twice, once);
    }
    _cleanup_free_ char *with_zero = escaped("a\0b", 3);
    assert_string_equal(with_zero, "a\\x00b");
}

static void columns_are_those_of_the_display(void **state)
{
    assert_int_equal(text_columns("abc", 3), 3);
    assert_int_equal(text_columns("≤ µ…", strlen("≤ µ…")), 4);
    assert_int_equal(text_columns("日本", strlen("日本")), 4);
    assert_int_equal(text_columns("e\xcc\x81", 3), 1);
}

static void ascii_takes_as_many_columns(void **state)
{
    static const char text[] = "██▌· ≤ 5 µs → 日 é \xcc\x81…";
    struct gw_buf out = {0};
    assert_int_equal(text_to_ascii(&out, text, strlen(text)), 0);
    _cleanup_free_ char *ascii = string_of(&out);
    assert_string_equal(ascii, "###. < 5 us > ?? ? .");
    assert_int_equal(strlen(ascii), text_columns(text, strlen(text)));
}

static void words_wrap_under_their_beginning(void **state)
{
    _cleanup_free_ char *text = wrapped("one two  three ", 10, 4, 4);
    assert_string_equal(text, "one\n    two\n    three\n");
    _cleanup_free_ char *whole = wrapped("one two three", TEXT_UNLIMITED, 0, 4);
    assert_string_equal(whole, "one two three\n");
    _cleanup_free_ char *broken = wrapped("a 123456789 b", 6, 0, 2);
    assert_string_equal(broken, "a\n  1234\n  5678\n  9 b\n");
    _cleanup_free_ char *multibyte = wrapped("≤≤ ≤≤ ≤≤", 5, 0, 0);
    assert_string_equal(multibyte, "≤≤ ≤≤\n≤≤\n");
    _cleanup_free_ char *units = wrapped("took 12 ms, 3 minutes", 8, 0, 0);
    assert_string_equal(units, "took\n12 ms, 3\nminutes\n");
    _cleanup_free_ char *empty = wrapped("", 5, 0, 0);
    assert_string_equal(empty, "\n");
}

static char *item(const char *label, const char *text)
{
    struct gw_buf out = {0};
    assert_int_equal(text_item(&out, label, text, 20, 2, 8), 0);
    return string_of(&out);
}

static void an_item_hangs_beside_its_label(void **state)
{
    _cleanup_free_ char *short_one = item("--a", "one two three"), *bare = item("--a", "");
    assert_string_equal(short_one, "  --a   one two\n        three\n");
    _cleanup_free_ char *long_one = item("--a-long-one", "one two three");
    assert_string_equal(long_one, "  --a-long-one\n        one two\n        three\n");
    assert_string_equal(bare, "  --a\n");
}

static const struct text_column columns[] = {
    {.title = "NAME"}, {.title = "SIZE", .right = true}, {.title = "NOTE", .optional = true}};

static char *table(unsigned width)
{
    struct text_table made = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
    struct gw_buf out = {0};
    text_table_cell(&made, "web");
    text_table_cell(&made, "%d", 512);
    text_table_cell(&made, "%s", "fine");
    text_table_cell(&made, "日本");
    text_table_rest(&made, "%s", "ended because it was told to do so");
    assert_int_equal(text_table_put(&made, &out, width, 0), 0);
    text_table_fini(&made);
    return string_of(&out);
}

static void a_table_has_aligned_columns(void **state)
{
    _cleanup_free_ char *text = table(TEXT_UNLIMITED);
    assert_string_equal(text, "NAME  SIZE  NOTE\n"
                              "web    512  fine\n"
                              "日本  ended because it was told to do so\n");
}

static void a_narrow_table_wraps_and_leaves_out(void **state)
{
    _cleanup_free_ char *wraps = table(32), *narrow = table(14);
    assert_string_equal(wraps, "NAME  SIZE  NOTE\n"
                               "web    512  fine\n"
                               "日本  ended because it was told\n"
                               "      to do so\n");
    assert_string_equal(narrow, "NAME  SIZE\n"
                                "web    512\n"
                                "日本\n"
                                "    ended\n    because it\n    was told\n    to do so\n");
}

static void a_table_breaks_no_word_without_need(void **state)
{
    static const struct text_column two[] = {{.title = "WAY"}, {.title = "STARTED"}};
    struct text_table made = {.columns = two, .column_count = 2};
    struct gw_buf out = {0};
    text_table_cell(&made, "to tcp:127.0.0.1:4444");
    text_table_cell(&made, "2026-11-30 16:49");
    assert_int_equal(text_table_put(&made, &out, 32, 0), 0);
    text_table_fini(&made);
    _cleanup_free_ char *text = string_of(&out);
    assert_string_equal(text, "WAY                 STARTED\n"
                              "to                  2026-11-30\n"
                              "tcp:127.0.0.1:4444  16:49\n");
}

static uint32_t random_state = 1;

static uint32_t random_number(uint32_t below)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % below;
}

/* Anything: bytes, pieces of UTF-8, spaces, escape sequences. */
static void random_text(char *text, size_t bytes)
{
    static const char *const pieces[] = {" ", "\x1b[6n", "日",      "\xe2\x80\xae",
                                         "é", "word",    "\xc2\x9b"};
    size_t used = 0;
    while (used + 8 < bytes && random_number(40)) {
        const char *piece = pieces[random_number(ARRAY_COUNT(pieces))];
        if (random_number(3)) {
            memcpy(text + used, piece, strlen(piece));
            used += strlen(piece);
        } else {
            text[used++] = (char)(1 + random_number(255));
        }
    }
    text[used] = '\0';
}

static void no_layout_of_any_text_is_wide_or_harmful(void **state)
{
    for (unsigned i = 0; i < 3000; i++) {
        char one[400], other[400];
        unsigned width = 20 + random_number(140), indent = random_number(10);
        struct text_table made = {.columns = columns, .column_count = ARRAY_COUNT(columns)};
        struct gw_buf out = {0};
        random_text(one, sizeof one);
        random_text(other, sizeof other);
        assert_int_equal(text_wrap(&out, one, width, 0, indent), 0);
        assert_int_equal(text_item(&out, one, other, width, 2, indent + 3), 0);
        text_table_cell(&made, "%s", one);
        text_table_cell(&made, "%s", other);
        text_table_cell(&made, "%s", other);
        text_table_cell(&made, "x");
        text_table_rest(&made, "%s", one);
        assert_int_equal(text_table_put(&made, &out, width, indent), 0);
        text_table_fini(&made);
        _cleanup_free_ char *text = string_of(&out);
        assert_lines_fit(text, width);
        assert_harmless(text);
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
            _cleanup_free_ char *again = escaped(line, strcspn(line, "\n"));
            assert_memory_equal(again, line, strcspn(line, "\n"));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_steers_a_terminal_is_written_out),
        cmocka_unit_test(columns_are_those_of_the_display),
        cmocka_unit_test(ascii_takes_as_many_columns),
        cmocka_unit_test(words_wrap_under_their_beginning),
        cmocka_unit_test(an_item_hangs_beside_its_label),
        cmocka_unit_test(a_table_has_aligned_columns),
        cmocka_unit_test(a_narrow_table_wraps_and_leaves_out),
        cmocka_unit_test(a_table_breaks_no_word_without_need),
        cmocka_unit_test(no_layout_of_any_text_is_wide_or_harmful),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
