/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/state.md, "The stream", from the tables. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include <godwit/state.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "state/format.h"
#include "state/table.h"
#include "state/walk.h"

struct saver {
    struct gw_buf *out;
    const struct gw_state_item *item;
    struct gw_error *error;
};

static int save_fields(struct saver *saver, const struct state_layout *layout, const void *object,
                       unsigned subsection, struct state_counts *counts,
                       const struct state_path *outer);

static int refuse_space(struct saver *saver, int r)
{
    return gw_error_set(saver->error, GW_LAYER_STATE, GW_CODE_NO_RESOURCE, r,
                        "%s/%" PRIu32 ": no memory to save it, or the state is too large",
                        saver->item->type->name, saver->item->instance);
}

static int append_le(struct saver *saver, uint64_t value, unsigned bytes)
{
    int r = gw_buf_append_le(saver->out, value, bytes);
    return r < 0 ? refuse_space(saver, r) : 0;
}

/* Zero bytes up to the next multiple of 8, counted from `begin`. */
static int append_padding(struct saver *saver, size_t begin)
{
    static const uint8_t zero[8];
    size_t length = saver->out->length - begin;
    int r = gw_buf_append(saver->out, zero, align_up(length, 8) - length);
    return r < 0 ? refuse_space(saver, r) : 0;
}

static int append_name(struct saver *saver, const char *name)
{
    size_t begin = saver->out->length;
    int r = gw_buf_append(saver->out, name, strlen(name));
    return r < 0 ? refuse_space(saver, r) : append_padding(saver, begin);
}

static int save_integer(struct saver *saver, const void *element, struct state_counts *counts,
                        const struct state_path *path)
{
    const struct state_field *field = path->field;
    uint64_t value = state_get(field, element);
    char fault[STATE_MAX_FAULT];
    if (state_value_fault(field, value, fault, sizeof fault)) {
        char name[STATE_MAX_PATH];
        state_path_format(path, name, sizeof name);
        return gw_error_set(saver->error, GW_LAYER_STATE, GW_CODE_INTERNAL, -EINVAL,
                            "%s/%" PRIu32 ": field %s: %s", saver->item->type->name,
                            saver->item->instance, name, fault);
    }
    state_note_count(field, value, counts);
    return append_le(saver, value, field->bytes);
}

static int save_elements(struct saver *saver, const struct state_field *field, const void *object,
                         struct state_counts *counts, const struct state_path *outer)
{
    const char *elements = state_elements_of(field, object);
    uint32_t count = elements ? state_elements(field, counts) : 0;
    if (!elements && state_elements(field, counts) > 0)
        return gw_error_set(saver->error, GW_LAYER_STATE, GW_CODE_INTERNAL, -EINVAL,
                            "%s/%" PRIu32 ": field %s: has elements in use but is NULL",
                            saver->item->type->name, saver->item->instance, field->name);
    if (field->bytes == 1 && field->kind == STATE_UNSIGNED && state_is_free(field) && count > 1) {
        int r = gw_buf_append(saver->out, elements, count);
        return r < 0 ? refuse_space(saver, r) : 0;
    }
    int r = field->kind == STATE_PART ? append_le(saver, field->part->version, 4) : 0;
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        const void *element = elements + (size_t)i * field->bytes;
        struct state_path path = {outer, field, i};
        r = field->kind == STATE_PART
                ? save_fields(saver, field->part, element, 0, &(struct state_counts){{0}}, &path)
                : save_integer(saver, element, counts, &path);
    }
    return r;
}

static int save_fields(struct saver *saver, const struct state_layout *layout, const void *object,
                       unsigned subsection, struct state_counts *counts,
                       const struct state_path *outer)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < layout->field_count; i++)
        if (layout->fields[i].subsection == subsection)
            r = save_elements(saver, &layout->fields[i], object, counts, outer);
    return r;
}

