/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "wire/wire.h"

static void a_preamble_comes_back_as_it_was(void **state)
{
    struct wire_preamble sent = {.version_min = 1, .version_max = 3, .role = WIRE_ROLE_DATA,
                                 .index = 7, .session = "0123456789abcde", .answer = true};
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    wire_preamble_encode(&sent, bytes);
    struct wire_preamble got;
    assert_int_equal(wire_preamble_decode(bytes, &got, NULL), 0);
    assert_int_equal(got.version_max, 3);
    assert_int_equal(got.role, WIRE_ROLE_DATA);
    assert_int_equal(got.index, 7);
    assert_memory_equal(got.session, sent.session, sizeof sent.session);
    assert_true(got.answer);
}

static void every_flipped_bit_of_a_preamble_is_refused(void **state)
{
    struct wire_preamble sent = {.version_min = 1, .version_max = 1, .role = WIRE_ROLE_CONTROL};
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    wire_preamble_encode(&sent, bytes);
    for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
        struct wire_preamble got;
        struct gw_error error = {0};
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(wire_preamble_decode(bytes, &got, &error), -EBADMSG);
        assert_true(error.message[0] != '\0');
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void foreign_bytes_are_known_at_the_first_difference(void **state)
{
    assert_true(wire_preamble_begins((const uint8_t *)"god", 3));
    assert_false(wire_preamble_begins((const uint8_t *)"GET", 3));
}

static void the_highest_common_version_is_chosen(void **state)
{
    struct gw_error error;
    struct wire_preamble peer = {.version_min = 1, .version_max = 9};
    assert_int_equal(wire_version_choose(&peer, &error), WIRE_VERSION_MAX);
    peer.version_min = 8;
    assert_int_equal(wire_version_choose(&peer, &error), -EPROTONOSUPPORT);
    assert_int_equal(error.code, GW_CODE_VERSION);
    assert_non_null(strstr(error.message, "8 to 9"));
}

static void every_flipped_bit_of_a_header_is_refused(void **state)
{
    struct wire_header sent = {.type = WIRE_READY, .length = 24, .sequence = 5, .body_crc = 77}, got;
    uint8_t bytes[WIRE_HEADER_BYTES];
    wire_header_encode(&sent, bytes);
    assert_int_equal(wire_header_decode(bytes, &got, NULL), 0);
    assert_memory_equal(&sent, &got, sizeof got);
    for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(wire_header_decode(bytes, &got, NULL), -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* A header with a right CRC, so that only the rule under test can refuse it. */
static int decode_header(uint32_t type, uint32_t flags, uint32_t length)
{
    uint8_t bytes[WIRE_HEADER_BYTES] = {0};
    put_le32(bytes, type);
    put_le32(bytes + 4, flags);
    put_le32(bytes + 8, length);
    put_le32(bytes + 20, crc32c(0, bytes, 20));
    struct wire_header got;
    return wire_header_decode(bytes, &got, NULL);
}

static void unknown_types_are_skipped_or_refused_by_their_highest_bit(void **state)
{
    assert_int_equal(decode_header(0x7777, 0, 8), -EBADMSG);
    assert_int_equal(decode_header(0x7777 | WIRE_SKIPPABLE, 0, 8), 0);
    assert_int_equal(decode_header(0x7777 | WIRE_SKIPPABLE, 0, WIRE_SKIPPABLE_MAX_BYTES + 8),
                     -EBADMSG);
}

static void lengths_past_the_maximum_of_the_type_are_refused(void **state)
{
    static const uint32_t types[] = {WIRE_OFFER, WIRE_ERROR, WIRE_PING, WIRE_EXTENT, WIRE_STATE,
                                     WIRE_COMMIT, WIRE_END, WIRE_FLIGHT};
    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        uint32_t max = wire_type_max_bytes(types[i]);
        assert_int_equal(decode_header(types[i], 0, max), 0);
        assert_int_equal(decode_header(types[i], 0, max + 8), -EBADMSG);
        assert_int_equal(decode_header(types[i], 0, 0xfffffff8u), -EBADMSG);
    }
    assert_int_equal(decode_header(WIRE_PING, 0, 15), -EBADMSG);
    assert_int_equal(decode_header(WIRE_PING, 1, 16), -EBADMSG);
}

static const uint32_t table_types[] = {
    WIRE_ACCEPT, WIRE_REFUSE, WIRE_ERROR, WIRE_CANCEL, WIRE_END, WIRE_PING, WIRE_PONG,
    WIRE_PARAMETERS, WIRE_PROGRESS, WIRE_PEER, WIRE_BARRIER, WIRE_STATE, WIRE_REHEARSED, WIRE_SWITCH,
    WIRE_READY, WIRE_CANCEL_SWITCH, WIRE_VERIFY, WIRE_VERIFIED, WIRE_COMMIT, WIRE_RUNNING,
    WIRE_CONFIRM, WIRE_FLIGHT, WIRE_QUERY_OWNER, WIRE_OWNER, WIRE_REFUSED};

static void every_body_fits_the_maximum_that_its_type_states(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(table_types); i++) {
        union wire_body body = {0};
        uint8_t fixed[WIRE_FIXED_MAX_BYTES];
        uint32_t max = wire_type_max_bytes(table_types[i]);
        size_t length = wire_fixed_encode(table_types[i], &body, fixed);
        assert_true(length <= max && (max == length || max >= length + 512));
        assert_int_equal(wire_body_decode(table_types[i], fixed, length, &body, NULL, NULL), 0);
        if (length > 0)
            assert_int_equal(
                wire_body_decode(table_types[i], fixed, length - 4, &body, NULL, NULL), -EBADMSG);
    }
}

static void fields_stand_where_the_specification_says(void **state)
{
    struct gw_buf out = {0};
    union wire_body body = {.running = {.epoch = 1, .started_ns = 2, .record_ns = 3,
                                        .acquire_ns = 4, .start_ns = 5}};
    assert_int_equal(wire_record_append(&out, WIRE_RUNNING, 9, &body, NULL, 0), 0);
    assert_int_equal(out.length, WIRE_HEADER_BYTES + 40);
    assert_int_equal(get_le32(out.data), 0x31);
    assert_int_equal(get_le32(out.data + 8), 40);
    assert_int_equal(get_le32(out.data + 12), 9);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(get_le64(out.data + WIRE_HEADER_BYTES + 8 * i), i + 1);
    gw_buf_fini(&out);
}

static void a_text_travels_with_its_length_and_zero_padding(void **state)
{
    struct gw_buf out = {0};
    union wire_body body = {.error = {.layer = GW_LAYER_BLOCK, .code = GW_CODE_BUSY, .text_bytes = 3}};
    assert_int_equal(wire_record_append(&out, WIRE_ERROR, 0, &body, "abc", 3), 0);
    const uint8_t *at = out.data + WIRE_HEADER_BYTES, *tail;
    struct wire_header header;
    assert_int_equal(wire_header_decode(out.data, &header, NULL), 0);
    assert_int_equal(header.length, 24);
    assert_int_equal(wire_body_check(&header, at, header.length, NULL), 0);
    assert_int_equal(wire_body_decode(WIRE_ERROR, at, header.length, &body, &tail, NULL), 0);
    assert_memory_equal(tail, "abc", 3);
    out.data[WIRE_HEADER_BYTES + 20] = 1; /* padding */
    assert_int_equal(wire_body_decode(WIRE_ERROR, at, header.length, &body, &tail, NULL), -EBADMSG);
    assert_int_equal(wire_body_check(&header, at, header.length, NULL), -EBADMSG);
    gw_buf_fini(&out);
}

static void a_tail_longer_than_the_body_is_refused(void **state)
{
    uint8_t body[16 + 8] = {0};
    union wire_body got;
    put_le32(body + 8, 9);
    assert_int_equal(wire_body_decode(WIRE_ERROR, body, sizeof body, &got, NULL, NULL), -EBADMSG);
    put_le32(body + 8, 0xffffffff);
    assert_int_equal(wire_body_decode(WIRE_ERROR, body, sizeof body, &got, NULL, NULL), -EBADMSG);
}

static void a_foreign_error_is_made_safe_to_print(void **state)
{
    struct gw_error error;
    wire_error_take(9999, 9999, "bad\n\x1b[31m", 9, &error);
    assert_int_equal(error.layer, GW_LAYER_MIGRATE);
    assert_int_equal(error.code, GW_CODE_INTERNAL);
    assert_string_equal(error.message, "bad  [31m");
}

static struct wire_offer example_offer(void)
{
    return (struct wire_offer){
        .features = 3, .epoch = 5, .peer_timeout_ms = 5000, .data_channels = 1, .running = true,
        .machine = "alpha", .region_count = 2,
        .regions = {{"ram", 0x80000000, 1 << 20}, {"ram-high", 0x100000000, 1 << 21}},
        .description = "{\"a\": 1}x", .description_bytes = 9, .schema = "s", .schema_bytes = 1,
        .flights = "[]", .flights_bytes = 2};
}

static void an_offer_comes_back_as_it_was(void **state)
{
    struct wire_offer sent = example_offer(), got;
    struct gw_buf body = {0};
    assert_int_equal(wire_offer_encode(&sent, &body, NULL), 0);
    assert_int_equal(wire_offer_decode(body.data, body.length, &got, NULL), 0);
    assert_string_equal(got.machine, "alpha");
    assert_int_equal(got.region_count, 2);
    assert_memory_equal(&got.regions[1], &sent.regions[1], sizeof sent.regions[1]);
    assert_memory_equal(got.description, sent.description, 9);
    assert_memory_equal(got.flights, "[]", 2);
    for (size_t shorter = 0; shorter < body.length; shorter += 8)
        assert_int_equal(wire_offer_decode(body.data, shorter, &got, NULL), -EBADMSG);
    gw_buf_fini(&body);
}

static int decode_offer_changed(size_t offset, uint64_t value)
{
    struct wire_offer sent = example_offer(), got;
    struct gw_buf body = {0};
    assert_int_equal(wire_offer_encode(&sent, &body, NULL), 0);
    put_le64(body.data + offset, value);
    int r = wire_offer_decode(body.data, body.length, &got, NULL);
    gw_buf_fini(&body);
    return r;
}

static void an_offer_with_an_impossible_memory_map_is_refused(void **state)
{
    enum { FIRST = 120 };
    assert_int_equal(decode_offer_changed(FIRST + 40, 0), -EBADMSG);        /* empty region */
    assert_int_equal(decode_offer_changed(FIRST + 40, 4095), -EBADMSG);     /* half a page */
    assert_int_equal(decode_offer_changed(FIRST + 40, 1ull << 41), -EBADMSG);
    assert_int_equal(decode_offer_changed(FIRST + 40, -4096ull), -EBADMSG); /* wraps */
    assert_int_equal(decode_offer_changed(FIRST + 32, 12), -EBADMSG);       /* base */
    assert_int_equal(decode_offer_changed(FIRST + 24, 0x0101010101010101ull), -EBADMSG); /* name */
    assert_int_equal(decode_offer_changed(24, (uint64_t)2 << 32 | 16384), -EBADMSG);     /* page size */
    assert_true(decode_offer_changed(24, (uint64_t)17 << 32 | 4096) < 0);                /* regions */
    assert_true(decode_offer_changed(24, (uint64_t)0 << 32 | 4096) < 0);
}

static void an_offer_that_is_too_big_is_not_made(void **state)
{
    struct wire_offer offer = example_offer();
    struct gw_buf body = {0};
    offer.description_bytes = WIRE_DESCRIPTION_MAX_BYTES + 1;
    assert_int_equal(wire_offer_encode(&offer, &body, NULL), -E2BIG);
    assert_int_equal(body.length, 0);
}

static const uint64_t region_pages[2] = {1000, 5};

static int decode_extent(struct wire_extent extent, uint32_t length)
{
    uint8_t bytes[WIRE_HEADER_BYTES + WIRE_EXTENT_HEAD_MAX_BYTES];
    uint32_t crcs[WIRE_EXTENT_MAX_RAW_PAGES] = {0};
    struct wire_extent plain = extent, got;
    if (plain.page_count > WIRE_EXTENT_MAX_RAW_PAGES)
        plain.page_count = 0;
    wire_extent_encode(&plain, crcs, 0, bytes);
    put_le32(bytes + WIRE_HEADER_BYTES + 16, extent.page_count);
    return wire_extent_decode(bytes + WIRE_HEADER_BYTES, length, region_pages, 2, &got, NULL);
}

static void extents_inside_the_map_are_taken(void **state)
{
    assert_int_equal(decode_extent((struct wire_extent){0, WIRE_EXTENT_ZERO, 0, 1000, 0}, 24), 0);
    assert_int_equal(decode_extent((struct wire_extent){1, WIRE_EXTENT_RAW, 2, 3, 3 * 4096},
                                   24 + 16 + 3 * 4096),
                     0);
}

static void extents_outside_the_map_are_refused(void **state)
{
    static const struct wire_extent bad[] = {
        {0, WIRE_EXTENT_ZERO, 0, 1001, 0},          {0, WIRE_EXTENT_ZERO, 1000, 1, 0},
        {2, WIRE_EXTENT_ZERO, 0, 1, 0},             {0, WIRE_EXTENT_ZERO, UINT64_MAX, 1, 0},
        {1, WIRE_EXTENT_ZERO, 1, 0xffffffff, 0},    {0, WIRE_EXTENT_ZERO, 0, 0, 0},
        {0xffffffff, WIRE_EXTENT_ZERO, 0, 1, 0},    {0, 2, 0, 1, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(decode_extent(bad[i], 24), -EBADMSG);
}

static void extents_whose_lengths_disagree_are_refused(void **state)
{
    struct wire_extent raw = {0, WIRE_EXTENT_RAW, 0, 2, 2 * 4096};
    assert_int_equal(decode_extent(raw, 24 + 8 + 2 * 4096), 0);
    assert_int_equal(decode_extent(raw, 24 + 8 + 4096), -EBADMSG);
    raw.data_bytes = 4096;
    assert_int_equal(decode_extent(raw, 24 + 8 + 2 * 4096), -EBADMSG);
    raw = (struct wire_extent){0, WIRE_EXTENT_RAW, 0, 257, 257 * 4096};
    assert_int_equal(decode_extent(raw, 24 + 1032 + 257 * 4096), -EBADMSG);
}

static void records_go_only_where_they_belong(void **state)
{
    assert_true(wire_type_allowed(WIRE_OFFER, WIRE_FROM_SOURCE, WIRE_ROLE_CONTROL));
    assert_false(wire_type_allowed(WIRE_OFFER, WIRE_FROM_DESTINATION, WIRE_ROLE_CONTROL));
    assert_false(wire_type_allowed(WIRE_COMMIT, WIRE_FROM_SOURCE, WIRE_ROLE_DATA));
    assert_false(wire_type_allowed(WIRE_READY, WIRE_FROM_SOURCE, WIRE_ROLE_CONTROL));
    assert_true(wire_type_allowed(0x5555 | WIRE_SKIPPABLE, WIRE_FROM_SOURCE, WIRE_ROLE_DATA));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preamble_comes_back_as_it_was),
        cmocka_unit_test(every_flipped_bit_of_a_preamble_is_refused),
        cmocka_unit_test(foreign_bytes_are_known_at_the_first_difference),
        cmocka_unit_test(the_highest_common_version_is_chosen),
        cmocka_unit_test(every_flipped_bit_of_a_header_is_refused),
        cmocka_unit_test(unknown_types_are_skipped_or_refused_by_their_highest_bit),
        cmocka_unit_test(lengths_past_the_maximum_of_the_type_are_refused),
        cmocka_unit_test(every_body_fits_the_maximum_that_its_type_states),
        cmocka_unit_test(fields_stand_where_the_specification_says),
        cmocka_unit_test(a_text_travels_with_its_length_and_zero_padding),
        cmocka_unit_test(a_tail_longer_than_the_body_is_refused),
        cmocka_unit_test(a_foreign_error_is_made_safe_to_print),
        cmocka_unit_test(an_offer_comes_back_as_it_was),
        cmocka_unit_test(an_offer_with_an_impossible_memory_map_is_refused),
        cmocka_unit_test(an_offer_that_is_too_big_is_not_made),
        cmocka_unit_test(extents_inside_the_map_are_taken),
        cmocka_unit_test(extents_outside_the_map_are_refused),
        cmocka_unit_test(extents_whose_lengths_disagree_are_refused),
        cmocka_unit_test(records_go_only_where_they_belong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
