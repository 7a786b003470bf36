/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the loader: load-sections.c finds and proves sections, load-fields.c reads
 * fields, load.c tells how it goes. */
#ifndef STATE_LOAD_H
#define STATE_LOAD_H

#include <stdarg.h>

#include "state/format.h"
#include "state/table.h"

/* Bytes not read yet. */
struct state_bytes {
    const uint8_t *next;
    size_t left;
};

struct state_allocation {
    struct state_allocation *next;
    void *elements;
};

/* What the stream has for one item. */
struct loaded_section {
    bool found;
    uint32_t version;
    struct state_bytes payload;
};

struct loader {
    struct state_bytes stream;       /* after the last complete section */
    struct loaded_section *sections; /* one per item */
    const struct gw_state_item
        *item;                  /* the one being loaded, for sentences; NULL: the stream itself */
    struct state_bytes payload; /* of that item */
    struct state_allocation *allocations, **last_allocation;
    struct gw_error *error;
};

/* Sets the error, with the item's name in front, and returns -EBADMSG. */
int state_refuse(struct loader *loader, enum gw_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The next `length` bytes, or NULL if there are not so many. */
const uint8_t *state_take(struct state_bytes *bytes, uint64_t length);
/* The same, and behind them zero bytes to a multiple of 8; NULL also if these are not zero. */
const uint8_t *state_take_padded(struct state_bytes *bytes, uint64_t length);
/* Only the zero bytes that follow `used` bytes. */
bool state_take_padding(struct state_bytes *bytes, uint64_t used);

/* 1 to 63 of a-z 0-9 . _ - */
bool state_is_name(const uint8_t *name, uint64_t length);

/* Fills loader->sections from a proven stream: each item has exactly one section of a known version
 * and nothing else is there. Payloads are not looked at yet. */
int state_find_sections(struct loader *loader, const struct gw_state_item *items, size_t count);

/* Fields of one struct that belong to `subsection` (0: the main ones) and that `version` has, from
 * loader->payload. `object` NULL: only checks, and allocates for GW_ARRAY. Otherwise it cannot
 * fail, since the same bytes were checked before. */
int state_load_fields(struct loader *loader, const struct state_layout *layout, void *object,
                      uint32_t version, unsigned subsection, struct state_counts *counts,
                      const struct state_path *outer);

/* The fields of a subsection become zero, or with `valid` the value nearest to it in their range.
 */
void state_clear_fields(const struct state_layout *layout, void *object, unsigned subsection,
                        bool valid);

/* What was allocated by checking and not used up by assigning. */
void state_free_allocations(struct loader *loader);

#endif