static int save_subsection(struct saver *saver, unsigned number, struct state_counts *counts)
{
    const struct gw_state_type *type = saver->item->type;
    const char *name = type->subsections[number - 1].name;
    size_t at = saver->out->length;
    int r = append_le(saver, strlen(name), 4);
    if (r == 0)
        r = append_le(saver, 0, 4); /* the length, known below */
    if (r == 0)
        r = append_name(saver, name);
    size_t begin = saver->out->length;
    if (r == 0)
        r = save_fields(saver, type->layout, saver->item->object, number, counts, NULL);
    if (r < 0)
        return r;
    put_le32(saver->out->data + at + 4, (uint32_t)(saver->out->length - begin));
    return append_padding(saver, begin);
}

static int save_payload(struct saver *saver)
{
    const struct gw_state_type *type = saver->item->type;
    struct state_counts counts = {{0}};
    size_t begin = saver->out->length;
    int r = save_fields(saver, type->layout, saver->item->object, 0, &counts, NULL);
    if (r == 0)
        r = append_padding(saver, begin);
    uint32_t needed = 0;
    for (size_t i = 0; i < type->subsection_count; i++)
        needed += type->subsections[i].needed(saver->item->object);
    if (r == 0)
        r = append_le(saver, needed, 4);
    if (r == 0)
        r = append_le(saver, 0, 4);
    for (unsigned i = 0; r == 0 && i < type->subsection_count; i++)
        if (type->subsections[i].needed(saver->item->object))
            r = save_subsection(saver, i + 1, &counts);
    return r;
}

/* A section's or the end's header, all but CRC and payload length. */
static int append_header(struct saver *saver, uint32_t kind, uint32_t instance, uint32_t version,
                         size_t name_length)
{
    uint8_t header[STATE_SECTION_BYTES] = {0};
    put_le32(header + STATE_AT_KIND, kind);
    put_le32(header + STATE_AT_INSTANCE, instance);
    put_le32(header + STATE_AT_VERSION, version);
    put_le32(header + STATE_AT_NAME_LENGTH, (uint32_t)name_length);
    int r = gw_buf_append(saver->out, header, sizeof header);
    return r < 0 ? refuse_space(saver, r) : 0;
}

/* The section that began at `at` ends here: fills in what could not be known before. */
static void close_section(struct gw_buf *out, size_t at, uint64_t payload_length)
{
    uint8_t *header = out->data + at;
    put_le64(header + STATE_AT_PAYLOAD_LENGTH, payload_length);
    put_le32(header + STATE_AT_CRC,
             crc32c(0, header + STATE_AT_KIND, out->length - at - STATE_AT_KIND));
}

static int save_item(struct saver *saver)
{
    const struct gw_state_item *item = saver->item;
    state_run_saving(item->type->layout, item->object);
    size_t at = saver->out->length;
    int r = append_header(saver, STATE_KIND_SECTION, item->instance, item->type->version,
                          strlen(item->type->name));
    if (r == 0)
        r = append_name(saver, item->type->name);
    size_t begin = saver->out->length;
    if (r == 0)
        r = save_payload(saver);
    if (r < 0)
        return r;
    uint64_t payload_length = saver->out->length - begin;
    r = append_padding(saver, begin);
    if (r == 0)
        close_section(saver->out, at, payload_length);
    return r;
}

static int save_all(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                    struct gw_error *error)
{
    static const struct gw_state_type stream = {.name = "stream"};
    static const struct gw_state_item whole = {.type = &stream};
    struct saver saver = {.out = out, .item = &whole, .error = error};
    int r = append_name(&saver, STATE_MAGIC);
    if (r == 0)
        r = append_le(&saver, STATE_FORMAT, 8); /* and the zero after it */
    for (size_t i = 0; r == 0 && i < count; i++) {
        saver.item = &items[i];
        r = save_item(&saver);
    }
    saver.item = &whole;
    size_t at = out->length;
    if (r == 0)
        r = append_header(&saver, STATE_KIND_END, (uint32_t)count, 0, 0);
    if (r == 0)
        close_section(out, at, 0);
    return r;
}

int gw_state_save(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                  struct gw_error *error)
{
    size_t before = out->length;
    int r = save_all(items, count, out, error);
    if (r < 0)
        out->length = before;
    return r;
}

uint64_t gw_state_hash(const struct gw_state_item *items, size_t count)
{
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    if (gw_state_save(items, count, &stream, NULL) < 0)
        return 0;
    return XXH64(stream.data, stream.length, 0);
}
