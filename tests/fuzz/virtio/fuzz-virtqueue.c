/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver: the input is a program of register accesses, writes to guest memory (raw, or
 * shaped as descriptors and ring entries so that the deep places are reached), notifications,
 * completions, presses of the power button, stops and time, against the block device (on a disk in
 * memory), the entropy device or the power button, in either clock mode.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "input.h"
#include "memory-block.h"
#include "virtio/blk.h"
#include "virtio/input.h"
#include "virtio/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

#define RAM UINT64_C(0x80000000)
#define RAM_BYTES (64u << 10)
#define DESC 0x0000u
#define AVAIL 0x1000u
#define USED 0x2000u
#define QUEUE_SIZE 16u
#define DISK_BYTES (64u << 10)

enum {
    SELECT_RNG = 1,
    SELECT_INSTRUCTIONS = 2,
    SELECT_READ_ONLY = 4,
    SELECT_BARE = 8,
    SELECT_INPUT = 16
};

struct machine {
    struct gw_memory *memory;
    uint8_t *ram;
    struct clock clock;
    struct memory_block disk;
    struct virtio_blk blk;
    struct virtio_rng rng;
    struct virtio_input input;
    void *device;
    const struct gw_state_type *state;
    uint16_t available;
};

static void set_register(struct machine *machine, uint32_t offset, uint32_t value)
{
    virtio_mmio_ops.write(machine->device, offset, value, 4);
}

static void do_register_write(struct machine *machine, struct input *input)
{
    uint32_t offset = 4 * (uint32_t)next_number(input, 1);
    set_register(machine, offset, (uint32_t)next_number(input, 4));
}

static void do_register_read(struct machine *machine, struct input *input)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    uint32_t offset = (uint32_t)next_number(input, 2) & 0xff8;
    (void)virtio_mmio_ops.read(machine->device, offset, sizes[next_number(input, 1) % 4]);
}

static void do_memory_write(struct machine *machine, struct input *input)
{
    uint32_t offset = (uint32_t)next_number(input, 2);
    uint32_t bytes = (uint32_t)next_number(input, 1);
    for (uint32_t i = 0; i < bytes && input->at < input->end; i++)
        machine->ram[(offset + i) % RAM_BYTES] = *input->at++;
}

static void do_descriptor(struct machine *machine, struct input *input)
{
    uint8_t *at = machine->ram + next_number(input, 1) * 16; /* past the table: an indirect one */
    put_le64(at, RAM + next_number(input, 2));
    put_le32(at + 8, (uint32_t)next_number(input, 2));
    put_le16(at + 12, (uint16_t)(next_number(input, 1) & 7));
    put_le16(at + 14, (uint16_t)(next_number(input, 1) % (QUEUE_SIZE + 1)));
}

static void do_publish(struct machine *machine, struct input *input)
{
    uint32_t slot = machine->available++ % QUEUE_SIZE;
    put_le16(machine->ram + AVAIL + 4 + 2 * slot,
             (uint16_t)(next_number(input, 1) % (QUEUE_SIZE + 1)));
    put_le16(machine->ram + AVAIL + 2, machine->available);
}

/* A whole request of three descriptors, its type, sector and length hostile. */
static void do_request(struct machine *machine, struct input *input)
{
    uint8_t *header = machine->ram + 0x4000;
    put_le32(header, (uint32_t)next_number(input, 1) % 16);
    put_le64(header + 8, next_number(input, 1));
    uint8_t *table = machine->ram + DESC;
    uint16_t data_flags = next_number(input, 1) & 1 ? 3 : 1;
    const struct {
        uint64_t address;
        uint32_t bytes;
        uint16_t flags;
    } pieces[3] = {{RAM + 0x4000, 16, 1},
                   {RAM + 0x5000, (uint32_t)next_number(input, 2), data_flags},
                   {RAM + 0x4100, 1, 2}};
    for (unsigned i = 0; i < 3; i++) {
        put_le64(table + 16 * i, pieces[i].address);
        put_le32(table + 16 * i + 8, pieces[i].bytes);
        put_le16(table + 16 * i + 12, pieces[i].flags);
        put_le16(table + 16 * i + 14, (uint16_t)(i + 1));
    }
    put_le16(machine->ram + AVAIL + 4 + 2 * (machine->available % QUEUE_SIZE), 0);
    put_le16(machine->ram + AVAIL + 2, ++machine->available);
}

static void do_notify(struct machine *machine, struct input *input)
{
    set_register(machine, 0x50, 0);
}

/* Offset and size of any access to the configuration. */
static void do_config_write(struct machine *machine, struct input *input)
{
    static const unsigned sizes[] = {1, 2, 4, 8};
    uint32_t offset = 0x100 + (uint32_t)next_number(input, 1);
    unsigned size = sizes[next_number(input, 1) % 4];
    virtio_mmio_ops.write(machine->device, offset, next_number(input, 2), size);
}

