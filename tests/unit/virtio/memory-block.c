/* SPDX-License-Identifier: Apache-2.0 */
#include "memory-block.h"

#include <stdlib.h>
#include <string.h>

static int memory_acquire(struct block *block, struct gw_error *error)
{
    return 0;
}

static int memory_release(struct block *block, struct gw_error *error)
{
    return 0;
}

static void note(struct memory_block *disk, const struct block_request *request)
{
    static const char letters[] = {[BLOCK_READ] = 'R',
                                   [BLOCK_WRITE] = 'W',
                                   [BLOCK_FLUSH] = 'F',
                                   [BLOCK_DISCARD] = 'D',
                                   [BLOCK_ZERO] = 'Z'};
    if (disk->logged + 1 < sizeof disk->log)
        disk->log[disk->logged++] = (char)(letters[request->kind] | (request->durable ? 0x20 : 0));
}

static int memory_execute(struct block *block, struct block_request *request)
{
    struct memory_block *disk = (struct memory_block *)block;
    uint8_t *at = disk->bytes + request->offset_bytes;
    note(disk, request);
    if (disk->fail)
        return disk->fail;
    if (request->kind == BLOCK_ZERO || request->kind == BLOCK_DISCARD)
        memset(at, 0, request->bytes);
    for (unsigned i = 0; i < request->iov_count; i++) {
        struct iovec *piece = &request->iov[i];
        if (request->kind == BLOCK_READ)
            memcpy(piece->iov_base, at, piece->iov_len);
        else
            memcpy(at, piece->iov_base, piece->iov_len);
        at += piece->iov_len;
    }
    return 0;
}

static void memory_submit(struct block *block, struct block_request *request)
{
    struct memory_block *disk = (struct memory_block *)block;
    request->next = NULL;
    *disk->end = request;
    disk->end = &request->next;
}

static void memory_kick(struct block *block)
{
}

static struct block_request *memory_take(struct block *block, bool wait)
{
    struct memory_block *disk = (struct memory_block *)block;
    struct block_request *request = disk->first;
    if (!request)
        return NULL;
    disk->first = request->next;
    if (!disk->first)
        disk->end = &disk->first;
    request->result = memory_execute(block, request);
    return request;
}

void memory_block_init(struct memory_block *disk, uint64_t bytes, bool read_only)
{
    static const struct block_ops ops = {
        .name = "memory",
        .acquire = memory_acquire,
        .release = memory_release,
        .submit = memory_submit,
        .kick = memory_kick,
        .take = memory_take,
        .execute = memory_execute,
    };
    *disk = (struct memory_block){
        .block =
            {.ops = &ops, .read_only = read_only, .event_fd = -1, .bytes = bytes, .held = true},
        .bytes = calloc(1, bytes),
        .end = &disk->first,
    };
    if (!disk->bytes)
        abort();
    for (uint64_t i = 0; i < bytes; i++)
        disk->bytes[i] = (uint8_t)(i * 7 + i / 512);
}

void memory_block_fini(struct memory_block *disk)
{
    free(disk->bytes);
}
