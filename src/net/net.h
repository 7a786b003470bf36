/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a guest's packets go, behind one small table of operations.
 *
 * A net is made unheld: it names a network and nothing is open. Between net_acquire() and
 * net_release() it is open, and frames go both ways. That is how a network follows a machine: the
 * source releases (it sends nothing more and answers for nobody), then the destination acquires.
 * What arrives while nobody holds a tap waits in the tap.
 *
 * Frames are Ethernet frames without their checksum, each behind a header of NET_HEADER_BYTES:
 * struct virtio_net_hdr_v1 (virtio 1.2 §5.1.6), little-endian. A back end without offloads gives
 * zeroes there and is given headers that ask for nothing. num_buffers is the device's affair: a
 * back end gives 1 and ignores what it is given.
 *
 * Threads: net_send() and net_receive() are called by one thread at a time for each queue, with no
 * lock of the machine held, and never wait. net_acquire(), net_release(), net_set_offloads() and
 * net_set_queues() are called while no thread sends or receives. net_attach() and net_free() are
 * the loop's. The link callback comes on the loop, without a lock. Beside the thread of queue 0 an
 * announcer (net/announce.h) may send there.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <systemd/sd-event.h>

#include <godwit/error.h>

#define NET_HEADER_BYTES 12u
#define NET_MAX_QUEUES 8u /* pairs */
#define NET_MAC_BYTES 6u
#define NET_MTU_MIN 68u /* RFC 791 */
#define NET_MTU_MAX 65535u
#define NET_STAYS_BYTES 192u
#define NET_FRAME_BYTES                                                                            \
    (65535u + 18u) /* the largest, with offloads or without; a VLAN tag included */

/* An address that is reached through a card. */
struct net_station {
    uint8_t mac[NET_MAC_BYTES];
    uint16_t vlan; /* 1 to 4095, of the tag in its frames; 0: they have none */
};

/* What may stand in the header of a frame: by the back end's means (what it takes), and by the
 * guest's driver (what the guest takes). */
enum net_offload {
    NET_CHECKSUM = 1 << 0, /* the checksum is not filled in: csum_start, csum_offset */
    NET_TSO4 = 1 << 1,
    NET_TSO6 = 1 << 2,
    NET_ECN = 1 << 3, /* with TSO4 or TSO6: CWR is set */
    NET_USO = 1 << 4, /* UDP over either */
};

struct net;

struct net_ops {
    const char *name; /* "tap", "user", "socket" */
    int (*preopen)(struct net *net, unsigned queues, struct gw_error *error); /* may be NULL */
    int (*acquire)(struct net *net, struct gw_error *error); /* `queues` says how many */
    int (*pack)(struct net *net, struct gw_error *error);    /* these may be NULL */
    int (*unpack)(struct net *net, struct gw_error *error);
    void (*packed)(const struct net *net, const void **ret_bytes, size_t *ret_length);
    int (*give_packed)(struct net *net, const void *bytes, size_t length);
    void (*release)(struct net *net);
    int (*attach)(struct net *net, sd_event *loop, struct gw_error *error); /* may be NULL */
    void (*detach)(struct net *net);
    int (*set_offloads)(struct net *net, unsigned offloads);
    int (*set_queues)(struct net *net, unsigned queues);
    ssize_t (*send)(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);
    ssize_t (*receive)(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);
    void (*free)(struct net *net);
};

/* The link came up or went down; `why` is a sentence for people, which ends with the call. */
typedef void net_link_changed(void *opaque, bool up, const char *why);

