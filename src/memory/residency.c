/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages the host holds: finding, making and dropping them, through the memfd or file behind a
 * region; of anonymous memory through the process's page map (Documentation/admin-guide/mm/
 * pagemap.rst: bit 63 present, bit 62 swapped). Huge pages count as data, written or not: they are
 * reserved anyway.
 */
#include <godwit/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <isa-l/mem_routines.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static bool is_page_range(const struct gw_memory_region *region, uint64_t offset, uint64_t length)
{
    return offset % GW_PAGE_BYTES == 0 && length % GW_PAGE_BYTES == 0 && offset <= region->bytes &&
           length <= region->bytes - offset;
}

/* The first page at or after `offset` that is held, or is not; the region's size when there is
 * none. */
static uint64_t scan_page_map(const struct gw_memory_region *region, uint64_t offset, bool held)
{
    _cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entries[512];
    while (offset < region->bytes) {
        uint64_t left = (region->bytes - offset) / GW_PAGE_BYTES, page;
        size_t wanted = left < 512 ? left * 8 : sizeof entries;
        page = ((uintptr_t)region->host + offset) / GW_PAGE_BYTES;
        ssize_t got = fd < 0 ? -1 : pread(fd, entries, wanted, (off_t)(page * 8));
        if (got < 8)
            return held ? offset : region->bytes; /* no answer: all is data */
        for (size_t i = 0; i < (size_t)got / 8; i++, offset += GW_PAGE_BYTES)
            if ((entries[i] >> 62 != 0) == held)
                return offset;
    }
    return region->bytes;
}

/* Any number of threads may seek at once: nobody uses the file position, only the returned value.
 * Without an answer everything counts as data. */
uint64_t gw_memory_next_data(const struct gw_memory_region *region, uint64_t offset)
{
    if (offset >= region->bytes)
        return region->bytes;
    if (region->fd < 0)
        return scan_page_map(region, offset, true);
    off_t data = lseek(region->fd, (off_t)offset, SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? region->bytes : offset;
    uint64_t page = (uint64_t)data & ~(uint64_t)(GW_PAGE_BYTES - 1);
    return page < offset ? offset : page;
}

uint64_t gw_memory_next_hole(const struct gw_memory_region *region, uint64_t offset)
{
    if (offset >= region->bytes)
        return region->bytes;
    if (region->fd < 0)
        return scan_page_map(region, offset, false);
    off_t hole = lseek(region->fd, (off_t)offset, SEEK_HOLE);
    return hole < 0 || (uint64_t)hole > region->bytes ? region->bytes
                                                      : align_up((uint64_t)hole, GW_PAGE_BYTES);
}

/* For kernels without MADV_POPULATE_WRITE: a write that changes nothing, whoever else writes there.
 */
static void touch_pages(uint8_t *at, uint64_t length)
{
    for (uint64_t i = 0; i < length; i += GW_PAGE_BYTES)
        __atomic_fetch_or(&at[i], (uint8_t)0, __ATOMIC_RELAXED);
}

int gw_memory_populate(struct gw_memory_region *region, uint64_t offset, uint64_t length)
{
    if (!is_page_range(region, offset, length))
        return -EINVAL;
    if (length == 0)
        return 0;
    uint8_t *at = region->host + offset;
    int r;
    do
        r = madvise(at, length, MADV_POPULATE_WRITE);
    while (r < 0 && (errno == EINTR || errno == EAGAIN));
    if (r == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    touch_pages(at, length);
    return 0;
}

static int drop(struct gw_memory_region *region, uint64_t offset, uint64_t length)
{
    int r;
    if (region->fd < 0)
        return madvise(region->host + offset, length, MADV_DONTNEED) < 0 ? -errno : 0;
    do
        r = fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                      (off_t)length);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

/* Whole host pages are given back; what is left of others is zeroed. */
int gw_memory_discard(struct gw_memory_region *region, uint64_t offset, uint64_t length)
{
    if (!is_page_range(region, offset, length))
        return -EINVAL;
    if (length == 0)
        return 0;
    uint64_t end = offset + length, page = region->host_page_bytes;
    uint64_t begin = align_up(offset, page), last = end / page * page;
    if (begin >= last) {
        memset(region->host + offset, 0, length);
        return 0;
    }
    memset(region->host + offset, 0, begin - offset);
    memset(region->host + last, 0, end - last);
    return drop(region, begin, last - begin);
}

bool gw_memory_is_zero(const void *bytes, size_t length)
{
    return length == 0 || isal_zero_detect((void *)bytes, length) == 0;
}
