/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's block driver for tests: request number `slot` has a header, up to 24 KiB of data and
 * a status byte at fixed places of its own. */
#ifndef TEST_BLK_DRIVER_H
#define TEST_BLK_DRIVER_H

#include "driver.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_NONE = 0xee };

#define BLK_FEATURES (ALL_FEATURES | UINT64_C(1) << 9 | UINT64_C(1) << 13 | UINT64_C(1) << 14)

static inline uint64_t slot_header(unsigned slot)
{
    return DRIVER_BUFFERS + 0x8000 * (uint64_t)slot;
}

static inline uint64_t slot_data(unsigned slot)
{
    return slot_header(slot) + 0x1000;
}

static inline uint64_t slot_status(unsigned slot)
{
    return slot_header(slot) + 0x7000;
}

/* Fills the header and returns the pieces of the usual chain in `pieces`: how many. */
unsigned blk_lay_out(struct driver *driver, unsigned slot, uint32_t type, uint64_t sector,
                     uint32_t bytes, struct piece pieces[3]);
/* Adds the request to the ring, without a notification. */
uint16_t blk_add(struct driver *driver, unsigned slot, uint32_t type, uint64_t sector,
                 uint32_t bytes);
/* DISCARD and WRITE_ZEROES: one range. */
uint16_t blk_add_range(struct driver *driver, unsigned slot, uint32_t type, uint64_t sector,
                       uint32_t sectors, uint32_t flags);
uint8_t blk_status(struct driver *driver, unsigned slot);

#endif
