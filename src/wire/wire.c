/* SPDX-License-Identifier: Apache-2.0 */
/* Preamble and record headers: docs/protocol.md sections 2 and 3, and the table of section 5. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crc32c.h"

static const uint8_t magic[8] = {0x67, 0x6f, 0x64, 0x77, 0x69, 0x74, 0x0d, 0x0a};

#define PREAMBLE_ANSWER 1u

void wire_preamble_encode(const struct wire_preamble *preamble, uint8_t to[WIRE_PREAMBLE_BYTES])
{
    memset(to, 0, WIRE_PREAMBLE_BYTES);
    memcpy(to, magic, sizeof magic);
    put_le16(to + 8, preamble->version_min);
    put_le16(to + 10, preamble->version_max);
    put_le16(to + 12, preamble->role);
    put_le16(to + 14, preamble->index);
    memcpy(to + 16, preamble->session, WIRE_SESSION_BYTES);
    put_le32(to + 40, preamble->answer ? PREAMBLE_ANSWER : 0);
    put_le32(to + 44, crc32c(0, to, 44));
}

bool wire_preamble_begins(const uint8_t *from, size_t length)
{
    return memcmp(from, magic, length < sizeof magic ? length : sizeof magic) == 0;
}

static int corrupt(struct gw_error *error, const char *what)
{
    return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG, "%s", what);
}

int wire_preamble_decode(const uint8_t from[WIRE_PREAMBLE_BYTES], struct wire_preamble *ret_preamble,
                         struct gw_error *error)
{
    if (!wire_preamble_begins(from, WIRE_PREAMBLE_BYTES))
        return corrupt(error, "the other side does not speak the godwit migration protocol");
    if (get_le32(from + 44) != crc32c(0, from, 44))
        return corrupt(error, "the preamble of a channel is damaged (CRC)");
    struct wire_preamble made = {
        .version_min = get_le16(from + 8),
        .version_max = get_le16(from + 10),
        .role = get_le16(from + 12),
        .index = get_le16(from + 14),
        .answer = get_le32(from + 40) & PREAMBLE_ANSWER,
    };
    memcpy(made.session, from + 16, WIRE_SESSION_BYTES);
    if (get_le64(from + 32) != 0 || (get_le32(from + 40) & ~PREAMBLE_ANSWER) != 0)
        return corrupt(error, "the preamble of a channel has unknown bits set");
    if (made.version_min == 0 || made.version_min > made.version_max)
        return corrupt(error, "the preamble of a channel names an empty range of versions");
    if (made.role < WIRE_ROLE_CONTROL || made.role > WIRE_ROLE_QUERY)
        return corrupt(error, "the preamble of a channel names an unknown role");
    *ret_preamble = made;
    return 0;
}

int wire_version_choose(const struct wire_preamble *peer, struct gw_error *error)
{
    int version = peer->version_max < WIRE_VERSION_MAX ? peer->version_max : WIRE_VERSION_MAX;
    if (version < WIRE_VERSION_MIN || version < peer->version_min)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_VERSION, -EPROTONOSUPPORT,
                            "no common protocol version: the other side speaks %u to %u, this one "
                            "%u to %u; upgrade the older one",
                            peer->version_min, peer->version_max, WIRE_VERSION_MIN,
                            WIRE_VERSION_MAX);
    return version;
}

#define ON_CONTROL (1 << WIRE_ROLE_CONTROL)
#define ON_DATA (1 << WIRE_ROLE_DATA)
#define ON_QUERY (1 << WIRE_ROLE_QUERY)
#define BOTH (WIRE_FROM_SOURCE | WIRE_FROM_DESTINATION)

/* Section 5, the first table. */
static const struct {
    uint32_t type;
    const char *name;
    uint32_t max_bytes;
    uint8_t from, on;
} types[] = {
    {WIRE_OFFER, "OFFER", 2097152, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_ACCEPT, "ACCEPT", 24, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_REFUSE, "REFUSE", 528, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_ERROR, "ERROR", 528, BOTH, ON_CONTROL | ON_QUERY},
    {WIRE_CANCEL, "CANCEL", 0, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_END, "END", 0, BOTH, ON_CONTROL | ON_DATA | ON_QUERY},
    {WIRE_PING, "PING", 16, BOTH, ON_CONTROL},
    {WIRE_PONG, "PONG", 32, BOTH, ON_CONTROL},
    {WIRE_PARAMETERS, "PARAMETERS", 24, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_PROGRESS, "PROGRESS", 24, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_RESIDENT, "RESIDENT", 65528, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_PEER, "PEER", 536, BOTH, ON_CONTROL},
    {WIRE_EXTENT, "EXTENT", 1049624, WIRE_FROM_SOURCE, ON_CONTROL | ON_DATA},
    {WIRE_BARRIER, "BARRIER", 8, WIRE_FROM_SOURCE, ON_CONTROL | ON_DATA},
    {WIRE_STATE, "STATE", 1048608, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_REHEARSED, "REHEARSED", 544, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_SWITCH, "SWITCH", 24, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_READY, "READY", 24, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_CANCEL_SWITCH, "CANCEL_SWITCH", 8, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_VERIFY, "VERIFY", 16, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_VERIFIED, "VERIFIED", 24, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_COMMIT, "COMMIT", 16, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_RUNNING, "RUNNING", 40, WIRE_FROM_DESTINATION, ON_CONTROL},
    {WIRE_CONFIRM, "CONFIRM", 8, WIRE_FROM_SOURCE, ON_CONTROL | ON_QUERY},
    {WIRE_FLIGHT, "FLIGHT", 1048584, WIRE_FROM_SOURCE, ON_CONTROL},
    {WIRE_QUERY_OWNER, "QUERY_OWNER", 8, WIRE_FROM_SOURCE, ON_QUERY},
    {WIRE_OWNER, "OWNER", 8, WIRE_FROM_DESTINATION, ON_QUERY},
    {WIRE_REFUSED, "REFUSED", 536, WIRE_FROM_DESTINATION, ON_CONTROL | ON_QUERY},
};

