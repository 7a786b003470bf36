/* SPDX-License-Identifier: Apache-2.0 */
/* Address translation (privileged ISA 4.3 to 4.5) and the slow side of memory accesses. */
#include <string.h>

#include "base/bytes.h"
#include "cpu/riscv/block.h"
#include "cpu/riscv/fp.h"
#include "cpu/riscv/mmu.h"

enum {
    PTE_V = 1 << 0,
    PTE_R = 1 << 1,
    PTE_W = 1 << 2,
    PTE_X = 1 << 3,
    PTE_U = 1 << 4,
    PTE_A = 1 << 6,
    PTE_D = 1 << 7,
};
#define PTE_PPN_SHIFT 10
#define PTE_PPN_MASK ((1ull << 44) - 1)
#define PTE_RESERVED 0xffc0000000000000ull /* N, PBMT and bits 60:54: not implemented */

#define SATP_MODE_SV39 8
#define SATP_MODE_SV48 9

static bool fail(struct rv_hart *hart, uint64_t cause, uint64_t value)
{
    hart->trap_cause = cause;
    hart->trap_value = value;
    return false;
}

static bool fail_access(struct rv_hart *hart, enum rv_access access, uint64_t address)
{
    static const uint8_t causes[] = {[RV_ACCESS_READ] = RV_CAUSE_LOAD_ACCESS,
                                     [RV_ACCESS_WRITE] = RV_CAUSE_STORE_ACCESS,
                                     [RV_ACCESS_FETCH] = RV_CAUSE_FETCH_ACCESS};
    return fail(hart, causes[access], address);
}

static bool fail_page(struct rv_hart *hart, enum rv_access access, uint64_t address)
{
    static const uint8_t causes[] = {[RV_ACCESS_READ] = RV_CAUSE_LOAD_PAGE,
                                     [RV_ACCESS_WRITE] = RV_CAUSE_STORE_PAGE,
                                     [RV_ACCESS_FETCH] = RV_CAUSE_FETCH_PAGE};
    return fail(hart, causes[access], address);
}

/* The region that holds all of [physical, physical + bytes), or NULL. */
static struct gw_memory_region *find_region(struct rv_hart *hart, uint64_t physical, unsigned bytes,
                                            uint64_t *ret_offset)
{
    struct gw_memory_region *region = hart->region;
    if (region) {
        uint64_t offset = physical - region->guest_base;
        if (offset < region->bytes && region->bytes - offset >= bytes) {
            *ret_offset = offset;
            return region;
        }
    }
    region = gw_memory_find(hart->memory, physical, bytes, ret_offset);
    if (region)
        hart->region = region;
    return region;
}

/* After the write, so that a collector that clears first and reads afterwards loses nothing. */
static void mark_dirty(struct rv_hart *hart, struct gw_memory_region *region, uint64_t offset)
{
    if (hart->watching && region->dirty)
        __atomic_store_n(&region->dirty[offset >> GW_PAGE_SHIFT], 1, __ATOMIC_RELEASE);
}

/* Everything that follows a write which did not go through a write tag. */
static void written(struct rv_hart *hart, struct gw_memory_region *region, uint64_t offset,
                    unsigned bytes)
{
    mark_dirty(hart, region, offset);
    rv_blocks_written(hart, region->guest_base + offset, bytes);
}

struct walk {
    uint64_t address;
    enum rv_access access;
    unsigned priv;
};

/* Whether a leaf allows the access (4.3.1, and 4.3.2 steps 5 and 6). */
static bool leaf_allows(const struct rv_hart *hart, const struct walk *walk, uint64_t pte,
                        unsigned level)
{
    uint64_t status = hart->state.mstatus;
    if ((pte & (PTE_R | PTE_W)) == PTE_W)
        return false;
    if (level && (pte >> PTE_PPN_SHIFT & ((1ull << (9 * level)) - 1)))
        return false;
    if (walk->priv == RV_PRIV_U && !(pte & PTE_U))
        return false;
    if (walk->priv == RV_PRIV_S && (pte & PTE_U) &&
        (walk->access == RV_ACCESS_FETCH || !(status & RV_MSTATUS_SUM)))
        return false;
    switch (walk->access) {
    case RV_ACCESS_FETCH:
        return pte & PTE_X;
    case RV_ACCESS_WRITE:
        return pte & PTE_W;
    case RV_ACCESS_READ:
        return (pte & PTE_R) || ((status & RV_MSTATUS_MXR) && (pte & PTE_X));
    }
    return false;
}

enum leaf { LEAF_DONE, LEAF_AGAIN, LEAF_DENIED };

