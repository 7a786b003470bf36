/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of a payload into an object, by its table (docs/state.md, "The stream"). */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "state/load.h"

static int refuse_field(struct loader *loader, enum gw_code code, const struct state_path *path,
                        const char *why)
{
    char name[STATE_MAX_PATH];
    state_path_format(path, name, sizeof name);
    return state_refuse(loader, code, "field %s: %s", name, why);
}

/* ---- Memory for GW_ARRAY: made while checking, handed over in the same order while assigning ---- */

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

void state_free_allocations(struct loader *loader)
{
    while (loader->allocations) {
        struct state_allocation *first = loader->allocations;
        loader->allocations = first->next;
        free(first->elements);
        free(first);
    }
}

/* ---- Fields ---- */

void state_clear_fields(const struct state_layout *layout, void *object, unsigned subsection,
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
                state_clear_fields(field->part, element, 0, valid);
            else
                state_set(field, element, valid ? state_default(field) : 0);
        }
    }
}

static void clear_element(const struct state_field *field, void *element)
{
    if (field->kind == STATE_PART)
        state_clear_fields(field->part, element, 0, false);
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
        snprintf(why, sizeof why,
                 "its version %" PRIu32 " is newer than %" PRIu32 ", the newest known here",
                 version, known);
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
        r = field->kind == STATE_PART
                ? state_load_fields(loader, field->part, element, part_version, 0,
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

int state_load_fields(struct loader *loader, const struct state_layout *layout, void *object,
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