static int find_type(uint32_t type)
{
    for (size_t i = 0; i < ARRAY_COUNT(types); i++)
        if (types[i].type == type)
            return (int)i;
    return -1;
}

bool wire_type_known(uint32_t type)
{
    return find_type(type) >= 0;
}

const char *wire_type_name(uint32_t type)
{
    int i = find_type(type);
    return i < 0 ? "unknown" : types[i].name;
}

uint32_t wire_type_max_bytes(uint32_t type)
{
    int i = find_type(type);
    return i >= 0 ? types[i].max_bytes : WIRE_SKIPPABLE_MAX_BYTES;
}

bool wire_type_allowed(uint32_t type, enum wire_direction from, enum wire_role role)
{
    int i = find_type(type);
    if (i < 0)
        return type & WIRE_SKIPPABLE;
    return (types[i].from & from) && (types[i].on & (1 << role));
}

void wire_header_encode(const struct wire_header *header, uint8_t to[WIRE_HEADER_BYTES])
{
    put_le32(to, header->type);
    put_le32(to + 4, 0);
    put_le32(to + 8, header->length);
    put_le32(to + 12, header->sequence);
    put_le32(to + 16, header->body_crc);
    put_le32(to + 20, crc32c(0, to, 20));
}

int wire_header_decode(const uint8_t from[WIRE_HEADER_BYTES], struct wire_header *ret_header,
                       struct gw_error *error)
{
    if (get_le32(from + 20) != crc32c(0, from, 20))
        return corrupt(error, "the stream is damaged: the CRC of a record's header is wrong");
    struct wire_header made = {
        .type = get_le32(from),
        .length = get_le32(from + 8),
        .sequence = get_le32(from + 12),
        .body_crc = get_le32(from + 16),
    };
    if (!wire_type_known(made.type) && !(made.type & WIRE_SKIPPABLE))
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG,
                            "a record has the unknown type 0x%x", made.type);
    if (get_le32(from + 4) != 0)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG,
                            "a record %s has unknown flags 0x%x", wire_type_name(made.type),
                            get_le32(from + 4));
    if (made.length > wire_type_max_bytes(made.type) || made.length % 8 != 0)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG,
                            "a record %s of %u bytes: at most %u and a multiple of 8 are allowed",
                            wire_type_name(made.type), made.length,
                            wire_type_max_bytes(made.type));
    *ret_header = made;
    return 0;
}

int wire_body_check(const struct wire_header *header, const void *head, size_t head_bytes,
                    struct gw_error *error)
{
    if (crc32c(0, head, head_bytes) != header->body_crc)
        return gw_error_set(error, GW_LAYER_WIRE, GW_CODE_CORRUPT, -EBADMSG,
                            "the stream is damaged: the CRC of a record %s is wrong",
                            wire_type_name(header->type));
    return 0;
}