/* Sets A, and D for a write, if the entry is still what the walk has read (4.3.2 step 7). */
static enum leaf update_leaf(struct rv_hart *hart, const struct walk *walk, uint64_t at,
                             uint64_t *entry, uint64_t pte)
{
    uint64_t wanted = pte | PTE_A | (walk->access == RV_ACCESS_WRITE ? PTE_D : 0);
    if (wanted == pte)
        return LEAF_DONE;
    bool whole;
    if (!rv_pmp_check(hart, at, 8, RV_ACCESS_WRITE, RV_PRIV_S, &whole))
        return LEAF_DENIED;
    uint64_t expected = htole64(pte);
    if (!__atomic_compare_exchange_n(entry, &expected, htole64(wanted), false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST))
        return LEAF_AGAIN;
    uint64_t offset;
    struct gw_memory_region *region = find_region(hart, at, 8, &offset);
    written(hart, region, offset, 8);
    return LEAF_DONE;
}

static void note_superpage(struct rv_hart *hart, uint64_t address, uint64_t span)
{
    struct rv_range *range = &hart->superpages[address >> 63];
    if ((address & ~span) < range->first)
        range->first = address & ~span;
    if ((address | span) > range->last)
        range->last = address | span;
}

/* Walks the page table: 4.3.2, with LEVELS 3 for Sv39 and 4 for Sv48. */
static bool walk_table(struct rv_hart *hart, const struct walk *walk, int levels,
                       uint64_t *ret_physical)
{
    unsigned width = 12 + 9 * (unsigned)levels;
    int64_t top = (int64_t)walk->address >> (width - 1);
    if (top != 0 && top != -1)
        return fail_page(hart, walk->access, walk->address);
    uint64_t table = (hart->state.satp & PTE_PPN_MASK) << GW_PAGE_SHIFT;
    for (int level = levels - 1; level >= 0;) {
        uint64_t at = table + (walk->address >> (12 + 9 * level) & 511) * 8, offset;
        bool whole;
        struct gw_memory_region *region = find_region(hart, at, 8, &offset);
        if (!region || !rv_pmp_check(hart, at, 8, RV_ACCESS_READ, RV_PRIV_S, &whole))
            return fail_access(hart, walk->access, walk->address);
        uint64_t *entry = (uint64_t *)(void *)(region->host + offset);
        uint64_t pte = le64toh(__atomic_load_n(entry, __ATOMIC_ACQUIRE));
        if (!(pte & PTE_V) || (pte & PTE_RESERVED))
            return fail_page(hart, walk->access, walk->address);
        uint64_t page = pte >> PTE_PPN_SHIFT & PTE_PPN_MASK;
        if (!(pte & (PTE_R | PTE_W | PTE_X))) {
            if (pte & (PTE_A | PTE_D | PTE_U))
                return fail_page(hart, walk->access, walk->address);
            table = page << GW_PAGE_SHIFT;
            level--;
            continue;
        }
        if (!leaf_allows(hart, walk, pte, (unsigned)level))
            return fail_page(hart, walk->access, walk->address);
        switch (update_leaf(hart, walk, at, entry, pte)) {
        case LEAF_AGAIN:
            continue;
        case LEAF_DENIED:
            return fail_access(hart, walk->access, walk->address);
        case LEAF_DONE:
            break;
        }
        uint64_t span = ((uint64_t)GW_PAGE_BYTES << (9 * level)) - 1;
        if (level > 0)
            note_superpage(hart, walk->address, span);
        *ret_physical = ((page << GW_PAGE_SHIFT) & ~span) | (walk->address & span);
        return true;
    }
    return fail_page(hart, walk->access, walk->address);
}

static bool translate(struct rv_hart *hart, const struct walk *walk, uint64_t *ret_physical)
{
    unsigned mode = hart->state.satp >> 60;
    if (walk->priv == RV_PRIV_M || mode == 0) {
        *ret_physical = walk->address;
        return true;
    }
    return walk_table(hart, walk, mode == SATP_MODE_SV39 ? 3 : 4, ret_physical);
}

bool rv_place(struct rv_hart *hart, uint64_t address, unsigned bytes, enum rv_access access,
              unsigned priv, struct rv_place *ret_place)
{
    struct walk walk = {.address = address, .access = access, .priv = priv};
    struct rv_place place = {0};
    if (!translate(hart, &walk, &place.physical))
        return false;
    if (!rv_pmp_check(hart, place.physical, bytes, access, priv, &place.whole_page))
        return fail_access(hart, access, address);
    place.region = find_region(hart, place.physical, bytes, &place.offset);
    *ret_place = place;
    return true;
}

