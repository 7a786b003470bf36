/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies: docs/protocol.md sections 5 and 6. A body is a few fixed fields, written down as tables that say
 * where each field lives in its struct and how wide it is, then at most one tail.
 */
#include "wire/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crc32c.h"

struct field {
    uint8_t offset, bytes; /* in the struct; bytes 0 ends the list */
    bool zero;             /* must be zero on the wire */
};

struct layout {
    uint32_t type;
    const struct field *fields;
    int tail; /* offset in the struct of the 32-bit field that holds the tail's length, or -1 */
    uint32_t tail_max;  /* of that field */
    uint32_t tail_unit; /* bytes that each counts for */
};

#define F(record, member)                                                                          \
    {offsetof(struct record, member), sizeof(((struct record *)0)->member), false}
#define Z(record) {offsetof(struct record, zero), 4, true}

static const struct field accept_fields[] = {
    F(wire_accept, features), F(wire_accept, record_ns), F(wire_accept, data_channels),
    Z(wire_accept), {0}};
static const struct field error_fields[] = {
    F(wire_error, layer), F(wire_error, code), F(wire_error, text_bytes), Z(wire_error), {0}};
static const struct field no_fields[] = {{0}};
static const struct field ping_fields[] = {F(wire_ping, id), F(wire_ping, sent_ns), {0}};
static const struct field pong_fields[] = {
    F(wire_pong, id), F(wire_pong, sent_ns), F(wire_pong, received_ns), F(wire_pong, answered_ns),
    {0}};
static const struct field parameters_fields[] = {
    F(wire_parameters, max_bandwidth), F(wire_parameters, downtime_limit_ms),
    F(wire_parameters, peer_timeout_ms), {0}};
static const struct field progress_fields[] = {
    F(wire_progress, round), Z(wire_progress), F(wire_progress, pages_raw),
    F(wire_progress, pages_zero), {0}};
static const struct field resident_fields[] = {
    F(wire_resident, count), Z(wire_resident), {0}};
static const struct field peer_fields[] = {
    F(wire_peer, boot_high), F(wire_peer, boot_low), F(wire_peer, text_bytes), Z(wire_peer), {0}};
static const struct field barrier_fields[] = {
    F(wire_barrier, round), F(wire_barrier, attempt), {0}};
static const struct field state_fields[] = {
    F(wire_state, attempt), F(wire_state, part_bytes), F(wire_state, offset),
    F(wire_state, total_bytes), F(wire_state, serial), {0}};
static const struct field rehearsed_fields[] = {
    F(wire_rehearsed, serial), F(wire_rehearsed, load_ns), F(wire_rehearsed, layer),
    F(wire_rehearsed, code), F(wire_rehearsed, text_bytes), F(wire_rehearsed, acquire_us), {0}};
static const struct field switch_fields[] = {
    F(wire_switch, attempt), F(wire_switch, verify), F(wire_switch, budget_ns),
    F(wire_switch, stopped_ns), {0}};
static const struct field ready_fields[] = {
    F(wire_ready, attempt), Z(wire_ready), F(wire_ready, ram_ns), F(wire_ready, load_ns), {0}};
static const struct field cancel_switch_fields[] = {
    F(wire_cancel_switch, attempt), Z(wire_cancel_switch), {0}};
static const struct field verify_fields[] = {
    F(wire_verify, attempt), Z(wire_verify), F(wire_verify, hash), {0}};
static const struct field verified_fields[] = {
    F(wire_verified, attempt), F(wire_verified, equal), F(wire_verified, hash),
    F(wire_verified, hash_ns), {0}};
static const struct field commit_fields[] = {
    F(wire_commit, epoch), F(wire_commit, attempt), F(wire_commit, run), {0}};
static const struct field running_fields[] = {
    F(wire_running, epoch), F(wire_running, started_ns), F(wire_running, record_ns),
    F(wire_running, acquire_ns), F(wire_running, start_ns), {0}};
static const struct field epoch_fields[] = {F(wire_epoch, epoch), {0}};
static const struct field flight_fields[] = {F(wire_flight, bytes), Z(wire_flight), {0}};
static const struct field refused_fields[] = {
    F(wire_refused, epoch), F(wire_refused, layer), F(wire_refused, code),
    F(wire_refused, text_bytes), Z(wire_refused), {0}};

