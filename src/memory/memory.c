/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regions and the checked accessor.
 *
 * Every region lies between two inaccessible guard pages, so that a bug which runs over its end
 * faults instead of reaching other memory. By default it is a sealed memfd mapped shared, so that
 * the descriptor can be spliced, handed to another process or hole-punched. The mapping begins at a
 * boundary of huge pages, because the host can use them only where file offset and address agree.
 *
 * The table of regions is an array that never moves: pointers to regions stay good until
 * gw_memory_free(), and lookups need no lock.
 */
#include <godwit/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
        if (memory->mappings[i].base) /* not moved away */
            munmap(memory->mappings[i].base, memory->mappings[i].bytes);
        if (memory->regions[i].fd >= 0)
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

/* ---- What lies behind a region ---- */

static uint64_t host_page_bytes(const struct gw_memory_backing *backing)
{
    if (backing->kind != GW_MEMORY_HUGETLB)
        return GW_PAGE_BYTES;
    return backing->huge_page_bytes ? backing->huge_page_bytes : HUGE_BYTES;
}

/* A memfd of the given size whose size nobody can change any more; -1 and errno. */
static int open_memfd(const char *name, uint64_t bytes, unsigned flags)
{
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -1;
    return TAKE_FD(fd);
}

static int open_file(const struct gw_memory_backing *backing, const char *name, uint64_t bytes,
                     int *ret_fd, struct gw_error *error)
{
    _cleanup_free_ char *path = NULL;
    struct stat status;
    if (!backing->path || asprintf(&path, "%s/%s", backing->path, name) < 0)
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EINVAL,
                            "memory from files needs a folder for them");
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &status) < 0)
        return gw_error_set(error, GW_LAYER_MEMORY, gw_code_from_errno(errno), -errno,
                            "memory file '%s': %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return gw_error_set(
            error, GW_LAYER_MEMORY, GW_CODE_BUSY, -EBUSY,
            "memory file '%s' is another machine's memory: give a folder of its own", path);
    if (status.st_size == 0 && ftruncate(fd, (off_t)bytes) == 0)
        status.st_size = (off_t)bytes;
    if ((uint64_t)status.st_size != bytes)
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EINVAL,
                            "memory file '%s' has %lld bytes, the machine needs %llu: remove it or "
                            "give another folder",
                            path, (long long)status.st_size, (unsigned long long)bytes);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* What the host has of huge pages, for a sentence. */
static long read_pool(uint64_t page_bytes, const char *what)
{
    char path[96];
    long count = -1;
    snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
             (unsigned long long)(page_bytes >> 10), what);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%ld", &count) != 1)
        count = -1;
    if (file)
        fclose(file);
    return count;
}

static int refuse_huge(const char *name, uint64_t bytes, uint64_t page_bytes, int number,
                       struct gw_error *error)
{
    long have = read_pool(page_bytes, "free_hugepages");
    if (have < 0)
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                            "this host has no huge pages of %llu MiB",
                            (unsigned long long)(page_bytes >> 20));
    return gw_error_set(
        error, GW_LAYER_MEMORY, GW_CODE_NO_RESOURCE, -ENOMEM,
        "region '%s' needs %llu huge pages of %llu MiB and the host has %ld free (%s): "
        "write a larger number to /sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
        name, (unsigned long long)(bytes / page_bytes), (unsigned long long)(page_bytes >> 20),
        have, strerror(number), (unsigned long long)(page_bytes >> 10));
}

static int open_backing(const struct gw_memory_backing *backing, const char *name, uint64_t bytes,
                        int *ret_fd, struct gw_error *error)
{
    uint64_t page = host_page_bytes(backing);
    *ret_fd = -1;
    switch (backing->kind) {
    case GW_MEMORY_ANONYMOUS:
        return 0;
    case GW_MEMORY_FILE:
        return open_file(backing, name, bytes, ret_fd, error);
    case GW_MEMORY_HUGETLB:
        if (bytes % page)
            return gw_error_set(
                error, GW_LAYER_MEMORY, GW_CODE_INVALID, -EINVAL,
                "region '%s' of %llu bytes is no multiple of a huge page of %llu MiB", name,
                (unsigned long long)bytes, (unsigned long long)(page >> 20));
        *ret_fd = open_memfd(name, bytes,
                             MFD_HUGETLB | (unsigned)__builtin_ctzll(page) << MAP_HUGE_SHIFT);
        return *ret_fd < 0 ? refuse_huge(name, bytes, page, errno, error) : 0;
    case GW_MEMORY_MEMFD:
        *ret_fd = open_memfd(name, bytes, 0);
        return *ret_fd < 0 ? gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_NO_RESOURCE, -ENOMEM,
                                          "the host gives no %llu bytes for region '%s': %s",
                                          (unsigned long long)bytes, name, strerror(errno))
                           : 0;
    }
    return -EINVAL;
}

/* ---- Mapping ---- */

