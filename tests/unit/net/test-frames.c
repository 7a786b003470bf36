/* SPDX-License-Identifier: Apache-2.0 */
/* Frames out of a stream of bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/frames.h"
#include "net/net.h"

static struct net_frames frames;

static int begin(void **state)
{
    return frames_init(&frames);
}

static int end(void **state)
{
    frames_fini(&frames);
    return 0;
}

static void put(const void *bytes, size_t length)
{
    uint8_t *to;
    assert_true(frames_room(&frames, &to) >= length);
    memcpy(to, bytes, length);
    frames_filled(&frames, length);
}

static void put_length(uint32_t length)
{
    uint8_t prefix[] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8),
                        (uint8_t)length};
    put(prefix, sizeof prefix);
}

static void put_frame(size_t bytes, uint8_t value)
{
    uint8_t *frame = malloc(bytes);
    memset(frame, value, bytes);
    put_length((uint32_t)bytes);
    put(frame, bytes);
    free(frame);
}

static void expect_frame(size_t bytes, uint8_t value)
{
    const uint8_t *frame;
    size_t length;
    assert_int_equal(frames_next(&frames, &frame, &length), 1);
    assert_int_equal(length, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (frame[i] != value)
            fail_msg("byte %zu is %u", i, frame[i]);
}

static void expect_more_needed(void)
{
    const uint8_t *frame;
    size_t length;
    assert_int_equal(frames_next(&frames, &frame, &length), 0);
}

static void several_frames_come_in_one_piece(void **state)
{
    put_frame(14, 1);
    put_frame(1514, 2);
    expect_frame(14, 1);
    expect_frame(1514, 2);
    expect_more_needed();
}

static void a_frame_comes_byte_by_byte(void **state)
{
    static const uint8_t bytes[] = {0, 0, 0, 15, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
    for (size_t i = 0; i < sizeof bytes; i++) {
        expect_more_needed();
        put(bytes + i, 1);
    }
    expect_frame(15, 9);
}

static void the_largest_frame_fits_wherever_it_begins(void **state)
{
    put_frame(100, 1);
    put_frame(NET_FRAME_BYTES, 2);
    put_frame(NET_FRAME_BYTES, 3);
    expect_frame(100, 1);
    expect_frame(NET_FRAME_BYTES, 2);
    put_frame(NET_FRAME_BYTES, 4);
    expect_frame(NET_FRAME_BYTES, 3);
    expect_frame(NET_FRAME_BYTES, 4);
    expect_more_needed();
}

static void a_length_above_the_largest_is_an_error(void **state)
{
    const uint8_t *frame;
    size_t length = 0;
    put_length(NET_FRAME_BYTES + 1);
    assert_int_equal(frames_next(&frames, &frame, &length), -EPROTO);
    assert_int_equal(length, NET_FRAME_BYTES + 1);
    frames_clear(&frames);
    put_length(UINT32_MAX);
    assert_int_equal(frames_next(&frames, &frame, &length), -EPROTO);
    assert_int_equal(length, UINT32_MAX);
}

static void what_is_shorter_than_a_header_is_left_out(void **state)
{
    put_length(0);
    put_frame(13, 7);
    put_length(0);
    put_frame(14, 8);
    expect_frame(14, 8);
    expect_more_needed();
}

static void there_is_always_room_when_more_is_needed(void **state)
{
    uint8_t *to;
    put_length(NET_FRAME_BYTES);
    for (size_t left = NET_FRAME_BYTES; left > 0;) {
        expect_more_needed();
        size_t room = frames_room(&frames, &to), part = left < 997 ? left : 997;
        assert_true(room >= part);
        memset(to, 5, part);
        frames_filled(&frames, part);
        left -= part;
    }
    expect_frame(NET_FRAME_BYTES, 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(several_frames_come_in_one_piece),
        TEST(a_frame_comes_byte_by_byte),
        TEST(the_largest_frame_fits_wherever_it_begins),
        TEST(a_length_above_the_largest_is_an_error),
        TEST(what_is_shorter_than_a_header_is_left_out),
        TEST(there_is_always_room_when_more_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
