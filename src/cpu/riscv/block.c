/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpu/riscv/block.h"
#include "cpu/riscv/mmu.h"

#define ARENA_BYTES (24u << 20)
#define ARENA_UNIT 16
#define PAGES_MAX 2048
#define PAGE_HASH 4096 /* a power of two, more than PAGES_MAX */
#define GRANULE_SHIFT 6

struct rv_code_page {
    uint64_t physical;
    const uint8_t *host;
    uint64_t generation;               /* in which its bytes were last compared */
    uint64_t granules;                 /* 64-byte pieces that hold decoded instructions */
    uint8_t copy[GW_PAGE_BYTES];       /* their bytes when they were decoded */
    uint32_t block[GW_PAGE_BYTES / 2]; /* by halfword: place in the arena, 0 for none */
};

#define FETCH_ENTRIES 64
#define FETCHED_PAGES 4096 /* a power of two */
struct fetch {
    uint64_t page; /* virtual */
    uint64_t context;
    struct rv_code_page *code;
};

struct rv_blocks {
    uint8_t *arena;
    size_t used;
    struct rv_code_page *pages;
    unsigned page_count;
    uint16_t hash[PAGE_HASH]; /* by physical page: index of pages plus 1, open addressing */
    uint64_t generation;
    struct rv_jump jumps[1u << RV_JUMP_BITS];
    struct fetch fetches[FETCH_ENTRIES];
    /* a bit for the virtual pages, modulo FETCHED_PAGES, of which anything is in the two above */
    uint64_t fetched[FETCHED_PAGES / 64];
    /* the block for one run, and its page-less origins */
    struct rv_origin scratch_origins[2 * RV_BLOCK_MAX + 2];
    _Alignas(16)
        uint8_t scratch[sizeof(struct rv_block) + (2 * RV_BLOCK_MAX + 2) * sizeof(union rv_slot)];
};

#define SLOTS_MAX (2 * RV_BLOCK_MAX + 2)
#define BLOCK_BYTES_MAX                                                                            \
    (sizeof(struct rv_block) + SLOTS_MAX * (sizeof(union rv_slot) + sizeof(struct rv_origin)))

struct rv_blocks *rv_blocks_new(void)
{
    struct rv_blocks *blocks = calloc(1, sizeof *blocks);
    if (!blocks)
        return NULL;
    blocks->arena = aligned_alloc(ARENA_UNIT, ARENA_BYTES);
    blocks->pages = calloc(PAGES_MAX, sizeof *blocks->pages);
    blocks->used = ARENA_UNIT;
    blocks->generation = 1;
    if (!blocks->arena || !blocks->pages) {
        rv_blocks_free(blocks);
        return NULL;
    }
    return blocks;
}

void rv_blocks_free(struct rv_blocks *blocks)
{
    if (!blocks)
        return;
    free(blocks->arena);
    free(blocks->pages);
    free(blocks);
}

struct rv_jump *rv_blocks_jumps(struct rv_blocks *blocks)
{
    return blocks->jumps;
}

/* Makes every entry of the jump cache and the fetch TLB invalid. */
void rv_blocks_forget(struct rv_hart *hart)
{
    memset(hart->blocks->fetched, 0, sizeof hart->blocks->fetched);
    hart->fetch_epoch++;
    rv_context_update(hart);
}

static uint64_t *fetched_word(struct rv_blocks *blocks, uint64_t page, uint64_t *ret_bit)
{
    uint64_t number = page >> GW_PAGE_SHIFT & (FETCHED_PAGES - 1);
    *ret_bit = UINT64_C(1) << (number & 63);
    return &blocks->fetched[number / 64];
}

/* Most pages that are unmapped hold no code: what is cached of others is worth keeping. */
void rv_blocks_forget_page(struct rv_hart *hart, uint64_t page)
{
    uint64_t bit;
    if (*fetched_word(hart->blocks, page, &bit) & bit)
        rv_blocks_forget(hart);
}

void rv_blocks_flush(struct rv_hart *hart)
{
    struct rv_blocks *blocks = hart->blocks;
    memset(blocks->hash, 0, sizeof blocks->hash);
    blocks->page_count = 0;
    blocks->used = ARENA_UNIT;
    rv_blocks_forget(hart);
}

