/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzzer's input still has, taken in numbers. */
#ifndef FUZZ_VIRTIO_INPUT_H
#define FUZZ_VIRTIO_INPUT_H

#include "base/bytes.h"

struct input {
    const uint8_t *at, *end;
};

/* Little-endian, 8 bytes at most; what is missing at the end is 0. */
static inline uint64_t next_number(struct input *input, unsigned bytes)
{
    uint8_t raw[8] = {0};
    for (unsigned i = 0; i < bytes && input->at < input->end; i++)
        raw[i] = *input->at++;
    return get_le64(raw);
}

#endif
