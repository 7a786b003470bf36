/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/loop-calls.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"

struct call {
    struct call *next;
    /* waited for: on the caller's stack */
    int (*function)(void *argument);
    int result;
    bool finished; /* under the queue's lock */
    /* posted: from malloc */
    void (*posted)(void *opaque, void *argument);
    void *opaque;
    void *argument;
};

struct loop_calls {
    /* set once */
    pthread_t loop_thread;
    int wake_fd;
    sd_event_source *source;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t finished;
    struct call *first, **last;
};

static struct call *pop(struct loop_calls *calls)
{
    struct call *call;

    pthread_mutex_lock(&calls->lock);
    call = calls->first;
    if (call) {
        calls->first = call->next;
        if (!calls->first)
            calls->last = &calls->first;
    }
    pthread_mutex_unlock(&calls->lock);
    return call;
}

static void push(struct loop_calls *calls, struct call *call)
{
    uint64_t one = 1;

    pthread_mutex_lock(&calls->lock);
    *calls->last = call;
    calls->last = &call->next;
    pthread_mutex_unlock(&calls->lock);
    while (write(calls->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void finish(struct loop_calls *calls, struct call *call, int result)
{
    pthread_mutex_lock(&calls->lock);
    call->result = result;
    call->finished = true;
    pthread_cond_broadcast(&calls->finished);
    pthread_mutex_unlock(&calls->lock);
}

void loop_calls_serve(struct loop_calls *calls)
{
    struct call *call;

    while ((call = pop(calls))) {
        if (call->posted) {
            call->posted(call->opaque, call->argument);
            free(call->argument);
            free(call);
        } else {
            finish(calls, call, call->function(call->argument));
        }
    }
}

static int woken(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    uint64_t count;

    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    loop_calls_serve(opaque);
    return 0;
}

int loop_calls_run(struct loop_calls *calls, int (*function)(void *argument), void *argument)
{
    struct call call = {.function = function, .argument = argument};

    if (pthread_equal(pthread_self(), calls->loop_thread))
        return function(argument);
    push(calls, &call);
    pthread_mutex_lock(&calls->lock);
    while (!call.finished)
        pthread_cond_wait(&calls->finished, &calls->lock);
    pthread_mutex_unlock(&calls->lock);
    return call.result;
}

int loop_calls_post(struct loop_calls *calls, void (*function)(void *opaque, void *argument),
                    void *opaque, void *argument)
{
    struct call *call = calloc(1, sizeof *call);

    if (!call) {
        free(argument);
        return -ENOMEM;
    }
    *call = (struct call){.posted = function, .opaque = opaque, .argument = argument};
    push(calls, call);
    return 0;
}

struct detached {
    struct loop_calls *calls;
    struct call *call; /* ready beforehand, so that the end cannot fail */
    void (*slow)(void *object);
    void *object;
    void (*done)(void *opaque);
    void *opaque;
    pthread_t thread;
};

static void *detached_thread(void *argument)
{
    struct detached *detached = argument;

    detached->slow(detached->object);
    push(detached->calls, detached->call);
    return NULL;
}

static void detached_done(void *opaque, void *argument)
{
    struct detached *detached = argument;

    pthread_join(detached->thread, NULL);
    detached->done(detached->opaque);
}

int loop_calls_detach(struct loop_calls *calls, void (*slow)(void *object), void *object,
                      void (*done)(void *opaque), void *opaque)
{
    _cleanup_free_ struct detached *detached = calloc(1, sizeof *detached);
    _cleanup_free_ struct call *call = calloc(1, sizeof *call);
    int r;

    if (!detached || !call)
        return -ENOMEM;
    *detached = (struct detached){.calls = calls,
                                  .call = call,
                                  .slow = slow,
                                  .object = object,
                                  .done = done,
                                  .opaque = opaque};
    *call = (struct call){.posted = detached_done, .argument = detached};
    r = pthread_create(&detached->thread, NULL, detached_thread, detached);
    if (r != 0)
        return -r;
    TAKE_PTR(call);
    TAKE_PTR(detached);
    return 0;
}

int loop_calls_new(sd_event *loop, struct loop_calls **ret_calls, struct gw_error *error)
{
    struct loop_calls *calls = calloc(1, sizeof *calls);

    if (!calls)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    pthread_mutex_init(&calls->lock, NULL);
    pthread_cond_init(&calls->finished, NULL);
    calls->loop_thread = pthread_self();
    calls->last = &calls->first;
    calls->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (calls->wake_fd < 0 ||
        sd_event_add_io(loop, &calls->source, calls->wake_fd, EPOLLIN, woken, calls) < 0) {
        loop_calls_free(calls);
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -EMFILE,
                            "cannot set up the event loop: no descriptor is left");
    }
    *ret_calls = calls;
    return 0;
}

void loop_calls_free(struct loop_calls *calls)
{
    struct call *call;

    if (!calls)
        return;
    while ((call = pop(calls))) {
        free(call->argument);
        free(call);
    }
    sd_event_source_disable_unref(calls->source);
    if (calls->wake_fd >= 0)
        close(calls->wake_fd);
    pthread_cond_destroy(&calls->finished);
    pthread_mutex_destroy(&calls->lock);
    free(calls);
}
