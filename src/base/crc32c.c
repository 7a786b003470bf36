/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <limits.h>
#include <isa-l/crc.h>

/* ISA-L leaves both inversions to the caller and takes an int for the length. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    crc = ~crc;
    while (length > 0) {
        int step = length > INT_MAX ? INT_MAX : (int)length;
        crc = crc32_iscsi((unsigned char *)at, step, crc);
        at += step;
        length -= (size_t)step;
    }
    return ~crc;
}
