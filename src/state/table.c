/* SPDX-License-Identifier: Apache-2.0 */
#include "state/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *gw_state_type_name(const struct gw_state_type *type)
{
    return type->name;
}

uint32_t gw_state_type_version(const struct gw_state_type *type)
{
    return type->version;
}

void state_path_format(const struct state_path *path, char *text, size_t bytes)
{
    text[0] = '\0';
    if (path->outer) {
        state_path_format(path->outer, text, bytes);
        size_t used = strlen(text);
        text += used;
        bytes -= used;
    }
    const char *dot = path->outer ? "." : "";
    if (path->field->shape == STATE_ONE)
        snprintf(text, bytes, "%s%s", dot, path->field->name);
    else
        snprintf(text, bytes, "%s%s[%" PRIu32 "]", dot, path->field->name, path->index);
}

void *state_elements_of(const struct state_field *field, const void *object)
{
    char *place = (char *)object + field->offset;
    if (field->shape != STATE_POINTER)
        return place;
    void *pointed;
    memcpy(&pointed, place, sizeof pointed);
    return pointed;
}

uint64_t state_get(const struct state_field *field, const void *element)
{
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        int8_t s8;
        int16_t s16;
        int32_t s32;
    } value;
    bool is_signed = field->kind == STATE_SIGNED;
    memcpy(&value, element, field->bytes);
    switch (field->bytes) {
    case 1:
        return is_signed ? (uint64_t)(int64_t)value.s8 : value.u8;
    case 2:
        return is_signed ? (uint64_t)(int64_t)value.s16 : value.u16;
    case 4:
        return is_signed ? (uint64_t)(int64_t)value.s32 : value.u32;
    }
    return value.u64;
}

void state_set(const struct state_field *field, void *element, uint64_t value)
{
    uint8_t u8 = (uint8_t)value;
    uint16_t u16 = (uint16_t)value;
    uint32_t u32 = (uint32_t)value;
    const void *from = field->bytes == 1   ? (const void *)&u8
                       : field->bytes == 2 ? (const void *)&u16
                       : field->bytes == 4 ? (const void *)&u32
                                           : (const void *)&value;
    memcpy(element, from, field->bytes);
}

static uint64_t width_mask(const struct state_field *field)
{
    return field->bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * field->bytes)) - 1;
}

bool state_is_free(const struct state_field *field)
{
    if (field->kind == STATE_SIGNED) {
        int64_t top = (int64_t)(width_mask(field) >> 1);
        return (int64_t)field->minimum == -top - 1 && (int64_t)field->maximum == top;
    }
    uint64_t all = width_mask(field);
    return field->minimum == 0 && field->maximum == all && (field->mask & all) == all;
}

static bool is_below(const struct state_field *field, uint64_t one, uint64_t other)
{
    return field->kind == STATE_SIGNED ? (int64_t)one < (int64_t)other : one < other;
}

uint64_t state_default(const struct state_field *field)
{
    if (is_below(field, 0, field->minimum))
        return field->minimum;
    return is_below(field, field->maximum, 0) ? field->maximum : 0;
}

static const char *tell(const struct state_field *field, uint64_t value, const char *relation,
                        uint64_t limit, char *text, size_t bytes)
{
    if (field->kind == STATE_SIGNED)
        snprintf(text, bytes, "%" PRId64 " is %s %" PRId64, (int64_t)value, relation,
                 (int64_t)limit);
    else
        snprintf(text, bytes, "%" PRIu64 " is %s %" PRIu64, value, relation, limit);
    return text;
}

const char *state_value_fault(const struct state_field *field, uint64_t value, char *text,
                              size_t bytes)
{
    if (is_below(field, value, field->minimum))
        return tell(field, value, "below", field->minimum, text, bytes);
    if (is_below(field, field->maximum, value))
        return tell(field, value, "above", field->maximum, text, bytes);
    if (field->kind != STATE_SIGNED && (value & ~field->mask) != 0) {
        snprintf(text, bytes, "0x%" PRIx64 " has bits outside 0x%" PRIx64, value, field->mask);
        return text;
    }
    return NULL;
}
