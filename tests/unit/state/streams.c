/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "streams.h"

static void append_padded(struct gw_buf *out, const void *bytes, size_t length)
{
    static const uint8_t zero[8];
    assert_int_equal(gw_buf_append(out, bytes, length), 0);
    assert_int_equal(gw_buf_append(out, zero, align_up(length, 8) - length), 0);
}

void stream_begin(struct gw_buf *out)
{
    gw_buf_clear(out);
    append_padded(out, "GWSTATE\n\1\0\0\0\0\0\0\0", 16);
}

void stream_section(struct gw_buf *out, uint32_t kind, const char *name, uint32_t instance,
                    uint32_t version, const void *payload, size_t length)
{
    size_t at = out->length;
    uint8_t header[32] = {0};
    put_le32(header + 4, kind);
    put_le32(header + 8, instance);
    put_le32(header + 12, version);
    put_le32(header + 16, (uint32_t)strlen(name));
    put_le64(header + 24, length);
    append_padded(out, header, sizeof header);
    append_padded(out, name, strlen(name));
    append_padded(out, payload, length);
    stream_repair(out, at);
}

void stream_end(struct gw_buf *out, uint32_t sections)
{
    stream_section(out, 2, "", sections, 0, "", 0);
}

void stream_repair(struct gw_buf *out, size_t at)
{
    const uint8_t *section = out->data + at;
    size_t length = 32 + align_up(get_le32(section + 16), 8) + align_up(get_le64(section + 24), 8);
    assert_true(at + length <= out->length);
    put_le32(out->data + at, crc32c(0, section + 4, length - 4));
}

void stream_save(const struct gw_state_type *type, void *object, struct gw_buf *out)
{
    struct gw_state_item item = {type, 0, object};
    struct gw_error error = {0};
    gw_buf_clear(out);
    if (gw_state_save(&item, 1, out, &error) < 0)
        fail_msg("not saved: %s", error.message);
}

void expect_refused(const struct gw_state_type *type, void *object, const struct gw_buf *stream,
                    const char *sentence)
{
    struct gw_state_item item = {type, 0, object};
    struct gw_error error = {0};
    uint64_t before = gw_state_hash(&item, 1);
    assert_int_not_equal(before, 0);
    int r = gw_state_load(&item, 1, stream->data, stream->length, &error);
    if (r >= 0)
        fail_msg("loaded, but should be refused with: %s", sentence);
    assert_string_equal(error.message, sentence);
    assert_int_equal(r, -EBADMSG);
    assert_int_equal(error.layer, GW_LAYER_STATE);
    assert_true(gw_state_hash(&item, 1) == before);
}