void rv_blocks_fence_i(struct rv_hart *hart)
{
    hart->blocks->generation++;
    rv_blocks_forget(hart);
}

static unsigned page_slot(const struct rv_blocks *blocks, uint64_t physical)
{
    unsigned slot = (unsigned)((physical >> GW_PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 52);
    while (blocks->hash[slot] && blocks->pages[blocks->hash[slot] - 1].physical != physical)
        slot = (slot + 1) % PAGE_HASH;
    return slot;
}

static struct rv_code_page *page_find(const struct rv_blocks *blocks, uint64_t physical)
{
    unsigned index = blocks->hash[page_slot(blocks, physical & RV_PAGE_MASK)];
    return index ? &blocks->pages[index - 1] : NULL;
}

static void page_drop(struct rv_code_page *page)
{
    page->granules = 0;
    memset(page->block, 0, sizeof page->block);
}

/* The page of code at `physical`, new if need be. May drop everything. */
static struct rv_code_page *page_get(struct rv_hart *hart, uint64_t physical, const uint8_t *host)
{
    struct rv_blocks *blocks = hart->blocks;
    unsigned slot = page_slot(blocks, physical);
    if (blocks->hash[slot])
        return &blocks->pages[blocks->hash[slot] - 1];
    if (blocks->page_count == PAGES_MAX) {
        rv_blocks_flush(hart);
        slot = page_slot(blocks, physical);
    }
    struct rv_code_page *page = &blocks->pages[blocks->page_count++];
    blocks->hash[slot] = (uint16_t)blocks->page_count;
    page_drop(page);
    page->physical = physical;
    page->host = host;
    page->generation = blocks->generation;
    return page;
}

bool rv_blocks_has_code(const struct rv_hart *hart, uint64_t physical)
{
    const struct rv_code_page *page = page_find(hart->blocks, physical);
    return page && page->granules;
}

void rv_blocks_written(struct rv_hart *hart, uint64_t physical, unsigned bytes)
{
    struct rv_code_page *page = page_find(hart->blocks, physical);
    if (!page || !page->granules)
        return;
    uint64_t first = (physical & ~RV_PAGE_MASK) >> GRANULE_SHIFT;
    uint64_t last = ((physical & ~RV_PAGE_MASK) + bytes - 1) >> GRANULE_SHIFT;
    if (!((page->granules >> first | page->granules >> last) & 1))
        return;
    page_drop(page);
    rv_blocks_forget(hart);
    rv_attend(hart, RV_ATTEND_CODE);
}

/* Drops the blocks of a page whose bytes are not those that were decoded. */
static void page_verify(const struct rv_blocks *blocks, struct rv_code_page *page)
{
    if (page->generation == blocks->generation)
        return;
    page->generation = blocks->generation;
    for (uint64_t left = page->granules; left; left &= left - 1) {
        unsigned at = (unsigned)__builtin_ctzll(left) << GRANULE_SHIFT;
        if (memcmp(page->copy + at, page->host + at, 1u << GRANULE_SHIFT) != 0) {
            page_drop(page);
            return;
        }
    }
}

/* Remembers the bytes behind [from, to) of the page, and watches for writes to them. */
static void page_cover(struct rv_hart *hart, struct rv_code_page *page, uint32_t from, uint32_t to)
{
    if (!page->granules)
        rv_tlb_protect(hart, page->host);
    for (uint32_t at = from >> GRANULE_SHIFT; at <= (to - 1) >> GRANULE_SHIFT; at++) {
        if (page->granules >> at & 1)
            continue;
        page->granules |= 1ull << at;
        memcpy(page->copy + (at << GRANULE_SHIFT), page->host + (at << GRANULE_SHIFT),
               1u << GRANULE_SHIFT);
    }
}

/* Operations after which the next instruction may be another one, or in another context. */
static bool ends_block(enum rv_op op)
{
    switch (op) {
    case RV_OP_JAL:
    case RV_OP_JALR:
    case RV_OP_ECALL:
    case RV_OP_EBREAK:
    case RV_OP_MRET:
    case RV_OP_SRET:
    case RV_OP_WFI:
    case RV_OP_FENCE_I:
    case RV_OP_SFENCE_VMA:
    case RV_OP_ILLEGAL:
        return true;
    default:
        return false;
    }
}

static bool is_branch(enum rv_op op)
{
    return op >= RV_OP_BEQ && op <= RV_OP_BGEU;
}

/* A block under construction. */
struct builder {
    struct rv_hart *hart;
    struct rv_code_page *page;
    union rv_slot *slots;
    struct rv_origin *origins;
    unsigned used, count;
    uint32_t offset;
};

static void put(struct builder *b, struct rv_decoded decoded, uint32_t raw, unsigned length)
{
    union rv_slot *slot = &b->slots[b->used];
    *slot = (union rv_slot){
        .handler = rv_handlers()[decoded.op],
        .imm = decoded.imm,
        .rd = decoded.rd,
        .rs1 = decoded.rs1,
        .rs2 = decoded.rs2,
        .index = (uint8_t)b->count,
    };
    b->origins[b->used] =
        (struct rv_origin){.raw = raw, .offset = (uint16_t)b->offset, .length = (uint16_t)length};
    b->used++;
}

static void put_link(struct builder *b)
{
    b->slots[b->used++] = (union rv_slot){.target = NULL};
}

static void put_pseudo(struct builder *b, enum rv_op op)
{
    put(b, (struct rv_decoded){.op = op, .imm = (int32_t)b->offset}, 0, 0);
    put_link(b);
}

/* Handlers of floating-point arithmetic use the dynamic rounding mode, those of conversions to
 * integers round towards zero, as compilers mostly ask; everything else goes to the general one. */
static void choose_rounding(struct rv_decoded *decoded)
{
    enum { TOWARDS_ZERO = 1, DYNAMIC = 7 };
    unsigned rounding = (uint32_t)decoded->imm >> 12 & 7;
    if (!rv_op_rounds(decoded->op))
        return;
    if (rv_op_is_exact(decoded->op) && rounding <= 4)
        return;
    if (rounding == (rv_op_is_to_integer(decoded->op) ? TOWARDS_ZERO : DYNAMIC))
        return;
    decoded->rs2 = (uint8_t)decoded->op;
    decoded->op = RV_OP_FLOAT;
}

/* Decodes one instruction at the builder's offset; true when the block ends with it. */
static bool put_instruction(struct builder *b, uint32_t raw, unsigned length)
{
    struct rv_decoded decoded = rv_decode(raw);
    if (is_branch(decoded.op) || decoded.op == RV_OP_JAL || decoded.op == RV_OP_AUIPC)
        decoded.imm += (int32_t)b->offset;
    choose_rounding(&decoded);
    b->count++;
    put(b, decoded, raw, length);
    if (is_branch(decoded.op) || decoded.op == RV_OP_JAL)
        put_link(b);
    b->offset += length;
    return ends_block(decoded.op);
}

/* Whether the instruction at `offset` runs over the page's end. */
static bool crosses_page(const struct rv_code_page *page, uint32_t offset)
{
    return offset == GW_PAGE_BYTES - 2 && rv_length(get_le16(page->host + offset)) == 4;
}

/* Decodes from the copy, so that what is compared later is what was decoded. */
static uint32_t fetch_in_page(struct rv_hart *hart, struct rv_code_page *page, uint32_t offset)
{
    page_cover(hart, page, offset, offset + 2);
    uint16_t low = get_le16(page->copy + offset);
    if (rv_length(low) != 4)
        return low;
    page_cover(hart, page, offset, offset + 4);
    return get_le32(page->copy + offset);
}

static void build(struct builder *b, uint64_t limit)
{
    for (;;) {
        if (b->offset >= GW_PAGE_BYTES || b->count == RV_BLOCK_MAX) {
            put_pseudo(b, RV_OP_FALL);
            return;
        }
        if (b->count == limit) {
            put_pseudo(b, RV_OP_STOP);
            return;
        }
        if (crosses_page(b->page, b->offset)) {
            put_pseudo(b, RV_OP_CROSS);
            return;
        }
        uint32_t raw = fetch_in_page(b->hart, b->page, b->offset);
        if (put_instruction(b, raw, rv_length((uint16_t)raw)))
            return;
    }
}

/* How many of the loads or stores of 64 bits from slot `at` on have the base register of the first,
 * which none but the last may change. */
static unsigned run_length(const struct builder *b, unsigned at, enum rv_op op)
{
    const union rv_slot *first = &b->slots[at];
    unsigned length = 0;
    while (at + length < b->used && length < 4) {
        const union rv_slot *slot = &first[length];
        if (slot->handler != rv_handlers()[op] || slot->rs1 != first->rs1)
            break;
        length++;
        if (op == RV_OP_LD && slot->rd == first->rs1)
            break;
    }
    return length;
}

/* Gives the first of two or four accesses in a row a handler that does all of them if they fall
 * into one page, as they do where registers are saved and memory is copied. The others keep theirs,
 * and all are done one by one where they do not. */
static void join_accesses(struct builder *b, enum rv_op op, enum rv_op two, enum rv_op four)
{
    for (unsigned at = 0; at < b->used;) {
        unsigned length = run_length(b, at, op);
        if (length >= 2)
            b->slots[at].handler = rv_handlers()[length == 4 ? four : two];
        at += length == 4 ? 4 : length >= 2 ? 2 : 1;
    }
}

static struct rv_block *build_cached(struct rv_hart *hart, struct rv_code_page *page,
                                     uint32_t offset)
{
    struct rv_blocks *blocks = hart->blocks;
    union rv_slot slots[SLOTS_MAX];
    struct rv_origin origins[SLOTS_MAX];
    struct builder b = {
        .hart = hart, .page = page, .slots = slots, .origins = origins, .offset = offset};
    build(&b, UINT64_MAX);
    join_accesses(&b, RV_OP_LD, RV_OP_LD2, RV_OP_LD4);
    join_accesses(&b, RV_OP_SD, RV_OP_SD2, RV_OP_SD4);
    size_t head = sizeof(struct rv_block) + b.used * sizeof *slots;
    struct rv_block *block = (struct rv_block *)(void *)(blocks->arena + blocks->used);
    *block = (struct rv_block){.page = page, .count = b.count, .start = offset};
    block->origins = (struct rv_origin *)(void *)((uint8_t *)block + head);
    memcpy(block->slots, slots, b.used * sizeof *slots);
    memcpy(block->origins, origins, b.used * sizeof *origins);
    page->block[offset / 2] = (uint32_t)(blocks->used / ARENA_UNIT);
    blocks->used += align_up(head + b.used * sizeof *origins, ARENA_UNIT);
    return block;
}

/* The cached block, or a new one when there is room. NULL: the arena is full. */
static struct rv_block *page_block(struct rv_hart *hart, struct rv_code_page *page, uint32_t offset)
{
    struct rv_blocks *blocks = hart->blocks;
    if (page->block[offset / 2])
        return (struct rv_block *)(void *)(blocks->arena +
                                           (size_t)page->block[offset / 2] * ARENA_UNIT);
    if (ARENA_BYTES - blocks->used < BLOCK_BYTES_MAX)
        return NULL;
    return build_cached(hart, page, offset);
}

static struct rv_block *scratch_finish(struct rv_blocks *blocks, const struct builder *b,
                                       uint32_t start)
{
    struct rv_block *block = (struct rv_block *)(void *)blocks->scratch;
    *block = (struct rv_block){
        .page = NULL, .count = b->count, .start = start, .origins = blocks->scratch_origins};
    return block;
}

static struct builder scratch_begin(struct rv_hart *hart, struct rv_code_page *page,
                                    uint32_t offset)
{
    struct rv_blocks *blocks = hart->blocks;
    struct rv_block *block = (struct rv_block *)(void *)blocks->scratch;
    return (struct builder){.hart = hart,
                            .page = page,
                            .slots = block->slots,
                            .origins = blocks->scratch_origins,
                            .offset = offset};
}

static struct rv_block *build_cut(struct rv_hart *hart, struct rv_code_page *page, uint32_t offset,
                                  uint64_t limit)
{
    struct builder b = scratch_begin(hart, page, offset);
    build(&b, limit);
    return scratch_finish(hart->blocks, &b, offset);
}

/* One parcel of an instruction, checked for itself. */
static bool fetch_parcel(struct rv_hart *hart, uint64_t address, uint16_t *ret_parcel)
{
    struct rv_place place;
    if (!rv_place(hart, address, 2, RV_ACCESS_FETCH, hart->state.priv, &place))
        return false;
    if (!place.region) {
        hart->trap_cause = RV_CAUSE_FETCH_ACCESS;
        hart->trap_value = address;
        return false;
    }
    *ret_parcel = get_le16(place.region->host + place.offset);
    return true;
}

/* A block of the one instruction at pc, which crosses a page or must be checked each time. */
static struct rv_block *build_single(struct rv_hart *hart)
{
    uint64_t pc = hart->state.pc;
    uint16_t low, high = 0;
    if (!fetch_parcel(hart, pc, &low))
        return NULL;
    unsigned length = rv_length(low);
    if (length == 4 && !fetch_parcel(hart, pc + 2, &high))
        return NULL;
    uint32_t offset = (uint32_t)(pc & ~RV_PAGE_MASK);
    struct builder b = scratch_begin(hart, NULL, offset);
    if (!put_instruction(&b, length == 4 ? (uint32_t)high << 16 | low : low, length))
        put_pseudo(&b, RV_OP_STOP);
    return scratch_finish(hart->blocks, &b, offset);
}

/* The code page of pc. False with a trap; *ret_page NULL: fetch one instruction at a time. */
static bool fetch_page(struct rv_hart *hart, uint64_t pc, struct rv_code_page **ret_page)
{
    struct rv_blocks *blocks = hart->blocks;
    struct fetch *fetch = &blocks->fetches[pc >> GW_PAGE_SHIFT & (FETCH_ENTRIES - 1)];
    if (fetch->page == (pc & RV_PAGE_MASK) && fetch->context == hart->fetch_context) {
        *ret_page = fetch->code;
        return true;
    }
    struct rv_place place;
    if (!rv_place(hart, pc, 2, RV_ACCESS_FETCH, hart->state.priv, &place))
        return false;
    if (!place.region) {
        hart->trap_cause = RV_CAUSE_FETCH_ACCESS;
        hart->trap_value = pc;
        return false;
    }
    *ret_page = NULL;
    if (!place.whole_page)
        return true;
    *ret_page = page_get(hart, place.physical & RV_PAGE_MASK,
                         place.region->host + (place.offset & RV_PAGE_MASK));
    *fetch = (struct fetch){
        .page = pc & RV_PAGE_MASK, .context = hart->fetch_context, .code = *ret_page};
    uint64_t bit;
    *fetched_word(blocks, pc, &bit) |= bit;
    return true;
}

struct rv_block *rv_block_find(struct rv_hart *hart, uint64_t limit)
{
    uint64_t pc = hart->state.pc;
    uint32_t offset = (uint32_t)(pc & ~RV_PAGE_MASK & ~1u);
    struct rv_code_page *page;
    if (!fetch_page(hart, pc, &page))
        return NULL;
    if (!page)
        return build_single(hart);
    page_verify(hart->blocks, page);
    if (crosses_page(page, offset))
        return build_single(hart);
    struct rv_block *block = page_block(hart, page, offset);
    if (!block) {
        rv_blocks_flush(hart);
        return rv_block_find(hart, limit);
    }
    if (block->count > limit)
        return build_cut(hart, page, offset, limit);
    struct rv_jump *jump = &hart->blocks->jumps[rv_jump_index(pc)];
    *jump = (struct rv_jump){.pc = pc, .context = hart->fetch_context, .block = block};
    return block;
}

struct rv_block *rv_block_beside(struct rv_hart *hart, const struct rv_block *from, uint32_t offset)
{
    if (!from->page || offset >= GW_PAGE_BYTES || !from->page->granules ||
        crosses_page(from->page, offset))
        return NULL;
    return page_block(hart, from->page, offset);
}
