/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include <godwit/buf.h>

static void appended_bytes_come_out_in_order(void **state)
{
    struct gw_buf buf = {0};
    assert_int_equal(gw_buf_append(&buf, "ab", 2), 0);
    assert_int_equal(gw_buf_append_le(&buf, 0x0403, 2), 0);
    assert_int_equal(gw_buf_printf(&buf, "%d", 42), 0);
    assert_int_equal(buf.length, 6);
    assert_memory_equal(buf.data, "ab\x03\x04"
                                  "42",
                        6);
    gw_buf_consume(&buf, 2);
    assert_memory_equal(buf.data, "\x03\x04"
                                  "42",
                        4);
    gw_buf_fini(&buf);
}

static void the_limit_holds_and_leaves_the_buffer_alone(void **state)
{
    struct gw_buf buf = {.limit = 1000};
    assert_non_null(gw_buf_extend(&buf, 1000));
    assert_int_equal(gw_buf_append(&buf, "x", 1), -ENOBUFS);
    assert_null(gw_buf_extend(&buf, SIZE_MAX));
    assert_int_equal(buf.length, 1000);
    assert_true(buf.capacity <= 1000);
    gw_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_come_out_in_order),
        cmocka_unit_test(the_limit_holds_and_leaves_the_buffer_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
