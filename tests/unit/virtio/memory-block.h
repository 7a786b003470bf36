/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory. Requests wait until somebody reaps, so a test decides when they end. */
#ifndef TEST_MEMORY_BLOCK_H
#define TEST_MEMORY_BLOCK_H

#include "block/block.h"

struct memory_block {
    struct block block;
    uint8_t *bytes; /* owned */
    struct block_request *first, **end;
    int fail;     /* what every request ends with, unless 0 */
    char log[64]; /* a letter for each request as it is done: R W F D Z, lower case when durable */
    unsigned logged;
};

void memory_block_init(struct memory_block *disk, uint64_t bytes, bool read_only);
void memory_block_fini(struct memory_block *disk);

#endif
