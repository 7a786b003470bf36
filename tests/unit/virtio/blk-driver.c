/* SPDX-License-Identifier: Apache-2.0 */
#include "blk-driver.h"

#include "base/bytes.h"

unsigned blk_lay_out(struct driver *driver, unsigned slot, uint32_t type, uint64_t sector,
                     uint32_t bytes, struct piece pieces[3])
{
    uint8_t header[16] = {0}, none = S_NONE;
    put_le32(header, type);
    put_le64(header + 8, sector);
    driver_put(driver, slot_header(slot), header, sizeof header);
    driver_put(driver, slot_status(slot), &none, 1);
    unsigned count = 0;
    bool from_device = type == T_IN || type == T_GET_ID;
    pieces[count++] = (struct piece){slot_header(slot), 16, 0};
    if (bytes > 0)
        pieces[count++] = (struct piece){slot_data(slot), bytes, from_device ? D_WRITE : 0};
    pieces[count++] = (struct piece){slot_status(slot), 1, D_WRITE};
    return count;
}

uint16_t blk_add(struct driver *driver, unsigned slot, uint32_t type, uint64_t sector,
                 uint32_t bytes)
{
    struct piece pieces[3];
    unsigned count = blk_lay_out(driver, slot, type, sector, bytes, pieces);
    return driver_add(driver, pieces, count);
}

uint16_t blk_add_range(struct driver *driver, unsigned slot, uint32_t type, uint64_t sector,
                       uint32_t sectors, uint32_t flags)
{
    uint8_t range[16];
    put_le64(range, sector);
    put_le32(range + 8, sectors);
    put_le32(range + 12, flags);
    driver_put(driver, slot_data(slot), range, sizeof range);
    return blk_add(driver, slot, type, 0, sizeof range);
}

uint8_t blk_status(struct driver *driver, unsigned slot)
{
    uint8_t status;
    driver_fetch(driver, slot_status(slot), &status, 1);
    return status;
}
