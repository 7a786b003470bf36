/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames to and from a vhost-user network back end, over a pair of virtqueues of our own.
 *
 * The memory that it gets is made for it: two rings with their buffers, nothing of the guest. A
 * frame is copied between there and the guest. So the back end sees no memory of the guest, any
 * kind of memory will do for that, and what is written there is tracked as ever.
 *
 *   connected --- vhost_net_start() ---> running --- vhost_net_stop() ---> stopped: may save
 *       |                                   ^
 *       +--- vhost_net_load() --------------+ also
 *
 * A call that gives -EPROTO, -ETIMEDOUT, -ECONNRESET or -EIO ends the connection: the caller
 * closes it, and why is in `fault`.
 */
#ifndef NET_VHOST_NET_H
#define NET_VHOST_NET_H

#include <stdbool.h>
#include <sys/types.h>

#include <godwit/buf.h>
#include "net/ring.h"
#include "net/vhost-user.h"

#define VHOST_NET_STATE_MAX_BYTES ((size_t)24 << 20) /* of a back end */

struct vhost_memory {
    struct ring_shared in, out;
};

struct vhost_net {
    /* from init to fini */
    int memory_fd, call_fd, kick_fd;
    struct vhost_memory *memory;
    /* while connected */
    struct vhost_user user; /* its descriptor is ours; -1: not connected */
    bool can_migrate;       /* it can save and load its state */
    bool running;
    bool calls_wanted;
    struct ring in, out;
    uint64_t clogged_ns;   /* since when there has been no room; 0: there is */
    struct gw_buf waiting; /* frames from before a move, each behind its length; the guest's next */
    char fault[128];       /* why it has to end; "" while it is well */
};

int vhost_net_init(struct vhost_net *net); /* -errno */
void vhost_net_fini(struct vhost_net *net);

/* `fd` is taken. Agrees on features and hands the memory over. */
int vhost_net_connect(struct vhost_net *net, int fd);
void vhost_net_close(struct vhost_net *net); /* idempotent */

int vhost_net_start(struct vhost_net *net);
/* Lets the back end take what was sent, for a moment; what came from it goes to `waiting`. */
int vhost_net_stop(struct vhost_net *net);

/* As net_ops, for queue 0; of a frame that comes the checksum is complete. call_fd is readable when
 * there may be one. */
ssize_t vhost_net_send(struct vhost_net *net, const struct iovec *iov, unsigned count);
ssize_t vhost_net_receive(struct vhost_net *net, const struct iovec *iov, unsigned count);

/* Of one that is connected and does not run. A back end that has saved serves no longer. */
int vhost_net_save(struct vhost_net *net, struct gw_buf *out);
int vhost_net_load(struct vhost_net *net, const void *bytes, size_t length);

#endif
