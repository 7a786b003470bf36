/* SPDX-License-Identifier: Apache-2.0 */
#include "board/riscv-virt.h"

#include <assert.h>
#include <errno.h>

#include "board/machine.h"

/* The order is that of sections in the saved state. RAM begins at RAM_BASE (boot-images.h). */
const struct riscv_virt_window riscv_virt_map[PART_COUNT] = {
    [PART_CLINT] = {0x2000000, CLINT_BYTES, 0},
    [PART_PLIC] = {0xc000000, PLIC_BYTES, 0},
    [PART_UART] = {0x10000000, UART_BYTES, 10},
    [PART_RTC] = {0x101000, GOLDFISH_RTC_BYTES, 11},
    [PART_TEST] = {0x100000, TEST_FINISHER_BYTES, 0},
    [PART_VIRTIO + 0] = {0x10001000, 0x1000, 1},
    [PART_VIRTIO + 1] = {0x10002000, 0x1000, 2},
    [PART_VIRTIO + 2] = {0x10003000, 0x1000, 3},
    [PART_VIRTIO + 3] = {0x10004000, 0x1000, 4},
    [PART_VIRTIO + 4] = {0x10005000, 0x1000, 5},
    [PART_VIRTIO + 5] = {0x10006000, 0x1000, 6},
    [PART_VIRTIO + 6] = {0x10007000, 0x1000, 7},
    [PART_VIRTIO + 7] = {0x10008000, 0x1000, 8},
};
static_assert(RISCV_VIRT_DISK_SLOT + BOARD_MAX_DISKS == RISCV_VIRT_BUTTON_SLOT,
              "the disks fill the slots up to the power button's");

static struct irq_line irq_of(struct board *board, unsigned part)
{
    return (struct irq_line){plic_set_level, &board->plic, riscv_virt_map[part].irq};
}

static void connect_harts(struct board *board)
{
    for (unsigned i = 0; i < board->config.cpus; i++) {
        struct board_hart *hart = &board->hart[i];
        board->clint.hart[i].software_line = (struct irq_line){hart_set_irq, hart, RV_IRQ_MSIP};
        board->clint.hart[i].timer_line = (struct irq_line){hart_set_irq, hart, RV_IRQ_MTIP};
        board->plic.context[2 * i].output = (struct irq_line){hart_set_irq, hart, RV_IRQ_MEIP};
        board->plic.context[2 * i + 1].output = (struct irq_line){hart_set_irq, hart, RV_IRQ_SEIP};
    }
}

static void serial_output(void *opaque, const uint8_t *bytes, size_t length)
{
    const struct board *board = opaque;
    if (board->callbacks.serial_output)
        board->callbacks.serial_output(board->callbacks.opaque, bytes, length);
}

static void serial_room(void *opaque)
{
    const struct board *board = opaque;
    if (board->callbacks.serial_room)
        board->callbacks.serial_room(board->callbacks.opaque);
}

/* The guest asks for the end or a reset: the harts stop, the loop does the rest. */
static void end_requested(void *opaque)
{
    struct board *board = opaque;
    harts_halt(board);
    board_notify_loop(board);
}

static void put_device(struct board *board, unsigned part, const struct device_ops *ops,
                       const struct gw_state_type *state, void *object, unsigned instance)
{
    board->device[part] = (struct device){
        .ops = ops,
        .state = state,
        .object = object,
        .base = riscv_virt_map[part].base,
        .bytes = riscv_virt_map[part].bytes,
        .instance = instance,
    };
}

