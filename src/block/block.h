/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where disk bytes live, behind one small table of operations.
 *
 * A block is made unheld: it names a disk and has its asynchronous engine, but nothing is open.
 * Between block_acquire() and block_release() it is open and locked, and requests may run. That is
 * how a disk follows a machine: the source releases (everything written is on the disk, the lock is
 * gone), then the destination acquires (opens afresh, so that it sees what the other host wrote).
 *
 * Threads: a block belongs to the machine's I/O lock. block_submit(), block_kick(), block_reap(),
 * block_drain(), block_acquire() and block_release() are called with it held, by any thread; the
 * block takes it by itself only in its event source on the loop. So whoever drains reaps the
 * completions itself, and the loop that comes later finds nothing. block_attach(), block_detach()
 * and block_free() are for the loop's thread, without the lock; block_sync() is for any, without
 * it.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <systemd/sd-event.h>

#include <godwit/error.h>

#define BLOCK_SECTOR_BYTES 512u
#define BLOCK_DEPTH 64u /* requests in flight at once, at most */

enum block_kind {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,   /* all writes that have completed are on stable storage */
    BLOCK_DISCARD, /* the contents are not needed any more; a hint */
    BLOCK_ZERO,    /* the range reads as zeroes afterwards */
};

struct block_request {
    /* set by the submitter, unchanged until done */
    enum block_kind kind;
    bool may_unmap;        /* BLOCK_ZERO: may give the space back */
    bool durable;          /* BLOCK_WRITE: done only when it is on stable storage */
    uint64_t offset_bytes; /* whole sectors, inside the disk; neither for BLOCK_FLUSH */
    uint64_t bytes;        /* for READ and WRITE the sum of `iov` */
    struct iovec *iov;     /* READ, WRITE; the array is the engine's to change */
    unsigned iov_count;
    /* Called from block_reap() or block_drain(), never from block_submit(), with the I/O lock held.
     * `result` is 0 or a negative errno. May submit again. */
    void (*done)(struct block_request *request, int result);
    /* the back end's own, from submission to done */
    struct block_request *next;
    uint64_t progress_bytes;
    int result;
};

struct block;

struct block_ops {
    const char *name; /* "file" */
    int (*acquire)(struct block *block, struct gw_error *error);
    int (*release)(struct block *block, struct gw_error *error);
    int (*sync)(struct block *block, pthread_mutex_t *io_lock, struct gw_error *error);
    void (*submit)(struct block *block, struct block_request *request);
    void (*kick)(struct block *block);
    /* The next request that has ended, `result` set, or NULL; `wait`: waits for one. */
    struct block_request *(*take)(struct block *block, bool wait);
    int (*execute)(struct block *block, struct block_request *request);
    void (*free)(struct block *block);
};

/* The head of every back end's own struct. */
struct block {
    /* set once */
    const struct block_ops *ops;
    bool read_only;
    int event_fd; /* eventfd that becomes readable when there is something to reap; -1: none */
    /* under the I/O lock */
    uint64_t bytes; /* size; known once acquired, or before that when it was expected */
    bool held;
    unsigned in_flight;
    struct block_request *refused; /* submitted, but ended before they reached the back end */
    /* the loop's */
    sd_event_source *source;
    pthread_mutex_t *io_lock;
};

enum block_engine {
    BLOCK_ENGINE_AUTO, /* io_uring where the host lets us, else threads */
    BLOCK_ENGINE_URING,
    BLOCK_ENGINE_THREADS, /* a few threads with preadv() and pwritev() */
};

struct block_file_config {
    const char *path; /* copied */
    bool read_only;
    /* What the guest sees: acquire refuses a smaller disk, and of a larger one the rest is not
     * used. 0: as large as it is found. */
    uint64_t expected_bytes;
    enum block_engine engine;
};

/* A raw file or a block device. Opens nothing yet. -EOPNOTSUPP when io_uring was demanded and is
 * not to be had, -ENOMEM, -EMFILE. */
int block_file_new(const struct block_file_config *config, struct block **ret_block,
                   struct gw_error *error);
void block_free(struct block *block); /* releases; nothing may be in flight; NULL is fine */

/* Puts completions onto `loop`, handled with `io_lock` held. Both outlive the block or
 * block_detach(). */
int block_attach(struct block *block, sd_event *loop, pthread_mutex_t *io_lock,
                 struct gw_error *error);
void block_detach(struct block *block);

/*
 * Opens and locks: for one writer, or any number of readers. Each refusal is a sentence that names
 * the file: -ENOENT missing, -EISDIR, -EACCES no permission, -EROFS not writable, -EBUSY in use (by
 * which process, where that can be seen), -EINVAL size (not in sectors, empty, too small) or kind
 * of file. Idempotent.
 */
int block_acquire(struct block *block, struct gw_error *error);

/* Writes everything out, closes and unlocks. Nothing may be in flight. -EIO and the like when the
 * last flush failed; the disk is given up all the same. Idempotent. */
int block_release(struct block *block, struct gw_error *error);

/* Writes out what has completed so far, while the machine goes on; a disk that is not held has
 * nothing. Any thread, without the machine's I/O lock, which it takes for a moment; nobody may free
 * the block. */
int block_sync(struct block *block, pthread_mutex_t *io_lock, struct gw_error *error);

uint64_t block_bytes(const struct block *block); /* 0 while unknown */
bool block_read_only(const struct block *block);

/* Takes the request; its done() comes later, whatever happens. At most BLOCK_DEPTH in flight. A
 * range outside the disk, or a disk that is not held, completes with -EINVAL or -EBADF; a write to
 * a read-only disk with -EROFS. Submissions may wait for block_kick(). */
void block_submit(struct block *block, struct block_request *request);
void block_kick(struct block *block);

/* Calls done() of what has completed, BLOCK_DEPTH requests at most; `wait`: waits for at least one
 * if any is in flight. Returns how many. */
unsigned block_reap(struct block *block, bool wait);
/* Returns with nothing in flight; done() must stop submitting. */
void block_drain(struct block *block);

/* Does one request here and now and returns its result; done() is not called. */
int block_execute(struct block *block, struct block_request *request);

#endif
