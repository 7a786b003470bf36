/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in flight by a few threads, for hosts without io_uring (old kernels, containers that
 * forbid it). The workers take from one list and put onto another; neither they nor their lock ever
 * meet the I/O lock.
 */
#include "block/file.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"

#define WORKERS 4u

struct list {
    struct block_request *first, **end;
};

struct pool {
    /* set once */
    struct block_file *file;
    pthread_t workers[WORKERS];
    unsigned worker_count;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t submitted, ended;
    struct list waiting, finished;
    bool stopping;
};

static void list_init(struct list *list)
{
    *list = (struct list){.end = &list->first};
}

static void list_append(struct list *list, struct block_request *request)
{
    request->next = NULL;
    *list->end = request;
    list->end = &request->next;
}

static struct block_request *list_pop(struct list *list)
{
    struct block_request *request = list->first;
    if (!request)
        return NULL;
    list->first = request->next;
    if (!list->first)
        list->end = &list->first;
    return request;
}

static void *work(void *opaque)
{
    struct pool *pool = opaque;
    pthread_mutex_lock(&pool->lock);
    while (!pool->stopping) {
        struct block_request *request = list_pop(&pool->waiting);
        if (!request) {
            pthread_cond_wait(&pool->submitted, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        request->result = file_execute(pool->file->fd, request);
        pthread_mutex_lock(&pool->lock);
        list_append(&pool->finished, request);
        pthread_cond_signal(&pool->ended);
        (void)eventfd_write(pool->file->block.event_fd, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void pool_stop(void *state)
{
    struct pool *pool = state;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->submitted);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->worker_count; i++)
        pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->submitted);
    pthread_cond_destroy(&pool->ended);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* Signals are for the threads that expect them. */
static int start_workers(struct pool *pool)
{
    sigset_t all, before;
    int r = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (r == 0 && pool->worker_count < WORKERS) {
        r = pthread_create(&pool->workers[pool->worker_count], NULL, work, pool);
        if (r == 0)
            pool->worker_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->worker_count > 0 ? 0 : -r;
}

static int pool_start(struct block_file *file, void **ret_state)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return -ENOMEM;
    pool->file = file;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->submitted, NULL);
    pthread_cond_init(&pool->ended, NULL);
    list_init(&pool->waiting);
    list_init(&pool->finished);
    int r = start_workers(pool);
    if (r < 0) {
        pool_stop(pool);
        return r;
    }
    *ret_state = pool;
    return 0;
}

static void pool_submit(void *state, struct block_request *request)
{
    struct pool *pool = state;
    pthread_mutex_lock(&pool->lock);
    list_append(&pool->waiting, request);
    pthread_cond_signal(&pool->submitted);
    pthread_mutex_unlock(&pool->lock);
}

static void pool_kick(void *state)
{
}

/* `wait` comes only while something is in flight. */
static struct block_request *pool_take(void *state, bool wait)
{
    struct pool *pool = state;
    pthread_mutex_lock(&pool->lock);
    while (wait && !pool->finished.first)
        pthread_cond_wait(&pool->ended, &pool->lock);
    struct block_request *request = list_pop(&pool->finished);
    pthread_mutex_unlock(&pool->lock);
    return request;
}

const struct file_engine file_engine_threads = {
    .name = "threads",
    .start = pool_start,
    .stop = pool_stop,
    .submit = pool_submit,
    .kick = pool_kick,
    .take = pool_take,
};
