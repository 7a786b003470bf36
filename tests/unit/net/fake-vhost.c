/* SPDX-License-Identifier: Apache-2.0 */
#include "fake-vhost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL (VHOST_USER_PROTOCOL_REPLY_ACK | VHOST_USER_PROTOCOL_DEVICE_STATE)

struct fake_message {
    uint32_t request, flags, bytes;
    uint8_t payload[64];
    int fd;
};

/* ---- The rings, as a device sees them ---- */

static struct ring_shared *ring_at(struct fake_vhost *fake, unsigned queue)
{
    return (struct ring_shared *)(fake->memory + fake->queue[queue].address - 0x10000);
}

static void give_back(struct fake_vhost *fake, unsigned queue, uint32_t id, uint32_t bytes)
{
    struct ring_shared *ring = ring_at(fake, queue);
    uint16_t at = fake->queue[queue].used++;
    ring->used.entry[at % RING_ENTRIES].id = htole32(id);
    ring->used.entry[at % RING_ENTRIES].bytes = htole32(bytes);
    __atomic_store_n(&ring->used.index, htole16(fake->queue[queue].used), __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(&ring->available.flags, __ATOMIC_RELAXED) & htole16(1)))
        eventfd_write(fake->queue[queue].call_fd, 1);
}

static int next_lent(struct fake_vhost *fake, unsigned queue)
{
    struct ring_shared *ring = ring_at(fake, queue);
    uint16_t *next = &fake->queue[queue].available;
    if (le16toh(__atomic_load_n(&ring->available.index, __ATOMIC_ACQUIRE)) == *next)
        return -1;
    return le16toh(ring->available.entry[(*next)++ % RING_ENTRIES]);
}

static void put_frame(struct fake_vhost *fake, const uint8_t *frame, uint32_t bytes)
{
    int id = next_lent(fake, 0);
    if (id < 0)
        return;
    uint8_t *to = ring_at(fake, 0)->buffer[id];
    memcpy(to, frame, bytes);
    to[0] = 2; /* DATA_VALID */
    switch (fake->manner) {
    case FAKE_ID_TOO_BIG:
        give_back(fake, 0, RING_ENTRIES, bytes);
        break;
    case FAKE_FRAME_TOO_LONG:
        give_back(fake, 0, (uint32_t)id, RING_BUFFER_BYTES + 1);
        break;
    case FAKE_FRAME_TOO_SHORT:
        give_back(fake, 0, (uint32_t)id, 20);
        break;
    case FAKE_INDEX_TOO_FAR:
        fake->queue[0].used += RING_ENTRIES + 1;
        give_back(fake, 0, (uint32_t)id, bytes);
        break;
    default:
        give_back(fake, 0, (uint32_t)id, bytes);
    }
}

static void run_queues(struct fake_vhost *fake)
{
    int id;
    if (fake->manner == FAKE_TAKES_NONE)
        return;
    while ((id = next_lent(fake, 1)) >= 0) {
        struct ring_shared *ring = ring_at(fake, 1);
        put_frame(fake, ring->buffer[id], le32toh(ring->descriptor[id].bytes));
        atomic_fetch_add(&fake->frames, 1);
        give_back(fake, 1, (uint32_t)id, 0);
        if (fake->manner == FAKE_TAKES_TWICE)
            give_back(fake, 1, (uint32_t)id, 0);
    }
}

/* ---- Messages ---- */

static bool receive(int fd, struct fake_message *message)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {message, 12};
    struct msghdr head = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    message->fd = -1;
    if (recvmsg(fd, &head, MSG_WAITALL) != 12)
        return false;
    struct cmsghdr *passed = CMSG_FIRSTHDR(&head);
    if (passed)
        memcpy(&message->fd, CMSG_DATA(passed), sizeof message->fd);
    return message->bytes == 0 ||
           recv(fd, message->payload, message->bytes, MSG_WAITALL) == (ssize_t)message->bytes;
}

static void answer(struct fake_vhost *fake, struct fake_message *message, const void *payload,
                   uint32_t bytes)
{
    message->flags = 1 | 4;
    message->bytes = bytes;
    memcpy(message->payload, payload, bytes);
    if (fake->from == 0 && fake->manner == FAKE_ANSWERS_OTHERS)
        message->request++;
    if (fake->from == 0 && fake->manner == FAKE_ANSWERS_LONG)
        message->bytes = 60;
    (void)!send(fake->fd, message, 12 + message->bytes, MSG_NOSIGNAL);
}

static void answer_number(struct fake_vhost *fake, struct fake_message *message, uint64_t number)
{
    answer(fake, message, &number, sizeof number);
}

static uint64_t save(struct fake_vhost *fake, int fd)
{
    static const uint8_t piece[1 << 16];
    if (fake->manner == FAKE_SAVE_HANGS)
        return 0; /* stays open */
    (void)!send(fd, FAKE_STATE, strlen(FAKE_STATE), MSG_NOSIGNAL);
    while (fake->manner == FAKE_SAVE_ENDLESS && send(fd, piece, sizeof piece, MSG_NOSIGNAL) > 0)
        ;
    close(fd);
    return fake->manner == FAKE_SAVE_FAILS;
}

