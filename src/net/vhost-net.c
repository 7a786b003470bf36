/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notifications: a back end is kicked for each frame unless it says that it looks by itself. It
 * calls only while `calls_wanted`, which is from the time when no frame was found until one is; so
 * in a stream of frames there is one call for all that were there.
 *
 * A ring for frames out that is full is full for as long as the back end needs to run, which is
 * waited for. One that stays full belongs to a back end that hangs: frames are lost from then on.
 */
#include "net/vhost-net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "net/checksum.h"
#include "net/link.h"

#define MILLISECOND_NS UINT64_C(1000000)
#define ANSWER_NS (1000 * MILLISECOND_NS)   /* for all of one thing that is asked */
#define TRANSFER_NS (2000 * MILLISECOND_NS) /* of the state */
#define CLOGGED_NS (20 * MILLISECOND_NS)
#define EMPTY_NS (5 * MILLISECOND_NS) /* for the back end to take what was sent */
#define PART_BYTES ((size_t)64 << 10)
#define LENGTH_BYTES 4u

#define FEATURE_VERSION_1 (UINT64_C(1) << 32)
#define FEATURES (FEATURE_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES)
#define LEAST_BYTES (NET_HEADER_BYTES + 14u)

/* Where the memory stands for the other side, by both of its ways to name a place. */
#define MEMORY_ADDRESS UINT64_C(0x10000)

enum { QUEUE_IN, QUEUE_OUT };
enum { HEADER_FLAGS_AT = 0, HEADER_DATA_VALID = 2 };

/* ---- Life ---- */

static void close_one(int *fd)
{
    cleanup_close(fd);
    *fd = -1;
}

