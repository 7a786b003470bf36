/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the network device, for net*.c: how it works is told in net.c. */
#ifndef VIRTIO_NET_INTERNAL_H
#define VIRTIO_NET_INTERNAL_H

#include "virtio/net.h"

/* Feature bits, §5.1.3. */
#define F_CSUM (UINT64_C(1) << 0)
#define F_GUEST_CSUM (UINT64_C(1) << 1)
#define F_CTRL_GUEST_OFFLOADS (UINT64_C(1) << 2)
#define F_MTU (UINT64_C(1) << 3)
#define F_MAC (UINT64_C(1) << 5)
#define F_GUEST_TSO4 (UINT64_C(1) << 7)
#define F_GUEST_TSO6 (UINT64_C(1) << 8)
#define F_GUEST_ECN (UINT64_C(1) << 9)
#define F_HOST_TSO4 (UINT64_C(1) << 11)
#define F_HOST_TSO6 (UINT64_C(1) << 12)
#define F_HOST_ECN (UINT64_C(1) << 13)
#define F_MRG_RXBUF (UINT64_C(1) << 15)
#define F_STATUS (UINT64_C(1) << 16)
#define F_CTRL_VQ (UINT64_C(1) << 17)
#define F_CTRL_RX (UINT64_C(1) << 18)
#define F_CTRL_VLAN (UINT64_C(1) << 19)
#define F_CTRL_RX_EXTRA (UINT64_C(1) << 20)
#define F_GUEST_ANNOUNCE (UINT64_C(1) << 21)
#define F_MQ (UINT64_C(1) << 22)
#define F_CTRL_MAC_ADDR (UINT64_C(1) << 23)
#define F_GUEST_USO4 (UINT64_C(1) << 54)
#define F_GUEST_USO6 (UINT64_C(1) << 55)
#define F_HOST_USO (UINT64_C(1) << 56)

#define GUEST_OFFLOADS                                                                             \
    (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN | F_GUEST_USO4 | F_GUEST_USO6)

/* Bits of the configuration's status. */
enum { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2 };

#define QUEUE_SIZE 256
#define CHAIN_SEGMENTS 256
#define ETHERNET_HEADER_BYTES 14u

/* A receive queue and its transmit queue. Path lock, but for what the thread uses in poll(). */
struct virtio_net_pair {
    bool readable; /* the back end may have a frame */
    bool failed;   /* it gave an error: look again a little later */
    bool suspect;  /* poll() says that its descriptor is broken: nothing to receive is an error */
    bool blocked;  /* it takes no more frames at present */
    bool finding;  /* counts frames that have waited, until the back end is found empty */
    uint32_t held; /* bytes of `frame` that wait for the guest's buffers; 0: none do */
    uint16_t heads[QUEUE_SIZE];
    uint32_t written[QUEUE_SIZE];
    struct virtio_segment segments[CHAIN_SEGMENTS];
    struct virtio_segment first[CHAIN_SEGMENTS]; /* of the first chain of a received frame */
    struct iovec iov[CHAIN_SEGMENTS + 1];
    uint8_t frame[VIRTIO_NET_HELD_MAX]; /* received, with its header */
};

static inline struct virtio_queue *receive_queue(struct virtio_net *net, unsigned pair)
{
    return &net->queue[2 * pair];
}

static inline struct virtio_queue *transmit_queue(struct virtio_net *net, unsigned pair)
{
    return &net->queue[2 * pair + 1];
}

/* net-thread.c: the thread and the path lock. A thread that was started rests. */
int net_thread_start(struct virtio_net *net, struct gw_error *error);
void net_thread_end(struct virtio_net *net);
/* The path lock, at the next gap between the thread's batches. I/O lock held. */
void net_enter_path(struct virtio_net *net);
void net_leave_path(struct virtio_net *net);
void net_kick(const struct virtio_net *net); /* the thread looks into all queues; any lock */
/* Gives what the thread has found to the transport. I/O lock held. */
void net_tell_transport(struct virtio_net *net);
/* Returns when the thread neither runs queues nor polls; enabled is 0. In the path. */
void net_wait_idle(struct virtio_net *net);

/* net-queues.c, path lock: some chains of each queue of a pair. True: there is more to do. */
bool net_transmit(struct virtio_net *net, unsigned pair);
bool net_receive_frames(struct virtio_net *net, unsigned pair);

/* net-header.c: headers and what the feature bits say of them. */
/* enum net_offload that the back end may put into headers for the guest. Path or I/O lock. */
unsigned net_offloads_in(const struct virtio_net *net);
unsigned net_offloads_out(const struct virtio_net *net);
/* Makes a header out of what anybody may have written, for a frame of so many bytes: false when it
 * asks for what is not in `offloads`, or for what the frame is not. What it keeps are the fields
 * that mean something. */
bool net_header_clean(uint8_t header[NET_HEADER_BYTES], uint64_t frame_bytes, unsigned offloads,
                      bool received);

/* net-held.c: what is wrong with the held frames of a state that was loaded, or NULL; and their way
 * to the pairs, in the path. */
const char *net_held_fault(const struct virtio_net *net);
void net_held_loaded(struct virtio_net *net);

/* net-control.c: I/O lock held. */
void net_control(struct virtio_net *net, struct virtio_queue *queue, struct virtio_chain *chain);
void net_control_reset(struct virtio_net *net); /* as after power-on; in the path */

/* net-filter.c: whether the driver wants this frame. Path or I/O lock. */
bool net_wants(const struct virtio_net *net, const uint8_t *frame, size_t bytes);

/* net.c: I/O lock held. */
void net_fill_config(struct virtio_net *net);
/* Tells the back end which offloads and queues the driver uses; in the path. False: it refuses. */
bool net_apply(struct virtio_net *net);
/* Which queues may run, after anything that decides it; `changed`: also what net_apply() tells. */
void net_update(struct virtio_net *net, bool changed);

#endif
