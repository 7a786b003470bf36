/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw files and block devices.
 *
 * The file is open exactly while the block is held. Opening afresh at every acquire is what makes a
 * disk coherent between hosts: network file systems promise close-to-open consistency, and release
 * syncs before it closes. A block device that two hosts share has no such promise, so what this
 * host had cached of it is dropped.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define ZEROES_BYTES 65536u

/* ---- Requests by plain system calls ---- */

/* Drops the first `bytes` from the request's vector. */
static void advance(struct block_request *request, uint64_t bytes)
{
    request->progress_bytes += bytes;
    while (bytes > 0) {
        size_t piece = bytes < request->iov->iov_len ? bytes : request->iov->iov_len;
        request->iov->iov_base = (uint8_t *)request->iov->iov_base + piece;
        request->iov->iov_len -= piece;
        bytes -= piece;
        if (request->iov->iov_len == 0) {
            request->iov++;
            request->iov_count--;
        }
    }
}

/* A file that ends before its disk does was cut by somebody: an I/O error for the guest. */
static int execute_transfer(int fd, struct block_request *request)
{
    while (request->progress_bytes < request->bytes) {
        off_t at = (off_t)(request->offset_bytes + request->progress_bytes);
        ssize_t n = request->kind == BLOCK_READ
                        ? preadv(fd, request->iov, (int)request->iov_count, at)
                        : pwritev2(fd, request->iov, (int)request->iov_count, at,
                                   request->durable ? RWF_DSYNC : 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        advance(request, (uint64_t)n);
    }
    return 0;
}

static int change_range(int fd, int mode, const struct block_request *request)
{
    int r;
    do
        r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)request->offset_bytes,
                      (off_t)request->bytes);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static int write_zeroes(int fd, const struct block_request *request)
{
    static const uint8_t zeroes[ZEROES_BYTES];
    for (uint64_t done = 0; done < request->bytes;) {
        uint64_t left = request->bytes - done;
        ssize_t n = pwrite(fd, zeroes, left < ZEROES_BYTES ? left : ZEROES_BYTES,
                           (off_t)(request->offset_bytes + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (uint64_t)n;
    }
    return 0;
}

/* Not every file system can do each; the last resort works everywhere. */
static int execute_zero(int fd, const struct block_request *request)
{
    int r = -EOPNOTSUPP;
    if (request->may_unmap)
        r = change_range(fd, FALLOC_FL_PUNCH_HOLE, request);
    if (r < 0)
        r = change_range(fd, FALLOC_FL_ZERO_RANGE, request);
    return r < 0 ? write_zeroes(fd, request) : 0;
}

int file_execute(int fd, struct block_request *request)
{
    switch (request->kind) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return execute_transfer(fd, request);
    case BLOCK_FLUSH:
        return fdatasync(fd) < 0 ? -errno : 0;
    case BLOCK_DISCARD:
        (void)change_range(fd, FALLOC_FL_PUNCH_HOLE, request);
        return 0;
    case BLOCK_ZERO:
        return execute_zero(fd, request);
    }
    return -EINVAL;
}

/* ---- Opening ---- */

static int open_refused(const struct block_file *file, int error_number, struct gw_error *error)
{
    static const struct {
        int number;
        bool writing; /* the row is for disks that are to be written */
        enum gw_code code;
        const char *text;
    } table[] = {
        {ENOENT, true, GW_CODE_NOT_FOUND, "does not exist; create it or correct the path"},
        {ENOENT, false, GW_CODE_NOT_FOUND, "does not exist; correct the path"},
        {EISDIR, true, GW_CODE_INVALID, "is a directory; name a file that holds a disk image"},
        {EACCES, true, GW_CODE_DENIED,
         "may not be written by this user; change its permissions or use it read-only"},
        {EACCES, false, GW_CODE_DENIED, "may not be read by this user; change its permissions"},
        {EPERM, true, GW_CODE_DENIED, "may not be written (immutable?); use it read-only"},
        {EROFS, true, GW_CODE_DENIED, "lies on a read-only file system; use it read-only"},
        {ETXTBSY, true, GW_CODE_BUSY, "is a program that is being run; name another file"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        if (table[i].number == error_number && table[i].writing == !file->block.read_only)
            return gw_error_set(error, GW_LAYER_BLOCK, table[i].code, -error_number, "disk '%s' %s",
                                file->path, table[i].text);
    return gw_error_set(error, GW_LAYER_BLOCK, gw_code_from_errno(error_number), -error_number,
                        "disk '%s' cannot be opened: %s", file->path, strerror(error_number));
}

/* O_NONBLOCK only for the moment of opening: a FIFO must not hang us, but later it would make
 * io_uring answer EAGAIN instead of waiting for the disk. */
static int open_path(const struct block_file *file, struct gw_error *error)
{
    int mode = file->block.read_only ? O_RDONLY : O_RDWR;
    _cleanup_close_ int fd = open(file->path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fcntl(fd, F_SETFL, 0) < 0)
        return open_refused(file, errno, error);
    return TAKE_FD(fd);
}

static int check_kind(const struct block_file *file, int fd, struct stat *ret_status,
                      struct gw_error *error)
{
    if (fstat(fd, ret_status) < 0)
        return open_refused(file, errno, error);
    if (S_ISDIR(ret_status->st_mode))
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_INVALID, -EISDIR,
                            "disk '%s' is a directory; name a file that holds a disk image",
                            file->path);
    if (!S_ISREG(ret_status->st_mode) && !S_ISBLK(ret_status->st_mode))
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_INVALID, -EINVAL,
                            "disk '%s' is neither a file nor a block device", file->path);
    return 0;
}

static int check_size(const struct block_file *file, int fd, uint64_t *ret_bytes,
                      struct gw_error *error)
{
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0)
        return open_refused(file, errno, error);
    uint64_t bytes = (uint64_t)end;
    if (bytes == 0)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_INVALID, -EINVAL,
                            "disk '%s' is empty; give it a size (truncate -s)", file->path);
    if (bytes % BLOCK_SECTOR_BYTES)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_INVALID, -EINVAL,
                            "disk '%s' has %llu bytes, which is no multiple of 512: it was cut "
                            "short, or it is no raw disk image",
                            file->path, (unsigned long long)bytes);
    if (bytes < file->expected_bytes)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_INVALID, -EINVAL,
                            "disk '%s' has %llu bytes, but the machine's disk has %llu; is it the "
                            "right file?",
                            file->path, (unsigned long long)bytes,
                            (unsigned long long)file->expected_bytes);
    *ret_bytes = file->expected_bytes ? file->expected_bytes : bytes;
    return 0;
}