/* Sealed: its size is what nobody may change, or our own access would end us. */
static int make_memory(struct vhost_net *net)
{
    net->memory_fd = memfd_create("godwit-net", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (net->memory_fd < 0 || ftruncate(net->memory_fd, sizeof *net->memory) < 0 ||
        fcntl(net->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    void *memory =
        mmap(NULL, sizeof *net->memory, PROT_READ | PROT_WRITE, MAP_SHARED, net->memory_fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    net->memory = memory;
    return 0;
}

int vhost_net_init(struct vhost_net *net)
{
    *net = (struct vhost_net){.memory_fd = -1, .user = {.fd = -1, .other_fd = -1}};
    net->waiting.limit = VHOST_NET_STATE_MAX_BYTES;
    net->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    net->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = net->call_fd < 0 || net->kick_fd < 0 ? -errno : make_memory(net);
    if (r < 0)
        vhost_net_fini(net);
    return r;
}

void vhost_net_fini(struct vhost_net *net)
{
    vhost_net_close(net);
    gw_buf_fini(&net->waiting);
    if (net->memory)
        munmap(net->memory, sizeof *net->memory);
    net->memory = NULL;
    close_one(&net->memory_fd);
    close_one(&net->call_fd);
    close_one(&net->kick_fd);
}

void vhost_net_close(struct vhost_net *net)
{
    close_one(&net->user.fd);
    net->running = false;
}

/* ---- What may go wrong ---- */

static int note_fault(struct vhost_net *net, int r, const char *while_what)
{
    const char *how = r == -ETIMEDOUT    ? "the other side does not answer"
                      : r == -ECONNRESET ? "the other side closed the connection"
                      : r == -EPROTO     ? "the other side breaks the rules of vhost-user"
                      : r == -EIO        ? "the other side says that it failed"
                                         : strerror(-r);
    if (!net->fault[0])
        snprintf(net->fault, sizeof net->fault, "%s while %s", how, while_what);
    return r;
}

static void set_deadline(struct vhost_net *net, uint64_t time_ns)
{
    net->user.deadline_ns = host_monotonic_ns() + time_ns;
}

/* ---- Connecting, starting, stopping ---- */

static int agree(struct vhost_net *net)
{
    const uint64_t wanted = VHOST_USER_PROTOCOL_REPLY_ACK | VHOST_USER_PROTOCOL_DEVICE_STATE;
    struct vhost_user *user = &net->user;
    uint64_t features, protocol;
    int r = vhost_user_get_number(user, VHOST_USER_GET_FEATURES, &features);
    if (r == 0 && (features & FEATURES) != FEATURES)
        r = -EPROTO;
    if (r == 0)
        r = vhost_user_get_number(user, VHOST_USER_GET_PROTOCOL_FEATURES, &protocol);
    if (r == 0)
        r = vhost_user_set_number(user, VHOST_USER_SET_PROTOCOL_FEATURES, protocol & wanted, -1);
    if (r < 0)
        return r;
    user->acknowledges = protocol & VHOST_USER_PROTOCOL_REPLY_ACK;
    net->can_migrate = protocol & VHOST_USER_PROTOCOL_DEVICE_STATE;
    r = vhost_user_set(user, VHOST_USER_SET_OWNER, NULL, 0, -1);
    return r < 0 ? r : vhost_user_set_number(user, VHOST_USER_SET_FEATURES, FEATURES, -1);
}

static int hand_memory_over(struct vhost_net *net)
{
    const struct vhost_user_region region = {.guest_address = MEMORY_ADDRESS,
                                             .bytes = sizeof *net->memory,
                                             .user_address = MEMORY_ADDRESS};
    return vhost_user_set_memory(&net->user, &region, net->memory_fd);
}

int vhost_net_connect(struct vhost_net *net, int fd)
{
    vhost_net_close(net);
    net->user = (struct vhost_user){.fd = fd, .other_fd = -1};
    net->fault[0] = 0;
    net->can_migrate = false;
    set_deadline(net, ANSWER_NS);
    int r = agree(net);
    if (r == 0)
        r = hand_memory_over(net);
    return r < 0 ? note_fault(net, r, "the two agree on what they do") : 0;
}

static int start_queue(struct vhost_net *net, uint32_t index, const struct ring_shared *shared)
{
    struct vhost_user *user = &net->user;
    uint64_t at = MEMORY_ADDRESS + (uint64_t)((const char *)shared - (const char *)net->memory);
    const struct vhost_user_vring_state size = {index, RING_ENTRIES}, base = {index, 0},
                                        enable = {index, 1};
    const struct vhost_user_vring_address address = {
        .index = index,
        .descriptors = at + offsetof(struct ring_shared, descriptor),
        .used = at + offsetof(struct ring_shared, used),
        .available = at + offsetof(struct ring_shared, available),
    };
    bool out = index == QUEUE_OUT; /* buffers for what comes in are not told of: it looks */
    uint64_t kick = index | (out ? 0 : VHOST_USER_NO_FD);
    int r = vhost_user_set(user, VHOST_USER_SET_VRING_NUM, &size, sizeof size, -1);
    if (r == 0)
        r = vhost_user_set(user, VHOST_USER_SET_VRING_BASE, &base, sizeof base, -1);
    if (r == 0)
        r = vhost_user_set(user, VHOST_USER_SET_VRING_ADDR, &address, sizeof address, -1);
    if (r == 0)
        r = vhost_user_set_number(user, VHOST_USER_SET_VRING_CALL, index, net->call_fd);
    if (r == 0)
        r = vhost_user_set_number(user, VHOST_USER_SET_VRING_KICK, kick, out ? net->kick_fd : -1);
    if (r == 0)
        r = vhost_user_set(user, VHOST_USER_SET_VRING_ENABLE, &enable, sizeof enable, -1);
    return r;
}

static void fill_rings(struct vhost_net *net)
{
    eventfd_t count;
    (void)eventfd_read(net->call_fd, &count);
    (void)eventfd_read(net->kick_fd, &count);
    ring_init(&net->in, &net->memory->in, MEMORY_ADDRESS + offsetof(struct vhost_memory, in), true);
    ring_init(&net->out, &net->memory->out, MEMORY_ADDRESS + offsetof(struct vhost_memory, out),
              false);
    for (uint16_t i = 0; i < RING_ENTRIES; i++)
        ring_lend(&net->in, i, RING_BUFFER_BYTES);
    ring_want_call(&net->out, false);
    net->calls_wanted = true;
    net->clogged_ns = 0;
}

int vhost_net_start(struct vhost_net *net)
{
    set_deadline(net, ANSWER_NS);
    fill_rings(net);
    int r = start_queue(net, QUEUE_IN, &net->memory->in);
    if (r == 0)
        r = start_queue(net, QUEUE_OUT, &net->memory->out);
    net->running = r == 0;
    return r < 0 ? note_fault(net, r, "its queues are started") : 0;
}

/* ---- Out ---- */

static int reclaim(struct vhost_net *net)
{
    uint16_t id;
    uint32_t bytes;
    int r;
    while ((r = ring_take(&net->out, &id, &bytes)) > 0)
        net->out.free[net->out.free_count++] = id;
    return r < 0 ? note_fault(net, r, "it takes frames") : 0;
}

/* There is no room. The descriptor that the device polls for room cannot tell when there is, so the
 * back end gets the CPU here. */
static ssize_t wait_for_room(struct vhost_net *net)
{
    uint64_t now_ns = host_monotonic_ns();
    if (!net->clogged_ns)
        net->clogged_ns = now_ns;
    if (now_ns - net->clogged_ns > CLOGGED_NS)
        return -ENOBUFS;
    sched_yield();
    return -EAGAIN;
}

static size_t copy_out(uint8_t *to, const struct iovec *iov, unsigned count)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len > RING_BUFFER_BYTES - bytes)
            return 0;
        memcpy(to + bytes, iov[i].iov_base, iov[i].iov_len);
        bytes += iov[i].iov_len;
    }
    return bytes;
}

ssize_t vhost_net_send(struct vhost_net *net, const struct iovec *iov, unsigned count)
{
    struct ring *out = &net->out;
    if (!net->running || net->fault[0])
        return -ENETDOWN;
    if (out->free_count == 0 && reclaim(net) < 0)
        return -ENETDOWN;
    if (out->free_count == 0)
        return wait_for_room(net);
    net->clogged_ns = 0;
    uint16_t id = out->free[out->free_count - 1];
    uint8_t *buffer = net->memory->out.buffer[id];
    size_t bytes = copy_out(buffer, iov, count);
    if (bytes < LEAST_BYTES)
        return -EMSGSIZE;
    memset(buffer, 0, NET_HEADER_BYTES);
    out->free_count--;
    ring_lend(out, id, (uint32_t)bytes);
    if (ring_wants_kick(out))
        (void)eventfd_write(net->kick_fd, 1);
    return 0;
}

/* ---- In ---- */

/* With a header that asks for nothing. `frame` may be changed by others meanwhile: what it says is
 * looked at only in the copy. */
static ssize_t give(const struct iovec *iov, unsigned count, const uint8_t *frame, size_t bytes,
                    bool lacks_checksum)
{
    uint8_t bounce[NET_FRAME_BYTES];
    const uint8_t *from = frame;
    if (bytes > sizeof bounce)
        return -EMSGSIZE;
    if (lacks_checksum && count > 1) {
        memcpy(bounce, frame, bytes);
        frame_fill_checksum(bounce, bytes);
        from = bounce;
    }
    if (!iov_put(iov, count, 0, net_plain_header, NET_HEADER_BYTES) ||
        !iov_put(iov, count, NET_HEADER_BYTES, from, bytes))
        return -EMSGSIZE;
    if (lacks_checksum && count == 1)
        frame_fill_checksum((uint8_t *)iov[0].iov_base + NET_HEADER_BYTES, bytes);
    return (ssize_t)(NET_HEADER_BYTES + bytes);
}

static ssize_t give_waiting(struct vhost_net *net, const struct iovec *iov, unsigned count)
{
    uint32_t bytes = get_le32(net->waiting.data);
    ssize_t r = give(iov, count, net->waiting.data + LENGTH_BYTES, bytes, false);
    gw_buf_consume(&net->waiting, LENGTH_BYTES + bytes);
    return r;
}

/* A buffer with a frame: 1; 0: there is none, and a call will tell of the next. */
static int next_frame(struct vhost_net *net, uint16_t *ret_id, uint32_t *ret_bytes)
{
    struct ring *in = &net->in;
    eventfd_t count;
    int r = ring_take(in, ret_id, ret_bytes);
    if (r == 0) {
        (void)eventfd_read(net->call_fd, &count);
        if (!net->calls_wanted)
            ring_want_call(in, true);
        net->calls_wanted = true;
        r = ring_take(in, ret_id, ret_bytes);
    }
    if (r > 0 && net->calls_wanted) {
        ring_want_call(in, false);
        net->calls_wanted = false;
    }
    return r < 0 ? note_fault(net, r, "it gives frames") : r;
}

ssize_t vhost_net_receive(struct vhost_net *net, const struct iovec *iov, unsigned count)
{
    uint16_t id;
    uint32_t bytes;
    int r;
    if (net->waiting.length > 0)
        return give_waiting(net, iov, count);
    while (net->running && !net->fault[0] && (r = next_frame(net, &id, &bytes)) > 0) {
        const uint8_t *buffer = net->memory->in.buffer[id];
        bool lacks =
            __atomic_load_n(&buffer[HEADER_FLAGS_AT], __ATOMIC_RELAXED) & HEADER_DATA_VALID;
        ssize_t n = bytes < LEAST_BYTES ? 0
                                        : give(iov, count, buffer + NET_HEADER_BYTES,
                                               bytes - NET_HEADER_BYTES, lacks);
        ring_lend(&net->in, id, RING_BUFFER_BYTES);
        if (n != 0)
            return n;
    }
    return -EAGAIN;
}

/* ---- Stopping ---- */

static int keep_waiting(struct vhost_net *net)
{
    static const size_t room = NET_HEADER_BYTES + NET_FRAME_BYTES;
    struct gw_buf kept = {.limit = VHOST_NET_STATE_MAX_BYTES};
    _cleanup_free_ uint8_t *frame = malloc(room);
    const struct iovec iov = {frame, room};
    ssize_t n;
    int r = frame ? 0 : -ENOMEM;
    while (r == 0 && (n = vhost_net_receive(net, &iov, 1)) > 0) {
        size_t bytes = (size_t)n - NET_HEADER_BYTES;
        r = gw_buf_append_le(&kept, bytes, LENGTH_BYTES);
        if (r == 0)
            r = gw_buf_append(&kept, frame + NET_HEADER_BYTES, bytes);
    }
    if (r < 0)
        gw_buf_clear(&kept); /* networks lose frames */
    gw_buf_fini(&net->waiting);
    net->waiting = kept;
    return net->fault[0] ? -EPROTO : 0;
}

static void await_empty(struct vhost_net *net)
{
    uint64_t until_ns = host_monotonic_ns() + EMPTY_NS;
    while (reclaim(net) == 0 && net->out.lent > 0 && host_monotonic_ns() < until_ns)
        sched_yield();
}

int vhost_net_stop(struct vhost_net *net)
{
    struct vhost_user_vring_state in = {QUEUE_IN, 0}, out = {QUEUE_OUT, 0};
    if (!net->running)
        return 0;
    await_empty(net);
    set_deadline(net, ANSWER_NS);
    int r = vhost_user_ask(&net->user, VHOST_USER_GET_VRING_BASE, &out, sizeof out, -1);
    if (r == 0)
        r = vhost_user_ask(&net->user, VHOST_USER_GET_VRING_BASE, &in, sizeof in, -1);
    if (r == 0)
        r = keep_waiting(net);
    net->running = false;
    return r < 0 ? note_fault(net, r, "its queues are stopped") : 0;
}

/* ---- State ---- */

/* A socket, for a pipe whose reader has gone would end us. */
static int open_way(int *ret_ours, int *ret_theirs)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_ours = ends[0];
    *ret_theirs = ends[1];
    return 0;
}

