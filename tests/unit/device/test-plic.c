/* SPDX-License-Identifier: Apache-2.0 */
#include "device-test.h"

#include "device/plic.h"

enum { PENDING = 0x1000, ENABLE = 0x2000, ENABLE_STRIDE = 0x80 };
enum { CONTEXT = 0x200000, CONTEXT_STRIDE = 0x1000, THRESHOLD = 0, CLAIM = 4 };

struct fixture {
    struct plic plic;
    struct lines lines; /* by context */
};

static void make(struct fixture *f)
{
    *f = (struct fixture){0};
    plic_init(&f->plic, 2);
    for (unsigned i = 0; i < 4; i++)
        f->plic.context[i].output = line_of(&f->lines, i);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    make(&fixture);
    *state = &fixture;
    return 0;
}

static void put(struct fixture *f, uint64_t offset, uint32_t value)
{
    plic_ops.write(&f->plic, offset, value, 4);
}

static uint32_t get(struct fixture *f, uint64_t offset)
{
    return (uint32_t)plic_ops.read(&f->plic, offset, 4);
}

static void enable(struct fixture *f, unsigned context, unsigned source, uint32_t priority)
{
    uint64_t word = ENABLE + context * ENABLE_STRIDE + source / 32 * 4;
    put(f, word, get(f, word) | 1u << source % 32);
    put(f, source * 4, priority);
}

static uint32_t claim(struct fixture *f, unsigned context)
{
    return get(f, CONTEXT + context * CONTEXT_STRIDE + CLAIM);
}

static void complete(struct fixture *f, unsigned context, uint32_t source)
{
    put(f, CONTEXT + context * CONTEXT_STRIDE + CLAIM, source);
}

static void enabled_source_raises_its_context_only(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 10, 1);
    plic_set_level(&f->plic, 10, true);
    assert_true(f->lines.level[1]);
    assert_false(f->lines.level[0] || f->lines.level[2] || f->lines.level[3]);
    assert_int_equal(get(f, PENDING), 1u << 10);
}

static void priority_0_never_interrupts(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 10, 0);
    plic_set_level(&f->plic, 10, true);
    assert_false(f->lines.level[1]);
    assert_int_equal(claim(f, 1), 0);
}

static void threshold_masks_equal_and_lower_priorities(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 10, 3);
    put(f, CONTEXT + CONTEXT_STRIDE + THRESHOLD, 3);
    plic_set_level(&f->plic, 10, true);
    assert_false(f->lines.level[1]);
    put(f, CONTEXT + CONTEXT_STRIDE + THRESHOLD, 2);
    assert_true(f->lines.level[1]);
}

static void claim_takes_highest_priority_then_lowest_number(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 5, 2);
    enable(f, 1, 40, 7);
    enable(f, 1, 70, 7);
    plic_set_level(&f->plic, 5, true);
    plic_set_level(&f->plic, 70, true);
    plic_set_level(&f->plic, 40, true);
    assert_int_equal(claim(f, 1), 40);
    assert_int_equal(claim(f, 1), 70);
    assert_int_equal(claim(f, 1), 5);
    assert_int_equal(claim(f, 1), 0);
    assert_false(f->lines.level[1]);
}

static void request_of_two_contexts_is_claimed_once(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 8, 1);
    enable(f, 3, 8, 1);
    plic_set_level(&f->plic, 8, true);
    assert_true(f->lines.level[1] && f->lines.level[3]);
    assert_int_equal(claim(f, 3), 8);
    assert_int_equal(claim(f, 1), 0);
    assert_false(f->lines.level[1] || f->lines.level[3]);
}

static void claimed_source_waits_for_completion(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 8, 1);
    plic_set_level(&f->plic, 8, true);
    assert_int_equal(claim(f, 1), 8);
    plic_set_level(&f->plic, 8, false);
    plic_set_level(&f->plic, 8, true);
    assert_int_equal(get(f, PENDING), 0);
    complete(f, 1, 8);
    assert_true(f->lines.level[1]);
    assert_int_equal(claim(f, 1), 8);
}

static void completion_of_a_low_line_ends_it(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 8, 1);
    plic_set_level(&f->plic, 8, true);
    assert_int_equal(claim(f, 1), 8);
    plic_set_level(&f->plic, 8, false);
    complete(f, 1, 8);
    assert_false(f->lines.level[1]);
    assert_int_equal(claim(f, 1), 0);
}

static void request_outlives_its_line(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 8, 1);
    plic_set_level(&f->plic, 8, true);
    plic_set_level(&f->plic, 8, false);
    assert_true(f->lines.level[1]);
    assert_int_equal(claim(f, 1), 8);
    complete(f, 1, 8);
    assert_false(f->lines.level[1]);
}

static void completion_by_a_stranger_is_ignored(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 8, 1);
    plic_set_level(&f->plic, 8, true);
    assert_int_equal(claim(f, 1), 8);
    complete(f, 3, 8); /* not enabled there */
    complete(f, 1, 9); /* not served */
    complete(f, 1, 0);
    complete(f, 1, 0xffff); /* no such source */
    assert_int_equal(claim(f, 1), 0);
    complete(f, 1, 8);
    assert_int_equal(claim(f, 1), 8);
}

