/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads docs/state.md, "The stream". The stream is walked twice with the same code: CHECK touches
 * no object and allocates what GW_ARRAY fields will need, ASSIGN cannot fail. Then come the
 * `loaded` functions.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <godwit/state.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "state/load.h"
#include "state/walk.h"

/* ---- Errors ---- */

int state_refuse(struct loader *loader, enum gw_code code, const char *format, ...)
{
    char sentence[384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    if (!loader->item)
        return gw_error_set(loader->error, GW_LAYER_STATE, code, -EBADMSG, "state stream: %s",
                            sentence);
    return gw_error_set(loader->error, GW_LAYER_STATE, code, -EBADMSG, "%s/%" PRIu32 ": %s",
                        loader->item->type->name, loader->item->instance, sentence);
}

/* ---- Bytes ---- */

const uint8_t *state_take(struct state_bytes *bytes, uint64_t length)
{
    if (length > bytes->left)
        return NULL;
    const uint8_t *begin = bytes->next;
    bytes->next += length;
    bytes->left -= (size_t)length;
    return begin;
}

bool state_take_padding(struct state_bytes *bytes, uint64_t used)
{
    const uint8_t *padding = state_take(bytes, align_up(used, 8) - used);
    for (uint64_t i = 0; padding && i < align_up(used, 8) - used; i++)
        if (padding[i] != 0)
            return false;
    return padding != NULL;
}

const uint8_t *state_take_padded(struct state_bytes *bytes, uint64_t length)
{
    const uint8_t *begin = state_take(bytes, length);
    return begin && state_take_padding(bytes, length) ? begin : NULL;
}

/* ---- Payload ---- */

static int find_subsection(struct loader *loader, const uint8_t *name, uint32_t length, bool *seen,
                           unsigned *ret_number)
{
    const struct gw_state_type *type = loader->item->type;
    for (unsigned i = 0; i < type->subsection_count; i++) {
        const char *known = type->subsections[i].name;
        if (strlen(known) != length || memcmp(known, name, length) != 0)
            continue;
        if (seen[i])
            return state_refuse(loader, GW_CODE_CORRUPT, "subsection %s comes twice", known);
        seen[i] = true;
        *ret_number = i + 1;
        return 0;
    }
    return state_refuse(loader, GW_CODE_VERSION,
                        "subsection %.*s is unknown here; it needs a newer release", (int)length,
                        (const char *)name);
}

static int load_subsection(struct loader *loader, void *object, uint32_t version, bool *seen,
                           struct state_counts *counts)
{
    const uint8_t *header = state_take(&loader->payload, STATE_SUBSECTION_BYTES);
    if (!header)
        return state_refuse(loader, GW_CODE_CORRUPT, "a subsection ends too early");
    uint32_t name_length = get_le32(header);
    uint32_t length = get_le32(header + 4);
    const uint8_t *name = state_take_padded(&loader->payload, name_length);
    const uint8_t *fields = name ? state_take_padded(&loader->payload, length) : NULL;
    if (!fields || !state_is_name(name, name_length))
        return state_refuse(loader, GW_CODE_CORRUPT, "a subsection's name or length is wrong");
    unsigned number = 0;
    int r = find_subsection(loader, name, name_length, seen, &number);
    if (r < 0)
        return r;
    struct state_bytes rest = loader->payload;
    loader->payload = (struct state_bytes){fields, length};
    r = state_load_fields(loader, loader->item->type->layout, object, version, number, counts,
                          NULL);
    size_t left = loader->payload.left;
    loader->payload = rest;
    if (r == 0 && left > 0)
        return state_refuse(loader, GW_CODE_CORRUPT, "subsection %.*s: %zu bytes are left over",
                            (int)name_length, (const char *)name, left);
    return r;
}

static int load_subsections(struct loader *loader, void *object, uint32_t version,
                            struct state_counts *counts)
{
    const struct gw_state_type *type = loader->item->type;
    bool seen[STATE_MAX_SUBSECTIONS] = {false};
    const uint8_t *header = state_take(&loader->payload, 8);
    if (!header || get_le32(header + 4) != 0)
        return state_refuse(loader, GW_CODE_CORRUPT, "the number of subsections is missing");
    uint32_t count = get_le32(header);
    for (uint32_t i = 0; i < count; i++) {
        int r = load_subsection(loader, object, version, seen, counts);
        if (r < 0)
            return r;
    }
    for (unsigned i = 0; object && i < type->subsection_count; i++)
        if (!seen[i])
            state_clear_fields(type->layout, object, i + 1, true);
    return 0;
}

static int load_payload(struct loader *loader, const struct loaded_section *section, void *object)
{
    struct state_counts counts = {{0}};
    loader->payload = section->payload;
    int r = state_load_fields(loader, loader->item->type->layout, object, section->version, 0,
                              &counts, NULL);
    if (r < 0)
        return r;
    size_t used = section->payload.left - loader->payload.left;
    if (!state_take_padding(&loader->payload, used))
        return state_refuse(loader, GW_CODE_CORRUPT,
                            "the section ends too early, or its padding "
                            "is not zero");
    r = load_subsections(loader, object, section->version, &counts);
    if (r == 0 && loader->payload.left > 0)
        return state_refuse(loader, GW_CODE_CORRUPT, "%zu bytes are left over",
                            loader->payload.left);
    return r;
}

static int load_items(struct loader *loader, const struct gw_state_item *items, size_t count)
{
    int r = state_find_sections(loader, items, count);
    for (size_t i = 0; r == 0 && i < count; i++) {
        loader->item = &items[i];
        r = load_payload(loader, &loader->sections[i], NULL);
    }
    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        loader->item = &items[i];
        r = load_payload(loader, &loader->sections[i], items[i].object);
        assert(r == 0);
    }
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = state_run_loaded(items[i].type->layout, items[i].object, loader->error);
        if (r < 0)
            gw_error_prefix(loader->error, "%s/%" PRIu32, items[i].type->name, items[i].instance);
    }
    return r;
}

int gw_state_load(const struct gw_state_item *items, size_t count, const void *stream,
                  size_t length, struct gw_error *error)
{
    _cleanup_free_ struct loaded_section *sections = calloc(count + 1, sizeof *sections);
    struct loader loader = {.stream = {stream, length}, .sections = sections, .error = error};
    loader.last_allocation = &loader.allocations;
    if (!sections)
        return gw_error_set(error, GW_LAYER_STATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "state stream: no memory");
    int r = load_items(&loader, items, count);
    state_free_allocations(&loader);
    return r;
}
