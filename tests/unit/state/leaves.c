/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "leaves.h"

struct finder {
    struct leaves *leaves;
    size_t at;
};

static void add(struct finder *finder, const char *path, const struct state_field *field,
                const void *element)
{
    struct leaves *leaves = finder->leaves;
    bool is_full = (leaves->count & (leaves->count - 1)) == 0; /* room doubles at powers of two */
    if (is_full) {
        leaves->leaf = realloc(leaves->leaf, (2 * leaves->count + 1) * sizeof *leaves->leaf);
        assert(leaves->leaf);
    }
    struct leaf *leaf = &leaves->leaf[leaves->count++];
    *leaf = (struct leaf){.field = field, .element = element, .at = finder->at};
    snprintf(leaf->path, sizeof leaf->path, "%s", path);
}

static void find_fields(struct finder *finder, const struct state_layout *layout,
                        const char *object, unsigned subsection, const char *prefix,
                        uint64_t *counts);

static void find_field(struct finder *finder, const struct state_field *field, const char *object,
                       const char *prefix, uint64_t *counts)
{
    const char *elements = object + field->offset;
    if (field->shape == STATE_POINTER)
        memcpy(&elements, object + field->offset, sizeof elements);
    uint64_t in_use = field->count_slot ? counts[field->count_slot] : field->elements;
    char path[STATE_MAX_PATH];
    snprintf(path, sizeof path, field->shape == STATE_ONE ? "%s%s" : "%s%s[0]", prefix,
             field->name);
    if (field->kind == STATE_PART) {
        add(finder, path, field, elements);
        finder->at += 4;
    }
    if (field->fills_slot) {
        counts[field->fills_slot] = 0;
        memcpy(&counts[field->fills_slot], elements, field->bytes);
    }
    for (uint64_t i = 0; i < in_use; i++) {
        const char *element = elements + i * field->bytes;
        if (field->shape != STATE_ONE)
            snprintf(path, sizeof path, "%s%s[%d]", prefix, field->name, (int)i);
        if (field->kind == STATE_PART) {
            uint64_t inner[STATE_MAX_COUNTS + 1] = {0};
            strcat(path, ".");
            find_fields(finder, field->part, element, 0, path, inner);
            continue;
        }
        if (i == 0 || i == in_use - 1)
            add(finder, path, field, element);
        finder->at += field->bytes;
    }
}

static void find_fields(struct finder *finder, const struct state_layout *layout,
                        const char *object, unsigned subsection, const char *prefix,
                        uint64_t *counts)
{
    for (size_t i = 0; i < layout->field_count; i++)
        if (layout->fields[i].subsection == subsection)
            find_field(finder, &layout->fields[i], object, prefix, counts);
}

void leaves_find(const struct gw_state_type *type, const void *object, struct leaves *ret_leaves)
{
    struct finder finder = {.leaves = ret_leaves};
    uint64_t counts[STATE_MAX_COUNTS + 1] = {0};
    *ret_leaves = (struct leaves){0};
    find_fields(&finder, type->layout, object, 0, "", counts);
    finder.at = align_up(finder.at, 8) + 8;
    for (unsigned i = 0; i < type->subsection_count; i++) {
        if (!type->subsections[i].needed(object))
            continue;
        finder.at += 8 + align_up(strlen(type->subsections[i].name), 8);
        find_fields(&finder, type->layout, object, i + 1, "", counts);
        finder.at = align_up(finder.at, 8); /* every subsection begins at a multiple of 8 */
    }
    ret_leaves->payload_bytes = finder.at;
}

void leaves_fini(struct leaves *leaves)
{
    free(leaves->leaf);
    *leaves = (struct leaves){0};
}
