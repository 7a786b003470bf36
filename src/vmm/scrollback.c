/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/scrollback.h"

#include <errno.h>
#include <string.h>

void scrollback_append(struct scrollback *scrollback, const uint8_t *bytes, size_t length)
{
    scrollback->total += length;
    if (length > SCROLLBACK_BYTES) {
        bytes += length - SCROLLBACK_BYTES;
        length = SCROLLBACK_BYTES;
    }
    while (length > 0) {
        uint32_t end = (scrollback->start + scrollback->count) % SCROLLBACK_BYTES;
        size_t piece = SCROLLBACK_BYTES - end;
        size_t over;

        if (piece > length)
            piece = length;
        memcpy(scrollback->bytes + end, bytes, piece);
        over = scrollback->count + piece > SCROLLBACK_BYTES
                   ? scrollback->count + piece - SCROLLBACK_BYTES
                   : 0;
        scrollback->start = (uint32_t)((scrollback->start + over) % SCROLLBACK_BYTES);
        scrollback->count = (uint32_t)(scrollback->count + piece - over);
        bytes += piece;
        length -= piece;
    }
    scrollback->oldest = scrollback->total - scrollback->count;
}

size_t scrollback_read(const struct scrollback *scrollback, uint64_t *position, uint8_t *to,
                       size_t length)
{
    uint64_t oldest = scrollback->oldest;
    size_t done = 0;

    if (*position < oldest || *position > scrollback->total)
        *position = oldest;
    while (done < length && *position < scrollback->total) {
        uint64_t left = scrollback->total - *position;
        uint64_t at = (scrollback->start + (*position - oldest)) % SCROLLBACK_BYTES;
        size_t piece = length - done;

        if (piece > left)
            piece = (size_t)left;
        if (piece > SCROLLBACK_BYTES - at)
            piece = (size_t)(SCROLLBACK_BYTES - at);
        memcpy(to + done, scrollback->bytes + at, piece);
        *position += piece;
        done += piece;
    }
    return done;
}

int scrollback_loaded(struct scrollback *scrollback, struct gw_error *error)
{
    if (scrollback->count > scrollback->total)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_CORRUPT, -EINVAL,
                            "the console holds %u bytes of %llu that were written",
                            scrollback->count, (unsigned long long)scrollback->total);
    scrollback->oldest = scrollback->total - scrollback->count;
    return 0;
}

void scrollback_clear(struct scrollback *scrollback)
{
    *scrollback = (struct scrollback){0};
}