static const struct layout layouts[] = {
    {WIRE_ACCEPT, accept_fields, -1, 0, 0},
    {WIRE_REFUSE, error_fields, offsetof(struct wire_error, text_bytes), WIRE_TEXT_MAX_BYTES, 1},
    {WIRE_ERROR, error_fields, offsetof(struct wire_error, text_bytes), WIRE_TEXT_MAX_BYTES, 1},
    {WIRE_CANCEL, no_fields, -1, 0, 0},
    {WIRE_END, no_fields, -1, 0, 0},
    {WIRE_PING, ping_fields, -1, 0, 0},
    {WIRE_PONG, pong_fields, -1, 0, 0},
    {WIRE_PARAMETERS, parameters_fields, -1, 0, 0},
    {WIRE_PROGRESS, progress_fields, -1, 0, 0},
    {WIRE_RESIDENT, resident_fields, offsetof(struct wire_resident, count),
     WIRE_RESIDENT_MAX_RANGES, WIRE_RANGE_BYTES},
    {WIRE_PEER, peer_fields, offsetof(struct wire_peer, text_bytes), WIRE_TEXT_MAX_BYTES, 1},
    {WIRE_BARRIER, barrier_fields, -1, 0, 0},
    {WIRE_STATE, state_fields, offsetof(struct wire_state, part_bytes), WIRE_STATE_PART_BYTES, 1},
    {WIRE_REHEARSED, rehearsed_fields, offsetof(struct wire_rehearsed, text_bytes),
     WIRE_TEXT_MAX_BYTES, 1},
    {WIRE_SWITCH, switch_fields, -1, 0, 0},
    {WIRE_READY, ready_fields, -1, 0, 0},
    {WIRE_CANCEL_SWITCH, cancel_switch_fields, -1, 0, 0},
    {WIRE_VERIFY, verify_fields, -1, 0, 0},
    {WIRE_VERIFIED, verified_fields, -1, 0, 0},
    {WIRE_COMMIT, commit_fields, -1, 0, 0},
    {WIRE_RUNNING, running_fields, -1, 0, 0},
    {WIRE_CONFIRM, epoch_fields, -1, 0, 0},
    {WIRE_FLIGHT, flight_fields, offsetof(struct wire_flight, bytes), WIRE_FLIGHT_MAX_BYTES, 1},
    {WIRE_QUERY_OWNER, epoch_fields, -1, 0, 0},
    {WIRE_OWNER, epoch_fields, -1, 0, 0},
    {WIRE_REFUSED, refused_fields, offsetof(struct wire_refused, text_bytes), WIRE_TEXT_MAX_BYTES, 1},
};

static const struct layout *find_layout(uint32_t type)
{
    for (size_t i = 0; i < ARRAY_COUNT(layouts); i++)
        if (layouts[i].type == type)
            return &layouts[i];
    return NULL;
}

static size_t fixed_bytes(const struct layout *layout)
{
    size_t bytes = 0;
    for (const struct field *field = layout->fields; field->bytes; field++)
        bytes += field->bytes;
    return bytes;
}

size_t wire_fixed_encode(uint32_t type, const union wire_body *body,
                         uint8_t to[WIRE_FIXED_MAX_BYTES])
{
    const struct layout *layout = find_layout(type);
    assert(layout && fixed_bytes(layout) <= WIRE_FIXED_MAX_BYTES);
    size_t at = 0;
    for (const struct field *field = layout->fields; field->bytes; field++) {
        const uint8_t *member = (const uint8_t *)body + field->offset;
        if (field->bytes == 8)
            put_le64(to + at, *(const uint64_t *)member);
        else
            put_le32(to + at, field->zero ? 0 : *(const uint32_t *)member);
        at += field->bytes;
    }
    return at;
}

static int damaged(struct gw_error *error, uint32_t type, const char *what)
{
    return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG, "a record %s %s",
                        wire_type_name(type), what);
}

