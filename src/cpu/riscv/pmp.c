/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory protection (privileged ISA 3.7), granularity of 4 bytes. */
#include "cpu/riscv/hart.h"

enum { PMP_R = 1, PMP_W = 2, PMP_X = 4, PMP_MATCH = 0x18, PMP_LOCKED = 0x80 };
enum { PMP_TOR = 0x08, PMP_NA4 = 0x10, PMP_NAPOT = 0x18 };

static void set_range(struct rv_hart *hart, unsigned i, uint64_t first, uint64_t last)
{
    hart->pmp_first[i] = first;
    hart->pmp_last[i] = last;
}

void rv_pmp_update(struct rv_hart *hart)
{
    for (unsigned i = 0; i < RV_PMP_ENTRIES; i++) {
        uint64_t address = hart->state.pmpaddr[i];
        uint64_t below = i ? hart->state.pmpaddr[i - 1] : 0;
        uint64_t span = address ^ (address + 1); /* NAPOT: ones up to the first zero, inclusive */
        switch (hart->state.pmpcfg[i] & PMP_MATCH) {
        case PMP_TOR:
            if (below < address)
                set_range(hart, i, below << 2, (address << 2) - 1);
            else
                set_range(hart, i, 1, 0);
            break;
        case PMP_NA4:
            set_range(hart, i, address << 2, (address << 2) + 3);
            break;
        case PMP_NAPOT:
            set_range(hart, i, (address & ~span) << 2, ((address | span) << 2) + 3);
            break;
        default:
            set_range(hart, i, 1, 0);
        }
    }
}

static bool allows(uint8_t config, enum rv_access access, unsigned priv)
{
    static const uint8_t needed[] = {
        [RV_ACCESS_READ] = PMP_R, [RV_ACCESS_WRITE] = PMP_W, [RV_ACCESS_FETCH] = PMP_X};
    if (priv == RV_PRIV_M && !(config & PMP_LOCKED))
        return true;
    return config & needed[access];
}

bool rv_pmp_check(const struct rv_hart *hart, uint64_t physical, unsigned bytes,
                  enum rv_access access, unsigned priv, bool *ret_whole_page)
{
    uint64_t last = physical + bytes - 1;
    uint64_t page_first = physical & RV_PAGE_MASK, page_last = page_first | ~RV_PAGE_MASK;
    bool whole = true;
    for (unsigned i = 0; i < RV_PMP_ENTRIES; i++) {
        uint64_t from = hart->pmp_first[i], to = hart->pmp_last[i];
        if (from > to || to < page_first || from > page_last)
            continue;
        if (from > page_first || to < page_last)
            whole = false;
        if (last < from || physical > to)
            continue;
        *ret_whole_page = whole;
        return physical >= from && last <= to && allows(hart->state.pmpcfg[i], access, priv);
    }
    *ret_whole_page = whole;
    return priv == RV_PRIV_M;
}