/* The head of every back end's own struct. */
struct net {
    /* set once */
    const struct net_ops *ops;
    char *what;                     /* for sentences: "tap 'vm0'"; owned */
    unsigned queues_max;            /* pairs; 1 where the back end has no more */
    net_link_changed *link_changed; /* by net_attach() */
    void *link_opaque;
    /* while held: known after net_acquire(), or before that when they need no opening */
    unsigned offloads; /* enum net_offload: what net_send() takes */
    unsigned mtu;      /* of the network behind; 0: it does not tell */
    unsigned queues;   /* pairs that were asked for */
    /* Readable when net_receive() may have something; to be asked for only after it gave -EAGAIN,
     * for a back end may have read more than one frame. The number never changes while the net is
     * held, but what is behind it does when a peer goes and comes: to be given to poll() each time,
     * not put into an epoll once. Whoever waits is woken when it changes. */
    int receive_fd[NET_MAX_QUEUES];
    bool held;
    _Atomic bool link_up;
    bool follows;                /* open connections follow to another host */
    char stays[NET_STAYS_BYTES]; /* why they do not: what follows "because" in a sentence */
    uint64_t acquire_us; /* how long net_acquire() is likely to take, as measured; 0: next to nothing */
};

/* `text` is what follows --net, without the options that are the device's (docs/control.md). Opens
 * nothing. -EINVAL with a sentence that names the word and what may stand there. */
int net_new(const char *text, struct net **ret_net, struct gw_error *error);
void net_free(struct net *net); /* releases; NULL is fine */

/* For a destination, before any memory moves: refuses what net_acquire() would certainly refuse,
 * and opens what may be open already while nobody holds it, so that a switch knows its port in
 * time. What is in use is no refusal yet: the source may be about to give it up. Idempotent. */
int net_preopen(struct net *net, unsigned queues, struct gw_error *error);

/* Opens. Each refusal is a sentence that names the network and the remedy: -ENOENT there is no
 * such interface (and no right to make it), -EPERM, -EBUSY another process has it, -EOPNOTSUPP the
 * kernel or the program lacks what was asked. Idempotent. */
int net_acquire(struct net *net, unsigned queues, struct gw_error *error);
void net_release(struct net *net); /* closes; idempotent */

/*
 * Connections that the back end itself has open (`follows`), as bytes, while the machine stands
 * still:
 *
 *   here                                     there
 *   net_pack()      nothing passes any more
 *   net_packed()    ---- the bytes ---->     net_give_packed()
 *   net_release()                            net_acquire() opens them
 *
 * Back here they are opened by net_unpack(), or by net_acquire() after net_release(). A net that
 * does not follow has no bytes, and nothing happens to it.
 */
#define NET_PACKED_MAX_BYTES ((size_t)32 << 20)
/* A refusal leaves the net as it was, or its link down: its connections stay here, and `stays` tells
 * why. */
int net_pack(struct net *net, struct gw_error *error);
int net_unpack(struct net *net, struct gw_error *error);                            /* idempotent */
void net_packed(const struct net *net, const void **ret_bytes, size_t *ret_length); /* 0: none */
/* Of an unheld net; in the place of what was given before; 0 bytes: nothing. What is wrong with
 * them (they are hostile) is found by net_acquire(), which then opens none. -ENOMEM. */
int net_give_packed(struct net *net, const void *bytes, size_t length);

/* Puts what the back end needs on the loop (peers that go and come, timers) and names who is told
 * of the link: of its first state after each acquire, and of every change. */
int net_attach(struct net *net, sd_event *loop, net_link_changed *changed, void *opaque,
               struct gw_error *error);
void net_detach(struct net *net);

/* What net_receive() may give: those of enum net_offload that the guest takes. -EOPNOTSUPP. */
int net_set_offloads(struct net *net, unsigned offloads);
int net_set_queues(struct net *net,
                   unsigned queues); /* how many pairs are in use, from the first */

/* One frame behind its header. 0, or -EAGAIN: full, poll `receive_fd` of the same queue for
 * writing; anything else: the frame is lost, as frames may be (-EMSGSIZE, -ENETDOWN, …). */
int net_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);

/* One frame with its header into `iov`; the bytes that were filled, -EAGAIN: none is there,
 * -EMSGSIZE: it was longer than `iov` and is lost. */
ssize_t net_receive(struct net *net, unsigned queue, const struct iovec *iov, unsigned count);

#endif
