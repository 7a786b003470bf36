/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <godwit/state.h>

#include "state/table.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* One value in four is an end of the range: that is where mistakes live. */
static uint64_t random_value(const struct state_field *field, uint64_t *state)
{
    if (field->kind != STATE_SIGNED && field->minimum == 0 &&
        (field->mask & field->maximum) != field->maximum)
        return next_random(state) & field->mask & field->maximum;
    switch (next_random(state) % 8) {
    case 0:
        return field->minimum;
    case 1:
        return field->maximum;
    }
    uint64_t span = field->maximum - field->minimum;
    uint64_t offset = next_random(state);
    return field->minimum + (span == UINT64_MAX ? offset : offset % (span + 1));
}

/* An allocated array of full size; false without memory. */
static bool renew_array(const struct state_field *field, void *object)
{
    void *elements = calloc(field->elements, field->bytes);
    if (!elements)
        return false;
    free(state_elements_of(field, object));
    memcpy((char *)object + field->offset, &elements, sizeof elements);
    return true;
}

static void random_fields(const struct state_layout *layout, void *object, uint64_t *state)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        if (field->shape == STATE_POINTER && !renew_array(field, object))
            abort();
        char *elements = state_elements_of(field, object);
        for (uint32_t j = 0; j < field->elements; j++) {
            void *element = elements + (size_t)j * field->bytes;
            if (field->kind == STATE_PART)
                random_fields(field->part, element, state);
            else
                state_set(field, element, random_value(field, state));
        }
    }
}

void gw_state_random(const struct gw_state_type *type, void *object, uint64_t seed)
{
    random_fields(type->layout, object, &seed);
}
