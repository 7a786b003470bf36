/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/loop-calls.h"

struct fixture {
    sd_event *loop;
    struct loop_calls *calls;
    pthread_t loop_thread;
    unsigned ran;
    bool detached_done;
};

static int on_loop(void *opaque)
{
    struct fixture *fixture = opaque;

    fixture->ran++;
    return pthread_equal(pthread_self(), fixture->loop_thread) ? 17 : -1;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    fixture->loop_thread = pthread_self();
    assert_int_equal(sd_event_new(&fixture->loop), 0);
    assert_int_equal(loop_calls_new(fixture->loop, &fixture->calls, NULL), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    loop_calls_free(fixture->calls);
    sd_event_unref(fixture->loop);
    free(fixture);
    return 0;
}

static void *many_calls(void *opaque)
{
    struct fixture *fixture = opaque;
    intptr_t right = 0;

    for (unsigned i = 0; i < 1000; i++)
        right += loop_calls_run(fixture->calls, on_loop, fixture) == 17;
    return (void *)right;
}

static void call_from_another_thread_runs_on_the_loop(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[2];
    void *right;

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_calls, fixture), 0);
    while (fixture->ran < 2000)
        assert_true(sd_event_run(fixture->loop, 5000000) > 0);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], &right);
        assert_int_equal((intptr_t)right, 1000);
    }
}

static void call_from_the_loop_runs_at_once(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(loop_calls_run(fixture->calls, on_loop, fixture), 17);
}

/* As freeing a migration does: waits for a thread that waits for the loop. */
static void slow_work(void *opaque)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, many_calls, opaque), 0);
    pthread_join(thread, NULL);
}

static void slow_work_done(void *opaque)
{
    ((struct fixture *)opaque)->detached_done = true;
}

static void detached_work_may_need_the_loop(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(loop_calls_detach(fixture->calls, slow_work, fixture, slow_work_done, fixture),
                     0);
    while (!fixture->detached_done)
        assert_true(sd_event_run(fixture->loop, 5000000) > 0);
    assert_int_equal(fixture->ran, 1000);
}

static void note(void *opaque, void *argument)
{
    char *text = opaque;

    strncat(text, argument, 1);
}

static void posted_work_runs_in_order_and_later(void **state)
{
    struct fixture *fixture = *state;
    char text[8] = "";

    assert_int_equal(loop_calls_post(fixture->calls, note, text, strdup("a")), 0);
    assert_int_equal(loop_calls_post(fixture->calls, note, text, strdup("b")), 0);
    assert_string_equal(text, "");
    sd_event_run(fixture->loop, 0);
    assert_string_equal(text, "ab");
    loop_calls_post(fixture->calls, note, text, strdup("c")); /* dropped, and freed, at the end */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(call_from_another_thread_runs_on_the_loop),
        TEST(call_from_the_loop_runs_at_once),
        TEST(detached_work_may_need_the_loop),
        TEST(posted_work_runs_in_order_and_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
