/* SPDX-License-Identifier: Apache-2.0 */
/* Values and versions that a device does not accept. */
#include "suite.h"

/* Puts `value` where the leaf stands in the subject's stream and repairs the CRC. */
static void plant(const struct subject *subject, const struct leaf *leaf, uint64_t value,
                  unsigned bytes, struct gw_buf *to)
{
    suite_copy(&subject->stream, to);
    uint64_t encoded = htole64(value);
    memcpy(to->data + subject_payload_at(subject) + leaf->at, &encoded, bytes);
    stream_repair(to, SUITE_HEADER_BYTES);
}

static void expect_leaf_refused(struct subject *subject, const struct leaf *leaf, uint64_t value,
                                const char *why)
{
    _cleanup_(gw_buf_fini) struct gw_buf bad = {0};
    char sentence[512], number[32];
    bool is_signed = leaf->field->kind == STATE_SIGNED;
    snprintf(number, sizeof number, is_signed ? "%" PRId64 : "%" PRIu64, value);
    if (leaf->field->kind != STATE_SIGNED && ~leaf->field->mask)
        snprintf(number, sizeof number, "0x%" PRIx64, value);
    snprintf(sentence, sizeof sentence, "%s/0: field %s: %s %s", subject->item.type->name,
             leaf->path, number, why);
    plant(subject, leaf, value, leaf->field->bytes, &bad);
    expect_refused(subject->item.type, subject->item.object, &bad, sentence);
}

static bool fits(const struct state_field *field, int64_t value)
{
    unsigned bits = 8 * field->bytes;
    if (bits == 64)
        return true;
    return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
}

/* Every value next to the ranges of one field that its width can still hold. */
static void refuse_neighbours(struct subject *subject, const struct leaf *leaf)
{
    const struct state_field *field = leaf->field;
    uint64_t all = field->bytes == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * field->bytes)) - 1;
    char why[64];
    if (field->kind == STATE_SIGNED) {
        int64_t low = (int64_t)field->minimum, high = (int64_t)field->maximum;
        snprintf(why, sizeof why, "is below %" PRId64, low);
        if (low > INT64_MIN && fits(field, low - 1))
            expect_leaf_refused(subject, leaf, (uint64_t)(low - 1), why);
        snprintf(why, sizeof why, "is above %" PRId64, high);
        if (high < INT64_MAX && fits(field, high + 1))
            expect_leaf_refused(subject, leaf, (uint64_t)(high + 1), why);
        return;
    }
    if (~field->mask) {
        uint64_t outside = all & ~field->mask;
        snprintf(why, sizeof why, "has bits outside 0x%" PRIx64, field->mask);
        if (outside)
            expect_leaf_refused(subject, leaf, outside & -outside, why);
        return;
    }
    snprintf(why, sizeof why, "is below %" PRIu64, field->minimum);
    if (field->minimum > 0)
        expect_leaf_refused(subject, leaf, field->minimum - 1, why);
    snprintf(why, sizeof why, "is above %" PRIu64, field->maximum);
    if (field->maximum < all)
        expect_leaf_refused(subject, leaf, field->maximum + 1, why);
}

static void refuse_part_version(struct subject *subject, const struct leaf *leaf)
{
    _cleanup_(gw_buf_fini) struct gw_buf bad = {0};
    uint32_t known = leaf->field->part->version;
    char sentence[512];
    snprintf(sentence, sizeof sentence,
             "%s/0: field %s: its version %" PRIu32 " is newer than %" PRIu32
             ", the newest known here",
             subject->item.type->name, leaf->path, known + 1, known);
    plant(subject, leaf, known + 1, 4, &bad);
    expect_refused(subject->item.type, subject->item.object, &bad, sentence);
}

/* Fields of a layout and its parts that have limits, except those that `seen` holds already. */
static void expect_all_seen(const struct state_layout *layout, const struct leaves *seen)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct state_field *field = &layout->fields[i];
        bool found = field->kind != STATE_PART && state_is_free(field);
        for (size_t j = 0; j < seen->count; j++)
            found |= seen->leaf[j].field == field;
        if (!found)
            fail_msg("no random state had a value of %s.%s", layout->tag, field->name);
        if (field->kind == STATE_PART)
            expect_all_seen(field->part, seen);
    }
}

static void note(struct leaves *seen, const struct leaf *leaf)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->leaf[i].field == leaf->field)
            return;
    seen->leaf = realloc(seen->leaf, (seen->count + 1) * sizeof *seen->leaf);
    seen->leaf[seen->count++] = *leaf;
}

void each_value_out_of_range_is_refused_by_name(void **state)
{
    struct subject *subject = *state;
    _cleanup_(leaves_fini) struct leaves seen = {0};
    for (uint64_t seed = 1; seed <= SUITE_SEEDS / 4; seed++) {
        _cleanup_(leaves_fini) struct leaves leaves = {0};
        subject_randomize(subject, seed);
        leaves_find(subject->item.type, subject->item.object, &leaves);
        for (size_t i = 0; i < leaves.count; i++) {
            if (!leaf_is_first_of_its_field(&leaves, i))
                continue;
            note(&seen, &leaves.leaf[i]);
            if (leaves.leaf[i].field->kind == STATE_PART)
                refuse_part_version(subject, &leaves.leaf[i]);
            else
                refuse_neighbours(subject, &leaves.leaf[i]);
        }
    }
    expect_all_seen(subject->item.type->layout, &seen);
}

void the_next_version_is_refused_by_name(void **state)
{
    struct subject *subject = *state;
    const struct gw_state_type *type = subject->item.type;
    char sentence[512];
    subject_randomize(subject, 1);
    put_le32(subject->stream.data + SUITE_HEADER_BYTES + 12, type->version + 1);
    stream_repair(&subject->stream, SUITE_HEADER_BYTES);
    snprintf(sentence, sizeof sentence,
             "%s/0: its version %" PRIu32 " is newer than %" PRIu32
             ", the newest known here; a newer release can load it",
             type->name, type->version + 1, type->version);
    expect_refused(type, subject->item.object, &subject->stream, sentence);
}
