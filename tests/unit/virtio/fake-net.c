/* SPDX-License-Identifier: Apache-2.0 */
#include "fake-net.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"

static int fake_acquire(struct net *net, struct gw_error *error)
{
    return 0;
}

static void fake_release(struct net *net)
{
}

static int fake_set_offloads(struct net *net, unsigned offloads)
{
    struct fake_net *fake = container_of(net, struct fake_net, net);
    fake->offloads_in = offloads;
    return fake->refuse;
}

static int fake_set_queues(struct net *net, unsigned queues)
{
    container_of(net, struct fake_net, net)->queues_in_use = queues;
    return 0;
}

static struct fake_frame *append(struct fake_queue *queue)
{
    if (queue->count == FAKE_FRAMES)
        return NULL;
    return &queue->frame[(queue->first + queue->count++) % FAKE_FRAMES];
}

static struct fake_frame *take_first(struct fake_queue *queue)
{
    if (queue->count == 0)
        return NULL;
    struct fake_frame *frame = &queue->frame[queue->first];
    queue->first = (queue->first + 1) % FAKE_FRAMES;
    queue->count--;
    return frame;
}

static ssize_t send_locked(struct fake_net *fake, unsigned queue, const struct iovec *iov,
                           unsigned count)
{
    fake->sends++;
    if (fake->send_error)
        return fake->send_error;
    struct fake_frame *frame = fake->full ? NULL : append(&fake->out[queue]);
    if (!frame)
        return -EAGAIN;
    frame->bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len > sizeof frame->data - frame->bytes)
            abort();
        memcpy(frame->data + frame->bytes, iov[i].iov_base, iov[i].iov_len);
        frame->bytes += iov[i].iov_len;
    }
    return 0;
}

static ssize_t fake_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    struct fake_net *fake = container_of(net, struct fake_net, net);
    pthread_mutex_lock(&fake->lock);
    ssize_t r = send_locked(fake, queue, iov, count);
    pthread_mutex_unlock(&fake->lock);
    return r;
}

static ssize_t receive_locked(struct fake_net *fake, unsigned queue, const struct iovec *iov,
                              unsigned count)
{
    eventfd_t ignored;
    fake->receives++;
    if (fake->receive_error)
        return fake->receive_error;
    struct fake_frame *frame = take_first(&fake->in[queue]);
    if (!frame)
        return -EAGAIN;
    if (fake->in[queue].count == 0)
        (void)eventfd_read(fake->net.receive_fd[queue], &ignored);
    size_t at = 0;
    for (unsigned i = 0; i < count && at < frame->bytes; i++) {
        size_t piece = frame->bytes - at < iov[i].iov_len ? frame->bytes - at : iov[i].iov_len;
        memcpy(iov[i].iov_base, frame->data + at, piece);
        at += piece;
    }
    return at < frame->bytes ? -EMSGSIZE : (ssize_t)at;
}

static ssize_t fake_receive(struct net *net, unsigned queue, const struct iovec *iov,
                            unsigned count)
{
    struct fake_net *fake = container_of(net, struct fake_net, net);
    pthread_mutex_lock(&fake->lock);
    ssize_t r = receive_locked(fake, queue, iov, count);
    pthread_mutex_unlock(&fake->lock);
    return r;
}

static void fake_free(struct net *net)
{
}

struct fake_net *fake_net_new(unsigned queues, unsigned offloads)
{
    static const struct net_ops ops = {
        .name = "fake",
        .acquire = fake_acquire,
        .release = fake_release,
        .set_offloads = fake_set_offloads,
        .set_queues = fake_set_queues,
        .send = fake_send,
        .receive = fake_receive,
        .free = fake_free,
    };
    static char what[] = "fake network";
    struct fake_net *fake = calloc(1, sizeof *fake);
    if (!fake)
        abort();
    fake->net = (struct net){
        .ops = &ops, .what = what, .queues_max = queues, .offloads = offloads, .held = true};
    atomic_store(&fake->net.link_up, true);
    pthread_mutex_init(&fake->lock, NULL);
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++)
        fake->net.receive_fd[i] = i < queues ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    return fake;
}

void fake_net_free(struct fake_net *fake)
{
    for (unsigned i = 0; i < fake->net.queues_max; i++)
        close(fake->net.receive_fd[i]);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

void fake_net_put(struct fake_net *fake, unsigned queue, const void *header, const void *data,
                  size_t bytes)
{
    pthread_mutex_lock(&fake->lock);
    struct fake_frame *frame = append(&fake->in[queue]);
    if (frame) {
        memset(frame->data, 0, NET_HEADER_BYTES);
        if (header)
            memcpy(frame->data, header, NET_HEADER_BYTES);
        memcpy(frame->data + NET_HEADER_BYTES, data, bytes);
        frame->bytes = NET_HEADER_BYTES + bytes;
        eventfd_write(fake->net.receive_fd[queue], 1);
    }
    pthread_mutex_unlock(&fake->lock);
}

size_t fake_net_take(struct fake_net *fake, unsigned queue, void *to, size_t room)
{
    pthread_mutex_lock(&fake->lock);
    const struct fake_frame *frame = take_first(&fake->out[queue]);
    size_t bytes = frame ? frame->bytes : 0;
    if (frame)
        memcpy(to, frame->data, bytes < room ? bytes : room);
    pthread_mutex_unlock(&fake->lock);
    return bytes;
}

unsigned fake_net_waiting(struct fake_net *fake, unsigned queue)
{
    pthread_mutex_lock(&fake->lock);
    unsigned count = fake->in[queue].count;
    pthread_mutex_unlock(&fake->lock);
    return count;
}

void fake_net_set_full(struct fake_net *fake, bool full)
{
    pthread_mutex_lock(&fake->lock);
    fake->full = full;
    pthread_mutex_unlock(&fake->lock);
}

void fake_net_fail(struct fake_net *fake, int send_error, int receive_error)
{
    pthread_mutex_lock(&fake->lock);
    fake->send_error = send_error;
    fake->receive_error = receive_error;
    pthread_mutex_unlock(&fake->lock);
}