static int file_acquire(struct block *block, struct gw_error *error)
{
    struct block_file *file = (struct block_file *)block;
    _cleanup_close_ int fd = open_path(file, error);
    if (fd < 0)
        return fd;
    struct stat status;
    uint64_t bytes = 0;
    int r = check_kind(file, fd, &status, error);
    if (r == 0)
        r = file_lock(fd, file->path, !block->read_only, error);
    if (r == 0)
        r = check_size(file, fd, &bytes, error);
    if (r < 0)
        return r;
    if (S_ISBLK(status.st_mode))
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    file->fd = TAKE_FD(fd);
    block->bytes = bytes;
    return 0;
}

static int file_release(struct block *block, struct gw_error *error)
{
    struct block_file *file = (struct block_file *)block;
    int failed = !block->read_only && fdatasync(file->fd) < 0 ? errno : 0;
    file_unlock(file->fd);
    close(TAKE_FD(file->fd));
    if (failed)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_IO, -failed,
                            "disk '%s' could not be written out: %s", file->path, strerror(failed));
    return 0;
}

/* A descriptor of its own, so that the disk may be released meanwhile. */
static int file_sync(struct block *block, pthread_mutex_t *io_lock, struct gw_error *error)
{
    struct block_file *file = (struct block_file *)block;
    pthread_mutex_lock(io_lock);
    bool dirty = block->held && !block->read_only;
    _cleanup_close_ int fd = dirty ? fcntl(file->fd, F_DUPFD_CLOEXEC, 0) : -1;
    int failed = dirty && fd < 0 ? errno : 0;
    pthread_mutex_unlock(io_lock);
    if (fd >= 0 && fdatasync(fd) < 0)
        failed = errno;
    if (failed)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_IO, -failed,
                            "disk '%s' could not be written out: %s", file->path, strerror(failed));
    return 0;
}

/* ---- The table ---- */

static void file_submit(struct block *block, struct block_request *request)
{
    struct block_file *file = (struct block_file *)block;
    file->engine->submit(file->engine_state, request);
}

static void file_kick(struct block *block)
{
    struct block_file *file = (struct block_file *)block;
    file->engine->kick(file->engine_state);
}

static struct block_request *file_take(struct block *block, bool wait)
{
    struct block_file *file = (struct block_file *)block;
    return file->engine->take(file->engine_state, wait);
}

static int file_execute_now(struct block *block, struct block_request *request)
{
    return file_execute(((struct block_file *)block)->fd, request);
}

static void file_free(struct block *block)
{
    struct block_file *file = (struct block_file *)block;
    if (file->engine_state)
        file->engine->stop(file->engine_state);
    if (block->event_fd >= 0)
        close(block->event_fd);
    free(file->path);
    free(file);
}

static const struct block_ops file_ops = {
    .name = "file",
    .acquire = file_acquire,
    .release = file_release,
    .sync = file_sync,
    .submit = file_submit,
    .kick = file_kick,
    .take = file_take,
    .execute = file_execute_now,
    .free = file_free,
};

static int start_engine(struct block_file *file, enum block_engine wanted)
{
    int r = -EOPNOTSUPP;
    if (wanted != BLOCK_ENGINE_THREADS) {
        file->engine = &file_engine_uring;
        r = file->engine->start(file, &file->engine_state);
    }
    if (r < 0 && wanted != BLOCK_ENGINE_URING) {
        file->engine = &file_engine_threads;
        r = file->engine->start(file, &file->engine_state);
    }
    return r;
}

static void cleanup_block(struct block **block)
{
    block_free(*block);
}

int block_file_new(const struct block_file_config *config, struct block **ret_block,
                   struct gw_error *error)
{
    struct block_file *file = calloc(1, sizeof *file);
    if (!file)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    *file = (struct block_file){
        .block = {.ops = &file_ops,
                  .read_only = config->read_only,
                  .bytes = config->expected_bytes},
        .expected_bytes = config->expected_bytes,
        .fd = -1,
    };
    _cleanup_(cleanup_block) struct block *block = &file->block;
    file->path = strdup(config->path);
    file->block.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!file->path || file->block.event_fd < 0)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_NO_RESOURCE,
                            file->path ? -errno : -ENOMEM, "disk '%s': no memory or descriptors",
                            config->path);
    int r = start_engine(file, config->engine);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_BLOCK, gw_code_from_errno(r), r,
                            "disk '%s': this host gives no %s for its requests: %s", config->path,
                            file->engine->name, strerror(-r));
    *ret_block = TAKE_PTR(block);
    return 0;
}
