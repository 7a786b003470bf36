/* SPDX-License-Identifier: Apache-2.0 */
/* The stream as a whole: header, sections, end (docs/state.md, "The stream"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "grow-1.h"
#include "streams.h"

/* clang-format off */
/* Payload of grow version 1: value 7, part version 1, two parts, padding, no subsections. */
static const uint8_t payload[] = {7, 0, 0, 0, 1, 0, 0, 0, 0x34, 0x12, 0x78, 0x56, 0, 0, 0, 0,
                                  0, 0, 0, 0, 0, 0, 0, 0};
/* clang-format on */

static const struct grow_1 written = {.value = 7, .parts = {{0x1234}, {0x5678}}};

static void the_bytes_are_those_of_the_specification(void **state)
{
    /* clang-format off */
    static const uint8_t expected[] = {
        'G', 'W', 'S', 'T', 'A', 'T', 'E', '\n', 1, 0, 0, 0, 0, 0, 0, 0, /* header */
        0, 0, 0, 0, 1, 0, 0, 0,                      /* CRC (filled in below), kind */
        5, 0, 0, 0, 1, 0, 0, 0,                      /* instance, version */
        4, 0, 0, 0, 0, 0, 0, 0,                      /* name length, zero */
        24, 0, 0, 0, 0, 0, 0, 0,                     /* payload length */
        'g', 'r', 'o', 'w', 0, 0, 0, 0,              /* name */
        7, 0, 0, 0, 1, 0, 0, 0,                      /* value, version of parts */
        0x34, 0x12, 0x78, 0x56, 0, 0, 0, 0,          /* parts, padding */
        0, 0, 0, 0, 0, 0, 0, 0,                      /* no subsections */
        0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, /* end: CRC, kind, sections, zero */
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    };
    /* clang-format on */
    struct grow_1 grow = written;
    struct gw_state_item item = {&grow_1_state_type, 5, &grow};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0}, wanted = {0};
    gw_buf_append(&wanted, expected, sizeof expected);
    stream_repair(&wanted, 16);
    stream_repair(&wanted, sizeof expected - 32);
    assert_int_equal(gw_state_save(&item, 1, &stream, NULL), 0);
    assert_int_equal(stream.length, wanted.length);
    assert_memory_equal(stream.data, wanted.data, wanted.length);
}

static void several_items_load_in_any_order(void **state)
{
    struct grow_1 a = written, b = {.value = 9}, c = {0}, d = {0};
    struct gw_state_item from[] = {{&grow_1_state_type, 0, &a}, {&grow_1_state_type, 1, &b}};
    struct gw_state_item to[] = {{&grow_1_state_type, 1, &c}, {&grow_1_state_type, 0, &d}};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    assert_int_equal(gw_state_save(from, 2, &stream, NULL), 0);
    assert_int_equal(gw_state_load(to, 2, stream.data, stream.length, NULL), 0);
    assert_int_equal(c.value, 9);
    assert_int_equal(d.parts[1].first, 0x5678);
}

static void saving_appends_to_what_is_there(void **state)
{
    struct grow_1 grow = written;
    struct gw_state_item item = {&grow_1_state_type, 0, &grow};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    gw_buf_append(&stream, "abc", 3);
    assert_int_equal(gw_state_save(&item, 1, &stream, NULL), 0);
    assert_memory_equal(stream.data, "abc", 3);
    assert_int_equal(gw_state_load(&item, 1, stream.data + 3, stream.length - 3, NULL), 0);
}

static void a_save_that_does_not_fit_leaves_the_buffer(void **state)
{
    struct grow_1 grow = written;
    struct gw_state_item item = {&grow_1_state_type, 0, &grow};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {.limit = 100};
    struct gw_error error;
    gw_buf_append(&stream, "abc", 3);
    assert_int_equal(gw_state_save(&item, 1, &stream, &error), -ENOBUFS);
    assert_int_equal(stream.length, 3);
    assert_int_equal(error.code, GW_CODE_NO_RESOURCE);
}

static void no_items_are_a_stream_too(void **state)
{
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    assert_int_equal(gw_state_save(NULL, 0, &stream, NULL), 0);
    assert_int_equal(stream.length, 48);
    assert_int_equal(gw_state_load(NULL, 0, stream.data, stream.length, NULL), 0);
}

/* One way to be wrong: what is done to a good stream with one section "grow/0", and the answer. */
struct wrong {
    const char *name;
    void (*make)(struct gw_buf *stream);
    const char *sentence;
};

