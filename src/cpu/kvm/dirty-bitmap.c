/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's bitmap (api.rst 4.8 KVM_GET_DIRTY_LOG, 4.117 KVM_CLEAR_DIRTY_LOG). With manual protection
 * the answer changes nothing and pages are protected again piece by piece, just before they are
 * read, so a page that the guest writes in between costs no second fault and is sent once. Without
 * it the answer itself protects everything at once.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "cpu/kvm/dirty-log.h"

static int gather(struct dirty_log *log)
{
    for (unsigned slot = 0; slot < gw_memory_region_count(log->memory); slot++) {
        struct kvm_dirty_log question = {.slot = slot, .dirty_bitmap = log->answer};
        if (!log->bitmap[slot])
            continue;
        if (ioctl(log->vm_fd, KVM_GET_DIRTY_LOG, &question) < 0)
            return -errno;
        for (uint64_t word = 0; word < (dirty_log_pages(log, slot) + 63) / 64; word++)
            log->bitmap[slot][word] |= log->answer[word];
    }
    return 0;
}

/* Bits of word `word` (pages 64 * word and on) that lie in [first, end). */
static uint64_t bits_within(uint64_t word, uint64_t first, uint64_t end)
{
    uint64_t base = word * 64;
    uint64_t bits = first > base ? UINT64_MAX << (first - base) : UINT64_MAX;
    return end - base < 64 ? bits & ~(UINT64_MAX << (end - base)) : bits;
}

/* KVM clears by whole words of its bitmap, or up to the end of the slot. Pages of the words that
 * are not in the piece get a 0 and keep their state. */
static int protect(struct dirty_log *log, unsigned slot, uint64_t first, uint64_t count)
{
    uint64_t end = first + count, begin_word = first / 64, end_word = (end + 63) / 64;
    uint64_t pages = dirty_log_pages(log, slot), any = 0;
    if (!log->manual)
        return 0;
    for (uint64_t word = begin_word; word < end_word; word++) {
        uint64_t bits = log->bitmap[slot][word] & bits_within(word, first, end);
        log->answer[word - begin_word] = bits;
        any |= bits;
    }
    struct kvm_clear_dirty_log clear = {
        .slot = slot,
        .first_page = begin_word * 64,
        .num_pages = (uint32_t)((end_word * 64 < pages ? end_word * 64 : pages) - begin_word * 64),
        .dirty_bitmap = log->answer,
    };
    return any && ioctl(log->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0 ? -errno : 0;
}

const struct dirty_mechanism dirty_bitmap_mechanism = {.gather = gather, .protect = protect};
