/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the raw file back end: the file, its lock, and two ways of having requests in flight. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include "block/block.h"

struct block_file;

/* How requests run in the background. Completions make block.event_fd readable. */
struct file_engine {
    const char *name;
    int (*start)(struct block_file *file, void **ret_state);
    void (*stop)(void *state); /* nothing is in flight */
    void (*submit)(void *state, struct block_request *request);
    void (*kick)(void *state);
    struct block_request *(*take)(void *state, bool wait);
};

struct block_file {
    struct block block;
    /* set once */
    char *path; /* owned */
    uint64_t expected_bytes;
    const struct file_engine *engine;
    void *engine_state;
    /* unchanged while anything is in flight */
    int fd; /* -1 unless held */
};

/* file.c: does one request, or its rest, by plain system calls. Any thread. */
int file_execute(int fd, struct block_request *request);

/* lock.c: an open file description lock on the whole file, for one writer or many readers. It ends
 * with the last descriptor of this open(). -EBUSY with a sentence that tells who has it, where that
 * can be seen. */
int file_lock(int fd, const char *path, bool exclusive, struct gw_error *error);
void file_unlock(int fd);

/* uring.c, threads.c */
extern const struct file_engine file_engine_uring;
extern const struct file_engine file_engine_threads;

#endif
