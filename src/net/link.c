/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "base/cleanup.h"

enum { TAG_TIMER = UINT32_MAX - 1, TAG_POKE = UINT32_MAX };

const uint8_t net_plain_header[NET_HEADER_BYTES] = {[10] = 1}; /* num_buffers */

static int refuse(const struct net_link *link, int number, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(number), -number,
                        "%s: no descriptor to wait with: %s", link->net.what, strerror(number));
}

/* ---- Life ---- */

int link_init(struct net_link *link, const struct net_ops *ops, const struct link_hooks *hooks,
              char *what, struct gw_error *error)
{
    link->net.ops = ops;
    link->net.what = what;
    link->net.queues_max = 1;
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++)
        link->net.receive_fd[i] = -1;
    link->hooks = hooks;
    link->watch_fd = link->timer_fd = link->poke_fd = link->idle_fd = -1;
    link->retry_ms = LINK_RETRY_FIRST_MS;
    pthread_mutex_init(&link->lock, NULL);
    if (what)
        return 0;
    return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void link_fini(struct net_link *link)
{
    link_close(link);
    close_one(&link->timer_fd);
    close_one(&link->poke_fd);
    close_one(&link->watch_fd);
    pthread_mutex_destroy(&link->lock);
    free(link->net.what);
}

static int prepare(struct net_link *link, struct gw_error *error)
{
    if (link->watch_fd >= 0)
        return 0;
    link->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    link->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    link->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (link->timer_fd >= 0 && link->poke_fd >= 0 && link->watch_fd >= 0 &&
        link_watch(link, link->timer_fd, TAG_TIMER, EPOLLIN) == 0 &&
        link_watch(link, link->poke_fd, TAG_POKE, EPOLLIN) == 0)
        return 0;
    int number = errno;
    close_one(&link->timer_fd);
    close_one(&link->poke_fd);
    close_one(&link->watch_fd);
    return refuse(link, number, error);
}

int link_open(struct net_link *link, unsigned queues, struct gw_error *error)
{
    int r = prepare(link, error);
    if (r < 0)
        return r;
    link->idle_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool failed = link->idle_fd < 0;
    for (unsigned i = 0; i < queues && !failed; i++) {
        link->net.receive_fd[i] = fcntl(link->idle_fd, F_DUPFD_CLOEXEC, 0);
        failed = link->net.receive_fd[i] < 0;
    }
    if (!failed)
        return 0;
    int number = errno;
    link_close(link);
    return refuse(link, number, error);
}

void link_close(struct net_link *link)
{
    const struct itimerspec never = {0};
    pthread_mutex_lock(&link->lock);
    if (link->timer_fd >= 0)
        timerfd_settime(link->timer_fd, 0, &never, NULL);
    link->net.link_up = link->said = link->changed = false;
    link->retry_ms = LINK_RETRY_FIRST_MS;
    pthread_mutex_unlock(&link->lock);
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++)
        close_one(&link->net.receive_fd[i]);
    close_one(&link->idle_fd);
}

/* ---- Descriptors that keep their number ---- */

/* The new one first, then the poke: who polled the eventfd looks again and finds the new one. */
void link_show(struct net_link *link, unsigned queue, int fd)
{
    dup3(fd, link->net.receive_fd[queue], O_CLOEXEC);
    (void)eventfd_write(link->idle_fd, 1);
}

void link_hide(struct net_link *link, unsigned queue)
{
    eventfd_t count;
    (void)eventfd_read(link->idle_fd, &count);
    dup3(link->idle_fd, link->net.receive_fd[queue], O_CLOEXEC);
}

/* ---- On the loop ---- */

int link_watch(struct net_link *link, int fd, unsigned tag, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = tag};
    return epoll_ctl(link->watch_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void link_watch_change(struct net_link *link, int fd, unsigned tag, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = tag};
    epoll_ctl(link->watch_fd, EPOLL_CTL_MOD, fd, &event);
}

