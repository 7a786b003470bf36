/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <godwit/state.h>

#include "state/table.h"

struct comparison {
    const struct gw_state_type *type;
    char *name; /* gets the path of the first difference */
    size_t bytes;
    const void *one, *other; /* the whole objects, for `needed` */
};

static bool differ_in_fields(const struct comparison *comparison, const struct state_layout *layout,
                             const void *one, const void *other, const struct state_path *outer);

static bool differ_in_elements(const struct comparison *comparison, const char *one,
                               const char *other, uint32_t count, const struct state_field *field,
                               const struct state_path *outer)
{
    for (uint32_t i = 0; one && other && i < count; i++) {
        struct state_path path = {outer, field, i};
        size_t at = (size_t)i * field->bytes;
        if (field->kind == STATE_PART) {
            if (differ_in_fields(comparison, field->part, one + at, other + at, &path))
                return true;
        } else if (state_get(field, one + at) != state_get(field, other + at)) {
            state_path_format(&path, comparison->name, comparison->bytes);
            return true;
        }
    }
    return false;
}

/* A subsection that neither side sends is not part of the state. */
static bool is_sent(const struct comparison *comparison, const struct state_field *field)
{
    if (!field->subsection)
        return true;
    const struct state_subsection *subsection =
        &comparison->type->subsections[field->subsection - 1];
    return subsection->needed(comparison->one) || subsection->needed(comparison->other);
}

static bool differ_in_fields(const struct comparison *comparison, const struct state_layout *layout,
                             const void *one, const void *other, const struct state_path *outer)
{
    struct state_counts counts = {{0}};
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        if (!is_sent(comparison, field))
            continue;
        const char *here = state_elements_of(field, one);
        const char *there = state_elements_of(field, other);
        if (differ_in_elements(comparison, here, there, state_elements(field, &counts), field,
                               outer))
            return true;
        if (field->fills_slot)
            state_note_count(field, state_get(field, here), &counts);
    }
    return false;
}

bool gw_state_compare(const struct gw_state_type *type, const void *one, const void *other,
                      char *name, size_t bytes)
{
    struct comparison comparison = {type, name, bytes, one, other};
    return differ_in_fields(&comparison, type->layout, one, other, NULL);
}
