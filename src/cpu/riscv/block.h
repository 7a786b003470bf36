/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of decoded code. A block is a run of instructions within one physical page: it ends at
 * a jump, at an instruction that may change the context, or at its size limit; a conditional branch
 * that is taken leaves it early. Blocks belong to code pages, keyed by physical address, and hold
 * nothing that depends on a virtual one.
 *
 * Coherence. A store of this hart into decoded bytes drops the page's blocks at once and makes the
 * hart leave the running block, so a single hart never sees stale code. Writes by others (harts,
 * devices) are seen after FENCE.I, as the ISA asks: it starts a new generation, and a page that is
 * entered for the first time in a generation is compared with the bytes it was decoded from.
 *
 * Memory. Blocks come from one arena of fixed size; when it or the page table is full, everything
 * is dropped. A dropped block stays readable until then, so the block that is running may drop
 * itself.
 */
#ifndef CPU_RISCV_BLOCK_H
#define CPU_RISCV_BLOCK_H

#include "cpu/riscv/decode.h"
#include "cpu/riscv/hart.h"

#define RV_BLOCK_MAX 48 /* instructions */

struct rv_block;

/*
 * One decoded instruction, or the second half of one that can jump within its page: then `target`
 * is where to, once it is known. `index` counts instructions from the block's start, this one
 * included.
 */
union rv_slot {
    struct {
        const void *handler;
        int32_t imm; /* for branches, AUIPC and the pseudo operations: relative to the page */
        uint8_t rd, rs1, rs2, index;
    };
    struct rv_block *target;
};
_Static_assert(sizeof(union rv_slot) == 16, "a slot is two words");

/* What only traps need, apart so that it does not fill the host's cache. */
struct rv_origin {
    uint32_t raw;
    uint16_t offset; /* in the page; +0x1000 never occurs */
    uint16_t length;
};

struct rv_code_page;

struct rv_block {
    struct rv_code_page *page; /* NULL: not cached, run once, no targets */
    struct rv_origin *origins; /* one per slot */
    uint32_t count;            /* instructions when no branch is taken */
    uint32_t start;            /* offset in the page */
    union rv_slot slots[];
};

/* The jump cache: block by virtual pc, valid in one fetch context. */
#define RV_JUMP_BITS 11
struct rv_jump {
    uint64_t pc;
    uint64_t context;
    struct rv_block *block;
};

static inline unsigned rv_jump_index(uint64_t pc)
{
    return (unsigned)(pc >> 1 ^ pc >> 12) & ((1u << RV_JUMP_BITS) - 1);
}

struct rv_blocks *rv_blocks_new(void);
void rv_blocks_free(struct rv_blocks *blocks);
struct rv_jump *rv_blocks_jumps(struct rv_blocks *blocks);

/* The block at state.pc, or NULL when a fetch exception was reported in trap_cause and trap_value.
 * It has at most `limit` instructions if it is longer than that; such a block is only good for one
 * run. */
struct rv_block *rv_block_find(struct rv_hart *hart, uint64_t limit);

/* The block at `offset` of the page of `from`, or NULL: go through pc. */
struct rv_block *rv_block_beside(struct rv_hart *hart, const struct rv_block *from,
                                 uint32_t offset);

bool rv_blocks_has_code(const struct rv_hart *hart, uint64_t physical);
void rv_blocks_written(struct rv_hart *hart, uint64_t physical, unsigned bytes);
void rv_blocks_flush(struct rv_hart *hart);  /* drops everything */
void rv_blocks_forget(struct rv_hart *hart); /* which code is at which virtual address */
void rv_blocks_forget_page(struct rv_hart *hart, uint64_t page); /* the same of one page */
void rv_blocks_fence_i(struct rv_hart *hart);

/* interp.c: the handler of each operation. */
const void *const *rv_handlers(void);

#endif