/* Hints; a host without the feature works without them. A core dump must not carry the guest. */
static void advise(void *mapped, uint64_t bytes, const struct gw_memory_backing *backing)
{
    (void)madvise(mapped, bytes, backing->no_huge_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    (void)madvise(mapped, bytes, MADV_DONTDUMP);
}

/* Maps between guard pages; returns the first byte, or NULL and errno. Huge pages are reserved now:
 * without, the guest would be killed where they end. */
static uint8_t *map_guarded(int fd, uint64_t bytes, const struct gw_memory_backing *backing,
                            struct mapping *ret_mapping)
{
    uint64_t page = host_page_bytes(backing), alignment = page > HUGE_BYTES ? page : HUGE_BYTES;
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    flags |= backing->kind == GW_MEMORY_HUGETLB ? 0 : MAP_NORESERVE;
    struct mapping mapping = {.bytes = bytes + alignment + 2 * page};
    mapping.base =
        mmap(NULL, mapping.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping.base == MAP_FAILED)
        return NULL;
    uint64_t host = align_up((uintptr_t)mapping.base + GW_PAGE_BYTES, alignment);
    void *mapped =
        mmap((void *)(uintptr_t)host, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
    if (mapped == MAP_FAILED) {
        int saved = errno;
        munmap(mapping.base, mapping.bytes);
        errno = saved;
        return NULL;
    }
    advise(mapped, bytes, backing);
    *ret_mapping = mapping;
    return mapped;
}

/* ---- Populating by several threads ---- */

#define POPULATE_PIECE_BYTES ((uint64_t)64 << 20)
#define POPULATE_MAX_THREADS 64

struct populate {
    struct gw_memory_region *region;
    _Atomic uint64_t next; /* offset that nobody has taken yet */
    _Atomic int result;
};

static void *populate_pieces(void *opaque)
{
    struct populate *populate = opaque;
    uint64_t bytes = populate->region->bytes, at;
    while ((at = atomic_fetch_add(&populate->next, POPULATE_PIECE_BYTES)) < bytes &&
           populate->result == 0) {
        uint64_t length = bytes - at < POPULATE_PIECE_BYTES ? bytes - at : POPULATE_PIECE_BYTES;
        int r = gw_memory_populate(populate->region, at, length);
        if (r < 0)
            populate->result = r;
    }
    return NULL;
}

static int populate_region(struct gw_memory_region *region, unsigned threads,
                           struct gw_error *error)
{
    struct populate populate = {.region = region};
    pthread_t helper[POPULATE_MAX_THREADS];
    unsigned started = 0;
    threads = threads < POPULATE_MAX_THREADS ? threads : POPULATE_MAX_THREADS;
    while (started + 1 < threads &&
           pthread_create(&helper[started], NULL, populate_pieces, &populate) == 0)
        started++;
    populate_pieces(&populate);
    for (unsigned i = 0; i < started; i++)
        pthread_join(helper[i], NULL);
    if (populate.result == 0)
        return 0;
    return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_NO_RESOURCE, populate.result,
                        "the host has no room for the %llu MiB of region '%s': %s",
                        (unsigned long long)(region->bytes >> 20), region->name,
                        strerror(-populate.result));
}

/* ---- Regions ---- */

/* Moves the region out of memory that was made before; false if that has no such region. */
static bool move_region(struct gw_memory *memory, struct gw_memory *from, const char *name,
                        uint64_t guest_base, uint64_t bytes)
{
    for (unsigned i = 0; from && i < from->count; i++) {
        struct gw_memory_region *region = &from->regions[i];
        if (!from->mappings[i].base || strcmp(region->name, name) != 0 || region->bytes != bytes)
            continue;
        memory->regions[memory->count] = *region;
        memory->regions[memory->count].guest_base = guest_base;
        memory->mappings[memory->count++] = from->mappings[i];
        from->mappings[i] = (struct mapping){0};
        region->host = NULL;
        region->fd = -1;
        return true;
    }
    return false;
}

static int map_region(struct gw_memory *memory, const char *name, uint64_t guest_base,
                      uint64_t bytes, const struct gw_memory_backing *backing,
                      struct gw_error *error)
{
    _cleanup_close_ int fd = -1;
    struct mapping mapping;
    if (move_region(memory, backing->ready, name, guest_base, bytes))
        return 0;
    int r = open_backing(backing, name, bytes, &fd, error);
    if (r < 0)
        return r;
    uint8_t *host = map_guarded(fd, bytes, backing, &mapping);
    if (!host && backing->kind == GW_MEMORY_HUGETLB)
        return refuse_huge(name, bytes, host_page_bytes(backing), errno, error);
    if (!host)
        return gw_error_set(error, GW_LAYER_MEMORY, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "the host gives no %llu bytes for region '%s': %s",
                            (unsigned long long)bytes, name, strerror(errno));
    struct gw_memory_region *region = &memory->regions[memory->count];
    *region = (struct gw_memory_region){
        .guest_base = guest_base,
        .bytes = bytes,
        .host = host,
        .fd = TAKE_FD(fd),
        .host_page_bytes = host_page_bytes(backing),
    };
    memcpy(region->name, name, strlen(name));
    memory->mappings[memory->count++] = mapping;
    if (backing->populate_threads == 0)
        return 0;
    r = populate_region(region, backing->populate_threads, error);
    region->pristine = r == 0 && backing->kind != GW_MEMORY_FILE;
    return r;
}

int gw_memory_add_backed_region(struct gw_memory *memory, const char *name, uint64_t guest_base,
                                uint64_t bytes, const struct gw_memory_backing *backing,
                                struct gw_error *error)
{
    int r = check_shape(name, guest_base, bytes, error);
    if (r == 0)
        r = check_room(memory, name, guest_base, bytes, error);
    return r < 0 ? r : map_region(memory, name, guest_base, bytes, backing, error);
}

int gw_memory_add_region(struct gw_memory *memory, const char *name, uint64_t guest_base,
                         uint64_t bytes, struct gw_error *error)
{
    static const struct gw_memory_backing memfd;
    return gw_memory_add_backed_region(memory, name, guest_base, bytes, &memfd, error);
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
    if (region->pristine)
        region->pristine = false;
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
    if (region && region->pristine)
        region->pristine = false;
    return region ? region->host + offset : NULL;
}

void gw_memory_mark(struct gw_memory *memory, uint64_t guest, uint64_t length)
{
    uint64_t offset;
    struct gw_memory_region *region = gw_memory_find(memory, guest, length, &offset);
    if (region)
        mark_range(region, offset, length);
}
