/* SPDX-License-Identifier: Apache-2.0 */
/* Fields, arrays and the devices' own functions (docs/state.md, "Marks"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "samples.h"
#include "streams.h"

/* Two of them; `here` is valid, `there` full of something else. */
struct pair {
    struct sample here, there;
    struct gw_buf stream;
};

static int open_pair(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    pair->here.ranged = 2;
    pair->here.break_length = 5;
    gw_state_random(&sample_state_type, &pair->there, 1);
    *state = pair;
    return 0;
}

static int close_pair(void **state)
{
    struct pair *pair = *state;
    sample_fini(&pair->here);
    sample_fini(&pair->there);
    gw_buf_fini(&pair->stream);
    free(pair);
    return 0;
}

static int move(struct pair *pair, struct gw_error *error)
{
    struct gw_state_item item = {&sample_state_type, 0, &pair->there};
    stream_save(&sample_state_type, &pair->here, &pair->stream);
    return gw_state_load(&item, 1, pair->stream.data, pair->stream.length, error);
}

static void integers_of_every_kind_arrive(void **state)
{
    struct pair *pair = *state;
    struct sample *here = &pair->here, *there = &pair->there;
    here->u8 = 0xff;
    here->u64 = UINT64_MAX - 1;
    here->s8 = -128;
    here->s16 = -2;
    here->s32 = INT32_MIN;
    here->s64 = INT64_MIN;
    here->flag = true;
    here->mode = SAMPLE_FAST;
    here->counter = 77;
    here->pending = true;
    memcpy(here->serial, "godwit", 6);
    here->levels[3] = 1000;
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(there->u8, 0xff);
    assert_true(there->u64 == UINT64_MAX - 1);
    assert_int_equal(there->s8, -128);
    assert_int_equal(there->s16, -2);
    assert_int_equal(there->s32, INT32_MIN);
    assert_true(there->s64 == INT64_MIN);
    assert_true(there->flag);
    assert_int_equal(there->mode, SAMPLE_FAST);
    assert_int_equal(there->counter, 77);
    assert_true(there->pending);
    assert_string_equal(there->serial, "godwit");
    assert_int_equal(there->levels[3], 1000);
}

static void elements_past_the_count_are_zero_after_loading(void **state)
{
    struct pair *pair = *state;
    memset(pair->here.fifo, 0xee, sizeof pair->here.fifo);
    memset(pair->there.fifo, 0xdd, sizeof pair->there.fifo);
    pair->here.fifo_count = 2;
    pair->here.queues[1].in_use = 1;
    pair->here.queues[1].entries[0].length = 4096;
    pair->there.queues[1].entries[1].mapping = pair;
    assert_int_equal(move(pair, NULL), 0);
    static const uint8_t expected[16] = {0xee, 0xee};
    assert_memory_equal(pair->there.fifo, expected, sizeof expected);
    assert_int_equal(pair->there.queues[1].entries[0].length, 4096);
    assert_int_equal(pair->there.queues[1].entries[1].length, 0);
    assert_ptr_equal(pair->there.queues[1].entries[1].mapping, pair); /* a host field stays */
}

static void an_allocated_array_is_replaced_by_one_of_full_size(void **state)
{
    struct pair *pair = *state;
    pair->here.log = calloc(2, sizeof *pair->here.log);
    pair->here.log_length = 2;
    pair->here.log[1] = (struct sample_entry){.address = 8, .length = 9, .mapping = pair};
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.log_length, 2);
    assert_int_equal(pair->there.log[1].length, 9);
    assert_null(pair->there.log[1].mapping);
    assert_int_equal(pair->there.log[31].address, 0); /* readable: 32 is the maximum */
}

static void an_allocated_array_comes_with_its_subsection_and_without_is_empty(void **state)
{
    struct pair *pair = *state;
    pair->here.waiting = calloc(3, sizeof *pair->here.waiting);
    pair->here.waiting_count = 3;
    pair->here.waiting[2] = (struct sample_entry){.address = 8, .length = 9};
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.waiting_count, 3);
    assert_int_equal(pair->there.waiting[2].length, 9);
    assert_int_equal(pair->there.waiting[5].address, 0);
    pair->here.waiting_count = 0;
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.waiting_count, 0);
}

static void a_refused_load_keeps_the_allocated_array(void **state)
{
    struct pair *pair = *state;
    struct gw_state_item item = {&sample_state_type, 0, &pair->there};
    struct sample_entry *log = pair->there.log;
    stream_save(&sample_state_type, &pair->here, &pair->stream);
    pair->stream.length -= 8;
    assert_int_equal(gw_state_load(&item, 1, pair->stream.data, pair->stream.length, NULL),
                     -EBADMSG);
    assert_ptr_equal(pair->there.log, log);
}

