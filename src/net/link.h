/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every back end shares: its part on the loop, and how it says that the link is up or down.
 *
 * One epoll descriptor holds all that a back end waits for, a timer for new attempts among them.
 * The loop has that one descriptor as its only source, so that net_acquire() and a queue's thread
 * may add to it and arm the timer although they run beside the loop.
 *
 * receive_fd: the number that the device polls has to stay while what is behind it comes and goes.
 * It is a duplicate of whatever is open, put there with dup3(); while nothing is, it is a duplicate
 * of an eventfd. Whoever polls that one is woken when something else takes its place.
 */
#ifndef NET_LINK_H
#define NET_LINK_H

#include <pthread.h>
#include <stddef.h>

#include "net/net.h"

#define LINK_WHY_BYTES 384u
#define LINK_RETRY_FIRST_MS 50u
#define LINK_RETRY_LAST_MS 2000u

struct net_link;

/* On the loop, with the lock held. */
struct link_hooks {
    void (*ready)(struct net_link *link, unsigned tag, uint32_t events);
    void (*retry)(struct net_link *link); /* the time of link_retry() has come */
};

struct net_link {
    struct net net; /* first */
    /* set once */
    const struct link_hooks *hooks;
    /* from link_prepare() to link_fini() */
    int watch_fd, timer_fd, poke_fd;
    /* while held */
    int idle_fd;
    sd_event_source *source; /* the loop's */
    /* under the lock, with what a back end says is */
    pthread_mutex_t lock;
    unsigned retry_ms;
    bool said;    /* up or down, since link_open() */
    bool changed; /* the device has to hear of it */
    char why[LINK_WHY_BYTES];
};

/* `what` is taken, also on failure. */
int link_init(struct net_link *link, const struct net_ops *ops, const struct link_hooks *hooks,
              char *what, struct gw_error *error);
void link_fini(struct net_link *link);

/* For a back end's acquire and release: receive_fd exist for `queues` and are idle. */
int link_open(struct net_link *link, unsigned queues, struct gw_error *error);
void link_close(struct net_link *link);

int link_attach(struct net *net, sd_event *loop, struct gw_error *error); /* net_ops.attach */
void link_detach(struct net *net);

/* Puts `fd` behind the number of a queue (the caller keeps `fd`), or nothing. */
void link_show(struct net_link *link, unsigned queue, int fd);
void link_hide(struct net_link *link, unsigned queue);

/* Any thread, with or without the lock. */
int link_watch(struct net_link *link, int fd, unsigned tag, uint32_t events); /* EPOLLERR always */
void link_watch_change(struct net_link *link, int fd, unsigned tag, uint32_t events);
void link_unwatch(struct net_link *link, int fd);

/* With the lock: calls the hook later, each time twice as late until link_retry_reset(). */
void link_retry(struct net_link *link);
void link_retry_reset(struct net_link *link);

/* With the lock. The device is told on the loop; of more than one change it hears the last. */
void link_is_up(struct net_link *link);
void link_is_down(struct net_link *link, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* `iov` without its first `skip` bytes into `to`, which has room for `room`; how many, or
 * -EMSGSIZE. *ret_bytes is their sum. */
int iov_without(const struct iovec *iov, unsigned count, size_t skip, struct iovec *to,
                unsigned room, size_t *ret_bytes);
/* Copies into `iov` from its byte `at` on; false when there is not room for all. */
bool iov_put(const struct iovec *iov, unsigned count, size_t at, const void *from, size_t bytes);

/* The header of a frame that asks for nothing. */
extern const uint8_t net_plain_header[NET_HEADER_BYTES];

#endif
