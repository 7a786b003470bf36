/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/machine-name.h"

static void names_are_checked(void **state)
{
    static const char *const good[] = {"a", "vm-1", "A_b.c"};
    static const char *const bad[] = {
        "",    ".",        "..",
        ".a",  "-a",       "a/b",
        "a b", "\xc3\xa9", "0123456789012345678901234567890123456789012345678901234567890123x"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(machine_name_check(good[i], GW_LAYER_BASE, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(machine_name_check(bad[i], GW_LAYER_BASE, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_checked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
