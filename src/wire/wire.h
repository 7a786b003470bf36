/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The migration protocol as a pure codec: bytes in, records out, no I/O, no state. This header
 * transcribes docs/protocol.md, version 1; section numbers below are that page's.
 *
 * Decoders treat their input as hostile. They fail with -EBADMSG (or -EPROTONOSUPPORT for versions)
 * and a sentence in `error`, layer "wire". Decoded texts and blobs point into the input: they live
 * as long as it.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>

/* ---- Section 2: preamble ---- */

#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define WIRE_PREAMBLE_BYTES 48
#define WIRE_SESSION_BYTES 16

enum wire_role {
    WIRE_ROLE_CONTROL = 1,
    WIRE_ROLE_DATA = 2,
    WIRE_ROLE_FAULT = 3,
    WIRE_ROLE_QUERY = 4,
};

struct wire_preamble {
    uint16_t version_min, version_max;
    uint16_t role; /* enum wire_role */
    uint16_t index;
    uint8_t session[WIRE_SESSION_BYTES];
    bool answer;
};

void wire_preamble_encode(const struct wire_preamble *preamble, uint8_t to[WIRE_PREAMBLE_BYTES]);
/* Checks everything but whether the versions meet: GW_CODE_CORRUPT. */
int wire_preamble_decode(const uint8_t from[WIRE_PREAMBLE_BYTES],
                         struct wire_preamble *ret_preamble, struct gw_error *error);
/* Whether `length` bytes can be the beginning of a preamble; so that garbage is refused at its
 * first byte. */
bool wire_preamble_begins(const uint8_t *from, size_t length);
/* The highest version in both ranges, or -EPROTONOSUPPORT with both ranges in the sentence. */
int wire_version_choose(const struct wire_preamble *peer, struct gw_error *error);

/* ---- Section 3: records ---- */

#define WIRE_HEADER_BYTES 24
#define WIRE_SKIPPABLE 0x80000000u
#define WIRE_SKIPPABLE_MAX_BYTES 65536u

enum wire_type {
    WIRE_OFFER = 0x01,
    WIRE_ACCEPT = 0x02,
    WIRE_REFUSE = 0x03,
    WIRE_ERROR = 0x04,
    WIRE_CANCEL = 0x05,
    WIRE_END = 0x06,
    WIRE_PING = 0x07,
    WIRE_PONG = 0x08,
    WIRE_PARAMETERS = 0x09,
    WIRE_PROGRESS = 0x0a | WIRE_SKIPPABLE,
    WIRE_RESIDENT = 0x0b | WIRE_SKIPPABLE,
    WIRE_PEER = 0x0c | WIRE_SKIPPABLE,
    WIRE_EXTENT = 0x10,
    WIRE_BARRIER = 0x11,
    WIRE_STATE = 0x20,
    WIRE_REHEARSED = 0x21,
    WIRE_SWITCH = 0x22,
    WIRE_READY = 0x23,
    WIRE_CANCEL_SWITCH = 0x24,
    WIRE_VERIFY = 0x25,
    WIRE_VERIFIED = 0x26,
    WIRE_COMMIT = 0x30,
    WIRE_RUNNING = 0x31,
    WIRE_CONFIRM = 0x32,
    WIRE_FLIGHT = 0x33 | WIRE_SKIPPABLE,
    WIRE_QUERY_OWNER = 0x40,
    WIRE_OWNER = 0x41,
    WIRE_REFUSED = 0x42,
};

struct wire_header {
    uint32_t type;
    uint32_t length; /* of the body */
    uint32_t sequence;
    uint32_t body_crc;
};

void wire_header_encode(const struct wire_header *header, uint8_t to[WIRE_HEADER_BYTES]);
/* Checks the header's CRC, the type (known, or skippable), the flags and the length against the
 * type's maximum. The caller checks the sequence number. */
int wire_header_decode(const uint8_t from[WIRE_HEADER_BYTES], struct wire_header *ret_header,
                       struct gw_error *error);
bool wire_type_known(uint32_t type);
const char *wire_type_name(uint32_t type); /* "OFFER"; "record 0x…" is not made: "unknown" */
uint32_t wire_type_max_bytes(uint32_t type);

/* Where a type may travel (section 5). */
enum wire_direction { WIRE_FROM_SOURCE = 1, WIRE_FROM_DESTINATION = 2 };
bool wire_type_allowed(uint32_t type, enum wire_direction from, enum wire_role role);

/* ---- Section 5: bodies ---- */

