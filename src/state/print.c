/* SPDX-License-Identifier: Apache-2.0 */
/* docs/state.md, "Text". */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include <godwit/state.h>

#include "base/cleanup.h"
#include "state/json.h"
#include "state/table.h"
#include "state/walk.h"

static json_t *print_fields(const struct gw_state_type *type, const struct state_layout *layout,
                            const void *object);

static json_t *print_integer(const struct state_field *field, const void *element)
{
    uint64_t value = state_get(field, element);
    if (field->kind == STATE_BOOL)
        return json_boolean(value);
    if (field->kind == STATE_UNSIGNED && field->bytes == 8)
        return json_sprintf("0x%" PRIx64, value);
    return json_integer((json_int_t)value);
}

static json_t *print_bytes(const uint8_t *bytes, uint32_t count)
{
    _cleanup_free_ char *text = malloc(2 * (size_t)count + 1);
    if (!text)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        snprintf(text + 2 * (size_t)i, 3, "%02x", bytes[i]);
    return json_stringn(text, 2 * (size_t)count);
}

static json_t *print_element(const struct state_field *field, const void *element)
{
    return field->kind == STATE_PART ? print_fields(NULL, field->part, element)
                                     : print_integer(field, element);
}

static json_t *print_field(const struct state_field *field, const char *elements, uint32_t count)
{
    if (field->shape == STATE_ONE)
        return print_element(field, elements);
    if (field->kind == STATE_UNSIGNED && field->bytes == 1)
        return print_bytes((const uint8_t *)elements, count);
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++)
        if (json_array_append_new(array, print_element(field, elements + (size_t)i * field->bytes)))
            return json_decref(array), NULL;
    return array;
}

/* `type` is NULL for a part, which has no subsections. */
static json_t *print_fields(const struct gw_state_type *type, const struct state_layout *layout,
                            const void *object)
{
    struct state_counts counts = {{0}};
    json_t *json = json_object();
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        const char *elements = state_elements_of(field, object);
        if (field->subsection && !type->subsections[field->subsection - 1].needed(object))
            continue;
        if (field->fills_slot)
            state_note_count(field, state_get(field, elements), &counts);
        uint32_t count = elements ? state_elements(field, &counts) : 0;
        if (json_object_set_new(json, field->name, print_field(field, elements, count)))
            return json_decref(json), NULL;
    }
    return json;
}

int gw_state_print(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                   struct gw_error *error)
{
    _cleanup_(json_release) json_t *json = json_object();
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        char name[STATE_MAX_NAME + 12];
        snprintf(name, sizeof name, "%s/%" PRIu32, items[i].type->name, items[i].instance);
        state_run_saving(items[i].type->layout, items[i].object);
        if (json_object_set_new(
                json, name, print_fields(items[i].type, items[i].type->layout, items[i].object)))
            r = -ENOMEM;
    }
    if (r == 0)
        r = json_append(json, out);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_STATE, GW_CODE_NO_RESOURCE, r,
                            "state: no memory to print it, or the text is too large");
    return 0;
}
