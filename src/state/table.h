/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the generator writes and the visitors read: one layout per marked struct, one type per
 * device. docs/state.md says what each entry means.
 */
#ifndef STATE_TABLE_H
#define STATE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/error.h>
#include <godwit/state.h>

#define STATE_MAX_NAME 63        /* characters of a section's or subsection's name */
#define STATE_MAX_COUNTS 8       /* count fields of one struct */
#define STATE_MAX_SUBSECTIONS 16 /* of one device */
#define STATE_MAX_PATH 192       /* "queues[3].descriptors[12].address" and its NUL */

enum state_kind { STATE_UNSIGNED, STATE_SIGNED, STATE_BOOL, STATE_PART };
enum state_shape { STATE_ONE, STATE_ARRAY, STATE_POINTER };

struct state_field {
    const char *name;
    const struct state_layout *part; /* STATE_PART */
    uint64_t minimum, maximum;       /* inclusive; of STATE_SIGNED the bits of an int64_t */
    uint64_t mask;                   /* bits that may be set; all ones where there is no GW_MASK */
    uint32_t offset;                 /* in the struct */
    uint32_t bytes;                  /* of one element in memory, and of an integer on the wire */
    uint32_t elements;               /* at most; 1 for STATE_ONE */
    uint32_t since;
    enum state_kind kind;
    enum state_shape shape;
    uint8_t count_slot; /* 0, or 1 + the slot that holds the elements in use */
    uint8_t fills_slot; /* 0, or 1 + the slot that this count field fills */
    uint8_t subsection; /* 0, or 1 + its index */
};

struct state_layout {
    const char *tag; /* of the C struct */
    uint32_t bytes;
    uint32_t version; /* of a part: the largest `since` */
    const struct state_field *fields;
    size_t field_count;
    void (*saving)(void *object);                        /* NULL: nothing to do */
    int (*loaded)(void *object, struct gw_error *error); /* the same */
};

struct state_subsection {
    const char *name;
    bool (*needed)(const void *object);
};

struct gw_state_type {
    const char *name;
    uint32_t version, minimum;
    const struct state_layout *layout;
    const struct state_subsection *subsections;
    size_t subsection_count;
};

/* The counts met so far while the fields of one struct are visited in order. */
struct state_counts {
    uint32_t slot[STATE_MAX_COUNTS];
};

/* Where a visitor is: a chain from the innermost field outwards. */
struct state_path {
    const struct state_path *outer;
    const struct state_field *field;
    uint32_t index; /* of the element; ignored for STATE_ONE */
};

/* Writes "queues[3].index"; cut when it does not fit. */
void state_path_format(const struct state_path *path, char *text, size_t bytes);

/* Elements in use, with the counts so far. Not above field->elements if the counts were checked. */
static inline uint32_t state_elements(const struct state_field *field,
                                      const struct state_counts *counts)
{
    return field->count_slot ? counts->slot[field->count_slot - 1] : field->elements;
}

static inline void state_note_count(const struct state_field *field, uint64_t value,
                                    struct state_counts *counts)
{
    if (field->fills_slot)
        counts->slot[field->fills_slot - 1] =
            (uint32_t)(value < field->maximum ? value : field->maximum);
}

/* The first element of a field, for STATE_POINTER what it points to (may be NULL). */
void *state_elements_of(const struct state_field *field, const void *object);

/* The integer at `element`; sign-extended for STATE_SIGNED. */
uint64_t state_get(const struct state_field *field, const void *element);
void state_set(const struct state_field *field, void *element, uint64_t value);

/* Zero, or what is nearest to it within the range. */
uint64_t state_default(const struct state_field *field);

/* Whether every value of the width is valid. */
bool state_is_free(const struct state_field *field);

/* NULL, or why `value` may not be: "17 is above 16", in `text`. */
const char *state_value_fault(const struct state_field *field, uint64_t value, char *text,
                              size_t bytes);

/* The largest `bytes` of an out-of-range explanation. */
#define STATE_MAX_FAULT 96

#endif