static int begin_transfer(struct vhost_net *net, enum vhost_user_direction direction, int fd)
{
    struct {
        uint32_t direction, phase;
    } request = {direction, 0};
    uint64_t answer;
    set_deadline(net, TRANSFER_NS);
    int r =
        vhost_user_ask(&net->user, VHOST_USER_SET_DEVICE_STATE_FD, &request, sizeof request, fd);
    memcpy(&answer, &request, sizeof answer);
    return r < 0 ? r : answer == VHOST_USER_NO_FD ? 0 : -EIO;
}

static int end_transfer(struct vhost_net *net)
{
    uint64_t failed;
    int r = vhost_user_get_number(&net->user, VHOST_USER_CHECK_DEVICE_STATE, &failed);
    return r < 0 ? r : failed ? -EIO : 0;
}

/* Until the end, which is that the back end closes its side. */
static int read_state(struct vhost_net *net, int fd, struct gw_buf *out)
{
    size_t begin = out->length;
    for (;;) {
        int r = vhost_user_wait(&net->user, fd, POLLIN);
        if (r < 0)
            return r;
        uint8_t *to = gw_buf_extend(out, PART_BYTES);
        if (!to || out->length - begin > VHOST_NET_STATE_MAX_BYTES + PART_BYTES)
            return -EFBIG;
        ssize_t n = recv(fd, to, PART_BYTES, MSG_DONTWAIT);
        out->length -= PART_BYTES - (n > 0 ? (size_t)n : 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
    }
}

static int write_state(struct vhost_net *net, int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        int r = vhost_user_wait(&net->user, fd, POLLOUT);
        if (r < 0)
            return r;
        ssize_t n =
            send(fd, bytes, length < PART_BYTES ? length : PART_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return errno == EPIPE || errno == ECONNRESET ? -EIO : -errno;
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        }
    }
    return 0;
}

int vhost_net_save(struct vhost_net *net, struct gw_buf *out)
{
    _cleanup_close_ int ours = -1;
    _cleanup_close_ int theirs = -1;
    int r = open_way(&ours, &theirs);
    if (r == 0)
        r = begin_transfer(net, VHOST_USER_SAVE, theirs);
    close(TAKE_FD(theirs));
    if (r == 0)
        r = read_state(net, ours, out);
    if (r == 0)
        r = end_transfer(net);
    return r < 0 ? note_fault(net, r, "its state is saved") : 0;
}

int vhost_net_load(struct vhost_net *net, const void *bytes, size_t length)
{
    _cleanup_close_ int ours = -1;
    _cleanup_close_ int theirs = -1;
    int r = open_way(&ours, &theirs);
    if (r == 0)
        r = begin_transfer(net, VHOST_USER_LOAD, theirs);
    close(TAKE_FD(theirs));
    if (r == 0)
        r = write_state(net, ours, bytes, length);
    close(TAKE_FD(ours));
    if (r == 0)
        r = end_transfer(net);
    return r < 0 ? note_fault(net, r, "its state is loaded") : 0;
}