#define WIRE_TEXT_MAX_BYTES 511u
#define WIRE_STATE_MAX_BYTES ((uint64_t)64 << 20)
#define WIRE_STATE_PART_BYTES ((uint32_t)1 << 20)
#define WIRE_FLIGHT_MAX_BYTES ((uint32_t)1 << 20)
#define WIRE_MAX_REGIONS 16
#define WIRE_DESCRIPTION_MAX_BYTES ((uint32_t)1 << 20)
#define WIRE_SCHEMA_MAX_BYTES ((uint32_t)256 << 10)
#define WIRE_FLIGHTS_MAX_BYTES ((uint32_t)512 << 10)
#define WIRE_MEMORY_MAX_BYTES ((uint64_t)1 << 40)

enum wire_feature {
    WIRE_FEATURE_VERIFY_RAM = 1 << 0,
    WIRE_FEATURE_REHEARSAL = 1 << 1,
    WIRE_FEATURE_QUERY = 1 << 2,
    WIRE_FEATURE_PROGRESS = 1 << 3,
    WIRE_FEATURE_ACQUIRE = 1 << 4,
};
#define WIRE_FEATURES_KNOWN                                                                        \
    (WIRE_FEATURE_VERIFY_RAM | WIRE_FEATURE_REHEARSAL | WIRE_FEATURE_QUERY |                        \
     WIRE_FEATURE_PROGRESS | WIRE_FEATURE_ACQUIRE)

struct wire_region {
    char name[32]; /* NUL-terminated */
    uint64_t guest_base, bytes;
};

struct wire_offer {
    uint64_t features, epoch, peer_timeout_ms;
    uint32_t data_channels;
    bool running;
    char machine[64]; /* NUL-terminated */
    uint32_t region_count;
    struct wire_region regions[WIRE_MAX_REGIONS];
    const char *description, *schema, *flights; /* not NUL-terminated */
    uint32_t description_bytes, schema_bytes, flights_bytes;
};
/* Appends the body of an OFFER to `out`. -E2BIG, -ENOMEM. */
int wire_offer_encode(const struct wire_offer *offer, struct gw_buf *out, struct gw_error *error);
int wire_offer_decode(const void *body, size_t length, struct wire_offer *ret_offer,
                      struct gw_error *error);

struct wire_accept {
    uint64_t features, record_ns;
    uint32_t data_channels, zero;
};
struct wire_error { /* ERROR and REFUSE */
    uint32_t layer, code, text_bytes, zero;
};
struct wire_ping {
    uint64_t id, sent_ns;
};
struct wire_pong {
    uint64_t id, sent_ns, received_ns, answered_ns;
};
struct wire_parameters {
    uint64_t max_bandwidth, downtime_limit_ms, peer_timeout_ms;
};
struct wire_progress {
    uint32_t round, zero;
    uint64_t pages_raw, pages_zero;
};
struct wire_resident {
    uint32_t count, zero;
};
struct wire_peer {
    uint64_t boot_high, boot_low; /* which running kernel it is; both 0: not known */
    uint32_t text_bytes, zero;    /* of the host name */
};
struct wire_barrier {
    uint32_t round, attempt;
};
struct wire_state {
    uint32_t attempt; /* 0: rehearsal */
    uint32_t part_bytes;
    uint64_t offset, total_bytes, serial;
};
struct wire_rehearsed {
    uint64_t serial, load_ns;
    uint32_t layer, code, text_bytes;
    uint32_t acquire_us; /* with WIRE_FEATURE_ACQUIRE, else 0 */
};
struct wire_switch {
    uint32_t attempt, verify;
    uint64_t budget_ns, stopped_ns;
};
struct wire_ready {
    uint32_t attempt, zero;
    uint64_t ram_ns, load_ns;
};
struct wire_cancel_switch {
    uint32_t attempt, zero;
};
struct wire_verify {
    uint32_t attempt, zero;
    uint64_t hash;
};
struct wire_verified {
    uint32_t attempt, equal;
    uint64_t hash, hash_ns;
};
struct wire_commit {
    uint64_t epoch;
    uint32_t attempt, run;
};
struct wire_running {
    uint64_t epoch, started_ns, record_ns, acquire_ns, start_ns;
};
struct wire_epoch { /* CONFIRM, QUERY_OWNER, OWNER */
    uint64_t epoch;
};
struct wire_flight {
    uint32_t bytes, zero;
};
struct wire_refused {
    uint64_t epoch;
    uint32_t layer, code, text_bytes, zero;
};

