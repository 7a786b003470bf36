/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads docs/state.md, "The stream". The stream is walked twice with the same code: CHECK touches no
 * object and allocates what GW_ARRAY fields will need, ASSIGN cannot fail. Then come the `loaded` functions.
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

static int refuse_field(struct loader *loader, enum gw_code code, const struct state_path *path,
                        const char *why)
{
    char name[STATE_MAX_PATH];
    state_path_format(path, name, sizeof name);
    return state_refuse(loader, code, "field %s: %s", name, why);
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

/* ---- Allocations of GW_ARRAY: made while checking, handed over while assigning, in the same order ---- */

static int allocate_array(struct loader *loader, const struct state_path *path)
{
    struct state_allocation *made = malloc(sizeof *made);
    void *elements = calloc(path->field->elements, path->field->bytes);
    if (!made || !elements) {
        free(made);
        free(elements);
        refuse_field(loader, GW_CODE_NO_RESOURCE, path, "no memory");
        return -ENOMEM;
    }
    *made = (struct state_allocation){.elements = elements};
    *loader->last_allocation = made;
    loader->last_allocation = &made->next;
    return 0;
}

static void assign_array(struct loader *loader, const struct state_field *field, void *object)
{
    struct state_allocation *made = loader->allocations;
    assert(made);
    loader->allocations = made->next;
    free(state_elements_of(field, object));
    memcpy((char *)object + field->offset, &made->elements, sizeof made->elements);
    free(made);
}

static void free_allocations(struct loader *loader)
{
    while (loader->allocations) {
        struct state_allocation *first = loader->allocations;
        loader->allocations = first->next;
        free(first->elements);
        free(first);
    }
}

/* ---- Fields ---- */

static int load_fields(struct loader *loader, const struct state_layout *layout, void *object,
                       uint32_t version, unsigned subsection, struct state_counts *counts,
                       const struct state_path *outer);

/* The saved fields of an object become zero, or with `valid` the value nearest to it. */
static void clear_fields(const struct state_layout *layout, void *object, unsigned subsection,
                         bool valid)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        if (field->subsection != subsection || field->shape == STATE_POINTER)
            continue;
        char *elements = state_elements_of(field, object);
        for (uint32_t j = 0; j < field->elements; j++) {
            void *element = elements + (size_t)j * field->bytes;
            if (field->kind == STATE_PART)
                clear_fields(field->part, element, 0, valid);
            else
                state_set(field, element, valid ? state_default(field) : 0);
        }
    }
}

static void clear_element(const struct state_field *field, void *element)
{
    if (field->kind == STATE_PART)
        clear_fields(field->part, element, 0, false);
    else
        state_set(field, element, 0);
}

static uint64_t decode_integer(const struct state_field *field, const uint8_t *from)
{
    uint64_t value = 0;
    memcpy(&value, from, field->bytes);
    value = le64toh(value);
    if (field->kind == STATE_SIGNED && field->bytes < 8) {
        unsigned shift = 64 - 8 * field->bytes;
        value = (uint64_t)((int64_t)(value << shift) >> shift);
    }
    return value;
}

static int load_integer(struct loader *loader, void *element, struct state_counts *counts,
                        const struct state_path *path)
{
    const struct state_field *field = path->field;
    const uint8_t *from = state_take(&loader->payload, field->bytes);
    if (!from)
        return refuse_field(loader, GW_CODE_CORRUPT, path, "the section ends too early");
    uint64_t value = decode_integer(field, from);
    char fault[STATE_MAX_FAULT];
    if (state_value_fault(field, value, fault, sizeof fault))
        return refuse_field(loader, GW_CODE_CORRUPT, path, fault);
    state_note_count(field, value, counts);
    if (element)
        state_set(field, element, value);
    return 0;
}

