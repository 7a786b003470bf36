/* SPDX-License-Identifier: Apache-2.0 */
/* The body of OFFER: docs/protocol.md section 5. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define FIXED_BYTES 120
#define REGION_BYTES 48

static int too_big(struct gw_error *error, const char *what, uint64_t bytes, uint64_t limit)
{
    return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_INVALID, -E2BIG,
                        "%s: %llu, the protocol allows %llu", what, (unsigned long long)bytes,
                        (unsigned long long)limit);
}

static int check_sizes(const struct wire_offer *offer, struct gw_error *error)
{
    if (offer->region_count == 0 || offer->region_count > WIRE_MAX_REGIONS)
        return too_big(error, "regions in the memory map", offer->region_count,
                       WIRE_MAX_REGIONS);
    if (offer->description_bytes > WIRE_DESCRIPTION_MAX_BYTES)
        return too_big(error, "bytes of the machine description", offer->description_bytes,
                       WIRE_DESCRIPTION_MAX_BYTES);
    if (offer->schema_bytes > WIRE_SCHEMA_MAX_BYTES)
        return too_big(error, "bytes of the state schema", offer->schema_bytes,
                       WIRE_SCHEMA_MAX_BYTES);
    if (offer->flights_bytes > WIRE_FLIGHTS_MAX_BYTES)
        return too_big(error, "bytes of the flight logs", offer->flights_bytes,
                       WIRE_FLIGHTS_MAX_BYTES);
    return 0;
}

static void put_padded(uint8_t **at, const void *from, uint32_t bytes)
{
    if (bytes > 0)
        memcpy(*at, from, bytes);
    *at += align_up(bytes, 8);
}

int wire_offer_encode(const struct wire_offer *offer, struct gw_buf *out, struct gw_error *error)
{
    int r = check_sizes(offer, error);
    if (r < 0)
        return r;
    size_t length = FIXED_BYTES + (size_t)offer->region_count * REGION_BYTES +
                    align_up(offer->description_bytes, 8) + align_up(offer->schema_bytes, 8) +
                    align_up(offer->flights_bytes, 8);
    uint8_t *to = gw_buf_extend(out, length);
    if (!to)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for an OFFER of %zu bytes", length);
    memset(to, 0, length);
    put_le64(to, offer->features);
    put_le64(to + 8, offer->epoch);
    put_le64(to + 16, offer->peer_timeout_ms);
    put_le32(to + 24, WIRE_PAGE_BYTES);
    put_le32(to + 28, offer->region_count);
    put_le32(to + 32, offer->data_channels);
    put_le32(to + 36, offer->running);
    put_le32(to + 40, offer->description_bytes);
    put_le32(to + 44, offer->schema_bytes);
    put_le32(to + 48, offer->flights_bytes);
    memcpy(to + 56, offer->machine, strnlen(offer->machine, sizeof offer->machine - 1));
    uint8_t *at = to + FIXED_BYTES;
    for (uint32_t i = 0; i < offer->region_count; i++, at += REGION_BYTES) {
        const struct wire_region *region = &offer->regions[i];
        memcpy(at, region->name, strnlen(region->name, sizeof region->name - 1));
        put_le64(at + 32, region->guest_base);
        put_le64(at + 40, region->bytes);
    }
    put_padded(&at, offer->description, offer->description_bytes);
    put_padded(&at, offer->schema, offer->schema_bytes);
    put_padded(&at, offer->flights, offer->flights_bytes);
    return 0;
}

static int bad(struct gw_error *error, const char *what)
{
    return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG, "the OFFER %s", what);
}

/* A name field: terminated, and nothing but zeroes after the end. */
static int take_name(const uint8_t *from, char *to, size_t bytes, struct gw_error *error)
{
    size_t length = strnlen((const char *)from, bytes);
    if (length == bytes)
        return bad(error, "holds a name without an end");
    for (size_t i = 0; i < bytes; i++)
        if (i < length ? from[i] < 0x20 || from[i] == 0x7f : from[i] != 0)
            return bad(error, "holds a name with control characters");
    memcpy(to, from, bytes);
    return 0;
}