static void registers_keep_only_what_exists(void **state)
{
    struct fixture *f = *state;
    put(f, 0, 7);
    put(f, 4 * 95, 0xffffffff);
    put(f, 4 * 96, 7);
    put(f, ENABLE, 0xffffffff);
    put(f, ENABLE + 12, 0xffffffff);
    put(f, ENABLE + 4 * ENABLE_STRIDE, 0xffffffff);
    put(f, PENDING, 0xffffffff);
    put(f, CONTEXT + THRESHOLD, 0xff);
    put(f, CONTEXT + 4 * CONTEXT_STRIDE, 1);
    assert_int_equal(get(f, 0), 0);
    assert_int_equal(get(f, 4 * 95), 7);
    assert_int_equal(get(f, 4 * 96), 0);
    assert_int_equal(get(f, ENABLE), 0xfffffffe);
    assert_int_equal(get(f, ENABLE + 12), 0);
    assert_int_equal(get(f, ENABLE + 4 * ENABLE_STRIDE), 0);
    assert_int_equal(get(f, PENDING), 0);
    assert_int_equal(get(f, CONTEXT + THRESHOLD), 7);
    assert_int_equal(get(f, CONTEXT + 4 * CONTEXT_STRIDE), 0);
    assert_int_equal(get(f, PLIC_BYTES - 4), 0);
}

static void disabling_lowers_the_output(void **state)
{
    struct fixture *f = *state;
    enable(f, 0, 33, 4);
    plic_set_level(&f->plic, 33, true);
    assert_true(f->lines.level[0]);
    put(f, ENABLE + 4, 0);
    assert_false(f->lines.level[0]);
}

static void reset_forgets_what_is_served_but_sees_the_lines(void **state)
{
    struct fixture *f = *state;
    enable(f, 1, 8, 1);
    plic_set_level(&f->plic, 8, true);
    assert_int_equal(claim(f, 1), 8);
    plic_ops.reset(&f->plic);
    assert_false(f->lines.level[1]);
    enable(f, 1, 8, 1);
    assert_int_equal(claim(f, 1), 8);
}

static void loaded_state_continues_between_claim_and_completion(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    make(&other);
    enable(f, 1, 8, 1);
    enable(f, 1, 9, 1);
    plic_set_level(&f->plic, 8, true);
    plic_set_level(&f->plic, 9, true);
    assert_int_equal(claim(f, 1), 8);
    copy_state(&plic_state_type, &f->plic, &other.plic);
    assert_true(other.lines.level[1]);
    assert_int_equal(claim(&other, 1), 9);
    complete(&other, 1, 8);
    assert_int_equal(claim(&other, 1), 8);
}

/* Whatever the harts do in whatever order, no request is lost and none is served twice at a time.
 */
static void random_traffic_serves_every_request(void **state)
{
    struct fixture *f = *state;
    bool level[PLIC_SOURCES] = {0}, served[PLIC_SOURCES] = {0};
    uint64_t random = 88172645463325252ull;
    for (unsigned source = 1; source < PLIC_SOURCES; source++) {
        enable(f, 1, source, 1 + source % 7);
        enable(f, 3, source, 1 + source % 7);
    }
    for (unsigned step = 0; step < 200000; step++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        unsigned source = 1 + (unsigned)(random >> 8) % (PLIC_SOURCES - 1);
        unsigned context = random & 16 ? 1 : 3;
        if (random % 3 == 0) {
            level[source] = !level[source];
            plic_set_level(&f->plic, source, level[source]);
        } else if (random % 3 == 1) {
            uint32_t got = claim(f, context);
            assert_true(got == 0 || !served[got]);
            served[got] = got != 0;
        } else if (served[source]) {
            complete(f, context, source);
            served[source] = false;
        }
    }
    bool drained = false;
    while (!drained) {
        for (unsigned source = 1; source < PLIC_SOURCES; source++) {
            plic_set_level(&f->plic, source, false);
            complete(f, 1, source);
        }
        drained = claim(f, 1) == 0;
    }
    assert_false(f->lines.level[1] || f->lines.level[3]);
    for (unsigned word = 0; word < PLIC_WORDS; word++)
        assert_int_equal(get(f, PENDING + 4 * word), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(enabled_source_raises_its_context_only, set_up),
        cmocka_unit_test_setup(priority_0_never_interrupts, set_up),
        cmocka_unit_test_setup(threshold_masks_equal_and_lower_priorities, set_up),
        cmocka_unit_test_setup(claim_takes_highest_priority_then_lowest_number, set_up),
        cmocka_unit_test_setup(request_of_two_contexts_is_claimed_once, set_up),
        cmocka_unit_test_setup(claimed_source_waits_for_completion, set_up),
        cmocka_unit_test_setup(completion_of_a_low_line_ends_it, set_up),
        cmocka_unit_test_setup(request_outlives_its_line, set_up),
        cmocka_unit_test_setup(completion_by_a_stranger_is_ignored, set_up),
        cmocka_unit_test_setup(registers_keep_only_what_exists, set_up),
        cmocka_unit_test_setup(disabling_lowers_the_output, set_up),
        cmocka_unit_test_setup(reset_forgets_what_is_served_but_sees_the_lines, set_up),
        cmocka_unit_test_setup(loaded_state_continues_between_claim_and_completion, set_up),
        cmocka_unit_test_setup(random_traffic_serves_every_request, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
