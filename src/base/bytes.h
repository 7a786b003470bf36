/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers at any alignment, and the rounding that goes with them. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DEFINE_LE(bits)                                                                            \
    static inline uint##bits##_t get_le##bits(const void *from)                                    \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        memcpy(&value, from, sizeof value);                                                        \
        return le##bits##toh(value);                                                               \
    }                                                                                              \
    static inline void put_le##bits(void *to, uint##bits##_t value)                                \
    {                                                                                              \
        value = htole##bits(value);                                                                \
        memcpy(to, &value, sizeof value);                                                          \
    }
DEFINE_LE(16)
DEFINE_LE(32)
DEFINE_LE(64)
#undef DEFINE_LE

/* `alignment` is a power of two; the caller knows that the sum does not overflow. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

#endif