static uint64_t load(struct fake_vhost *fake, int fd)
{
    size_t length = 0;
    for (ssize_t n; (n = read(fd, fake->loaded + length, sizeof fake->loaded - 1 - length)) > 0;)
        length += (size_t)n;
    close(fd);
    return strcmp(fake->loaded, FAKE_STATE) != 0;
}

static void take_fd(int *at, int fd)
{
    if (*at >= 0)
        close(*at);
    *at = fd;
}

static void set_memory(struct fake_vhost *fake, const struct fake_message *message)
{
    memcpy(&fake->memory_bytes, message->payload + 16, 8);
    fake->memory =
        mmap(NULL, fake->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, message->fd, 0);
    close(message->fd);
}

/* What the request leaves; whether it has a reply of its own. */
static bool handle(struct fake_vhost *fake, struct fake_message *message, uint64_t *transfer)
{
    struct vhost_user_vring_state state;
    uint64_t number;
    memcpy(&state, message->payload, sizeof state);
    memcpy(&number, message->payload, sizeof number);
    struct fake_queue *queue = &fake->queue[state.index & 1];
    switch (message->request) {
    case VHOST_USER_GET_FEATURES:
        answer_number(fake, message, VHOST_USER_F_PROTOCOL_FEATURES | UINT64_C(1) << 32);
        return true;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        answer_number(fake, message,
                      fake->manner == FAKE_CANNOT_MIGRATE ? VHOST_USER_PROTOCOL_REPLY_ACK
                                                          : PROTOCOL);
        return true;
    case VHOST_USER_GET_VRING_BASE:
        state.number = queue->available;
        queue->enabled = false;
        answer(fake, message, &state, sizeof state);
        return true;
    case VHOST_USER_SET_DEVICE_STATE_FD:
        answer_number(fake, message, VHOST_USER_NO_FD);
        *transfer =
            state.index == VHOST_USER_SAVE ? save(fake, message->fd) : load(fake, message->fd);
        return true;
    case VHOST_USER_CHECK_DEVICE_STATE:
        answer_number(fake, message, *transfer);
        return true;
    case VHOST_USER_SET_MEM_TABLE:
        set_memory(fake, message);
        return false;
    case VHOST_USER_SET_VRING_BASE:
        queue->available = queue->used = (uint16_t)state.number;
        return false;
    case VHOST_USER_SET_VRING_ADDR:
        memcpy(&queue->address, message->payload + 8, 8);
        return false;
    case VHOST_USER_SET_VRING_CALL:
        take_fd(&queue->call_fd, message->fd);
        return false;
    case VHOST_USER_SET_VRING_KICK:
        take_fd(&queue->kick_fd, message->fd);
        return false;
    case VHOST_USER_SET_VRING_ENABLE:
        queue->enabled = state.number;
        return false;
    default:
        return false;
    }
}

static bool misbehaves_now(struct fake_vhost *fake)
{
    if (fake->from > 0) {
        fake->from--;
        return false;
    }
    return fake->manner == FAKE_SILENT || fake->manner == FAKE_CLOSES;
}

static void *fake_main(void *opaque)
{
    struct fake_vhost *fake = opaque;
    uint64_t transfer = 1;
    for (;;) {
        struct fake_message message = {0};
        struct pollfd waits[] = {{fake->fd, POLLIN, 0}, {fake->queue[1].kick_fd, POLLIN, 0}};
        poll(waits, 2, -1);
        eventfd_t count;
        if (waits[1].revents && eventfd_read(waits[1].fd, &count) == 0 && fake->queue[1].enabled)
            run_queues(fake);
        if (!waits[0].revents)
            continue;
        if (!receive(fake->fd, &message))
            break;
        if (misbehaves_now(fake)) {
            if (message.fd >= 0)
                close(message.fd);
            if (fake->manner == FAKE_CLOSES)
                break;
            continue;
        }
        bool need_reply = message.flags & 8;
        if (!handle(fake, &message, &transfer) && need_reply)
            answer_number(fake, &message, fake->from == 0 && fake->manner == FAKE_REFUSES);
    }
    shutdown(fake->fd, SHUT_RDWR);
    return NULL;
}

int fake_begin(struct fake_vhost *fake, enum fake_manner manner, unsigned from)
{
    int ends[2];
    *fake = (struct fake_vhost){.manner = manner, .from = from};
    for (unsigned i = 0; i < 2; i++)
        fake->queue[i] = (struct fake_queue){.call_fd = -1, .kick_fd = -1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    fake->fd = ends[1];
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
    return ends[0];
}

void fake_end(struct fake_vhost *fake)
{
    pthread_join(fake->thread, NULL);
    if (fake->memory)
        munmap(fake->memory, fake->memory_bytes);
    for (unsigned i = 0; i < 2; i++) {
        take_fd(&fake->queue[i].call_fd, -1);
        take_fd(&fake->queue[i].kick_fd, -1);
    }
    close(fake->fd);
}
