/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "state/load.h"

bool state_is_name(const uint8_t *name, uint64_t length)
{
    if (length == 0 || length > STATE_MAX_NAME)
        return false;
    for (uint64_t i = 0; i < length; i++)
        if (name[i] == '\0' || !strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", name[i]))
            return false;
    return true;
}

struct section {
    uint32_t kind, instance, version;
    const uint8_t *name;
    uint32_t name_length;
    struct state_bytes payload;
};

static int take_stream_header(struct loader *loader)
{
    const uint8_t *header = state_take(&loader->stream, STATE_HEADER_BYTES);
    if (!header || memcmp(header, STATE_MAGIC, 8) != 0)
        return state_refuse(loader, GW_CODE_CORRUPT, "this is not a godwit state stream");
    if (get_le32(header + STATE_AT_FORMAT) != STATE_FORMAT)
        return state_refuse(loader, GW_CODE_VERSION,
                            "its format %" PRIu32 " is not the %d of this release",
                            get_le32(header + STATE_AT_FORMAT), STATE_FORMAT);
    if (get_le32(header + STATE_AT_HEADER_ZERO) != 0)
        return state_refuse(loader, GW_CODE_CORRUPT, "a reserved field of the header is set");
    return 0;
}

/* Cuts one section or the end out of the stream and proves its CRC. */
static int take_section(struct loader *loader, struct section *ret_section)
{
    struct state_bytes start = loader->stream;
    const uint8_t *header = state_take(&loader->stream, STATE_SECTION_BYTES);
    if (!header)
        return state_refuse(loader, GW_CODE_CORRUPT, "it ends too early, without its end section");
    struct section section = {
        .kind = get_le32(header + STATE_AT_KIND),
        .instance = get_le32(header + STATE_AT_INSTANCE),
        .version = get_le32(header + STATE_AT_VERSION),
        .name_length = get_le32(header + STATE_AT_NAME_LENGTH),
    };
    uint64_t payload_length = get_le64(header + STATE_AT_PAYLOAD_LENGTH);
    if (section.kind != STATE_KIND_SECTION && section.kind != STATE_KIND_END)
        return state_refuse(loader, GW_CODE_CORRUPT, "a section has the unknown kind %" PRIu32,
                            section.kind);
    if (payload_length > loader->stream.left || section.name_length > STATE_MAX_NAME)
        return state_refuse(loader, GW_CODE_CORRUPT, "a section is longer than the stream");
    section.name = state_take_padded(&loader->stream, section.name_length);
    const uint8_t *payload =
        section.name ? state_take_padded(&loader->stream, payload_length) : NULL;
    if (!payload || get_le32(header + STATE_AT_ZERO) != 0)
        return state_refuse(loader, GW_CODE_CORRUPT,
                            "a section ends too early, or its padding is not zero");
    section.payload = (struct state_bytes){payload, (size_t)payload_length};
    size_t whole = start.left - loader->stream.left;
    if (crc32c(0, header + STATE_AT_KIND, whole - STATE_AT_KIND) != get_le32(header + STATE_AT_CRC))
        return state_refuse(loader, GW_CODE_CORRUPT,
                            "the checksum of a section is wrong: it was "
                            "damaged on its way");
    *ret_section = section;
    return 0;
}

static int find_item(struct loader *loader, const struct gw_state_item *items, size_t count,
                     const struct section *section, size_t *ret_index)
{
    if (!state_is_name(section->name, section->name_length))
        return state_refuse(loader, GW_CODE_CORRUPT, "the name of a section is not a name");
    for (size_t i = 0; i < count; i++) {
        const char *name = items[i].type->name;
        if (items[i].instance == section->instance && strlen(name) == section->name_length &&
            memcmp(name, section->name, section->name_length) == 0) {
            *ret_index = i;
            return 0;
        }
    }
    return state_refuse(loader, GW_CODE_CORRUPT,
                        "it has a section %.*s/%" PRIu32 ", but this machine has no such device",
                        (int)section->name_length, (const char *)section->name, section->instance);
}

static int note_section(struct loader *loader, const struct gw_state_item *item,
                        struct loaded_section *place, const struct section *section)
{
    loader->item = item;
    if (place->found)
        return state_refuse(loader, GW_CODE_CORRUPT, "the section comes twice");
    if (section->version > item->type->version)
        return state_refuse(loader, GW_CODE_VERSION,
                            "its version %" PRIu32 " is newer than %" PRIu32
                            ", the newest known here; a newer release can load it",
                            section->version, item->type->version);
    if (section->version < item->type->minimum)
        return state_refuse(loader, GW_CODE_VERSION,
                            "its version %" PRIu32 " is older than %" PRIu32
                            ", the oldest that this release loads",
                            section->version, item->type->minimum);
    *place = (struct loaded_section){true, section->version, section->payload};
    loader->item = NULL;
    return 0;
}

static int check_end(struct loader *loader, const struct gw_state_item *items, size_t count,
                     const struct section *end, uint32_t sections)
{
    if (end->name_length != 0 || end->payload.left != 0 || end->version != 0 ||
        end->instance != sections)
        return state_refuse(loader, GW_CODE_CORRUPT, "its end section does not fit the rest");
    if (loader->stream.left > 0)
        return state_refuse(loader, GW_CODE_CORRUPT, "%zu bytes follow its end section",
                            loader->stream.left);
    for (size_t i = 0; i < count; i++) {
        if (loader->sections[i].found)
            continue;
        loader->item = &items[i];
        return state_refuse(loader, GW_CODE_CORRUPT, "the stream has no section for this device");
    }
    return 0;
}

int state_find_sections(struct loader *loader, const struct gw_state_item *items, size_t count)
{
    int r = take_stream_header(loader);
    for (uint32_t sections = 0; r == 0; sections++) {
        struct section section = {0};
        r = take_section(loader, &section);
        if (r < 0)
            return r;
        if (section.kind == STATE_KIND_END)
            return check_end(loader, items, count, &section, sections);
        size_t index = 0;
        r = find_item(loader, items, count, &section, &index);
        if (r == 0)
            r = note_section(loader, &items[index], &loader->sections[index], &section);
    }
    return r;
}