static void two_sections(struct gw_buf *out, const char *name, uint32_t instance)
{
    stream_begin(out);
    stream_section(out, 1, "grow", 0, 1, payload, sizeof payload);
    stream_section(out, 1, name, instance, 1, payload, sizeof payload);
    stream_end(out, 2);
}
static void section_twice(struct gw_buf *out)
{
    two_sections(out, "grow", 0);
}
static void foreign_instance(struct gw_buf *out)
{
    two_sections(out, "grow", 1);
}
static void foreign_name(struct gw_buf *out)
{
    two_sections(out, "shrink", 0);
}
static void name_with_escape(struct gw_buf *out)
{
    two_sections(out, "gr\033[2J", 0);
}
static void name_empty(struct gw_buf *out)
{
    two_sections(out, "", 0);
}
static void name_too_long(struct gw_buf *out)
{
    two_sections(out, "1234567890123456789012345678901234567890123456789012345678901234", 0);
}
static void no_section(struct gw_buf *out)
{
    stream_begin(out);
    stream_end(out, 0);
}
static void one_section(struct gw_buf *out, uint32_t kind, uint32_t version, const void *bytes,
                        size_t length, uint32_t sections)
{
    stream_begin(out);
    stream_section(out, kind, "grow", 0, version, bytes, length);
    stream_end(out, sections);
}
static void unknown_kind(struct gw_buf *out)
{
    one_section(out, 3, 1, payload, 24, 1);
}
static void version_newer(struct gw_buf *out)
{
    one_section(out, 1, 2, payload, 24, 1);
}
static void version_zero(struct gw_buf *out)
{
    one_section(out, 1, 0, payload, 24, 1);
}
static void end_counts_wrong(struct gw_buf *out)
{
    one_section(out, 1, 1, payload, 24, 2);
}
static void payload_empty(struct gw_buf *out)
{
    one_section(out, 1, 1, payload, 0, 1);
}
static void payload_short(struct gw_buf *out)
{
    one_section(out, 1, 1, payload, 16, 1);
}
static void payload_long(struct gw_buf *out)
{
    uint8_t longer[25] = {0};
    memcpy(longer, payload, sizeof payload);
    one_section(out, 1, 1, longer, sizeof longer, 1);
}
static void field_padding_set(struct gw_buf *out)
{
    uint8_t padded[24];
    memcpy(padded, payload, sizeof payload);
    padded[15] = 1;
    one_section(out, 1, 1, padded, sizeof padded, 1);
}
static void part_version_zero(struct gw_buf *out)
{
    uint8_t other[24];
    memcpy(other, payload, sizeof payload);
    other[4] = 0;
    one_section(out, 1, 1, other, sizeof other, 1);
}
static void good(struct gw_buf *out)
{
    one_section(out, 1, 1, payload, 24, 1);
}
static void bytes_after_the_end(struct gw_buf *out)
{
    good(out);
    gw_buf_append(out, "\0\0\0", 3);
}
static void wrong_magic(struct gw_buf *out)
{
    good(out);
    out->data[7] = '\r';
}
static void other_format(struct gw_buf *out)
{
    good(out);
    out->data[8] = 2;
}
static void header_zero_set(struct gw_buf *out)
{
    good(out);
    out->data[12] = 1;
}
static void section_zero_set(struct gw_buf *out)
{
    good(out);
    out->data[16 + 20] = 1;
    stream_repair(out, 16);
}
static void name_padding_set(struct gw_buf *out)
{
    good(out);
    out->data[16 + 32 + 7] = 'x';
    stream_repair(out, 16);
}
static void crc_wrong(struct gw_buf *out)
{
    good(out);
    out->data[16] ^= 1;
}
static void empty(struct gw_buf *out)
{
    gw_buf_clear(out);
}
static void without_end(struct gw_buf *out)
{
    good(out);
    out->length -= 32;
}
static void huge_length(struct gw_buf *out)
{
    good(out);
    put_le64(out->data + 16 + 24, UINT64_MAX);
}
static void huge_name(struct gw_buf *out)
{
    good(out);
    put_le32(out->data + 16 + 16, UINT32_MAX);
}

