/* SPDX-License-Identifier: Apache-2.0 */
/* Connections as bytes, and the checksums that a vhost-user back end leaves out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "net/checksum.h"
#include "net/packed.h"

/* ---- Bytes ---- */

static const uint8_t frames[] = {
    14, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, /* one */
    15, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
};

static const uint8_t places[] = {
    4, 0, 0x1f, 0x90, 127,  0,    0, 1, 0, 0,
    0, 0, 0,    0,    0,    0,    0, 0, 0, 0, /* 127.0.0.1, port 8080 */
    6, 0, 0,    80,   0x20, 0x01, 2, 3, 4, 5,
    6, 7, 8,    9,    0,    1,    2, 3, 4, 5,
};

static struct gw_buf sample(void)
{
    struct gw_buf out = {0};
    const struct packed packed = {.token = "0123456789abcde",
                                  .state = (const uint8_t *)"state",
                                  .state_bytes = 5,
                                  .frames = frames,
                                  .frames_bytes = sizeof frames,
                                  .places = places,
                                  .places_bytes = sizeof places};
    assert_int_equal(packed_encode(&packed, &out), 0);
    return out;
}

static void what_is_encoded_is_decoded(void **state)
{
    struct gw_buf bytes = sample();
    struct packed packed;
    assert_int_equal(packed_decode(bytes.data, bytes.length, &packed), 0);
    assert_memory_equal(packed.token, "0123456789abcde", REPAIR_TOKEN_BYTES);
    assert_int_equal(packed.state_bytes, 5);
    assert_memory_equal(packed.state, "state", 5);
    assert_int_equal(packed.frames_bytes, sizeof frames);
    assert_memory_equal(packed.frames, frames, sizeof frames);
    assert_int_equal(packed.places_bytes, sizeof places);
    assert_memory_equal(packed.places, places, sizeof places);
    gw_buf_fini(&bytes);
}

static void what_is_cut_or_longer_is_refused(void **state)
{
    struct gw_buf bytes = sample();
    struct packed packed;
    size_t length = bytes.length;
    for (size_t i = 0; i < length; i++)
        assert_int_equal(packed_decode(bytes.data, i, &packed), -EBADMSG);
    assert_int_equal(gw_buf_append(&bytes, "", 1), 0);
    assert_int_equal(packed_decode(bytes.data, bytes.length, &packed), -EBADMSG);
    gw_buf_fini(&bytes);
}

enum { PLACES_AT = 36 + 5 + sizeof frames };

static void lengths_that_cannot_be_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {0, 'X'},
        {7, 1}, /* another format */
        {24, 6},
        {27, 0xff}, /* the state's length */
        {28, 1},
        {31, 0xff}, /* that of the frames */
        {32, 20},
        {32, 41},
        {35, 0xff},   /* that of the places */
        {36 + 5, 13}, /* a frame that is too short */
        {36 + 5, 15}, /* and one that takes of the next */
        {36 + 7, 1},  /* too long ones */
        {36 + 8, 0xff},
        {PLACES_AT, 6 + 4},  /* a family that is none */
        {PLACES_AT + 1, 1},  /* what is 0 */
        {PLACES_AT + 19, 1}, /* behind an address of IPv4 */
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct gw_buf bytes = sample();
        struct packed packed;
        bytes.data[changes[i].at] = changes[i].value;
        assert_int_equal(packed_decode(bytes.data, bytes.length, &packed), -EBADMSG);
        gw_buf_fini(&bytes);
    }
}

/* ---- Checksums ---- */

