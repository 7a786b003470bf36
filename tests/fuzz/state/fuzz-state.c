/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds gw_state_load() with bytes. The first chooses how they are read: as a whole stream, or as
 * the payload of a section with a right CRC, which random bytes would never get past. What loads
 * must save again, and what was saved must load and save the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/crc32c.h"
#include "fuzzed.h"

int fuzzed_loaded(struct fuzzed *fuzzed, struct gw_error *error)
{
    fuzzed->sum = 0;
    for (uint32_t i = 0; i < fuzzed->log_length; i++)
        fuzzed->sum += fuzzed->log[i].value;
    for (uint32_t i = 0; i < fuzzed->waiting_count; i++)
        fuzzed->sum += fuzzed->waiting[i].value;
    for (uint32_t i = 0; i < fuzzed->count; i++)
        fuzzed->sum += fuzzed->items[i].value;
    return 0;
}

bool fuzzed_rare_needed(const struct fuzzed *fuzzed)
{
    return fuzzed->rare != 0;
}

bool fuzzed_list_needed(const struct fuzzed *fuzzed)
{
    return fuzzed->list_count > 0;
}

bool fuzzed_waiting_needed(const struct fuzzed *fuzzed)
{
    return fuzzed->waiting_count > 0;
}

static void require(bool truth)
{
    if (!truth)
        abort();
}

/* One section "fuzzed/0" around the payload, header and end as they must be. */
static void wrap(const uint8_t *payload, size_t length, uint32_t version, struct gw_buf *out)
{
    static const uint8_t zero[8];
    uint8_t section[40] = {0}, end[32] = {0};
    put_le32(section + 4, 1);
    put_le32(section + 12, version);
    put_le32(section + 16, 6);
    put_le64(section + 24, length);
    memcpy(section + 32, "fuzzed", 6);
    put_le32(end + 4, 2);
    put_le32(end + 8, 1);
    put_le32(end, crc32c(0, end + 4, sizeof end - 4));
    size_t padding = align_up(length, 8) - length;
    uint32_t crc = crc32c(0, section + 4, sizeof section - 4);
    put_le32(section, crc32c(crc32c(crc, payload, length), zero, padding));
    gw_buf_append(out, "GWSTATE\n\1\0\0\0\0\0\0\0", 16);
    gw_buf_append(out, section, sizeof section);
    gw_buf_append(out, payload, length);
    gw_buf_append(out, zero, padding);
    gw_buf_append(out, end, sizeof end);
}

static void check_loaded(struct gw_state_item *item)
{
    struct fuzzed again = {.low = 3};
    struct gw_state_item other = {item->type, 0, &again};
    _cleanup_(gw_buf_fini) struct gw_buf first = {0}, second = {0}, text = {0};
    char name[100];
    require(gw_state_save(item, 1, &first, NULL) == 0);
    require(gw_state_load(&other, 1, first.data, first.length, NULL) == 0);
    require(gw_state_save(&other, 1, &second, NULL) == 0);
    require(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    require(!gw_state_compare(item->type, item->object, &again, name, sizeof name));
    require(gw_state_print(item, 1, &text, NULL) == 0);
    free(again.log);
    free(again.waiting);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct fuzzed fuzzed = {.low = 3};
    struct gw_state_item item = {&fuzzed_state_type, 0, &fuzzed};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    struct gw_error error = {0};
    if (length == 0)
        return 0;
    if (bytes[0] < 4)
        wrap(bytes + 1, length - 1, bytes[0], &stream);
    else
        gw_buf_append(&stream, bytes + 1, length - 1);
    if (gw_state_load(&item, 1, stream.data, stream.length, &error) == 0)
        check_loaded(&item);
    else
        require(error.code != GW_CODE_NONE && error.message[0] != '\0');
    free(fuzzed.log);
    free(fuzzed.waiting);
    return 0;
}
