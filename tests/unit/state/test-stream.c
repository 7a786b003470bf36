/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/cleanup.h"
#include "samples.h"

static void a_saved_state_loads_into_another_object(void **state)
{
    struct sample here = {.clock_ns = 7}, there = {0};
    struct gw_state_item save = {&sample_state_type, 3, &here}, load = {&sample_state_type, 3, &there};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0}, again = {0};
    struct gw_error error = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        gw_state_random(&sample_state_type, &here, seed);
        gw_buf_clear(&stream);
        gw_buf_clear(&again);
        if (gw_state_save(&save, 1, &stream, &error) < 0 ||
            gw_state_load(&load, 1, stream.data, stream.length, &error) < 0)
            fail_msg("seed %d: %s", (int)seed, error.message);
        assert_int_equal(gw_state_save(&load, 1, &again, &error), 0);
        assert_int_equal(stream.length, again.length);
        assert_memory_equal(stream.data, again.data, stream.length);
        char name[64];
        if (gw_state_compare(&sample_state_type, &here, &there, name, sizeof name))
            fail_msg("seed %d: %s differs", (int)seed, name);
    }
    gw_buf_clear(&again);
    assert_int_equal(gw_state_print(&load, 1, &again, &error), 0);
    gw_state_schema(&load, 1, &again);
    if (getenv("SHOW"))
        fwrite(again.data, 1, again.length, stdout);
    sample_fini(&here);
    sample_fini(&there);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_state_loads_into_another_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