static int take_region(const uint8_t *from, struct wire_region *region, uint64_t *total,
                       struct gw_error *error)
{
    int r = take_name(from, region->name, sizeof region->name, error);
    if (r < 0)
        return r;
    region->guest_base = get_le64(from + 32);
    region->bytes = get_le64(from + 40);
    uint64_t end;
    if (region->bytes == 0 || region->bytes % WIRE_PAGE_BYTES || region->guest_base % WIRE_PAGE_BYTES)
        return bad(error, "holds a memory region that is not made of whole pages");
    if (__builtin_add_overflow(region->guest_base, region->bytes, &end) ||
        __builtin_add_overflow(*total, region->bytes, total) || *total > WIRE_MEMORY_MAX_BYTES)
        return bad(error, "holds a memory map beyond the limit of 1 TiB");
    return 0;
}

/* A tail piece: points into the body, `*at` moves past its padding. */
static int take_blob(const uint8_t **at, const uint8_t *end, uint32_t bytes, const char **ret_text,
                     struct gw_error *error)
{
    size_t padded = align_up(bytes, 8);
    if (padded > (size_t)(end - *at))
        return bad(error, "is shorter than its fields say");
    for (size_t i = bytes; i < padded; i++)
        if ((*at)[i])
            return bad(error, "has padding that is not zero");
    *ret_text = (const char *)*at;
    *at += padded;
    return 0;
}

static int take_fixed(const uint8_t *from, struct wire_offer *offer, struct gw_error *error)
{
    *offer = (struct wire_offer){
        .features = get_le64(from),
        .epoch = get_le64(from + 8),
        .peer_timeout_ms = get_le64(from + 16),
        .region_count = get_le32(from + 28),
        .data_channels = get_le32(from + 32),
        .running = get_le32(from + 36),
        .description_bytes = get_le32(from + 40),
        .schema_bytes = get_le32(from + 44),
        .flights_bytes = get_le32(from + 48),
    };
    if (get_le32(from + 24) != WIRE_PAGE_BYTES)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_UNSUPPORTED, -EBADMSG,
                            "the OFFER counts in pages of %u bytes, only %u are supported",
                            get_le32(from + 24), WIRE_PAGE_BYTES);
    if (get_le32(from + 36) > 1 || get_le32(from + 52) != 0)
        return bad(error, "has a reserved field that is not zero");
    int r = check_sizes(offer, error);
    return r < 0 ? r : take_name(from + 56, offer->machine, sizeof offer->machine, error);
}

int wire_offer_decode(const void *body, size_t length, struct wire_offer *ret_offer,
                      struct gw_error *error)
{
    const uint8_t *at = body, *end = at + length;
    struct wire_offer made;
    if (length < FIXED_BYTES)
        return bad(error, "is too short");
    int r = take_fixed(at, &made, error);
    if (r < 0)
        return r;
    at += FIXED_BYTES;
    if ((size_t)(end - at) < (size_t)made.region_count * REGION_BYTES)
        return bad(error, "is shorter than its fields say");
    uint64_t total = 0;
    for (uint32_t i = 0; i < made.region_count; i++, at += REGION_BYTES) {
        r = take_region(at, &made.regions[i], &total, error);
        if (r < 0)
            return r;
    }
    r = take_blob(&at, end, made.description_bytes, &made.description, error);
    if (r == 0)
        r = take_blob(&at, end, made.schema_bytes, &made.schema, error);
    if (r == 0)
        r = take_blob(&at, end, made.flights_bytes, &made.flights, error);
    if (r < 0)
        return r;
    if (at != end)
        return bad(error, "is longer than its fields say");
    *ret_offer = made;
    return 0;
}
