/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver and a hostile network against the network device: the input is a program of
 * register accesses, writes to guest memory (raw, or shaped as descriptors, ring entries, headers
 * and commands), notifications, frames that arrive, stops and moves. The queues are run here as
 * well as on the device's thread, so that most of what an input does, it does each time.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "input.h"
#include "virtio/net-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

#define RAM UINT64_C(0x80000000)
#define RAM_BYTES (64u << 10)
#define RING_BYTES 0x800u /* of each queue: descriptors, available ring, used ring */
#define AVAIL 0x400u
#define USED 0x500u
#define DATA 0x4000u
#define RING_SIZE 16u
#define RINGS 5u

enum { SELECT_BARE = 1, SELECT_MANY = 2, SELECT_PLAIN_NET = 4 };

struct network {
    struct net net;
    pthread_mutex_t lock; /* what follows */
    unsigned offloads_in;
    bool full;
    size_t bytes; /* of the one frame that has arrived; 0: none */
    uint8_t frame[NET_HEADER_BYTES + NET_FRAME_BYTES];
};

struct machine {
    struct gw_memory *memory;
    uint8_t *ram;
    struct clock clock;
    pthread_mutex_t io_lock;
    struct network network;
    struct virtio_net device;
    uint16_t available[RINGS];
};

/* ---- The network ---- */

static int fuzz_set_offloads(struct net *net, unsigned offloads)
{
    container_of(net, struct network, net)->offloads_in = offloads;
    return 0;
}

static int fuzz_set_queues(struct net *net, unsigned queues)
{
    assert(queues >= 1 && queues <= net->queues_max);
    return 0;
}

/* What the device promises of a frame that it sends. */
static void check_sent(const struct network *network, const struct iovec *iov, unsigned count)
{
    uint64_t bytes = 0;
    assert(count >= 2 && iov[0].iov_len == NET_HEADER_BYTES);
    for (unsigned i = 1; i < count; i++)
        bytes += iov[i].iov_len;
    assert(bytes >= ETHERNET_HEADER_BYTES && bytes <= NET_FRAME_BYTES);
    const uint8_t *header = iov[0].iov_base;
    if (!network->net.offloads)
        assert(!(header[0] & 1) && header[1] == 0);
    if (header[0] & 1)
        assert((uint64_t)get_le16(header + 6) + get_le16(header + 8) + 2 <= bytes);
    if (header[1])
        assert(header[0] & 1 && get_le16(header + 4) && get_le16(header + 2) <= bytes);
}

static ssize_t fuzz_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    struct network *network = container_of(net, struct network, net);
    assert(queue < net->queues_max);
    check_sent(network, iov, count);
    pthread_mutex_lock(&network->lock);
    bool full = network->full;
    pthread_mutex_unlock(&network->lock);
    return full ? -EAGAIN : 0;
}

static ssize_t take_frame(struct network *network, const struct iovec *iov)
{
    size_t bytes = network->bytes;
    network->bytes = 0;
    if (bytes == 0)
        return -EAGAIN;
    if (bytes > iov->iov_len)
        return -EMSGSIZE;
    memcpy(iov->iov_base, network->frame, bytes);
    return (ssize_t)bytes;
}

static ssize_t fuzz_receive(struct net *net, unsigned queue, const struct iovec *iov,
                            unsigned count)
{
    struct network *network = container_of(net, struct network, net);
    assert(queue < net->queues_max && count == 1);
    pthread_mutex_lock(&network->lock);
    ssize_t r = take_frame(network, iov);
    pthread_mutex_unlock(&network->lock);
    return r;
}

/* ---- What a program can do ---- */

static void set_register(struct machine *machine, uint32_t offset, uint32_t value)
{
    pthread_mutex_lock(&machine->io_lock);
    virtio_mmio_ops.write(&machine->device, offset, value, 4);
    pthread_mutex_unlock(&machine->io_lock);
}

static uint32_t get_register(struct machine *machine, uint32_t offset)
{
    pthread_mutex_lock(&machine->io_lock);
    uint64_t value = virtio_mmio_ops.read(&machine->device, offset, 4);
    pthread_mutex_unlock(&machine->io_lock);
    return (uint32_t)value;
}

static void do_register_write(struct machine *machine, struct input *input)
{
    uint32_t offset = 4 * (uint32_t)next_number(input, 1);
    set_register(machine, offset, (uint32_t)next_number(input, 4));
}

static void do_register_read(struct machine *machine, struct input *input)
{
    (void)get_register(machine, (uint32_t)next_number(input, 2) & 0x1fc);
}

