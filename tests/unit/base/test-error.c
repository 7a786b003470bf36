/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include <godwit/error.h>

static void set_returns_the_errno_and_fills_the_sentence(void **state)
{
    struct gw_error error;
    assert_int_equal(
        gw_error_set(&error, GW_LAYER_BLOCK, GW_CODE_BUSY, -EBUSY, "disk '%s' is locked", "a.img"),
        -EBUSY);
    assert_string_equal(error.message, "disk 'a.img' is locked");
    assert_string_equal(gw_layer_name(error.layer), "block");
    assert_string_equal(gw_code_name(error.code), "busy");
}

static void a_null_error_is_allowed(void **state)
{
    assert_int_equal(gw_error_set(NULL, GW_LAYER_BASE, GW_CODE_IO, -EIO, "x"), -EIO);
    gw_error_prefix(NULL, "x");
}

static void prefix_keeps_code_and_cuts_what_does_not_fit(void **state)
{
    struct gw_error error;
    char longer[600];
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    gw_error_set(&error, GW_LAYER_VMM, GW_CODE_DENIED, -EACCES, "%s", longer);
    gw_error_prefix(&error, "while opening");
    assert_int_equal(error.code, GW_CODE_DENIED);
    assert_memory_equal(error.message, "while opening: yyy", 18);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

static void every_code_name_leads_back(void **state)
{
    for (int code = GW_CODE_NONE; code <= GW_CODE_INTERNAL; code++)
        assert_int_equal(gw_code_from_name(gw_code_name((enum gw_code)code)), code);
    for (int layer = GW_LAYER_BASE; layer <= GW_LAYER_CLI; layer++)
        assert_int_equal(gw_layer_from_name(gw_layer_name((enum gw_layer)layer)), layer);
    assert_int_equal(gw_code_from_name("no such"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_returns_the_errno_and_fills_the_sentence),
        cmocka_unit_test(a_null_error_is_allowed),
        cmocka_unit_test(prefix_keeps_code_and_cuts_what_does_not_fit),
        cmocka_unit_test(every_code_name_leads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