static const struct wrong wrongs[] = {
    {"a section that comes twice", section_twice, "grow/0: the section comes twice"},
    {"a foreign instance", foreign_instance,
     "state stream: it has a section grow/1, but this machine has no such device"},
    {"a foreign name", foreign_name,
     "state stream: it has a section shrink/0, but this machine has no such device"},
    {"a name with control characters", name_with_escape,
     "state stream: the name of a section is not a name"},
    {"an empty name", name_empty, "state stream: the name of a section is not a name"},
    {"a name too long", name_too_long, "state stream: a section is longer than the stream"},
    {"a missing section", no_section, "grow/0: the stream has no section for this device"},
    {"an unknown kind", unknown_kind, "state stream: a section has the unknown kind 3"},
    {"a newer version", version_newer,
     "grow/0: its version 2 is newer than 1, the newest known here; a newer release can load it"},
    {"version 0", version_zero,
     "grow/0: its version 0 is older than 1, the oldest that this release loads"},
    {"an end that counts wrong", end_counts_wrong,
     "state stream: its end section does not fit the rest"},
    {"an empty payload", payload_empty, "grow/0: field value: the section ends too early"},
    {"a payload without subsections", payload_short,
     "grow/0: the number of subsections is missing"},
    {"a payload too long", payload_long, "grow/0: 1 bytes are left over"},
    {"padding of fields that is not zero", field_padding_set,
     "grow/0: the section ends too early, or its padding is not zero"},
    {"part version 0", part_version_zero, "grow/0: field parts[0]: a part's version is 0"},
    {"bytes after the end", bytes_after_the_end, "state stream: 3 bytes follow its end section"},
    {"a wrong magic", wrong_magic, "state stream: this is not a godwit state stream"},
    {"another format", other_format, "state stream: its format 2 is not the 1 of this release"},
    {"a reserved field of the header", header_zero_set,
     "state stream: a reserved field of the header is set"},
    {"a reserved field of a section", section_zero_set,
     "state stream: a section ends too early, or its padding is not zero"},
    {"padding of a name that is not zero", name_padding_set,
     "state stream: a section ends too early, or its padding is not zero"},
    {"a wrong CRC", crc_wrong,
     "state stream: the checksum of a section is wrong: it was damaged on its way"},
    {"nothing", empty, "state stream: this is not a godwit state stream"},
    {"no end", without_end, "state stream: it ends too early, without its end section"},
    {"a length near 2^64", huge_length, "state stream: a section is longer than the stream"},
    {"a name length near 2^32", huge_name, "state stream: a section is longer than the stream"},
};

static void is_refused(void **state)
{
    const struct wrong *wrong = *state;
    struct grow_1 grow = {.value = 1};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    wrong->make(&stream);
    expect_refused(&grow_1_state_type, &grow, &stream, wrong->sentence);
}

static void the_good_stream_of_these_tests_loads(void **state)
{
    struct grow_1 grow = {0};
    struct gw_state_item item = {&grow_1_state_type, 0, &grow};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    good(&stream);
    assert_int_equal(gw_state_load(&item, 1, stream.data, stream.length, NULL), 0);
    assert_memory_equal(&grow, &written, sizeof grow);
}

static void a_refusal_of_the_second_section_leaves_the_first_object(void **state)
{
    struct grow_1 a = {.value = 1}, b = {.value = 2};
    struct gw_state_item items[] = {{&grow_1_state_type, 0, &a}, {&grow_1_state_type, 1, &b}};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    stream_begin(&stream);
    stream_section(&stream, 1, "grow", 0, 1, payload, sizeof payload);
    stream_section(&stream, 1, "grow", 1, 1, payload, 8);
    stream_end(&stream, 2);
    struct gw_error error;
    assert_int_equal(gw_state_load(items, 2, stream.data, stream.length, &error), -EBADMSG);
    assert_string_equal(error.message, "grow/1: field parts[0].first: the section ends too early");
    assert_int_equal(a.value, 1);
}

static void hashes_are_equal_when_the_states_are(void **state)
{
    struct grow_1 a = written, b = written;
    struct gw_state_item one = {&grow_1_state_type, 0, &a}, other = {&grow_1_state_type, 0, &b};
    assert_true(gw_state_hash(&one, 1) == gw_state_hash(&other, 1));
    b.parts[1].first++;
    assert_true(gw_state_hash(&one, 1) != gw_state_hash(&other, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_the_specification),
        cmocka_unit_test(several_items_load_in_any_order),
        cmocka_unit_test(saving_appends_to_what_is_there),
        cmocka_unit_test(a_save_that_does_not_fit_leaves_the_buffer),
        cmocka_unit_test(no_items_are_a_stream_too),
        cmocka_unit_test(the_good_stream_of_these_tests_loads),
        cmocka_unit_test(a_refusal_of_the_second_section_leaves_the_first_object),
        cmocka_unit_test(hashes_are_equal_when_the_states_are),
    };
    struct CMUnitTest refusals[ARRAY_COUNT(wrongs)];
    for (size_t i = 0; i < ARRAY_COUNT(wrongs); i++)
        refusals[i] =
            (struct CMUnitTest){wrongs[i].name, is_refused, NULL, NULL, (void *)&wrongs[i]};
    return cmocka_run_group_tests(tests, NULL, NULL) +
           cmocka_run_group_tests_name("refused", refusals, NULL, NULL);
}