void link_unwatch(struct net_link *link, int fd)
{
    epoll_ctl(link->watch_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* The same sentence for the same state tells nothing new. */
static void say(struct net_link *link, bool up)
{
    link->changed |= !link->said || link->net.link_up != up;
    link->said = true;
    link->net.link_up = up;
    (void)eventfd_write(link->poke_fd, 1);
}

void link_retry(struct net_link *link)
{
    const struct itimerspec once = {
        .it_value = {.tv_sec = link->retry_ms / 1000, .tv_nsec = link->retry_ms % 1000 * 1000000}};
    timerfd_settime(link->timer_fd, 0, &once, NULL);
    link->retry_ms *= 2;
    if (link->retry_ms > LINK_RETRY_LAST_MS)
        link->retry_ms = LINK_RETRY_LAST_MS;
}

void link_retry_reset(struct net_link *link)
{
    link->retry_ms = LINK_RETRY_FIRST_MS;
}

static void handle(struct net_link *link, const struct epoll_event *event)
{
    uint64_t count;
    if (event->data.u32 == TAG_POKE)
        (void)eventfd_read(link->poke_fd, &count);
    else if (event->data.u32 != TAG_TIMER)
        link->hooks->ready(link, event->data.u32, event->events);
    else if (read(link->timer_fd, &count, sizeof count) == sizeof count)
        link->hooks->retry(link);
}

/* An event of a descriptor that the one before it has closed must not be handled: one at a time. */
static int on_ready(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct net_link *link = opaque;
    struct epoll_event event;
    char why[LINK_WHY_BYTES];
    pthread_mutex_lock(&link->lock);
    if (epoll_wait(link->watch_fd, &event, 1, 0) == 1)
        handle(link, &event);
    bool up = link->net.link_up, tell = link->changed;
    link->changed = false;
    memcpy(why, link->why, sizeof why);
    pthread_mutex_unlock(&link->lock);
    if (tell)
        link->net.link_changed(link->net.link_opaque, up, why);
    return 0;
}

int link_attach(struct net *net, sd_event *loop, struct gw_error *error)
{
    struct net_link *link = container_of(net, struct net_link, net);
    int r = prepare(link, error);
    if (r < 0)
        return r;
    r = sd_event_add_io(loop, &link->source, link->watch_fd, EPOLLIN, on_ready, link);
    return r < 0 ? refuse(link, -r, error) : 0;
}

void link_detach(struct net *net)
{
    struct net_link *link = container_of(net, struct net_link, net);
    link->source = sd_event_source_disable_unref(link->source);
}

void link_is_up(struct net_link *link)
{
    snprintf(link->why, sizeof link->why, "%s: the link is up", link->net.what);
    say(link, true);
}

void link_is_down(struct net_link *link, const char *format, ...)
{
    va_list arguments;
    char why[sizeof link->why];
    int length = snprintf(why, sizeof why, "%s: ", link->net.what);
    size_t used = length < (int)sizeof why ? (size_t)length : sizeof why - 1;
    va_start(arguments, format);
    vsnprintf(why + used, sizeof why - used, format, arguments);
    va_end(arguments);
    link->changed |= strcmp(link->why, why) != 0;
    memcpy(link->why, why, sizeof why);
    say(link, false);
}

/* ---- Vectors ---- */

int iov_without(const struct iovec *iov, unsigned count, size_t skip, struct iovec *to,
                unsigned room, size_t *ret_bytes)
{
    unsigned used = 0;
    *ret_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t part = iov[i].iov_len < skip ? iov[i].iov_len : skip;
        skip -= part;
        if (part == iov[i].iov_len)
            continue;
        if (used == room)
            return -EMSGSIZE;
        to[used] = (struct iovec){(uint8_t *)iov[i].iov_base + part, iov[i].iov_len - part};
        if (__builtin_add_overflow(*ret_bytes, to[used++].iov_len, ret_bytes))
            return -EMSGSIZE;
    }
    return (int)used;
}

bool iov_put(const struct iovec *iov, unsigned count, size_t at, const void *from, size_t bytes)
{
    const uint8_t *next = from;
    for (unsigned i = 0; i < count && bytes > 0; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        size_t room = iov[i].iov_len - at, part = bytes < room ? bytes : room;
        memcpy((uint8_t *)iov[i].iov_base + at, next, part);
        next += part;
        bytes -= part;
        at = 0;
    }
    return bytes == 0;
}
