/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in flight by io_uring. The ring is used under the I/O lock only.
 *
 * Whatever comes back short or failed is finished by plain system calls, whose result is the final
 * one: a file system that lacks a kind of fallocate(), a transfer that a signal cut, and above all
 * a request whose submitting thread (a hart's) has ended meanwhile, which the kernel may give up
 * with an error of its own.
 */
#include "block/file.h"

#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/cleanup.h"

struct uring {
    struct block_file *file;
    struct io_uring ring;
};

static int uring_start(struct block_file *file, void **ret_state)
{
    _cleanup_free_ struct uring *uring = calloc(1, sizeof *uring);
    if (!uring)
        return -ENOMEM;
    uring->file = file;
    int r = io_uring_queue_init(BLOCK_DEPTH, &uring->ring, 0);
    if (r < 0)
        return r;
    r = io_uring_register_eventfd(&uring->ring, file->block.event_fd);
    if (r < 0) {
        io_uring_queue_exit(&uring->ring);
        return r;
    }
    *ret_state = TAKE_PTR(uring);
    return 0;
}

static void uring_stop(void *state)
{
    struct uring *uring = state;
    io_uring_queue_exit(&uring->ring);
    free(uring);
}

static void prepare(struct io_uring_sqe *sqe, int fd, const struct block_request *request)
{
    uint64_t offset = request->offset_bytes;
    off_t bytes = (off_t)request->bytes;
    switch (request->kind) {
    case BLOCK_READ:
        io_uring_prep_readv(sqe, fd, request->iov, request->iov_count, offset);
        break;
    case BLOCK_WRITE:
        io_uring_prep_writev2(sqe, fd, request->iov, request->iov_count, offset,
                              request->durable ? RWF_DSYNC : 0);
        break;
    case BLOCK_FLUSH:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    case BLOCK_DISCARD:
        io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                                bytes);
        break;
    case BLOCK_ZERO:
        io_uring_prep_fallocate(sqe, fd,
                                (request->may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) |
                                    FALLOC_FL_KEEP_SIZE,
                                (off_t)offset, bytes);
        break;
    }
}

/* The submission queue has room for all that may be in flight at once. */
static void uring_submit(void *state, struct block_request *request)
{
    struct uring *uring = state;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    prepare(sqe, uring->file->fd, request);
    io_uring_sqe_set_data(sqe, request);
}

/* What the kernel does not take now, the next reap tries again; the poke brings it about. */
static void uring_kick(void *state)
{
    struct uring *uring = state;
    if (io_uring_sq_ready(&uring->ring) > 0 && io_uring_submit(&uring->ring) < 0)
        (void)eventfd_write(uring->file->block.event_fd, 1);
}

static bool is_whole(const struct block_request *request, int result)
{
    if (request->kind == BLOCK_READ || request->kind == BLOCK_WRITE)
        return result >= 0 && (uint64_t)result == request->bytes;
    return result == 0;
}

static struct io_uring_cqe *wait_for_one(struct uring *uring)
{
    struct io_uring_cqe *cqe = NULL;
    while (!cqe) {
        int r = io_uring_submit_and_wait(&uring->ring, 1);
        if (io_uring_peek_cqe(&uring->ring, &cqe) < 0)
            cqe = NULL;
        if (r < 0 && r != -EINTR)
            nanosleep(&(struct timespec){.tv_nsec = 1000000},
                      NULL); /* the kernel is short of memory */
    }
    return cqe;
}

static struct block_request *uring_take(void *state, bool wait)
{
    struct uring *uring = state;
    struct io_uring_cqe *cqe = NULL;
    uring_kick(uring);
    if (io_uring_peek_cqe(&uring->ring, &cqe) < 0)
        cqe = NULL;
    if (!cqe && wait)
        cqe = wait_for_one(uring);
    if (!cqe)
        return NULL;
    struct block_request *request = io_uring_cqe_get_data(cqe);
    int result = cqe->res;
    io_uring_cqe_seen(&uring->ring, cqe);
    request->result = is_whole(request, result) ? 0 : file_execute(uring->file->fd, request);
    return request;
}

const struct file_engine file_engine_uring = {
    .name = "io_uring",
    .start = uring_start,
    .stop = uring_stop,
    .submit = uring_submit,
    .kick = uring_kick,
    .take = uring_take,
};