static int decode_fields(const struct layout *layout, const uint8_t *bytes, union wire_body *body,
                         struct gw_error *error)
{
    for (const struct field *field = layout->fields; field->bytes; field++) {
        uint8_t *member = (uint8_t *)body + field->offset;
        if (field->bytes == 8)
            *(uint64_t *)member = get_le64(bytes);
        else
            *(uint32_t *)member = get_le32(bytes);
        if (field->zero && *(uint32_t *)member != 0)
            return damaged(error, layout->type, "has a reserved field that is not zero");
        bytes += field->bytes;
    }
    return 0;
}

static bool is_zero(const uint8_t *bytes, size_t length)
{
    while (length > 0)
        if (bytes[--length])
            return false;
    return true;
}

int wire_body_decode(uint32_t type, const void *bytes, size_t length, union wire_body *ret_body,
                     const uint8_t **ret_tail, struct gw_error *error)
{
    const struct layout *layout = find_layout(type);
    if (!layout)
        return damaged(error, type, "has no such body");
    size_t fixed = fixed_bytes(layout);
    if (length < fixed)
        return damaged(error, type, "is too short");
    if (length == 0)
        bytes = ""; /* an empty buffer may be NULL, on which there is no arithmetic */
    union wire_body made = {0};
    int r = decode_fields(layout, bytes, &made, error);
    if (r < 0)
        return r;
    const uint8_t *tail = length > 0 ? (const uint8_t *)bytes + fixed : (const uint8_t *)"";
    uint32_t tail_count = layout->tail < 0 ? 0 : *(uint32_t *)((uint8_t *)&made + layout->tail);
    size_t tail_bytes = (size_t)tail_count * layout->tail_unit;
    if (tail_count > layout->tail_max || length - fixed != align_up(tail_bytes, 8))
        return damaged(error, type, "has a length that does not fit its fields");
    if (!is_zero(tail + tail_bytes, length - fixed - tail_bytes))
        return damaged(error, type, "has padding that is not zero");
    *ret_body = made;
    if (ret_tail)
        *ret_tail = tail;
    return 0;
}

int wire_raw_append(struct gw_buf *out, uint32_t type, uint32_t sequence, const void *body,
                    size_t length)
{
    struct wire_header header = {.type = type,
                                 .length = (uint32_t)length,
                                 .sequence = sequence,
                                 .body_crc = crc32c(0, body, length)};
    uint8_t head[WIRE_HEADER_BYTES];
    wire_header_encode(&header, head);
    int r = gw_buf_append(out, head, sizeof head);
    return r < 0 ? r : gw_buf_append(out, body, length);
}

int wire_record_append(struct gw_buf *out, uint32_t type, uint32_t sequence,
                       const union wire_body *body, const void *tail, size_t tail_bytes)
{
    static const uint8_t padding[8];
    uint8_t fixed[WIRE_FIXED_MAX_BYTES];
    size_t fixed_length = body ? wire_fixed_encode(type, body, fixed) : 0;
    size_t padding_bytes = align_up(tail_bytes, 8) - tail_bytes;
    size_t length = fixed_length + tail_bytes + padding_bytes;
    assert(length <= wire_type_max_bytes(type));

    uint32_t crc = crc32c(0, fixed, fixed_length);
    crc = crc32c(crc, tail, tail_bytes);
    crc = crc32c(crc, padding, padding_bytes);
    struct wire_header header = {
        .type = type, .length = (uint32_t)length, .sequence = sequence, .body_crc = crc};
    uint8_t *to = gw_buf_extend(out, WIRE_HEADER_BYTES + length);
    if (!to)
        return -ENOMEM;
    wire_header_encode(&header, to);
    memcpy(to + WIRE_HEADER_BYTES, fixed, fixed_length);
    if (tail_bytes > 0)
        memcpy(to + WIRE_HEADER_BYTES + fixed_length, tail, tail_bytes);
    memset(to + WIRE_HEADER_BYTES + fixed_length + tail_bytes, 0, padding_bytes);
    return 0;
}

void wire_error_take(uint32_t layer, uint32_t code, const void *text, size_t text_bytes,
                     struct gw_error *ret_error)
{
    struct gw_error made = {
        .layer = layer <= GW_LAYER_CLI ? (enum gw_layer)layer : GW_LAYER_MIGRATE,
        .code = code != GW_CODE_NONE && code <= GW_CODE_INTERNAL ? (enum gw_code)code
                                                                 : GW_CODE_INTERNAL,
    };
    size_t length = text_bytes < sizeof made.message - 1 ? text_bytes : sizeof made.message - 1;
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = ((const uint8_t *)text)[i];
        made.message[i] = byte < 0x20 || byte == 0x7f ? ' ' : (char)byte;
    }
    *ret_error = made;
}

