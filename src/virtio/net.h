/* SPDX-License-Identifier: Apache-2.0 */
/* Network device (virtio 1.2 §5.1) on top of a network back end. */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include <pthread.h>

#include "net/net.h"
#include "virtio/mmio.h"

#define VIRTIO_NET_MAX_PAIRS NET_MAX_QUEUES
#define VIRTIO_NET_QUEUES (2 * VIRTIO_NET_MAX_PAIRS + 1) /* receive and transmit, and control */
#define VIRTIO_NET_CONFIG_BYTES 12                       /* struct virtio_net_config up to mtu */
#define VIRTIO_NET_TABLE_MACS 64                         /* of each kind, in the MAC table */
#define VIRTIO_NET_VLANS 4096
#define VIRTIO_NET_CONTROL_SEGMENTS 16
#define VIRTIO_NET_HELD_MAX (NET_HEADER_BYTES + NET_FRAME_BYTES)

struct virtio_net_mac {
    GW_SAVED(1) uint8_t bytes[NET_MAC_BYTES];
} GW_PART;

/* Which frames the driver wants (§5.1.6.5.1 to §5.1.6.5.3). */
enum virtio_net_mode {
    VIRTIO_NET_PROMISC = 1 << 0,
    VIRTIO_NET_ALLMULTI = 1 << 1,
    VIRTIO_NET_ALLUNI = 1 << 2,
    VIRTIO_NET_NOMULTI = 1 << 3,
    VIRTIO_NET_NOUNI = 1 << 4,
    VIRTIO_NET_NOBCAST = 1 << 5,
};

struct virtio_net_filter {
    GW_SAVED(1) GW_MASK(0x3f) uint8_t modes; /* enum virtio_net_mode */
    /* The driver named more addresses than the table holds: all of that kind are taken. */
    GW_SAVED(1) bool unicast_overflow;
    GW_SAVED(1) bool multicast_overflow;
    GW_SAVED(1) uint8_t unicast_count;
    GW_SAVED(1) uint8_t multicast_count;
    GW_SAVED(1) GW_COUNT(unicast_count) struct virtio_net_mac unicast[VIRTIO_NET_TABLE_MACS];
    GW_SAVED(1) GW_COUNT(multicast_count) struct virtio_net_mac multicast[VIRTIO_NET_TABLE_MACS];
    GW_SAVED(1) uint8_t vlans[VIRTIO_NET_VLANS / 8]; /* a bit for each */
} GW_PART;

/* What has passed, since the device was made here or since the machine last began to run. Times
 * are the host's CLOCK_REALTIME in nanoseconds; 0: not yet. */
struct virtio_net_counters {
    uint64_t frames_in, bytes_in, frames_out, bytes_out; /* the guest's view; without headers */
    uint64_t filtered;    /* arrived, but the guest does not want them */
    uint64_t dropped_in;  /* too long or too short for the guest, or what it cannot take */
    uint64_t dropped_out; /* malformed, or the back end lost them */
    uint64_t last_out_ns;
    /* since the machine last began to run */
    uint64_t resumed_ns, first_out_ns, first_in_ns;
    uint64_t waited; /* frames that were there before the back end was first found empty */
};

struct virtio_net_view {
    uint64_t features; /* negotiated with the driver; 0: there is none yet */
    struct virtio_net_counters counters;
    uint8_t mac[NET_MAC_BYTES]; /* the one that the driver has set, or the machine's */
    unsigned pairs_in_use;
    bool link_up;      /* as the driver was told */
    bool announcing;   /* the driver has been asked to announce itself and has not said it has */
    bool can_announce; /* the driver can be asked */
};

struct virtio_net_pair;

