/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: a few regions, one checked accessor, and the dirty tracker that tells which pages
 * changed.
 *
 * The layout (regions) is set before the machine first runs and never changes afterwards, so any
 * thread may read it without a lock. The bytes themselves belong to the guest: several threads read
 * and write them at once, as on real hardware.
 */
#ifndef GODWIT_MEMORY_H
#define GODWIT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GW_PAGE_BYTES 4096u
#define GW_PAGE_SHIFT 12
#define GW_MEMORY_MAX_REGIONS 16

struct gw_memory_region {
    char name[32];            /* stable over migration: "ram", "ram-high" */
    uint64_t guest_base;      /* guest physical address, page-aligned */
    uint64_t bytes;           /* page multiple */
    uint8_t *host;            /* mapping of `bytes` bytes, owned by the gw_memory */
    int fd;                   /* memfd or file behind the mapping, or -1 (anonymous) */
    /* Populated, and neither the accessor nor a CPU has written since: all of it is zero. */
    bool pristine;
    uint64_t host_page_bytes; /* what the host gives and takes at once: 4 KiB or a huge page */
    /*
     * One byte per page, non-zero: written since the tracker last looked. Writers store to guest
     * memory first and mark afterwards, always and with gw_memory_region_mark(), so that a
     * collector which clears first and reads afterwards never loses a write (src/memory/bytemap.c
     * says why testing the byte before marking would). NULL without a byte-map tracker (KVM keeps
     * its own log).
     */
    uint8_t *dirty;
};

/* Marks page number `page` of the region as written, after the write. Any thread. */
static inline void gw_memory_region_mark(struct gw_memory_region *region, uint64_t page)
{
    if (region->dirty)
        __atomic_store_n(&region->dirty[page], (uint8_t)1, __ATOMIC_RELEASE);
}

struct gw_memory;

struct gw_memory *gw_memory_new(void);
void gw_memory_free(struct gw_memory *memory); /* unmaps everything; NULL is fine */

/* Maps `bytes` (page multiple) of zeroed memory, from a memfd named `name` (1 to 31 bytes), at
 * `guest_base`. No host memory is used before the first touch. Regions may not overlap.
 * -EINVAL, -EEXIST (overlap or name), -ENOSPC (too many), -ENOMEM. */
int gw_memory_add_region(struct gw_memory *memory, const char *name, uint64_t guest_base,
                         uint64_t bytes, struct gw_error *error);

/* Where the bytes of a region come from. All zero: a memfd. */
enum gw_memory_kind {
    GW_MEMORY_MEMFD,
    GW_MEMORY_ANONYMOUS, /* private to this process */
    GW_MEMORY_HUGETLB,   /* reserved huge pages */
    GW_MEMORY_FILE,      /* a file of the region's name in the folder `path` */
};
struct gw_memory_backing {
    enum gw_memory_kind kind;
    const char *path;         /* FILE */
    uint64_t huge_page_bytes; /* HUGETLB: 2 MiB or 1 GiB; 0: 2 MiB */
    bool no_huge_pages;       /* not even where the host could use them by itself (THP) */
    unsigned
        populate_threads; /* the host gives all pages at once, by so many threads; 0: on touch */
    /* Memory that was made before it was needed, of the same kind: a region of the same name and
     * size is moved out of it. NULL: there is none. */
    struct gw_memory *ready;
};

/*
 * The same, from memory of the given kind; it keeps nothing of `backing`. A file is made if it is
 * absent, must have the region's size if it is there, and is locked as long as the region exists.
 * Besides: -EBUSY somebody has the file; -ENOMEM names what the host lacks.
 */
int gw_memory_add_backed_region(struct gw_memory *memory, const char *name, uint64_t guest_base,
                                uint64_t bytes, const struct gw_memory_backing *backing,
                                struct gw_error *error);

unsigned gw_memory_region_count(const struct gw_memory *memory);
struct gw_memory_region *gw_memory_region(const struct gw_memory *memory, unsigned index);
uint64_t gw_memory_total_bytes(const struct gw_memory *memory);

/* The region holding all of [guest, guest+length) and the offset in it, or NULL. Length 0 counts
 * as 1. A range that crosses from one region into the next is in neither. */
