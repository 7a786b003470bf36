/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's network driver for tests, with a ring for each queue and a fake network behind the
 * device. Ring indices are read and written as a guest on another thread would, so that
 * ThreadSanitizer sees what orders what. Registers are accessed with the machine's I/O lock.
 */
#ifndef TEST_NET_DRIVER_H
#define TEST_NET_DRIVER_H

#include "../patience.h"
#include "driver.h"
#include "fake-net.h"
#include "virtio/net.h"

#define NET_RING_SIZE 64

/* Feature bits by their numbers in the specification. */
enum {
    N_CSUM = 0,
    N_GUEST_CSUM = 1,
    N_CTRL_GUEST_OFFLOADS = 2,
    N_MTU = 3,
    N_MAC = 5,
    N_GUEST_TSO4 = 7,
    N_HOST_TSO4 = 11,
    N_HOST_ECN = 13,
    N_MRG_RXBUF = 15,
    N_STATUS = 16,
    N_CTRL_VQ = 17,
    N_CTRL_RX = 18,
    N_CTRL_VLAN = 19,
    N_CTRL_RX_EXTRA = 20,
    N_GUEST_ANNOUNCE = 21,
    N_MQ = 22,
    N_CTRL_MAC_ADDR = 23,
};
#define BIT(number) (UINT64_C(1) << (number))
#define NET_PLAIN (ALL_FEATURES | BIT(N_MAC) | BIT(N_STATUS))
#define NET_CONTROL                                                                                \
    (NET_PLAIN | BIT(N_CTRL_VQ) | BIT(N_CTRL_RX) | BIT(N_CTRL_RX_EXTRA) | BIT(N_CTRL_VLAN) |       \
     BIT(N_CTRL_MAC_ADDR) | BIT(N_GUEST_ANNOUNCE))
#define NET_MERGE (NET_PLAIN | BIT(N_MRG_RXBUF))
#define NET_ALL UINT64_MAX /* whatever is offered */

struct net_ring {
    struct driver *driver;
    unsigned index;
    uint64_t base; /* descriptors, available ring, used ring, indirect tables: a page each */
    uint16_t size, available, used, next_descriptor;
};

struct net_guest {
    struct driver driver;
    struct fake_net *fake;
    struct virtio_net net;
    struct net_ring ring[VIRTIO_NET_QUEUES];
    pthread_mutex_t io_lock;
};

struct net_guest_config {
    unsigned pairs;    /* 0: 1 */
    unsigned offloads; /* of the network */
    uint16_t mtu;
    uint16_t ring_size; /* 0: NET_RING_SIZE */
};
extern const uint8_t net_guest_mac[NET_MAC_BYTES];

void net_guest_init(struct net_guest *guest, const struct net_guest_config *config);
void net_guest_fini(struct net_guest *guest);
/* Reset, negotiate, all rings, DRIVER_OK. */
void net_guest_start(struct net_guest *guest, uint64_t features, uint16_t ring_size);
/* The same up to FEATURES_OK; the status then. */
uint32_t net_guest_negotiate(struct net_guest *guest, uint64_t features);
struct net_ring *net_guest_control(struct net_guest *guest); /* the ring of the control queue */

uint32_t net_guest_get(struct net_guest *guest, uint32_t offset);
void net_guest_set(struct net_guest *guest, uint32_t offset, uint32_t value);
uint16_t net_guest_config_status(struct net_guest *guest);
void net_guest_drain(struct net_guest *guest);
void net_guest_resume(struct net_guest *guest);
struct virtio_net_view net_guest_look(struct net_guest *guest);
bool net_guest_announce(struct net_guest *guest);
void net_guest_link(struct net_guest *guest, bool up);

/* Where buffer `slot` is: 64 KiB for each of 44. */
uint64_t net_slot(unsigned slot);

void net_ring_init(struct net_ring *ring, struct driver *driver, unsigned index, uint16_t size);
uint16_t net_ring_add(struct net_ring *ring, const struct piece *pieces, unsigned count);
void net_ring_publish(struct net_ring *ring, uint16_t head); /* as it stands in the table */
void net_ring_kick(struct net_guest *guest, const struct net_ring *ring);
uint16_t net_ring_used(const struct net_ring *ring);
bool net_ring_collect(struct net_ring *ring, uint32_t *ret_head, uint32_t *ret_bytes);

/* A frame of `bytes` in slot `slot` with a header, into transmit queue 1. */
void net_guest_send(struct net_guest *guest, unsigned slot, const uint8_t *header, uint32_t bytes);
/* A buffer of `bytes` in slot `slot`, into receive queue 0. */
void net_guest_offer(struct net_guest *guest, unsigned slot, uint32_t bytes);
/* A command with its data, answered: the answer, or -1 when the device is broken. */
int net_guest_command(struct net_guest *guest, uint8_t class, uint8_t command, const void *data,
                      size_t bytes);

/* A frame from nobody to `mac`, its bytes telling their place. */
void net_frame(uint8_t *frame, size_t bytes, const uint8_t *mac);

/* Waits until it is so, or will not be any more. */
#define eventually(condition)                                                                      \
    ({                                                                                             \
        bool is_so_ = (condition);                                                                 \
        for (uint64_t end_ = patience_end_ns(); !is_so_ && host_monotonic_ns() < end_;) {          \
            usleep(1000);                                                                          \
            is_so_ = (condition);                                                                  \
        }                                                                                          \
        is_so_;                                                                                    \
    })

#endif