/* What guards each group of fields is told at the head of virtio/net.c. */
struct virtio_net {
    GW_SAVED(1) struct virtio_mmio transport; /* first: the object of virtio_mmio_ops */
    GW_SAVED(1) struct virtio_queue queue[VIRTIO_NET_QUEUES];
    /* I/O lock */
    GW_SAVED(1) GW_MASK(3) uint16_t status; /* of the configuration, §5.1.4 */
    GW_SAVED(1) uint32_t config_generation;
    GW_DERIVED(virtio_net_loaded) uint8_t config[VIRTIO_NET_CONFIG_BYTES];
    /* written with the I/O lock and the path lock, read with either */
    GW_SAVED(1) struct virtio_net_mac mac;
    GW_SAVED(1) struct virtio_net_filter filter;
    GW_SAVED(1) GW_MIN(1) GW_MAX(8) uint16_t pairs_in_use;
    GW_SAVED(1) bool offloads_chosen;    /* by the control queue; else all that were negotiated */
    GW_SAVED(1) uint64_t guest_offloads; /* which: feature bits */
    /* frames that wait for the guest's buffers, with their headers, as virtio_net_saving() found
     * them: bytes of each pair's, and all of them one behind the other */
    GW_SAVED(1)
    GW_SUBSECTION("held") GW_SAVING(virtio_net_saving) uint32_t held_frame[VIRTIO_NET_MAX_PAIRS];
    GW_SAVED(1) GW_SUBSECTION("held") uint32_t held_bytes;
    GW_SAVED(1)
    GW_SUBSECTION("held")
    GW_ARRAY(held_bytes, VIRTIO_NET_MAX_PAIRS *VIRTIO_NET_HELD_MAX) uint8_t *held;
    GW_HOST uint64_t features; /* the negotiated ones, for the thread */
    GW_HOST uint32_t enabled;  /* bit for each queue that the thread may run */
    /* set once */
    GW_HOST struct net *net;
    GW_HOST const char *name; /* for sentences and the thread; the board's */
    GW_HOST uint8_t machine_mac[NET_MAC_BYTES];
    GW_HOST unsigned pairs;
    GW_HOST uint16_t mtu; /* 0: not told */
    GW_HOST pthread_mutex_t *io_lock;
    GW_HOST int kick_fd;
    GW_HOST pthread_t thread;
    GW_HOST bool has_thread;
    /* I/O lock */
    GW_HOST bool resting;                /* the machine does not run, or has not yet */
    GW_HOST bool acquired;               /* the back end has been open: what it offers is known */
    GW_HOST struct virtio_chain control; /* the command at hand */
    GW_HOST struct virtio_segment control_segments[VIRTIO_NET_CONTROL_SEGMENTS];
    /* path lock */
    GW_HOST pthread_mutex_t door, path_lock;
    GW_HOST pthread_cond_t enabled_changed, thread_idle;
    GW_HOST bool busy, exiting;           /* of the thread */
    GW_HOST bool interrupt, broken;       /* what the thread has for the transport */
    GW_HOST struct virtio_net_pair *pair; /* owned; VIRTIO_NET_MAX_PAIRS at most */
    GW_HOST struct virtio_net_counters counters;
} GW_DEVICE("virtio-net", 1, 1);

extern const struct gw_state_type virtio_net_state_type;

int virtio_net_loaded(struct virtio_net *net, struct gw_error *error); /* state hooks */
void virtio_net_saving(struct virtio_net *net);
bool virtio_net_held_needed(const struct virtio_net *net);

struct virtio_net_config {
    struct net *net;  /* outlives the device and is used by nobody else */
    const char *name; /* outlives the device */
    uint8_t mac[NET_MAC_BYTES];
    unsigned pairs; /* 1 to VIRTIO_NET_MAX_PAIRS */
    uint16_t mtu;   /* what the guest is told; 0: nothing */
};

/* For a machine that arrives: refuses, with a sentence, what its driver uses and the back end that
 * is configured will not give, as far as that is known without opening it: -EOPNOTSUPP.
 * virtio_net_acquired() has the last word. */
int virtio_net_check_features(const struct virtio_net_config *config, uint64_t features,
                              struct gw_error *error);

/*
 * On the caller's memory; makes the device's thread, which rests until the machine runs. `io_lock`
 * is the lock that protects all devices. Features are offered by what net->offloads says if the
 * back end is held; if not, virtio_net_acquired() must follow before the machine runs. -EINVAL,
 * -EAGAIN, -ENOMEM with a sentence; with the instruction clock -EOPNOTSUPP, since a network has a
 * time of its own.
 */
int virtio_net_init(struct virtio_net *net, const struct virtio_host *host,
                    const struct virtio_net_config *config, pthread_mutex_t *io_lock,
                    struct gw_error *error);
/* The machine stands still and I/O lock is not held. A device that is all zeroes is fine. */
void virtio_net_fini(struct virtio_net *net);

/* The back end was acquired: what it offers is known. Refuses, with a sentence, when the driver
 * already uses what it lacks: -EOPNOTSUPP. I/O lock held, the machine stands still. */
int virtio_net_acquired(struct virtio_net *net, struct gw_error *error);

/* The back end's link may have changed: net->link_up. I/O lock held, any time; a machine that
 * stands still is told when it runs. */
void virtio_net_link_changed(struct virtio_net *net);

/*
 * Asks the driver to announce its addresses to the network (§5.1.6.5.4), as after a move. False:
 * the driver has not negotiated that, somebody else must do it. I/O lock held; while the machine
 * stands still the driver is asked when it runs.
 */
bool virtio_net_announce(struct virtio_net *net);

/*
 * The addresses that the driver has, in each VLAN that it listens to, at most `most` of them: first
 * the card's own, then those of its filter; how many. A guest behind whose card other machines are
 * (a bridge, promiscuous) has more, of which only the guest knows. I/O lock held.
 */
unsigned virtio_net_stations(const struct virtio_net *net, struct net_station *ret_stations,
                             unsigned most);

/* I/O lock held. Takes the path lock: short waits. */
void virtio_net_look(struct virtio_net *net, struct virtio_net_view *ret_view);

/* An eventfd to which a board may have the driver's notifications for queue `index` delivered; -1
 * for a queue whose notifications go to virtio_mmio_notify(), as all of them may. */
int virtio_net_kick_fd(const struct virtio_net *net, unsigned index);

#endif
