/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network in memory. What the device sends is kept; what it receives is what the test has put
 * there. receive_fd is an eventfd that is readable while a queue holds frames and, as eventfds are,
 * always writable. Any thread.
 */
#ifndef TEST_FAKE_NET_H
#define TEST_FAKE_NET_H

#include <pthread.h>

#include "net/net.h"

#define FAKE_FRAMES 64
#define FAKE_OFFLOADS (NET_CHECKSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO)

struct fake_frame {
    size_t bytes; /* with the header */
    uint8_t data[NET_HEADER_BYTES + NET_FRAME_BYTES];
};

struct fake_queue {
    struct fake_frame frame[FAKE_FRAMES];
    unsigned first, count;
};

struct fake_net {
    struct net net;
    pthread_mutex_t lock;
    struct fake_queue in[NET_MAX_QUEUES], out[NET_MAX_QUEUES]; /* seen from the guest */
    _Atomic unsigned sends, receives;                          /* calls */
    bool full;                                                 /* net_send() says -EAGAIN */
    int send_error, receive_error;
    int refuse;                          /* what net_set_offloads() says */
    unsigned offloads_in, queues_in_use; /* as told */
};

/* Held, and its link is up. */
struct fake_net *fake_net_new(unsigned queues, unsigned offloads);
void fake_net_free(struct fake_net *fake);

/* A frame for the guest; `header` NULL: zeroes. */
void fake_net_put(struct fake_net *fake, unsigned queue, const void *header, const void *frame,
                  size_t bytes);
/* Takes what the guest has sent first, with its header: its bytes, or 0 when there is none. */
size_t fake_net_take(struct fake_net *fake, unsigned queue, void *to, size_t room);
unsigned fake_net_waiting(struct fake_net *fake, unsigned queue); /* frames for the guest */
void fake_net_set_full(struct fake_net *fake, bool full);
void fake_net_fail(struct fake_net *fake, int send_error, int receive_error);

#endif
