/* SPDX-License-Identifier: Apache-2.0 */
#include "state/walk.h"

/* Visits the elements in use of all nested parts; stops at the first that does not return 0. */
static int for_each_part(const struct state_layout *layout, void *object,
                         int (*visit)(const struct state_layout *, void *, struct gw_error *),
                         struct gw_error *error)
{
    struct state_counts counts = {{0}};
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        char *elements = state_elements_of(field, object);
        if (!elements)
            continue;
        if (field->fills_slot)
            state_note_count(field, state_get(field, elements), &counts);
        if (field->kind != STATE_PART)
            continue;
        uint32_t in_use = state_elements(field, &counts);
        for (uint32_t j = 0; j < in_use; j++) {
            int r = visit(field->part, elements + (size_t)j * field->bytes, error);
            if (r != 0)
                return r;
        }
    }
    return 0;
}

static int visit_saving(const struct state_layout *layout, void *object, struct gw_error *error)
{
    if (layout->saving)
        layout->saving(object);
    return for_each_part(layout, object, visit_saving, error);
}

void state_run_saving(const struct state_layout *layout, void *object)
{
    visit_saving(layout, object, NULL);
}

int state_run_loaded(const struct state_layout *layout, void *object, struct gw_error *error)
{
    int r = for_each_part(layout, object, state_run_loaded, error);
    if (r < 0)
        return r;
    return layout->loaded ? layout->loaded(object, error) : 0;
}