/* Makes later accesses of this kind to the page fast, if they may be. */
static void fill(struct rv_hart *hart, uint64_t address, const struct rv_place *place, bool write)
{
    uint64_t page = address & RV_PAGE_MASK;
    uint64_t offset = place->offset & RV_PAGE_MASK;
    struct gw_memory_region *region = place->region;
    if (!place->whole_page || (write && rv_blocks_has_code(hart, place->physical)))
        return;
    struct rv_tlb_entry *entry =
        &hart->tlb[hart->data_set][address >> GW_PAGE_SHIFT & (RV_TLB_ENTRIES - 1)];
    uintptr_t addend = (uintptr_t)(region->host + offset) - (uintptr_t)page;
    if (write) {
        if (entry->read_tag != page || entry->addend != addend)
            entry->read_tag = RV_TLB_EMPTY;
        entry->write_tag = page;
        entry->dirty = hart->watching && region->dirty ? &region->dirty[offset >> GW_PAGE_SHIFT]
                                                       : &hart->dirty_sink;
    } else {
        if (entry->write_tag != page || entry->addend != addend)
            entry->write_tag = RV_TLB_EMPTY;
        entry->read_tag = page;
    }
    entry->addend = addend;
}

/* RAM at any alignment within one page. Aligned accesses are single-copy atomic. */
static uint64_t ram_read(const uint8_t *host, unsigned bytes)
{
    uint64_t value = 0;
    switch ((uintptr_t)host & (bytes - 1) ? 0 : bytes) {
    case 1:
        return *host;
    case 2:
        return le16toh(__atomic_load_n((const uint16_t *)(const void *)host, __ATOMIC_RELAXED));
    case 4:
        return le32toh(__atomic_load_n((const uint32_t *)(const void *)host, __ATOMIC_RELAXED));
    case 8:
        return le64toh(__atomic_load_n((const uint64_t *)(const void *)host, __ATOMIC_RELAXED));
    }
    memcpy(&value, host, bytes);
    return le64toh(value);
}

static void ram_write(uint8_t *host, unsigned bytes, uint64_t value)
{
    switch ((uintptr_t)host & (bytes - 1) ? 0 : bytes) {
    case 1:
        __atomic_store_n(host, (uint8_t)value, __ATOMIC_RELAXED);
        return;
    case 2:
        __atomic_store_n((uint16_t *)(void *)host, htole16((uint16_t)value), __ATOMIC_RELAXED);
        return;
    case 4:
        __atomic_store_n((uint32_t *)(void *)host, htole32((uint32_t)value), __ATOMIC_RELAXED);
        return;
    case 8:
        __atomic_store_n((uint64_t *)(void *)host, htole64(value), __ATOMIC_RELAXED);
        return;
    }
    value = htole64(value);
    memcpy(host, &value, bytes);
}

static bool read_place(struct rv_hart *hart, uint64_t address, unsigned bytes,
                       const struct rv_place *place, uint64_t *ret_value)
{
    if (place->region) {
        *ret_value = ram_read(place->region->host + place->offset, bytes);
        return true;
    }
    if (address & (bytes - 1) || !hart->platform.read)
        return fail_access(hart, RV_ACCESS_READ, address);
    uint64_t value = 0;
    rv_fp_leave(hart);
    int failed = hart->platform.read(hart->platform.opaque, place->physical, bytes,
                                     rv_retired(hart), &value);
    rv_fp_enter(hart);
    if (failed)
        return fail_access(hart, RV_ACCESS_READ, address);
    *ret_value = bytes == 8 ? value : value & ((1ull << 8 * bytes) - 1);
    return true;
}

static bool write_place(struct rv_hart *hart, uint64_t address, unsigned bytes,
                        const struct rv_place *place, uint64_t value)
{
    if (place->region) {
        ram_write(place->region->host + place->offset, bytes, value);
        written(hart, place->region, place->offset, bytes);
        return true;
    }
    if (address & (bytes - 1) || !hart->platform.write)
        return fail_access(hart, RV_ACCESS_WRITE, address);
    value = bytes == 8 ? value : value & ((1ull << 8 * bytes) - 1);
    rv_fp_leave(hart);
    int failed = hart->platform.write(hart->platform.opaque, place->physical, bytes,
                                      rv_retired(hart), value);
    rv_fp_enter(hart);
    return failed ? fail_access(hart, RV_ACCESS_WRITE, address) : true;
}

/* How many of the bytes at `address` lie in its page. */
static unsigned bytes_in_page(uint64_t address, unsigned bytes)
{
    uint64_t room = GW_PAGE_BYTES - (address & ~RV_PAGE_MASK);
    return room < bytes ? (unsigned)room : bytes;
}

/* A place that an access across pages may use: RAM only. */
static bool place_piece(struct rv_hart *hart, uint64_t address, unsigned bytes,
                        enum rv_access access, struct rv_place *ret_place)
{
    if (!rv_place(hart, address, bytes, access, hart->data_priv, ret_place))
        return false;
    return ret_place->region ? true : fail_access(hart, access, address);
}