static void do_memory_write(struct machine *machine, struct input *input)
{
    uint32_t offset = (uint32_t)next_number(input, 2);
    uint32_t bytes = (uint32_t)next_number(input, 1);
    for (uint32_t i = 0; i < bytes && input->at < input->end; i++)
        machine->ram[(offset + i) % RAM_BYTES] = *input->at++;
}

static uint8_t *ring_of(struct machine *machine, unsigned queue)
{
    return machine->ram + RING_BYTES * queue;
}

static void put_descriptor(uint8_t *at, uint64_t address, uint32_t bytes, uint16_t flags,
                           uint16_t next)
{
    put_le64(at, address);
    put_le32(at + 8, bytes);
    put_le16(at + 12, flags);
    put_le16(at + 14, next);
}

static void publish(struct machine *machine, unsigned queue, uint16_t head)
{
    uint8_t *ring = ring_of(machine, queue);
    uint16_t index = machine->available[queue]++;
    put_le16(ring + AVAIL + 4 + 2 * (index % RING_SIZE), head);
    put_le16(ring + AVAIL + 2, machine->available[queue]);
}

static void do_descriptor(struct machine *machine, struct input *input)
{
    unsigned queue = (unsigned)next_number(input, 1) % RINGS;
    uint8_t *at = ring_of(machine, queue) + 16 * (next_number(input, 1) % (RING_SIZE + 8));
    uint64_t address = RAM + next_number(input, 2);
    uint32_t bytes = (uint32_t)next_number(input, 3);
    put_descriptor(at, address, bytes, (uint16_t)(next_number(input, 1) & 7),
                   (uint16_t)(next_number(input, 1) % (RING_SIZE + 1)));
}

static void do_publish(struct machine *machine, struct input *input)
{
    unsigned queue = (unsigned)next_number(input, 1) % RINGS;
    publish(machine, queue, (uint16_t)(next_number(input, 1) % (RING_SIZE + 1)));
}

/* A chain of two in a queue, the second to be written or not: frames, buffers, commands. */
static void do_chain(struct machine *machine, struct input *input)
{
    unsigned queue = (unsigned)next_number(input, 1) % RINGS;
    unsigned head = (unsigned)next_number(input, 1) % RING_SIZE, next = (head + 1) % RING_SIZE;
    uint8_t *ring = ring_of(machine, queue);
    uint64_t flags = next_number(input, 1);
    put_descriptor(ring + 16 * head, RAM + DATA + 64 * (flags >> 4),
                   1 + (uint32_t)next_number(input, 1), (uint16_t)(1 | (flags & 2)),
                   (uint16_t)next);
    put_descriptor(ring + 16 * next, RAM + DATA + 0x1000, 1 + (uint32_t)next_number(input, 2),
                   (uint16_t)(flags & 1 ? 2 : flags & 2), 0);
    publish(machine, queue, (uint16_t)head);
}

static void do_notify(struct machine *machine, struct input *input)
{
    set_register(machine, VIRTIO_MMIO_QUEUE_NOTIFY, (uint32_t)next_number(input, 1) % 6);
}

static void do_arrive(struct machine *machine, struct input *input)
{
    struct network *network = &machine->network;
    size_t bytes = next_number(input, 2), given = (size_t)next_number(input, 1);
    pthread_mutex_lock(&network->lock);
    network->bytes = NET_HEADER_BYTES + bytes;
    memset(network->frame, 0, 64);
    for (size_t i = 0; i < given && input->at < input->end; i++)
        network->frame[i] = *input->at++;
    pthread_mutex_unlock(&network->lock);
}

static void do_run(struct machine *machine, struct input *input)
{
    struct virtio_net *device = &machine->device;
    pthread_mutex_lock(&machine->io_lock);
    net_enter_path(device);
    for (unsigned i = 0; i < device->pairs; i++) {
        device->pair[i].readable = true;
        if (device->enabled & 2u << 2 * i && !device->broken)
            net_transmit(device, i);
        if (device->enabled & 1u << 2 * i && !device->broken)
            net_receive_frames(device, i);
    }
    net_leave_path(device);
    net_tell_transport(device);
    pthread_mutex_unlock(&machine->io_lock);
}

static void do_full(struct machine *machine, struct input *input)
{
    pthread_mutex_lock(&machine->network.lock);
    machine->network.full = next_number(input, 1) & 1;
    pthread_mutex_unlock(&machine->network.lock);
}

