/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind a machine's state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "board/board-connections.h"

#define BEFORE "the state of the machine, which is longer than what ends it"

static struct gw_buf sample(void)
{
    const struct board_connections all[] = {
        {"lan", "one", 3}, {"empty", NULL, 0}, {"net0", "three", 5}};
    struct gw_buf out = {0};
    assert_int_equal(gw_buf_append(&out, BEFORE, strlen(BEFORE)), 0);
    assert_int_equal(connections_append(all, 3, &out, NULL), 0);
    return out;
}

static void what_is_appended_is_found(void **state)
{
    struct board_connections all[] = {{.name = "net0"}, {.name = "empty"}, {.name = "lan"}};
    struct gw_buf bytes = sample();
    size_t length;
    assert_int_equal(connections_find(bytes.data, bytes.length, all, 3, &length, NULL), 0);
    assert_int_equal(length, strlen(BEFORE));
    assert_int_equal(all[0].length, 5);
    assert_memory_equal(all[0].bytes, "three", 5);
    assert_int_equal(all[1].length, 0);
    assert_int_equal(all[2].length, 3);
    assert_memory_equal(all[2].bytes, "one", 3);
    gw_buf_fini(&bytes);
}

static void a_machine_without_any_has_nothing_there(void **state)
{
    struct board_connections all[] = {{.name = "net0", .length = 77}};
    struct gw_buf bytes = {0};
    size_t length;
    all[0].length = 0;
    assert_int_equal(gw_buf_append(&bytes, BEFORE, strlen(BEFORE)), 0);
    assert_int_equal(connections_append(all, 1, &bytes, NULL), 0);
    assert_int_equal(bytes.length, strlen(BEFORE));
    all[0].length = 77;
    assert_int_equal(connections_find(bytes.data, bytes.length, all, 1, &length, NULL), 0);
    assert_int_equal(length, bytes.length);
    assert_int_equal(all[0].length, 0);
    assert_int_equal(connections_find(bytes.data, 0, all, 1, &length, NULL), 0);
    assert_int_equal(length, 0);
    gw_buf_fini(&bytes);
}

static void expect_refused(struct gw_buf *bytes, struct board_connections *all, unsigned count)
{
    struct gw_error error = {0};
    size_t length;
    assert_int_equal(connections_find(bytes->data, bytes->length, all, count, &length, &error),
                     -EBADMSG);
    assert_non_null(strstr(error.message, "connections behind the machine's state are wrong"));
}

static void lengths_and_names_that_cannot_be_are_refused(void **state)
{
    struct board_connections all[] = {{.name = "net0"}, {.name = "lan"}};
    size_t first = strlen(BEFORE), second = first + 72 + 3, foot = second + 72 + 5;
    const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {first, 'x'},     {second, 'x'},   /* unknown names */
        {first + 64, 0},  {first + 64, 4}, /* lengths of a network */
        {first + 67, 1},  {second + 64, 6}, {first + 68, 1}, {foot, 1}, {foot + 7, 1}, /* of all */
        {foot + 8, 1},    {foot + 8, 3}, /* how many */
        {foot + 11, 255}, {foot + 12, 1},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct gw_buf bytes = sample();
        bytes.data[changes[i].at] = changes[i].value;
        expect_refused(&bytes, all, 2);
        gw_buf_fini(&bytes);
    }
}

static void one_network_twice_is_refused(void **state)
{
    struct board_connections all[] = {{.name = "net0"}, {.name = "lan"}};
    struct gw_buf bytes = sample();
    memcpy(bytes.data + strlen(BEFORE), "net0", 5);
    expect_refused(&bytes, all, 2);
    memset(bytes.data + strlen(BEFORE), 'n', 64); /* and a name without an end */
    expect_refused(&bytes, all, 2);
    gw_buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_found),
        cmocka_unit_test(a_machine_without_any_has_nothing_there),
        cmocka_unit_test(lengths_and_names_that_cannot_be_are_refused),
        cmocka_unit_test(one_network_twice_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
