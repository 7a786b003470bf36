/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to a vhost-user back end (QEMU's docs/interop/vhost-user.rst): we are the front end.
 * Each call sends one request and waits for its answer, with a time limit, for who answers is not
 * trusted. Descriptors that come with an answer are not taken.
 */
#ifndef NET_VHOST_USER_H
#define NET_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/error.h>

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_DEVICE_STATE_FD = 42,
    VHOST_USER_CHECK_DEVICE_STATE = 43,
};

#define VHOST_USER_F_PROTOCOL_FEATURES (UINT64_C(1) << 30) /* among the device's features */
#define VHOST_USER_PROTOCOL_REPLY_ACK (UINT64_C(1) << 3)
#define VHOST_USER_PROTOCOL_DEVICE_STATE (UINT64_C(1) << 19)
#define VHOST_USER_NO_FD (UINT64_C(1) << 8) /* with an index, or as an answer */

enum vhost_user_direction { VHOST_USER_SAVE, VHOST_USER_LOAD };

struct vhost_user {
    int fd;            /* not ours; does not block */
    bool acknowledges; /* REPLY_ACK was negotiated */
    /* until when all of what is being done has to be done: host_monotonic_ns() */
    uint64_t deadline_ns;
    /* While an answer is waited for: may be asked to serve somebody else, see vhost_user_wait(). */
    int other_fd; /* -1: nobody */
    int (*serve_other)(void *opaque);
    void *opaque;
};

struct vhost_user_region {
    uint64_t guest_address, bytes, user_address, offset; /* in the message's order */
};
struct vhost_user_vring_state {
    uint32_t index, number;
};
struct vhost_user_vring_address {
    uint32_t index, flags;
    uint64_t descriptors, used, available, log;
};

/* Sends; where the back end can it is asked to say how that ended, and is waited for. `fd`: goes
 * along, -1 for none. -ETIMEDOUT, -ECONNRESET (it has gone), -EPROTO (it answers nonsense), -EIO
 * (it says that it failed). */
int vhost_user_set(struct vhost_user *user, enum vhost_user_request request, const void *payload,
                   size_t bytes, int fd);
int vhost_user_set_number(struct vhost_user *user, enum vhost_user_request request, uint64_t number,
                          int fd);
/* Sends `bytes` and waits for an answer of as many, into the same place. */
int vhost_user_ask(struct vhost_user *user, enum vhost_user_request request, void *payload,
                   size_t bytes, int fd);
int vhost_user_get_number(struct vhost_user *user, enum vhost_user_request request,
                          uint64_t *ret_number);
/* A memory of one region. */
int vhost_user_set_memory(struct vhost_user *user, const struct vhost_user_region *region, int fd);

/* Waits until `fd` is ready for `events` (POLLIN, POLLOUT), serving the other meanwhile. 0,
 * -ETIMEDOUT, or what serve_other() refused with. */
int vhost_user_wait(struct vhost_user *user, int fd, short events);

#endif