static void do_link(struct machine *machine, struct input *input)
{
    atomic_store(&machine->network.net.link_up, next_number(input, 1) & 1);
    pthread_mutex_lock(&machine->io_lock);
    virtio_net_link_changed(&machine->device);
    virtio_net_announce(&machine->device);
    pthread_mutex_unlock(&machine->io_lock);
}

/* What is saved loads again, whatever the driver has done; sometimes after a stop alone. */
static void do_move(struct machine *machine, struct input *input)
{
    struct gw_state_item item = {&virtio_net_state_type, 0, &machine->device};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    pthread_mutex_lock(&machine->io_lock);
    virtio_mmio_ops.drain(&machine->device);
    if (next_number(input, 1) & 1 &&
        (gw_state_save(&item, 1, &stream, NULL) < 0 ||
         gw_state_load(&item, 1, stream.data, stream.length, NULL) < 0))
        abort();
    virtio_mmio_ops.resume(&machine->device);
    pthread_mutex_unlock(&machine->io_lock);
}

static void (*const actions[])(struct machine *machine, struct input *input) = {
    do_register_write, do_register_read, do_memory_write, do_descriptor, do_publish, do_chain,
    do_notify,         do_arrive,        do_run,          do_full,       do_link,    do_move,
};

/* ---- Setting up ---- */

/* As a good driver starts, taking all that is offered. */
static void start(struct machine *machine)
{
    set_register(machine, 0x70, 3);
    for (uint32_t half = 0; half < 2; half++) {
        set_register(machine, 0x14, half);
        set_register(machine, 0x24, half);
        set_register(machine, 0x20, get_register(machine, 0x10));
    }
    set_register(machine, 0x70, 11);
    for (uint32_t queue = 0; queue < RINGS; queue++) {
        uint32_t base = (uint32_t)RAM + RING_BYTES * queue;
        const uint32_t setup[][2] = {
            {0x30, queue},        {0x38, RING_SIZE},   {0x80, base},
            {0x90, base + AVAIL}, {0xa0, base + USED}, {0x44, 1},
        };
        for (size_t i = 0; i < ARRAY_COUNT(setup); i++)
            set_register(machine, setup[i][0], setup[i][1]);
    }
    set_register(machine, 0x70, 15);
}

static struct gw_memory *make_memory(void)
{
    struct gw_memory *memory = gw_memory_new();
    if (!memory || gw_memory_add_region(memory, "ram", RAM, RAM_BYTES, NULL) < 0)
        abort();
    return memory;
}

static void make_network(struct network *network, unsigned select)
{
    static const struct net_ops ops = {
        .name = "fuzz",
        .set_offloads = fuzz_set_offloads,
        .set_queues = fuzz_set_queues,
        .send = fuzz_send,
        .receive = fuzz_receive,
    };
    static char what[] = "fuzz";
    network->net = (struct net){.ops = &ops, .what = what, .queues_max = 2, .held = true};
    if (!(select & SELECT_PLAIN_NET))
        network->net.offloads = NET_CHECKSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO;
    for (unsigned i = 0; i < NET_MAX_QUEUES; i++)
        network->net.receive_fd[i] = -1;
    atomic_store(&network->net.link_up, true);
    pthread_mutex_init(&network->lock, NULL);
}

static void make_device(struct machine *machine, unsigned select)
{
    struct virtio_host host = {.memory = machine->memory, .clock = &machine->clock};
    struct virtio_net_config config = {.net = &machine->network.net,
                                       .name = "fuzz",
                                       .mac = {2, 0, 0, 0, 0, 1},
                                       .pairs = select & SELECT_MANY ? 2 : 1};
    clock_init(&machine->clock, GW_CLOCK_HOST);
    pthread_mutex_init(&machine->io_lock, NULL);
    if (virtio_net_init(&machine->device, &host, &config, &machine->io_lock, NULL) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    static struct machine machine;
    static struct gw_memory *memory;
    if (!memory)
        memory = make_memory();
    struct input input = {data, data + length};
    unsigned select = (unsigned)next_number(&input, 1);
    memset(&machine, 0, sizeof machine);
    machine.memory = memory;
    machine.ram = gw_memory_map(memory, RAM, RAM_BYTES);
    memset(machine.ram, 0, RAM_BYTES);
    make_network(&machine.network, select);
    make_device(&machine, select);
    if (!(select & SELECT_BARE))
        start(&machine);
    while (input.at < input.end)
        actions[next_number(&input, 1) % ARRAY_COUNT(actions)](&machine, &input);
    virtio_net_fini(&machine.device);
    pthread_mutex_destroy(&machine.network.lock);
    pthread_mutex_destroy(&machine.io_lock);
    return 0;
}