static void an_empty_allocated_array_may_be_null(void **state)
{
    struct pair *pair = *state;
    assert_null(pair->here.log);
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.log_length, 0);
}

static void expect_not_saved(struct pair *pair, const char *sentence)
{
    struct gw_state_item item = {&sample_state_type, 2, &pair->here};
    struct gw_error error = {0};
    gw_buf_clear(&pair->stream);
    assert_int_equal(gw_state_save(&item, 1, &pair->stream, &error), -EINVAL);
    assert_string_equal(error.message, sentence);
    assert_int_equal(error.code, GW_CODE_INTERNAL);
    assert_int_equal(pair->stream.length, 0);
    assert_true(gw_state_hash(&item, 1) == 0);
}

static void a_state_that_breaks_its_own_promise_is_not_saved(void **state)
{
    struct pair *pair = *state;
    pair->here.fifo_count = 17;
    expect_not_saved(pair, "sample/2: field fifo_count: 17 is above 16");
    pair->here.fifo_count = 0;
    pair->here.queues[2].in_use = 1;
    pair->here.queues[2].entries[0].length = 5000;
    expect_not_saved(pair, "sample/2: field queues[2].entries[0].length: 5000 is above 4096");
    pair->here.queues[2].in_use = 0;
    pair->here.log_length = 1;
    expect_not_saved(pair, "sample/2: field log: has elements in use but is NULL");
}

static void loaded_functions_run_for_parts_and_device(void **state)
{
    struct pair *pair = *state;
    pair->here.queues[0].in_use = 2;
    pair->here.queues[0].entries[0].length = 30;
    pair->here.queues[0].entries[1].length = 12;
    pair->there.times_loaded = 5;
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.queues[0].total, 42);
    assert_int_equal(pair->there.times_loaded, 6);
    assert_int_equal(pair->there.total_seen, 42); /* parts come first */
}

static void a_loaded_function_refuses_with_the_name_of_the_device(void **state)
{
    struct pair *pair = *state;
    struct gw_error error = {0};
    pair->here.refuse = true;
    assert_int_equal(move(pair, &error), -EDOM);
    assert_string_equal(error.message, "sample/0: it was told to refuse");
    assert_int_equal(error.layer, GW_LAYER_DEVICE);
}

static void saving_functions_bring_fields_up_to_date(void **state)
{
    struct pair *pair = *state;
    struct gw_state_item item = {&sample_state_type, 0, &pair->here};
    uint64_t before = gw_state_hash(&item, 1);
    pair->here.clock_ns = 123;
    assert_true(gw_state_hash(&item, 1) != before);
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.now_ns, 123);
}

static void host_and_derived_fields_stay(void **state)
{
    struct pair *pair = *state;
    pair->here.clock_ns = 123;
    pair->there.clock_ns = 456;
    assert_int_equal(move(pair, NULL), 0);
    assert_int_equal(pair->there.clock_ns, 456);
}

static void random_states_depend_on_the_seed_alone(void **state)
{
    struct pair *pair = *state;
    char name[64];
    gw_state_random(&sample_state_type, &pair->here, 8);
    assert_true(gw_state_compare(&sample_state_type, &pair->here, &pair->there, name, sizeof name));
    gw_state_random(&sample_state_type, &pair->there, 8);
    assert_false(
        gw_state_compare(&sample_state_type, &pair->here, &pair->there, name, sizeof name));
}

static void a_name_that_does_not_fit_is_cut(void **state)
{
    struct pair *pair = *state;
    char name[9];
    gw_state_random(&sample_state_type, &pair->here, 1);
    pair->here.log_length = pair->there.log_length = 1;
    pair->here.queues[2].flags ^= 1;
    assert_true(gw_state_compare(&sample_state_type, &pair->here, &pair->there, name, sizeof name));
    assert_string_equal(name, "queues[2");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, open_pair, close_pair)
    const struct CMUnitTest tests[] = {
        TEST(integers_of_every_kind_arrive),
        TEST(elements_past_the_count_are_zero_after_loading),
        TEST(an_allocated_array_is_replaced_by_one_of_full_size),
        TEST(an_allocated_array_comes_with_its_subsection_and_without_is_empty),
        TEST(a_refused_load_keeps_the_allocated_array),
        TEST(an_empty_allocated_array_may_be_null),
        TEST(a_state_that_breaks_its_own_promise_is_not_saved),
        TEST(loaded_functions_run_for_parts_and_device),
        TEST(a_loaded_function_refuses_with_the_name_of_the_device),
        TEST(saving_functions_bring_fields_up_to_date),
        TEST(host_and_derived_fields_stay),
        TEST(random_states_depend_on_the_seed_alone),
        TEST(a_name_that_does_not_fit_is_cut),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
