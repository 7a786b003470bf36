/* SPDX-License-Identifier: Apache-2.0 */
#include "device-test.h"

#include "device/test-finisher.h"

struct fixture {
    struct test_finisher finisher;
    unsigned requests;
};

static void requested(void *opaque)
{
    ((struct fixture *)opaque)->requests++;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    test_finisher_init(&fixture.finisher, requested, &fixture);
    *state = &fixture;
    return 0;
}

static void stores_ask_for_what_they_say(void **state)
{
    static const struct {
        uint32_t value;
        enum test_finisher_request request;
        uint16_t code;
    } cases[] = {
        {0x5555, TEST_FINISHER_PASS, 0},
        {0x00073333, TEST_FINISHER_FAIL, 7},
        {0x7777, TEST_FINISHER_RESET, 0},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_up(state);
        test_finisher_ops.write(&f->finisher, 0, cases[i].value, 4);
        assert_int_equal(f->finisher.request, cases[i].request);
        assert_int_equal(f->finisher.code, cases[i].code);
        assert_int_equal(f->requests, 1);
    }
}

static void half_word_store_works(void **state)
{
    struct fixture *f = *state;
    test_finisher_ops.write(&f->finisher, 0, 0x5555, 2);
    assert_int_equal(f->finisher.request, TEST_FINISHER_PASS);
}

static void other_stores_ask_for_nothing(void **state)
{
    struct fixture *f = *state;
    test_finisher_ops.write(&f->finisher, 0, 0x1234, 4);
    test_finisher_ops.write(&f->finisher, 4, 0x5555, 4);
    test_finisher_ops.write(&f->finisher, 0, 0x55, 1);
    assert_int_equal(f->finisher.request, TEST_FINISHER_NONE);
    assert_int_equal(f->requests, 0);
}

static void first_request_counts(void **state)
{
    struct fixture *f = *state;
    test_finisher_ops.write(&f->finisher, 0, 0x7777, 4);
    test_finisher_ops.write(&f->finisher, 0, 0x5555, 4);
    assert_int_equal(f->finisher.request, TEST_FINISHER_RESET);
    assert_int_equal(f->requests, 1);
}

static void reset_forgets_the_request(void **state)
{
    struct fixture *f = *state;
    test_finisher_ops.write(&f->finisher, 0, 0x7777, 4);
    test_finisher_ops.reset(&f->finisher);
    test_finisher_ops.write(&f->finisher, 0, 0x5555, 4);
    assert_int_equal(f->finisher.request, TEST_FINISHER_PASS);
}

static void loaded_request_is_still_there(void **state)
{
    struct fixture *f = *state;
    struct test_finisher other;
    test_finisher_init(&other, NULL, NULL);
    test_finisher_ops.write(&f->finisher, 0, 0x00073333, 4);
    copy_state(&test_finisher_state_type, &f->finisher, &other);
    assert_int_equal(other.request, TEST_FINISHER_FAIL);
    assert_int_equal(other.code, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(stores_ask_for_what_they_say, set_up),
        cmocka_unit_test_setup(half_word_store_works, set_up),
        cmocka_unit_test_setup(other_stores_ask_for_nothing, set_up),
        cmocka_unit_test_setup(first_request_counts, set_up),
        cmocka_unit_test_setup(reset_forgets_the_request, set_up),
        cmocka_unit_test_setup(loaded_request_is_still_there, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
