/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is the same for every back end: limits, refusals, and who reaps.
 *
 * Everything is under the machine's I/O lock, completions too: the kernel or a worker thread only
 * says on the event descriptor that there is something, and whoever holds the lock fetches it.
 * Usually that is the loop. In block_drain() it is the caller, whatever thread that is; kernel and
 * workers never need the lock, so waiting for them with the lock held cannot deadlock.
 */
#include "block/block.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

/* Makes the event descriptor readable. It is a counter: a failure means that it is readable
 * already. */
static void poke(const struct block *block)
{
    if (block->event_fd >= 0)
        (void)eventfd_write(block->event_fd, 1);
}

static int on_event(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct block *block = opaque;
    eventfd_t count;
    (void)eventfd_read(fd, &count);
    pthread_mutex_lock(block->io_lock);
    if (block_reap(block, false) == BLOCK_DEPTH)
        poke(block); /* let others have the lock, then go on */
    pthread_mutex_unlock(block->io_lock);
    return 0;
}

int block_attach(struct block *block, sd_event *loop, pthread_mutex_t *io_lock,
                 struct gw_error *error)
{
    assert(!block->source);
    block->io_lock = io_lock;
    int r = sd_event_add_io(loop, &block->source, block->event_fd, EPOLLIN, on_event, block);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_BLOCK, gw_code_from_errno(r), r,
                            "a disk cannot be added to the event loop: %s", strerror(-r));
    return 0;
}

void block_detach(struct block *block)
{
    block->source = sd_event_source_disable_unref(block->source);
}

void block_free(struct block *block)
{
    if (!block)
        return;
    assert(block->in_flight == 0);
    block_detach(block);
    block_release(block, NULL);
    block->ops->free(block);
}

int block_acquire(struct block *block, struct gw_error *error)
{
    if (block->held)
        return 0;
    int r = block->ops->acquire(block, error);
    if (r < 0)
        return r;
    block->held = true;
    return 0;
}

int block_release(struct block *block, struct gw_error *error)
{
    assert(block->in_flight == 0);
    if (!block->held)
        return 0;
    block->held = false;
    return block->ops->release(block, error);
}

int block_sync(struct block *block, pthread_mutex_t *io_lock, struct gw_error *error)
{
    return block->ops->sync(block, io_lock, error);
}

uint64_t block_bytes(const struct block *block)
{
    return block->bytes;
}

bool block_read_only(const struct block *block)
{
    return block->read_only;
}

static bool is_within(const struct block *block, const struct block_request *request)
{
    uint64_t end;
    return request->offset_bytes % BLOCK_SECTOR_BYTES == 0 &&
           request->bytes % BLOCK_SECTOR_BYTES == 0 &&
           !__builtin_add_overflow(request->offset_bytes, request->bytes, &end) &&
           end <= block->bytes;
}

static int check_request(const struct block *block, const struct block_request *request)
{
    if (!block->held)
        return -EBADF;
    if (request->kind == BLOCK_FLUSH)
        return 0;
    if (block->read_only && request->kind != BLOCK_READ)
        return -EROFS;
    return is_within(block, request) ? 0 : -EINVAL;
}

void block_submit(struct block *block, struct block_request *request)
{
    assert(block->in_flight < BLOCK_DEPTH);
    block->in_flight++;
    request->progress_bytes = 0;
    request->result = check_request(block, request);
    if (request->result == 0) {
        block->ops->submit(block, request);
        return;
    }
    request->next = block->refused;
    block->refused = request;
    poke(block);
}

void block_kick(struct block *block)
{
    block->ops->kick(block);
}

static struct block_request *take_request(struct block *block, bool wait)
{
    struct block_request *request = block->refused;
    if (!request)
        return block->ops->take(block, wait);
    block->refused = request->next;
    return request;
}

unsigned block_reap(struct block *block, bool wait)
{
    unsigned count = 0;
    while (count < BLOCK_DEPTH && block->in_flight > 0) {
        struct block_request *request = take_request(block, wait && count == 0);
        if (!request)
            break;
        block->in_flight--;
        count++;
        request->done(request, request->result);
    }
    return count;
}

void block_drain(struct block *block)
{
    block_kick(block);
    while (block->in_flight > 0)
        block_reap(block, true);
}

int block_execute(struct block *block, struct block_request *request)
{
    int r = check_request(block, request);
    request->progress_bytes = 0;
    return r < 0 ? r : block->ops->execute(block, request);
}
