/* SPDX-License-Identifier: Apache-2.0 */
/* docs/state.md, "Schema": {"format": 1, "devices": {NAME: …}, "parts": {TAG: …}}. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include <godwit/state.h>

#include "base/cleanup.h"
#include "state/format.h"
#include "state/json.h"
#include "state/table.h"

static json_t *number(const struct state_field *field, uint64_t value)
{
    if (field->kind != STATE_SIGNED && value > INT64_MAX)
        return json_sprintf("0x%" PRIx64, value);
    return json_integer((json_int_t)value);
}

static json_t *type_name(const struct state_field *field)
{
    switch (field->kind) {
    case STATE_PART:
        return json_sprintf("part %s", field->part->tag);
    case STATE_BOOL:
        return json_string("bool");
    case STATE_UNSIGNED:
        return json_sprintf("u%" PRIu32, 8 * field->bytes);
    case STATE_SIGNED:
        return json_sprintf("s%" PRIu32, 8 * field->bytes);
    }
    return NULL;
}

static void describe_limits(json_t *json, const struct state_field *field)
{
    if (field->kind == STATE_PART || field->kind == STATE_BOOL || state_is_free(field))
        return;
    if (~field->mask) {
        json_object_set_new(json, "mask", json_sprintf("0x%" PRIx64, field->mask));
        return;
    }
    json_object_set_new(json, "min", number(field, field->minimum));
    json_object_set_new(json, "max", number(field, field->maximum));
}

/* The field whose value is the count of this one. */
static const char *count_name(const struct state_layout *layout, const struct state_field *field)
{
    for (size_t i = 0; i < layout->field_count; i++)
        if (layout->fields[i].fills_slot == field->count_slot)
            return layout->fields[i].name;
    return "";
}

static json_t *describe_field(const struct gw_state_type *type, const struct state_layout *layout,
                              const struct state_field *field)
{
    json_t *json = json_object();
    json_object_set_new(json, "name", json_string(field->name));
    json_object_set_new(json, "type", type_name(field));
    json_object_set_new(json, "since", json_integer(field->since));
    describe_limits(json, field);
    if (field->shape != STATE_ONE)
        json_object_set_new(json, "elements", json_integer(field->elements));
    if (field->count_slot)
        json_object_set_new(json, "count", json_string(count_name(layout, field)));
    if (field->subsection)
        json_object_set_new(json, "subsection",
                            json_string(type->subsections[field->subsection - 1].name));
    return json;
}

static void describe_part(json_t *parts, const struct state_layout *layout);

/* The layout's fields; parts that they use are added to `parts`. */
static json_t *describe_fields(json_t *parts, const struct gw_state_type *type,
                               const struct state_layout *layout)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < layout->field_count; i++) {
        json_array_append_new(fields, describe_field(type, layout, &layout->fields[i]));
        if (layout->fields[i].kind == STATE_PART)
            describe_part(parts, layout->fields[i].part);
    }
    return fields;
}

static void describe_part(json_t *parts, const struct state_layout *layout)
{
    if (json_object_get(parts, layout->tag))
        return;
    json_t *part = json_object();
    json_object_set_new(part, "version", json_integer(layout->version));
    json_object_set_new(part, "fields", describe_fields(parts, NULL, layout));
    json_object_set_new(parts, layout->tag, part);
}

static void describe_device(json_t *devices, json_t *parts, const struct gw_state_type *type)
{
    if (json_object_get(devices, type->name))
        return;
    json_t *device = json_object();
    json_object_set_new(device, "version", json_integer(type->version));
    json_object_set_new(device, "minimum", json_integer(type->minimum));
    json_object_set_new(device, "fields", describe_fields(parts, type, type->layout));
    json_object_set_new(devices, type->name, device);
}

int gw_state_schema(const struct gw_state_item *items, size_t count, struct gw_buf *out)
{
    _cleanup_(json_release) json_t *schema = json_object();
    json_t *devices = json_object(), *parts = json_object();
    for (size_t i = 0; i < count; i++)
        describe_device(devices, parts, items[i].type);
    json_object_set_new(schema, "format", json_integer(STATE_FORMAT));
    json_object_set_new(schema, "devices", devices);
    json_object_set_new(schema, "parts", parts);
    return json_append(schema, out);
}