static void do_press(struct machine *machine, struct input *input)
{
    if (machine->device == &machine->input)
        virtio_input_press(&machine->input);
    assert(machine->input.pending <= VIRTIO_INPUT_PENDING_MAX);
}

static void do_reap(struct machine *machine, struct input *input)
{
    block_reap(&machine->disk.block, false);
}

static void do_time(struct machine *machine, struct input *input)
{
    if (machine->clock.mode == GW_CLOCK_INSTRUCTIONS)
        clock_advance_ns(&machine->clock, next_number(input, 2) * 16);
    clock_fire(&machine->clock);
}

static void do_stop(struct machine *machine, struct input *input)
{
    virtio_mmio_ops.drain(machine->device);
    assert(machine->disk.block.in_flight == 0);
    virtio_mmio_ops.resume(machine->device);
}

/* What is saved loads again, whatever the driver has done. */
static void do_move(struct machine *machine, struct input *input)
{
    struct gw_state_item item = {machine->state, 0, machine->device};
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    virtio_mmio_ops.drain(machine->device);
    if (gw_state_save(&item, 1, &stream, NULL) < 0 ||
        gw_state_load(&item, 1, stream.data, stream.length, NULL) < 0)
        abort();
    virtio_mmio_ops.resume(machine->device);
}

static void (*const actions[])(struct machine *machine, struct input *input) = {
    do_register_write, do_register_read, do_memory_write, do_descriptor, do_publish,
    do_request,        do_notify,        do_reap,         do_time,       do_stop,
    do_move,           do_config_write,  do_press,
};

/* As a good driver starts, taking all that is offered, so that not every input has to find this
 * out. */
static void start(struct machine *machine)
{
    static const struct {
        uint32_t offset, value;
    } queue_setup[] = {
        {0x30, 0},          {0x38, QUEUE_SIZE}, {0x80, RAM + DESC}, {0x90, RAM + AVAIL},
        {0xa0, RAM + USED}, {0x44, 1},          {0x70, 15},
    };
    set_register(machine, 0x70, 3);
    for (uint32_t half = 0; half < 2; half++) {
        set_register(machine, 0x14, half);
        set_register(machine, 0x24, half);
        set_register(machine, 0x20, (uint32_t)virtio_mmio_ops.read(machine->device, 0x10, 4));
    }
    set_register(machine, 0x70, 11);
    for (size_t i = 0; i < ARRAY_COUNT(queue_setup); i++)
        set_register(machine, queue_setup[i].offset, queue_setup[i].value);
    assert(virtio_mmio_live(machine->device));
}

static struct gw_memory *make_memory(void)
{
    struct gw_memory *memory = gw_memory_new();
    if (!memory || gw_memory_add_region(memory, "ram", RAM, RAM_BYTES, NULL) < 0)
        abort();
    return memory;
}

static void choose_device(struct machine *machine, unsigned select)
{
    machine->device = &machine->blk;
    machine->state = &virtio_blk_state_type;
    if (select & SELECT_INPUT) {
        machine->device = &machine->input;
        machine->state = &virtio_input_state_type;
    } else if (select & SELECT_RNG) {
        machine->device = &machine->rng;
        machine->state = &virtio_rng_state_type;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    static struct gw_memory *memory;
    if (!memory)
        memory = make_memory();
    struct input input = {data, data + length};
    struct machine machine = {.memory = memory, .ram = gw_memory_map(memory, RAM, RAM_BYTES)};
    unsigned select = (unsigned)next_number(&input, 1);
    memset(machine.ram, 0, RAM_BYTES);
    clock_init(&machine.clock,
               select & SELECT_INSTRUCTIONS ? GW_CLOCK_INSTRUCTIONS : GW_CLOCK_HOST);
    struct virtio_host host = {.memory = memory, .clock = &machine.clock};
    memory_block_init(&machine.disk, DISK_BYTES, select & SELECT_READ_ONLY);
    if (virtio_blk_init(&machine.blk, &host, &machine.disk.block, "fuzz", NULL) < 0)
        abort();
    virtio_rng_init(&machine.rng, &host, 1);
    virtio_input_init(&machine.input, &host);
    choose_device(&machine, select);
    if (!(select & SELECT_BARE))
        start(&machine);
    while (input.at < input.end)
        actions[next_number(&input, 1) % ARRAY_COUNT(actions)](&machine, &input);
    virtio_mmio_ops.reset(machine.device);
    assert(machine.disk.block.in_flight == 0);
    virtio_blk_fini(&machine.blk);
    virtio_rng_fini(&machine.rng);
    virtio_input_fini(&machine.input);
    memory_block_fini(&machine.disk);
    return 0;
}
