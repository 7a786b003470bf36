/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From guest virtual address to bytes: translation (Sv39, Sv48), PMP, the software TLB's fill,
 * device access.
 *
 * Functions that can fail return false with trap_cause and trap_value set; nothing else has then
 * changed but accessed bits of page tables.
 */
#ifndef CPU_RISCV_MMU_H
#define CPU_RISCV_MMU_H

#include "cpu/riscv/hart.h"

/* Where an access goes. `region` NULL: a device. */
struct rv_place {
    uint64_t physical;
    struct gw_memory_region *region;
    uint64_t offset;
    bool whole_page; /* PMP gives the same answer for all of the page */
};

/* Translates and checks an access that does not cross a page, at privilege `priv`. */
bool rv_place(struct rv_hart *hart, uint64_t address, unsigned bytes, enum rv_access access,
              unsigned priv, struct rv_place *ret_place);

/* The slow side of a load and a store of 1, 2, 4 or 8 bytes at any alignment. */
bool rv_load_slow(struct rv_hart *hart, uint64_t address, unsigned bytes, uint64_t *ret_value);
bool rv_store_slow(struct rv_hart *hart, uint64_t address, unsigned bytes, uint64_t value);

/* Host address for an atomic access, which is naturally aligned and in RAM, or NULL with the trap
 * set. `write` also asks for permission to write; the caller calls rv_atomic_written() after each
 * write. */
void *rv_atomic_address(struct rv_hart *hart, uint64_t address, unsigned bytes, bool write,
                        struct rv_place *ret_place);
void rv_atomic_written(struct rv_hart *hart, const struct rv_place *place, unsigned bytes);

void rv_tlb_flush(struct rv_hart *hart); /* all sets; data accesses only */
/* SFENCE.VMA: nothing that was translated before is used again, for data or for code; with an
 * address, nothing that came from the leaf entry for it (4.2.1). */
void rv_forget_translations(struct rv_hart *hart);
void rv_forget_translation(struct rv_hart *hart, uint64_t address);
void rv_tlb_protect(struct rv_hart *hart,
                    const uint8_t *host_page); /* no fast writes to it any more */

#endif
