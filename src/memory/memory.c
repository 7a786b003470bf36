/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions and the checked accessor.
 *
 * Every region is a sealed memfd mapped shared between two inaccessible guard pages, so that a bug
 * which runs over its end faults instead of reaching other memory, and so that the descriptor can
 * be spliced, handed to another process or hole-punched. The mapping begins at a 2 MiB boundary,
 * because the host can use huge pages only where file offset and address agree.
 *
 * The table of regions is an array that never moves: pointers to regions stay good until
 * gw_memory_free(), and lookups need no lock.
 */
#include <godwit/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define HUGE_BYTES ((uint64_t)2 << 20)
#define MAX_REGION_BYTES ((uint64_t)1 << 46)

struct mapping {
    void *base; /* the whole reservation, guards and alignment included */
    size_t bytes;
};

struct gw_memory {
    struct gw_memory_region regions[GW_MEMORY_MAX_REGIONS];
    struct mapping mappings[GW_MEMORY_MAX_REGIONS]; /* same index as regions */
    unsigned count;
};

struct gw_memory *gw_memory_new(void)
{
    return calloc(1, sizeof(struct gw_memory));
}

void gw_memory_free(struct gw_memory *memory)
{
    if (!memory)
        return;
    for (unsigned i = 0; i < memory->count; i++) {
        munmap(memory->mappings[i].base, memory->mappings[i].bytes);
        close(memory->regions[i].fd);
    }
    free(memory);
}

static bool ranges_overlap(uint64_t base, uint64_t bytes, uint64_t other, uint64_t other_bytes)
{
    return base < other + other_bytes && other < base + bytes;
}

static int check_shape(const char *name, uint64_t guest_base, uint64_t bytes,
                       struct gw_error *error)
{
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof(((struct gw_memory_region *)0)->name))
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EINVAL,
                            "region name '%.40s' must have 1 to 31 characters", name);
    uint64_t end;
    if (bytes == 0 || bytes % GW_PAGE_BYTES || guest_base % GW_PAGE_BYTES ||
        bytes > MAX_REGION_BYTES || __builtin_add_overflow(guest_base, bytes, &end))
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EINVAL,
                            "region '%s' of %llu bytes at 0x%llx is not a range of whole pages",
                            name, (unsigned long long)bytes, (unsigned long long)guest_base);
    return 0;
}

static int check_room(const struct gw_memory *memory, const char *name, uint64_t guest_base,
                      uint64_t bytes, struct gw_error *error)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct gw_memory_region *other = &memory->regions[i];
        if (strcmp(other->name, name) == 0)
            return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EEXIST,
                                "there is a region '%s' already", name);
        if (ranges_overlap(guest_base, bytes, other->guest_base, other->bytes))
            return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EEXIST,
                                "region '%s' would overlap region '%s'", name, other->name);
    }
    if (memory->count == GW_MEMORY_MAX_REGIONS)
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -ENOSPC,
                            "region '%s' is one more than the limit of %d", name,
                            GW_MEMORY_MAX_REGIONS);
    return 0;
}

/* A memfd of the given size whose size nobody can change any more; -1 and errno. */
static int open_backing(const char *name, uint64_t bytes)
{
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -1;
    return TAKE_FD(fd);
}