static void build_platform(struct board *board)
{
    struct clock *clock = &board->time.clock;
    struct uart_peer peer = {serial_output, serial_room, board};
    clint_init(&board->clint, clock, board->config.cpus);
    plic_init(&board->plic, board->config.cpus);
    connect_harts(board);
    uart16550_init(&board->uart, irq_of(board, PART_UART), peer);
    goldfish_rtc_init(&board->rtc, clock, irq_of(board, PART_RTC));
    test_finisher_init(&board->finisher, end_requested, board);
    put_device(board, PART_CLINT, &clint_ops, &clint_state_type, &board->clint, 0);
    put_device(board, PART_PLIC, &plic_ops, &plic_state_type, &board->plic, 0);
    put_device(board, PART_UART, &uart16550_ops, &uart16550_state_type, &board->uart, 0);
    put_device(board, PART_RTC, &goldfish_rtc_ops, &goldfish_rtc_state_type, &board->rtc, 0);
    put_device(board, PART_TEST, &test_finisher_ops, &test_finisher_state_type, &board->finisher,
               0);
    for (unsigned slot = 0; slot < RISCV_VIRT_SLOTS; slot++)
        put_device(board, PART_VIRTIO + slot, &virtio_mmio_empty_ops, NULL, NULL, 0);
}

static int build_disk(struct board *board, unsigned index, struct gw_error *error)
{
    const struct board_disk *disk = &board->config.disks[index];
    unsigned part = PART_VIRTIO + RISCV_VIRT_DISK_SLOT + index;
    struct virtio_host host = {board->memory, &board->time.clock, irq_of(board, part)};
    char serial[VIRTIO_BLK_SERIAL_BYTES + 1];
    snprintf(serial, sizeof serial, "godwit-%u", index);
    int r = virtio_blk_init(&board->blk[index], &host, board->block[index],
                            disk->serial ? disk->serial : serial, error);
    if (r < 0)
        return r;
    board->blk_ready[index] = true;
    put_device(board, part, &virtio_mmio_ops, &virtio_blk_state_type, &board->blk[index], index);
    return 0;
}

static void build_rng(struct board *board)
{
    unsigned part = PART_VIRTIO + RISCV_VIRT_RNG_SLOT;
    struct virtio_host host = {board->memory, &board->time.clock, irq_of(board, part)};
    virtio_rng_init(&board->rng, &host, board->config.seed);
    board->rng_ready = true;
    put_device(board, part, &virtio_mmio_ops, &virtio_rng_state_type, &board->rng, 0);
}

static void build_button(struct board *board)
{
    unsigned part = PART_VIRTIO + RISCV_VIRT_BUTTON_SLOT;
    struct virtio_host host = {board->memory, &board->time.clock, irq_of(board, part)};
    virtio_input_init(&board->button, &host);
    board->button_ready = true;
    put_device(board, part, &virtio_mmio_ops, &virtio_input_state_type, &board->button, 0);
}

int riscv_virt_build(struct board *board, struct gw_error *error)
{
    build_platform(board);
    build_rng(board);
    build_button(board);
    for (unsigned i = 0; i < board->config.disk_count; i++) {
        int r = build_disk(board, i, error);
        if (r < 0)
            return r;
    }
    return 0;
}

void riscv_virt_fini(struct board *board)
{
    for (unsigned i = 0; i < BOARD_MAX_DISKS; i++)
        if (board->blk_ready[i])
            virtio_blk_fini(&board->blk[i]);
    if (board->button_ready)
        virtio_input_fini(&board->button);
    if (board->rng_ready)
        virtio_rng_fini(&board->rng);
}

/* The clock comes first: what is loaded after it arms timers. */
void riscv_virt_list_items(struct board *board)
{
    struct gw_state_item *item = board->item;
    *item++ = (struct gw_state_item){&board_time_state_type, 0, &board->time};
    for (unsigned i = 0; i < board->config.cpus; i++)
        *item++ = (struct gw_state_item){&rv_hart_state_type, i,
                                         rv_hart_state_object(board->hart[i].cpu)};
    for (unsigned i = 0; i < PART_COUNT; i++) {
        const struct device *device = &board->device[i];
        if (device->state)
            *item++ = (struct gw_state_item){device->state, device->instance, device->object};
    }
    board->item_count = (unsigned)(item - board->item);
}
