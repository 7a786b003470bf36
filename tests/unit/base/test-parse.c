/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "base/parse.h"

static void sizes_with_units_are_binary(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"512M", (uint64_t)512 << 20},
        {"512MiB", (uint64_t)512 << 20},
        {"1.5g", (uint64_t)1536 << 20},
        {"64k", 65536},
        {"16777215T", (uint64_t)16777215 << 40},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t bytes;
        assert_int_equal(parse_size(good[i].text, &bytes), 0);
        assert_int_equal(bytes, good[i].bytes);
    }
}

static void what_is_not_a_size_is_refused(void **state)
{
    static const char *const bad[] = {"", "M", "-1", "+1", " 1", "1 M", "1x", "1.M", "1.2345G", "0x10", "1MM"};
    uint64_t bytes = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse_size(bad[i], &bytes), -EINVAL);
    assert_int_equal(parse_size("99999999999999999999", &bytes), -ERANGE);
    assert_int_equal(parse_size("16777216T", &bytes), -ERANGE);
    assert_int_equal(bytes, 7);
}

static void durations_take_the_default_unit(void **state)
{
    uint64_t ns;
    assert_int_equal(parse_duration("100", 1000000, &ns), 0);
    assert_int_equal(ns, 100000000);
    assert_int_equal(parse_duration("1.5s", 1000000, &ns), 0);
    assert_int_equal(ns, 1500000000);
    assert_int_equal(parse_duration("2 s", 1000000, &ns), -EINVAL);
}

static void numbers_keep_their_maximum(void **state)
{
    uint64_t value;
    assert_int_equal(parse_number("8", 8, &value), 0);
    assert_int_equal(value, 8);
    assert_int_equal(parse_number("9", 8, &value), -ERANGE);
    assert_int_equal(parse_number("8x", 8, &value), -EINVAL);
}

static void a_list_has_parts_and_a_doubled_comma_is_one(void **state)
{
    const char *at = "a,,b,,,c=1";
    char *part = parse_part(&at);
    assert_string_equal(part, "a,b,");
    free(part);
    assert_non_null(at);
    part = parse_part(&at);
    assert_string_equal(part, "c=1");
    free(part);
    assert_null(at);
    at = "";
    part = parse_part(&at);
    assert_string_equal(part, "");
    free(part);
    assert_null(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_with_units_are_binary),
        cmocka_unit_test(what_is_not_a_size_is_refused),
        cmocka_unit_test(durations_take_the_default_unit),
        cmocka_unit_test(numbers_keep_their_maximum),
        cmocka_unit_test(a_list_has_parts_and_a_doubled_comma_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