/* The tail of RESIDENT: `count` entries of 16 bytes. */
#define WIRE_RANGE_BYTES 16
#define WIRE_RESIDENT_MAX_RANGES 4095u
struct wire_range {
    uint64_t first_page;
    uint32_t region, page_count;
};
void wire_range_encode(const struct wire_range *range, uint8_t to[WIRE_RANGE_BYTES]);
/* Checks the range against the regions. */
int wire_range_decode(const uint8_t from[WIRE_RANGE_BYTES], const uint64_t *region_pages,
                      unsigned region_count, struct wire_range *ret_range, struct gw_error *error);

/* Any record with fixed fields and at most one tail: not OFFER, not EXTENT. */
union wire_body {
    struct wire_accept accept;
    struct wire_error error;
    struct wire_ping ping;
    struct wire_pong pong;
    struct wire_parameters parameters;
    struct wire_progress progress;
    struct wire_resident resident;
    struct wire_peer peer;
    struct wire_barrier barrier;
    struct wire_state state;
    struct wire_rehearsed rehearsed;
    struct wire_switch switch_;
    struct wire_ready ready;
    struct wire_cancel_switch cancel_switch;
    struct wire_verify verify;
    struct wire_verified verified;
    struct wire_commit commit;
    struct wire_running running;
    struct wire_epoch epoch;
    struct wire_flight flight;
    struct wire_refused refused;
};

#define WIRE_FIXED_MAX_BYTES 40 /* of the largest in the union */

/* The fixed fields of `type` to bytes; returns how many. The tail's length field is the caller's to
 * set. */
size_t wire_fixed_encode(uint32_t type, const union wire_body *body,
                         uint8_t to[WIRE_FIXED_MAX_BYTES]);

/* Decodes a whole body. `ret_tail` points into `bytes`; its length is in the record's own field,
 * checked here against `length`, and padding must be zero. */
int wire_body_decode(uint32_t type, const void *bytes, size_t length, union wire_body *ret_body,
                     const uint8_t **ret_tail, struct gw_error *error);

/* A complete record (header, body) appended to `out`: for everything but EXTENT. `tail` may be
 * NULL. */
int wire_record_append(struct gw_buf *out, uint32_t type, uint32_t sequence,
                       const union wire_body *body, const void *tail, size_t tail_bytes);
/* The same for a body that is already encoded (OFFER). */
int wire_raw_append(struct gw_buf *out, uint32_t type, uint32_t sequence, const void *body,
                    size_t length);

/* The peer's error as ours: unknown numbers become "migrate" and "internal", control characters
 * become spaces, and the sentence is cut where the message ends. */
void wire_error_take(uint32_t layer, uint32_t code, const void *text, size_t text_bytes,
                     struct gw_error *ret_error);

/* ---- Section 6: extents ---- */

#define WIRE_PAGE_BYTES 4096u
#define WIRE_EXTENT_FIXED_BYTES 24
#define WIRE_EXTENT_MAX_RAW_PAGES 256u
#define WIRE_EXTENT_HEAD_MAX_BYTES (WIRE_EXTENT_FIXED_BYTES + 4 * WIRE_EXTENT_MAX_RAW_PAGES)

enum wire_extent_kind { WIRE_EXTENT_ZERO = 0, WIRE_EXTENT_RAW = 1 };

struct wire_extent {
    uint32_t region;
    uint32_t kind;
    uint64_t first_page;
    uint32_t page_count;
    uint32_t data_bytes;
};

/* Bytes of the page table of CRCs, padded: 0 for zero extents. */
static inline size_t wire_extent_table_bytes(const struct wire_extent *extent)
{
    return extent->kind == WIRE_EXTENT_RAW ? ((size_t)extent->page_count * 4 + 7) & ~(size_t)7 : 0;
}

/* Header, descriptor and table of an extent to `to`; returns how many bytes. `page_crcs` holds
 * page_count values for a raw extent; `to` has room for WIRE_HEADER_BYTES + WIRE_EXTENT_FIXED_BYTES
 * and the table. The pages follow on the channel, unchanged. */
size_t wire_extent_encode(const struct wire_extent *extent, const uint32_t *page_crcs,
                          uint32_t sequence, uint8_t *to);
/* The descriptor alone, after its header; checks kind, counts and lengths against `length`, and the
 * run against the regions' page counts. The CRC is checked by wire_extent_check() when the table is
 * there. */
int wire_extent_decode(const uint8_t from[WIRE_EXTENT_FIXED_BYTES], uint32_t length,
                       const uint64_t *region_pages, unsigned region_count,
                       struct wire_extent *ret_extent, struct gw_error *error);
/* `head`: descriptor and table, `head_bytes` long. */
int wire_body_check(const struct wire_header *header, const void *head, size_t head_bytes,
                    struct gw_error *error);

#endif