static int load_part_version(struct loader *loader, const struct state_path *path,
                             uint32_t *ret_version)
{
    const uint8_t *from = state_take(&loader->payload, 4);
    if (!from)
        return refuse_field(loader, GW_CODE_CORRUPT, path, "the section ends too early");
    uint32_t version = get_le32(from);
    uint32_t known = path->field->part->version;
    char why[96];
    if (version == 0)
        return refuse_field(loader, GW_CODE_CORRUPT, path, "a part's version is 0");
    if (version > known) {
        snprintf(why, sizeof why, "its version %" PRIu32 " is newer than %" PRIu32
                 ", the newest known here", version, known);
        return refuse_field(loader, GW_CODE_VERSION, path, why);
    }
    *ret_version = version;
    return 0;
}

/* Byte arrays without limits are one copy. */
static int load_bytes(struct loader *loader, void *elements, uint32_t count,
                      const struct state_path *path)
{
    const uint8_t *from = state_take(&loader->payload, count);
    if (!from)
        return refuse_field(loader, GW_CODE_CORRUPT, path, "the section ends too early");
    if (elements && count > 0)
        memcpy(elements, from, count);
    return 0;
}

static int load_each(struct loader *loader, char *elements, uint32_t count,
                     struct state_counts *counts, const struct state_path *outer,
                     const struct state_field *field)
{
    struct state_path path = {outer, field, 0};
    uint32_t part_version = 0;
    int r = field->kind == STATE_PART ? load_part_version(loader, &path, &part_version) : 0;
    if (r == 0 && field->kind == STATE_UNSIGNED && field->bytes == 1 && state_is_free(field) &&
        field->shape != STATE_ONE)
        return load_bytes(loader, elements, count, &path);
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        void *element = elements ? elements + (size_t)i * field->bytes : NULL;
        path.index = i;
        r = field->kind == STATE_PART ? load_fields(loader, field->part, element, part_version, 0,
                                                    &(struct state_counts){{0}}, &path)
                                      : load_integer(loader, element, counts, &path);
    }
    return r;
}

static int load_elements(struct loader *loader, const struct state_field *field, void *object,
                         struct state_counts *counts, const struct state_path *outer)
{
    struct state_path path = {outer, field, 0};
    int r = 0;
    if (field->shape == STATE_POINTER && object)
        assign_array(loader, field, object);
    else if (field->shape == STATE_POINTER)
        r = allocate_array(loader, &path);
    if (r < 0)
        return r;
    char *elements = object ? state_elements_of(field, object) : NULL;
    uint32_t count = state_elements(field, counts);
    r = load_each(loader, elements, count, counts, outer, field);
    if (r < 0 || !elements)
        return r;
    for (uint32_t i = count; i < field->elements; i++)
        clear_element(field, elements + (size_t)i * field->bytes);
    return 0;
}

/* With object NULL: only checks. */
static int load_fields(struct loader *loader, const struct state_layout *layout, void *object,
                       uint32_t version, unsigned subsection, struct state_counts *counts,
                       const struct state_path *outer)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        if (field->subsection == subsection && field->since <= version)
            r = load_elements(loader, field, object, counts, outer);
    }
    return r;
}

/* ---- Payload ---- */

static int find_subsection(struct loader *loader, const uint8_t *name, uint32_t length,
                           bool *seen, unsigned *ret_number)
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
    r = load_fields(loader, loader->item->type->layout, object, version, number, counts, NULL);
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
            clear_fields(type->layout, object, i + 1, true);
    return 0;
}

static int load_payload(struct loader *loader, const struct loaded_section *section, void *object)
{
    struct state_counts counts = {{0}};
    loader->payload = section->payload;
    int r = load_fields(loader, loader->item->type->layout, object, section->version, 0, &counts,
                        NULL);
    if (r < 0)
        return r;
    size_t used = section->payload.left - loader->payload.left;
    if (!state_take_padding(&loader->payload, used))
        return state_refuse(loader, GW_CODE_CORRUPT, "the section ends too early, or its padding "
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
    free_allocations(&loader);
    return r;
}