/* RFC 1071's sum the plain way, over what is covered: 0 when the checksum is right. */
static uint16_t plain_sum(const uint8_t *bytes, size_t length, uint32_t sum)
{
    for (size_t i = 0; i < length; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

#define SEGMENT_MAX 61u

struct shape {
    uint8_t version, protocol;
    size_t segment, trailer; /* bytes; what stands behind the packet */
};

static size_t make_frame(const struct shape *shape, uint8_t frame[128])
{
    uint8_t *packet = frame + 14;
    size_t header = shape->version == 4 ? 20 : 40;
    for (unsigned i = 0; i < 128; i++)
        frame[i] = (uint8_t)(i * 37 + 11);
    frame[12] = shape->version == 4 ? 0x08 : 0x86;
    frame[13] = shape->version == 4 ? 0x00 : 0xdd;
    packet[0] = (uint8_t)(shape->version << 4 | 5);
    packet[shape->version == 4 ? 2 : 4] = 0;
    packet[shape->version == 4 ? 3 : 5] =
        (uint8_t)(shape->segment + (shape->version == 4 ? header : 0));
    packet[6] = shape->version == 4 ? 0x40 : shape->protocol;
    packet[7] = 0;
    if (shape->version == 4)
        packet[9] = shape->protocol;
    return 14 + header + shape->segment + shape->trailer;
}

static uint16_t sum_of(const struct shape *shape, const uint8_t *frame)
{
    const uint8_t *packet = frame + 14;
    size_t header = shape->version == 4 ? 20 : 40, addresses = shape->version == 4 ? 8 : 32;
    uint32_t sum = (uint16_t)~plain_sum(packet + header - addresses, addresses, 0);
    sum += shape->protocol + (uint32_t)shape->segment;
    return plain_sum(packet + header, shape->segment, sum);
}

static void checksums_are_those_of_the_rfcs(void **state)
{
    static const struct shape shapes[] = {
        {4, 6, 20, 0}, {4, 6, 61, 0}, {4, 6, 60, 6}, {4, 17, 8, 10}, {4, 17, 33, 0},
        {6, 6, 20, 0}, {6, 6, 59, 3}, {6, 17, 8, 0}, {6, 17, 60, 1},
    };
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        uint8_t frame[128], before[128];
        size_t bytes = make_frame(&shapes[i], frame);
        size_t field = 14 + (shapes[i].version == 4 ? 20 : 40) + (shapes[i].protocol == 6 ? 16 : 6);
        memcpy(before, frame, sizeof before);
        assert_int_not_equal(sum_of(&shapes[i], frame), 0);
        frame_fill_checksum(frame, bytes);
        assert_int_equal(sum_of(&shapes[i], frame), 0);
        memcpy(before + field, frame + field, 2);
        assert_memory_equal(frame, before, sizeof before); /* and nothing else was touched */
    }
}

static void expect_untouched(uint8_t *frame, size_t bytes)
{
    uint8_t before[128];
    memcpy(before, frame, sizeof before);
    frame_fill_checksum(frame, bytes);
    assert_memory_equal(frame, before, sizeof before);
}

static void what_has_no_checksum_there_stays_as_it_is(void **state)
{
    const struct shape tcp = {4, 6, 40, 0}, udp = {4, 17, 40, 0}, icmp = {4, 1, 40, 0},
                       hop = {6, 0, 40, 0};
    uint8_t frame[128];
    size_t bytes = make_frame(&icmp, frame);
    expect_untouched(frame, bytes);
    bytes = make_frame(&hop, frame);
    expect_untouched(frame, bytes);
    bytes = make_frame(&udp, frame);
    frame[14 + 20 + 6] = frame[14 + 20 + 7] = 0; /* says that it has none */
    expect_untouched(frame, bytes);
    bytes = make_frame(&tcp, frame);
    frame[14 + 7] = 10; /* a fragment */
    expect_untouched(frame, bytes);
    bytes = make_frame(&tcp, frame);
    frame[14] = 0x4f; /* a header as long as all */
    expect_untouched(frame, bytes);
    bytes = make_frame(&tcp, frame);
    frame[13] = 6; /* ARP */
    expect_untouched(frame, bytes);
}

static void what_is_shorter_than_it_says_stays_as_it_is(void **state)
{
    static const struct shape shapes[] = {{4, 6, 20, 0}, {6, 6, 20, 0}, {4, 17, 8, 0}};
    for (unsigned i = 0; i < 3; i++)
        for (size_t cut = 1; cut < 30; cut++) {
            uint8_t frame[128];
            size_t bytes = make_frame(&shapes[i], frame);
            expect_untouched(frame, bytes - cut);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(what_is_cut_or_longer_is_refused),
        cmocka_unit_test(lengths_that_cannot_be_are_refused),
        cmocka_unit_test(checksums_are_those_of_the_rfcs),
        cmocka_unit_test(what_has_no_checksum_there_stays_as_it_is),
        cmocka_unit_test(what_is_shorter_than_it_says_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