bool rv_load_slow(struct rv_hart *hart, uint64_t address, unsigned bytes, uint64_t *ret_value)
{
    struct rv_place low, high;
    unsigned first = bytes_in_page(address, bytes);
    if (first == bytes) {
        if (!rv_place(hart, address, bytes, RV_ACCESS_READ, hart->data_priv, &low))
            return false;
        if (low.region)
            fill(hart, address, &low, false);
        return read_place(hart, address, bytes, &low, ret_value);
    }
    if (!place_piece(hart, address, first, RV_ACCESS_READ, &low) ||
        !place_piece(hart, address + first, bytes - first, RV_ACCESS_READ, &high))
        return false;
    uint8_t pieces[8] = {0};
    memcpy(pieces, low.region->host + low.offset, first);
    memcpy(pieces + first, high.region->host + high.offset, bytes - first);
    *ret_value = get_le64(pieces);
    return true;
}

bool rv_store_slow(struct rv_hart *hart, uint64_t address, unsigned bytes, uint64_t value)
{
    struct rv_place low, high;
    unsigned first = bytes_in_page(address, bytes);
    if (first == bytes) {
        if (!rv_place(hart, address, bytes, RV_ACCESS_WRITE, hart->data_priv, &low))
            return false;
        if (low.region)
            fill(hart, address, &low, true);
        return write_place(hart, address, bytes, &low, value);
    }
    if (!place_piece(hart, address, first, RV_ACCESS_WRITE, &low) ||
        !place_piece(hart, address + first, bytes - first, RV_ACCESS_WRITE, &high))
        return false;
    uint8_t pieces[8];
    put_le64(pieces, value);
    memcpy(low.region->host + low.offset, pieces, first);
    memcpy(high.region->host + high.offset, pieces + first, bytes - first);
    written(hart, low.region, low.offset, first);
    written(hart, high.region, high.offset, bytes - first);
    return true;
}

void *rv_atomic_address(struct rv_hart *hart, uint64_t address, unsigned bytes, bool write,
                        struct rv_place *ret_place)
{
    enum rv_access access = write ? RV_ACCESS_WRITE : RV_ACCESS_READ;
    if (address & (bytes - 1)) {
        fail(hart, write ? RV_CAUSE_STORE_MISALIGNED : RV_CAUSE_LOAD_MISALIGNED, address);
        return NULL;
    }
    if (!rv_place(hart, address, bytes, access, hart->data_priv, ret_place))
        return NULL;
    if (!ret_place->region) {
        fail_access(hart, access, address);
        return NULL;
    }
    fill(hart, address, ret_place, write);
    return ret_place->region->host + ret_place->offset;
}

void rv_atomic_written(struct rv_hart *hart, const struct rv_place *place, unsigned bytes)
{
    written(hart, place->region, place->offset, bytes);
}

void rv_tlb_flush(struct rv_hart *hart)
{
    memset(hart->tlb, 0xff, sizeof hart->tlb);
}

void rv_forget_translations(struct rv_hart *hart)
{
    rv_tlb_flush(hart);
    rv_blocks_forget(hart);
    for (unsigned half = 0; half < 2; half++)
        hart->superpages[half] = (struct rv_range){UINT64_MAX, 0};
}

/* An entry knows its page and not how far its leaf reaches, so a superpage may have left entries
 * for any of its pages. */
void rv_forget_translation(struct rv_hart *hart, uint64_t address)
{
    const struct rv_range *range = &hart->superpages[address >> 63];
    uint64_t page = address & RV_PAGE_MASK;
    if (address >= range->first && address <= range->last) {
        rv_forget_translations(hart);
        return;
    }
    for (unsigned set = 0; set < RV_TLB_SETS; set++) {
        struct rv_tlb_entry *entry =
            &hart->tlb[set][address >> GW_PAGE_SHIFT & (RV_TLB_ENTRIES - 1)];
        if (entry->read_tag == page)
            entry->read_tag = RV_TLB_EMPTY;
        if (entry->write_tag == page)
            entry->write_tag = RV_TLB_EMPTY;
    }
    rv_blocks_forget_page(hart, page);
}

void rv_tlb_protect(struct rv_hart *hart, const uint8_t *host_page)
{
    for (unsigned set = 0; set < RV_TLB_SETS; set++)
        for (unsigned i = 0; i < RV_TLB_ENTRIES; i++) {
            struct rv_tlb_entry *entry = &hart->tlb[set][i];
            if (entry->write_tag != RV_TLB_EMPTY &&
                (uintptr_t)entry->write_tag + entry->addend == (uintptr_t)host_page)
                entry->write_tag = RV_TLB_EMPTY;
        }
}
