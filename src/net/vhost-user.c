/* SPDX-License-Identifier: Apache-2.0 */
#include "net/vhost-user.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

#define PAYLOAD_MAX_BYTES 64u

enum { FLAGS_VERSION = 1, FLAGS_VERSION_MASK = 3, FLAGS_REPLY = 4, FLAGS_NEED_REPLY = 8 };

struct message {
    uint32_t request, flags, bytes;
    uint8_t payload[PAYLOAD_MAX_BYTES];
};
#define HEAD_BYTES offsetof(struct message, payload)

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int vhost_user_wait(struct vhost_user *user, int fd, short events)
{
    for (;;) {
        uint64_t now_ns = host_monotonic_ns();
        struct pollfd waits[] = {{fd, events, 0}, {user->other_fd, POLLIN, 0}};
        if (now_ns >= user->deadline_ns)
            return -ETIMEDOUT;
        int ready = poll(waits, 2, (int)((user->deadline_ns - now_ns) / 1000000) + 1);
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready <= 0)
            continue;
        int r = waits[1].revents ? user->serve_other(user->opaque) : 0;
        if (r < 0)
            return r;
        if (waits[0].revents)
            return 0;
    }
}

static int write_all(struct vhost_user *user, const struct message *message, int fd)
{
    union control control = {.bytes = {0}};
    size_t bytes = HEAD_BYTES + message->bytes;
    struct iovec iov = {(void *)message, bytes};
    struct msghdr head = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        head.msg_control = control.bytes;
        head.msg_controllen = sizeof control.bytes;
        control.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    for (;;) {
        ssize_t n = sendmsg(user->fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n == (ssize_t)bytes)
            return 0;
        if (n >= 0) /* a message this small does not go in parts while anybody reads */
            return -EPROTO;
        if (errno != EAGAIN && errno != EINTR)
            return -ECONNRESET;
        int r = vhost_user_wait(user, user->fd, POLLOUT);
        if (r < 0)
            return r;
    }
}

static int read_all(struct vhost_user *user, void *to, size_t bytes)
{
    uint8_t *next = to;
    while (bytes > 0) {
        ssize_t n = recv(user->fd, next, bytes, MSG_DONTWAIT);
        if (n == 0)
            return -ECONNRESET;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -ECONNRESET;
        int r = n < 0 ? vhost_user_wait(user, user->fd, POLLIN) : 0;
        if (r < 0)
            return r;
        if (n > 0) {
            next += n;
            bytes -= (size_t)n;
        }
    }
    return 0;
}

static int read_answer(struct vhost_user *user, enum vhost_user_request request, void *payload,
                       size_t bytes)
{
    struct message answer;
    int r = read_all(user, &answer, HEAD_BYTES);
    if (r < 0)
        return r;
    if (answer.request != request || answer.bytes != bytes || !(answer.flags & FLAGS_REPLY) ||
        (answer.flags & FLAGS_VERSION_MASK) != FLAGS_VERSION)
        return -EPROTO;
    return read_all(user, payload, bytes);
}

static int send_request(struct vhost_user *user, enum vhost_user_request request, bool need_reply,
                        const void *payload, size_t bytes, int fd)
{
    struct message message = {.request = request,
                              .flags = FLAGS_VERSION | (need_reply ? FLAGS_NEED_REPLY : 0),
                              .bytes = (uint32_t)bytes};
    if (bytes > sizeof message.payload)
        return -EMSGSIZE;
    if (bytes > 0)
        memcpy(message.payload, payload, bytes);
    return write_all(user, &message, fd);
}

int vhost_user_set(struct vhost_user *user, enum vhost_user_request request, const void *payload,
                   size_t bytes, int fd)
{
    uint64_t failed = 0;
    int r = send_request(user, request, user->acknowledges, payload, bytes, fd);
    if (r == 0 && user->acknowledges)
        r = read_answer(user, request, &failed, sizeof failed);
    return r < 0 ? r : failed ? -EIO : 0;
}

int vhost_user_set_number(struct vhost_user *user, enum vhost_user_request request, uint64_t number,
                          int fd)
{
    return vhost_user_set(user, request, &number, sizeof number, fd);
}

int vhost_user_ask(struct vhost_user *user, enum vhost_user_request request, void *payload,
                   size_t bytes, int fd)
{
    int r = send_request(user, request, false, payload, bytes, fd);
    return r < 0 ? r : read_answer(user, request, payload, bytes);
}

int vhost_user_get_number(struct vhost_user *user, enum vhost_user_request request,
                          uint64_t *ret_number)
{
    uint64_t number = 0;
    int r = send_request(user, request, false, NULL, 0, -1);
    if (r == 0)
        r = read_answer(user, request, &number, sizeof number);
    if (r == 0)
        *ret_number = number;
    return r;
}

int vhost_user_set_memory(struct vhost_user *user, const struct vhost_user_region *region, int fd)
{
    struct {
        uint32_t regions, zero;
        struct vhost_user_region region;
    } table = {.regions = 1, .region = *region};
    return vhost_user_set(user, VHOST_USER_SET_MEM_TABLE, &table, sizeof table, fd);
}