/* Maps `fd` between guard pages; returns the first byte of it, or NULL and errno. */
static uint8_t *map_guarded(int fd, uint64_t bytes, struct mapping *ret_mapping)
{
    struct mapping mapping = {.bytes = bytes + HUGE_BYTES + 2 * GW_PAGE_BYTES};
    mapping.base =
        mmap(NULL, mapping.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping.base == MAP_FAILED)
        return NULL;
    uint64_t host = align_up((uintptr_t)mapping.base + GW_PAGE_BYTES, HUGE_BYTES);
    void *mapped = mmap((void *)(uintptr_t)host, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
    if (mapped == MAP_FAILED) {
        int saved = errno;
        munmap(mapping.base, mapping.bytes);
        errno = saved;
        return NULL;
    }
    /* Hints; a host without the feature works without them. A core dump must not carry the guest.
     */
    (void)madvise(mapped, bytes, MADV_HUGEPAGE);
    (void)madvise(mapped, bytes, MADV_DONTDUMP);
    *ret_mapping = mapping;
    return mapped;
}

int gw_memory_add_region(struct gw_memory *memory, const char *name, uint64_t guest_base,
                         uint64_t bytes, struct gw_error *error)
{
    int r = check_shape(name, guest_base, bytes, error);
    if (r == 0)
        r = check_room(memory, name, guest_base, bytes, error);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open_backing(name, bytes);
    struct mapping mapping;
    uint8_t *host = fd < 0 ? NULL : map_guarded(fd, bytes, &mapping);
    if (!host)
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "the host gives no %llu bytes for region '%s': %s",
                            (unsigned long long)bytes, name, strerror(errno));
    struct gw_memory_region *region = &memory->regions[memory->count];
    *region = (struct gw_memory_region){
        .guest_base = guest_base, .bytes = bytes, .host = host, .fd = TAKE_FD(fd)};
    memcpy(region->name, name, strlen(name));
    memory->mappings[memory->count++] = mapping;
    return 0;
}

unsigned gw_memory_region_count(const struct gw_memory *memory)
{
    return memory->count;
}

struct gw_memory_region *gw_memory_region(const struct gw_memory *memory, unsigned index)
{
    return index < memory->count ? (struct gw_memory_region *)&memory->regions[index] : NULL;
}

uint64_t gw_memory_total_bytes(const struct gw_memory *memory)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < memory->count; i++)
        total += memory->regions[i].bytes;
    return total;
}

struct gw_memory_region *gw_memory_find(const struct gw_memory *memory, uint64_t guest,
                                        uint64_t length, uint64_t *ret_offset)
{
    if (length == 0)
        length = 1;
    for (unsigned i = 0; i < memory->count; i++) {
        const struct gw_memory_region *region = &memory->regions[i];
        uint64_t offset = guest - region->guest_base; /* huge when below the base */
        if (offset < region->bytes && length <= region->bytes - offset) {
            if (ret_offset)
                *ret_offset = offset;
            return (struct gw_memory_region *)region;
        }
    }
    return NULL;
}

static void mark_range(struct gw_memory_region *region, uint64_t offset, uint64_t length)
{
    if (!region->dirty || length == 0)
        return;
    uint64_t last = (offset + length - 1) >> GW_PAGE_SHIFT;
    for (uint64_t page = offset >> GW_PAGE_SHIFT; page <= last; page++)
        gw_memory_region_mark(region, page);
}

int gw_memory_read(const struct gw_memory *memory, uint64_t guest, void *to, size_t length)
{
    uint64_t offset;
    const struct gw_memory_region *region = gw_memory_find(memory, guest, length, &offset);
    if (!region)
        return -EFAULT;
    memcpy(to, region->host + offset, length);
    return 0;
}

int gw_memory_write(struct gw_memory *memory, uint64_t guest, const void *from, size_t length)
{
    uint64_t offset;
    struct gw_memory_region *region = gw_memory_find(memory, guest, length, &offset);
    if (!region)
        return -EFAULT;
    memcpy(region->host + offset, from, length);
    mark_range(region, offset, length);
    return 0;
}

void *gw_memory_map(const struct gw_memory *memory, uint64_t guest, uint64_t length)
{
    uint64_t offset;
    struct gw_memory_region *region = gw_memory_find(memory, guest, length, &offset);
    return region ? region->host + offset : NULL;
}

void gw_memory_mark(struct gw_memory *memory, uint64_t guest, uint64_t length)
{
    uint64_t offset;
    struct gw_memory_region *region = gw_memory_find(memory, guest, length, &offset);
    if (region)
        mark_range(region, offset, length);
}
