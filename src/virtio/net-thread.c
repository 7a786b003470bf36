/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device's thread:
 *
 *            enabled != 0                        nothing to do
 *   idle ---------------------> running queues -----------------> in poll()
 *    ^                            ^   |   ^                          |
 *    |        enabled == 0        |   |   +----- a descriptor -------+
 *    +----------------------------+---+
 *                                 |   | something to tell
 *                                 |   v
 *                        waiting for the I/O lock (counts as idle)
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio/net-internal.h"

/* After an error of the back end. */
#define RETRY_MS 100

void net_enter_path(struct virtio_net *net)
{
    pthread_mutex_lock(&net->door);
    pthread_mutex_lock(&net->path_lock);
    pthread_mutex_unlock(&net->door);
}

void net_leave_path(struct virtio_net *net)
{
    pthread_mutex_unlock(&net->path_lock);
}

void net_kick(const struct virtio_net *net)
{
    eventfd_write(net->kick_fd, 1); /* fails only when the counter is full: it will wake */
}

void net_wait_idle(struct virtio_net *net)
{
    net_kick(net);
    while (net->busy)
        pthread_cond_wait(&net->thread_idle, &net->path_lock);
}

void net_tell_transport(struct virtio_net *net)
{
    pthread_mutex_lock(&net->path_lock);
    bool interrupt = net->interrupt, broken = net->broken;
    net->interrupt = net->broken = false;
    pthread_mutex_unlock(&net->path_lock);
    if (interrupt)
        virtio_mmio_interrupt(&net->transport);
    if (!broken)
        return;
    virtio_mmio_break(&net->transport);
    net_update(net, false);
}

/* ---- On the thread; the path lock is held on entry and on return ---- */

static void become_idle(struct virtio_net *net)
{
    net->busy = false;
    pthread_cond_broadcast(&net->thread_idle);
}

static bool wait_enabled(struct virtio_net *net)
{
    while (!net->enabled && !net->exiting) {
        become_idle(net);
        pthread_cond_wait(&net->enabled_changed, &net->path_lock);
    }
    net->busy = !net->exiting;
    return net->busy;
}

static void tell(struct virtio_net *net)
{
    become_idle(net);
    pthread_mutex_unlock(&net->path_lock);
    pthread_mutex_lock(net->io_lock);
    net_tell_transport(net);
    pthread_mutex_unlock(net->io_lock);
    pthread_mutex_lock(&net->path_lock);
}

static void let_others_in(struct virtio_net *net)
{
    pthread_mutex_unlock(&net->path_lock);
    pthread_mutex_lock(&net->door);
    pthread_mutex_unlock(&net->door);
    pthread_mutex_lock(&net->path_lock);
}

static bool is_enabled(const struct virtio_net *net, unsigned queue)
{
    return net->enabled & UINT32_C(1) << queue;
}

static bool run_queues(struct virtio_net *net)
{
    bool more = false;
    for (unsigned i = 0; i < net->pairs && !net->broken; i++) {
        if (is_enabled(net, 2 * i + 1) && !net->pair[i].blocked)
            more |= net_transmit(net, i);
        if (is_enabled(net, 2 * i))
            more |= net_receive_frames(net, i);
    }
    return more;
}

/* A frame that is there already, or that the guest has no buffers for, is not waited for. */
static short wanted_events(const struct virtio_net *net, unsigned pair)
{
    const struct virtio_net_pair *state = &net->pair[pair];
    short events = 0;
    if (is_enabled(net, 2 * pair) && !state->readable && !state->failed)
        events |= POLLIN;
    if (is_enabled(net, 2 * pair + 1) && state->blocked)
        events |= POLLOUT;
    return events;
}

static int fill_polls(const struct virtio_net *net, struct pollfd *polls)
{
    int timeout_ms = -1;
    polls[0] = (struct pollfd){.fd = net->kick_fd, .events = POLLIN};
    for (unsigned i = 0; i < net->pairs; i++) {
        short events = wanted_events(net, i);
        polls[i + 1] =
            (struct pollfd){.fd = events ? net->net->receive_fd[i] : -1, .events = events};
        if (net->pair[i].failed)
            timeout_ms = RETRY_MS;
    }
    return timeout_ms;
}

/* What failed is tried again whenever the thread wakes, and after RETRY_MS. */
static void take_events(struct virtio_net *net, const struct pollfd *polls)
{
    for (unsigned i = 0; i < net->pairs; i++) {
        struct virtio_net_pair *pair = &net->pair[i];
        short events = polls[i + 1].revents;
        pair->readable |= pair->failed || events & ~POLLOUT;
        pair->suspect = events & ~(POLLIN | POLLOUT);
        pair->failed = false;
        if (events & ~POLLIN)
            pair->blocked = false;
    }
}

static void sleep_until_event(struct virtio_net *net)
{
    struct pollfd polls[1 + VIRTIO_NET_MAX_PAIRS];
    int timeout_ms = fill_polls(net, polls);
    pthread_mutex_unlock(&net->path_lock);
    int ready = poll(polls, 1 + net->pairs, timeout_ms);
    eventfd_t count;
    if (ready > 0 && polls[0].revents)
        (void)eventfd_read(net->kick_fd, &count);
    pthread_mutex_lock(&net->path_lock);
    if (ready >= 0)
        take_events(net, polls);
}

static void *net_thread(void *opaque)
{
    struct virtio_net *net = opaque;
    pthread_mutex_lock(&net->path_lock);
    while (wait_enabled(net)) {
        bool more = run_queues(net);
        if (net->interrupt || net->broken)
            tell(net);
        else if (more)
            let_others_in(net);
        else
            sleep_until_event(net);
    }
    pthread_mutex_unlock(&net->path_lock);
    return NULL;
}

/* ---- Life ---- */

static int refuse(const struct virtio_net *net, const char *what, int number,
                  struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_NO_RESOURCE, -number,
                        "network '%s': no %s: %s", net->name, what, strerror(number));
}

/* Signals are for other threads. */
static int create_thread(struct virtio_net *net)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&net->thread, NULL, net_thread, net);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int net_thread_start(struct virtio_net *net, struct gw_error *error)
{
    char name[16]; /* what the kernel has room for */
    pthread_mutex_init(&net->door, NULL);
    pthread_mutex_init(&net->path_lock, NULL);
    pthread_cond_init(&net->enabled_changed, NULL);
    pthread_cond_init(&net->thread_idle, NULL);
    net->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (net->kick_fd < 0)
        return refuse(net, "eventfd", errno, error);
    net->busy = true; /* until it first rests */
    int r = create_thread(net);
    if (r != 0)
        return refuse(net, "thread", r, error);
    net->has_thread = true;
    snprintf(name, sizeof name, "net %s", net->name);
    (void)pthread_setname_np(net->thread, name);
    pthread_mutex_lock(&net->path_lock);
    net_wait_idle(net);
    pthread_mutex_unlock(&net->path_lock);
    return 0;
}

void net_thread_end(struct virtio_net *net)
{
    if (net->has_thread) {
        net_enter_path(net);
        net->exiting = true;
        pthread_cond_signal(&net->enabled_changed);
        net_kick(net);
        net_leave_path(net);
        pthread_join(net->thread, NULL);
        net->has_thread = false;
    }
    if (net->kick_fd >= 0)
        close(net->kick_fd);
    net->kick_fd = -1;
    pthread_cond_destroy(&net->thread_idle);
    pthread_cond_destroy(&net->enabled_changed);
    pthread_mutex_destroy(&net->path_lock);
    pthread_mutex_destroy(&net->door);
}