size_t wire_extent_encode(const struct wire_extent *extent, const uint32_t *page_crcs,
                          uint32_t sequence, uint8_t *to)
{
    uint8_t *body = to + WIRE_HEADER_BYTES;
    size_t table = wire_extent_table_bytes(extent);
    put_le32(body, extent->region);
    put_le32(body + 4, extent->kind);
    put_le64(body + 8, extent->first_page);
    put_le32(body + 16, extent->page_count);
    put_le32(body + 20, extent->data_bytes);
    if (table > 0) {
        put_le32(body + WIRE_EXTENT_FIXED_BYTES + table - 4, 0);
        for (uint32_t i = 0; i < extent->page_count; i++)
            put_le32(body + WIRE_EXTENT_FIXED_BYTES + (size_t)4 * i, page_crcs[i]);
    }
    size_t head = WIRE_EXTENT_FIXED_BYTES + table;
    struct wire_header header = {.type = WIRE_EXTENT,
                                 .length = (uint32_t)head + extent->data_bytes,
                                 .sequence = sequence,
                                 .body_crc = crc32c(0, body, head)};
    wire_header_encode(&header, to);
    return WIRE_HEADER_BYTES + head;
}

/* How many data bytes an extent of this kind and count carries, or -1 when the count is not allowed. */
static int64_t expected_data_bytes(const struct wire_extent *extent)
{
    if (extent->page_count == 0)
        return -1;
    if (extent->kind == WIRE_EXTENT_ZERO)
        return 0;
    return extent->page_count > WIRE_EXTENT_MAX_RAW_PAGES
               ? -1
               : (int64_t)extent->page_count * WIRE_PAGE_BYTES;
}

int wire_extent_decode(const uint8_t from[WIRE_EXTENT_FIXED_BYTES], uint32_t length,
                       const uint64_t *region_pages, unsigned region_count,
                       struct wire_extent *ret_extent, struct gw_error *error)
{
    struct wire_extent made = {
        .region = get_le32(from),
        .kind = get_le32(from + 4),
        .first_page = get_le64(from + 8),
        .page_count = get_le32(from + 16),
        .data_bytes = get_le32(from + 20),
    };
    if (made.kind != WIRE_EXTENT_ZERO && made.kind != WIRE_EXTENT_RAW)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG,
                            "a record EXTENT has the kind %u, which was not agreed", made.kind);
    if (expected_data_bytes(&made) != made.data_bytes ||
        length != WIRE_EXTENT_FIXED_BYTES + wire_extent_table_bytes(&made) + made.data_bytes)
        return damaged(error, WIRE_EXTENT, "has a length that does not fit its page count");
    if (made.region >= region_count || made.first_page >= region_pages[made.region] ||
        made.page_count > region_pages[made.region] - made.first_page)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG,
                            "a record EXTENT lies outside the machine's memory: %u pages at page "
                            "%llu of region %u",
                            made.page_count, (unsigned long long)made.first_page, made.region);
    *ret_extent = made;
    return 0;
}

void wire_range_encode(const struct wire_range *range, uint8_t to[WIRE_RANGE_BYTES])
{
    put_le64(to, range->first_page);
    put_le32(to + 8, range->region);
    put_le32(to + 12, range->page_count);
}

int wire_range_decode(const uint8_t from[WIRE_RANGE_BYTES], const uint64_t *region_pages,
                      unsigned region_count, struct wire_range *ret_range, struct gw_error *error)
{
    struct wire_range made = {
        .first_page = get_le64(from), .region = get_le32(from + 8), .page_count = get_le32(from + 12)};
    if (made.region >= region_count || made.first_page >= region_pages[made.region] ||
        made.page_count > region_pages[made.region] - made.first_page)
        return damaged(error, WIRE_RESIDENT, "lies outside the machine's memory");
    *ret_range = made;
    return 0;
}