struct gw_memory_region *gw_memory_find(const struct gw_memory *memory, uint64_t guest,
                                        uint64_t length, uint64_t *ret_offset);

/*
 * The checked accessor, for devices and the engine: every guest address that a guest, a peer or a
 * file named goes through here. -EFAULT when the range is not RAM. Writes mark the pages dirty.
 */
int gw_memory_read(const struct gw_memory *memory, uint64_t guest, void *to, size_t length);
int gw_memory_write(struct gw_memory *memory, uint64_t guest, const void *from, size_t length);

/* Host address of a range, for bulk I/O, or NULL. Whoever writes through it calls gw_memory_mark()
 * afterwards, before telling anybody that the data is there. */
void *gw_memory_map(const struct gw_memory *memory, uint64_t guest, uint64_t length);
void gw_memory_mark(struct gw_memory *memory, uint64_t guest, uint64_t length);

/*
 * Host residency, for whole pages of a region. A page that was never written is a hole: it reads as
 * zeroes, but reading it through the mapping makes the host allocate it, so bulk readers step over
 * holes.
 */
/* The first offset at or after `offset` (page multiples) whose page may hold something other than
 * zeroes; the region's size when there is none. */
uint64_t gw_memory_next_data(const struct gw_memory_region *region, uint64_t offset);
/* The first offset at or after `offset` that is a hole; the region's size when there is none. Walks
 * over all data in between: remember the answer until it is passed. */
uint64_t gw_memory_next_hole(const struct gw_memory_region *region, uint64_t offset);
/* Makes the host allocate the pages now, contents unchanged, guest may be running. 0, -ENOMEM,
 * -EINVAL. */
int gw_memory_populate(struct gw_memory_region *region, uint64_t offset, uint64_t length);
/* Turns the pages into holes (they read as zeroes). Marks nothing. 0 or a negative errno. */
int gw_memory_discard(struct gw_memory_region *region, uint64_t offset, uint64_t length);

/* Whether all bytes are zero; fastest on whole aligned pages. */
bool gw_memory_is_zero(const void *bytes, size_t length);

/* XXH64 over all regions in order, equal exactly when names, bases, sizes and contents are equal;
 * holes cost nothing and stay holes. Nobody may be writing. */
uint64_t gw_memory_hash(const struct gw_memory *memory);

/*
 * A dirty tracker. The engine calls start() once; then, for each sweep over memory, sync() and
 * after it collect() in pieces, from any of its threads (never the same pages at once); then
 * stop().
 */
struct gw_tracker_ops {
    const char *name;                                   /* "byte-map", "kvm-bitmap", "kvm-ring" */
    int (*start)(void *opaque, struct gw_error *error); /* from now on every write is seen */
    void (*stop)(void *opaque);
    /* Every write that was made before this call is found by the collect() of its page that comes
     * next. For trackers whose log lies elsewhere; NULL when collect() looks for itself. */
    int (*sync)(void *opaque, struct gw_error *error);
    /* Moves the dirty bits of pages [first, first+count) of `region` into `bitmap` (bit 0 =
     * `first`, OR-ed in, little-endian 64-bit words) and clears them in the tracker, before the
     * caller reads those pages. Returns the number of pages found dirty, or a negative errno. */
    int64_t (*collect)(void *opaque, unsigned region, uint64_t first, uint64_t count,
                       uint64_t *bitmap);
    /* Pages dirty now, without clearing; may be an estimate. */
    uint64_t (*count)(void *opaque);
};

struct gw_tracker {
    const struct gw_tracker_ops *ops;
    void *opaque;
};

/*
 * The byte-map tracker of the software CPU. `set_watching` (may be NULL) is told when watching
 * begins and ends: on return of set_watching(true) every later guest write marks its page in
 * region->dirty. Made after all regions were added: new() allocates their byte maps, free() takes
 * them away, both while nobody writes guest memory.
 */
struct gw_bytemap_tracker;
struct gw_bytemap_tracker *gw_bytemap_tracker_new(struct gw_memory *memory,
                                                  void (*set_watching)(void *opaque, bool on),
                                                  void *opaque);
void gw_bytemap_tracker_free(struct gw_bytemap_tracker *tracker);
struct gw_tracker gw_bytemap_tracker_interface(struct gw_bytemap_tracker *tracker);

#ifdef __cplusplus
}
#endif
#endif
