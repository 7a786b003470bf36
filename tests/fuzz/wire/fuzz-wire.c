/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses the parser. Record CRCs are repaired before parsing, otherwise the fuzzer would
 * never get past them; what decodes must encode to the same bytes again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void preamble(const uint8_t *data, size_t size)
{
    uint8_t bytes[WIRE_PREAMBLE_BYTES], again[WIRE_PREAMBLE_BYTES];
    if (size < sizeof bytes)
        return;
    memcpy(bytes, data, sizeof bytes);
    put_le32(bytes + 44, crc32c(0, bytes, 44));
    struct wire_preamble decoded;
    struct gw_error error;
    if (wire_preamble_decode(bytes, &decoded, &error) < 0) {
        check(error.message[0] != '\0');
        return;
    }
    wire_preamble_encode(&decoded, again);
    check(memcmp(bytes, again, sizeof bytes) == 0);
    wire_version_choose(&decoded, &error);
}

static void offer(const uint8_t *data, size_t size)
{
    struct wire_offer decoded;
    struct gw_error error;
    if (wire_offer_decode(data, size, &decoded, &error) < 0)
        return;
    struct gw_buf out = {0};
    check(wire_offer_encode(&decoded, &out, &error) == 0);
    check(out.length == size && memcmp(out.data, data, size) == 0);
    gw_buf_fini(&out);
}

static void extent(const uint8_t *data, size_t size)
{
    static const uint64_t pages[2] = {1024, 7};
    struct wire_extent decoded;
    struct gw_error error;
    if (size < WIRE_EXTENT_FIXED_BYTES + 4)
        return;
    if (wire_extent_decode(data + 4, get_le32(data), pages, 2, &decoded, &error) == 0)
        check(decoded.first_page + decoded.page_count <= pages[decoded.region]);
}

static void record(const uint8_t *data, size_t size)
{
    uint8_t head[WIRE_HEADER_BYTES];
    struct wire_header header;
    struct gw_error error;
    if (size < sizeof head)
        return;
    memcpy(head, data, sizeof head);
    put_le32(head + 20, crc32c(0, head, 20));
    if (wire_header_decode(head, &header, &error) < 0)
        return;
    check(header.length <= wire_type_max_bytes(header.type));
    union wire_body body;
    const uint8_t *tail;
    struct gw_error ignored;
    if (wire_body_decode(header.type, data + sizeof head, size - sizeof head, &body, &tail, &error) < 0)
        return;
    if (header.type == WIRE_ERROR)
        wire_error_take(body.error.layer, body.error.code, tail, body.error.text_bytes, &ignored);
    uint8_t fixed[WIRE_FIXED_MAX_BYTES];
    size_t length = wire_fixed_encode(header.type, &body, fixed);
    check(length <= size - sizeof head && memcmp(fixed, data + sizeof head, length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(const uint8_t *, size_t) = {preamble, offer, extent, record};
    if (size > 0)
        parsers[data[0] % 4](data + 1, size - 1);
    return 0;
}
