/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile vhost-user back end: what it answers, and what it writes into the shared memory while
 * frames are sent and received. The first byte tells how it answers: with what is right, or with
 * what the input has in its place; the rest is a program of writes and frames.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/vhost-net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

static uint8_t take(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static uint32_t take32(struct input *input)
{
    uint32_t value = take(input);
    for (unsigned i = 0; i < 3; i++)
        value = value << 8 | take(input);
    return value;
}

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* ---- Answers, all written before they are asked for ---- */

struct answer {
    uint32_t request, flags, bytes;
    uint64_t payload;
} __attribute__((packed));

static void put_answer(struct input *input, int fd, uint32_t request, uint64_t payload, bool odd)
{
    struct answer answer = {request, 1 | 4, sizeof payload, payload};
    size_t bytes = 12 + sizeof payload;
    if (odd)
        switch (take(input) % 8) {
        case 0:
            answer.request = take(input);
            break;
        case 1:
            answer.flags = take(input);
            break;
        case 2:
            answer.bytes = take32(input);
            break;
        case 3:
            answer.payload = (uint64_t)take32(input) << 32 | take32(input);
            break;
        case 4:
            bytes = take(input) % bytes;
            break;
        default:
            break;
        }
    check(write(fd, &answer, bytes) == (ssize_t)bytes);
}

static void put_answers(struct input *input, int fd, bool odd)
{
    static const struct {
        uint32_t request;
        uint64_t payload;
    } expected[] = {
        {VHOST_USER_GET_FEATURES, VHOST_USER_F_PROTOCOL_FEATURES | UINT64_C(1) << 32},
        {VHOST_USER_GET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_REPLY_ACK},
        /* not yet agreed on when features are set */
        {VHOST_USER_SET_OWNER, 0},
        {VHOST_USER_SET_FEATURES, 0},
        {VHOST_USER_SET_MEM_TABLE, 0},
    };
    static const uint32_t of_queue[] = {VHOST_USER_SET_VRING_NUM,  VHOST_USER_SET_VRING_BASE,
                                        VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_CALL,
                                        VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_ENABLE};
    for (unsigned i = 0; i < 5; i++)
        put_answer(input, fd, expected[i].request, expected[i].payload, odd);
    for (unsigned i = 0; i < 12; i++)
        put_answer(input, fd, of_queue[i % 6], 0, odd);
    for (unsigned i = 0; i < 2; i++)
        put_answer(input, fd, VHOST_USER_GET_VRING_BASE, 1 - i, odd);
}

/* ---- The shared memory ---- */

/* An honest back end that gives a buffer back, but for what the input says of it. */
static void give_back(struct input *input, struct ring_shared *ring, uint16_t *used)
{
    unsigned at = *used % RING_ENTRIES;
    ring->used.entry[at].id = take(input);
    ring->used.entry[at].bytes = take32(input) % (RING_BUFFER_BYTES + 16);
    (*used)++;
    ring->used.index = *used;
}

static void write_somewhere(struct input *input, struct vhost_memory *memory)
{
    uint8_t *bytes = (uint8_t *)memory;
    size_t head = offsetof(struct ring_shared, buffer);
    size_t at = take32(input) % (2 * head);
    bytes[at < head ? at : at - head + sizeof(struct ring_shared)] = take(input);
}

static void write_frame(struct input *input, struct ring_shared *ring)
{
    uint8_t *buffer = ring->buffer[take(input)];
    unsigned bytes = take(input);
    for (unsigned i = 0; i < bytes; i++)
        buffer[i] = take(input);
}

static void receive(struct input *input, struct vhost_net *net)
{
    static uint8_t room[NET_HEADER_BYTES + NET_FRAME_BYTES];
    size_t bytes = take(input) & 1 ? sizeof room : take(input);
    size_t first = take(input) & 1 ? bytes : bytes / 2;
    uint8_t *copy = malloc(bytes + 1); /* of just that size, so that one byte too many is seen */
    check(copy != NULL);
    const struct iovec iov[] = {{copy, first}, {copy + first, bytes - first}};
    ssize_t n = vhost_net_receive(net, iov, first == bytes ? 1 : 2);
    check(n <= (ssize_t)bytes);
    free(copy);
}

static void send_one(struct input *input, struct vhost_net *net)
{
    static uint8_t frame[RING_BUFFER_BYTES + 256];
    size_t bytes = take(input) & 1 ? take32(input) % sizeof frame : take(input);
    const struct iovec iov[] = {{frame, bytes / 3}, {frame + bytes / 3, bytes - bytes / 3}};
    (void)vhost_net_send(net, iov, 2);
}

static void run(struct input *input, struct vhost_net *net)
{
    uint16_t used[2] = {0, 0};
    for (unsigned i = 0; input->at < input->end && i < 2000; i++)
        switch (take(input) % 8) {
        case 0:
            send_one(input, net);
            break;
        case 1:
        case 2:
            receive(input, net);
            break;
        case 3:
            give_back(input, &net->memory->in, &used[0]);
            break;
        case 4:
            give_back(input, &net->memory->out, &used[1]);
            break;
        case 5:
            write_somewhere(input, net->memory);
            break;
        default:
            write_frame(input, &net->memory->in);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    struct vhost_net net;
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    check(vhost_net_init(&net) == 0);
    put_answers(&input, ends[1], take(&input) & 1);
    shutdown(ends[1], SHUT_WR); /* nobody is waited for */
    int r = vhost_net_connect(&net, ends[0]);
    if (r == 0)
        r = vhost_net_start(&net);
    check(r == 0 || net.fault[0]);
    if (r == 0)
        run(&input, &net);
    if (r == 0)
        (void)vhost_net_stop(&net);
    vhost_net_fini(&net);
    close(ends[1]);
    return 0;
}
