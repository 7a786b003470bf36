/* SPDX-License-Identifier: Apache-2.0 */
/* The devices that every kind of machine has, and the table that all stand in. */
#include <assert.h>

#include "board/machine.h"

void board_add_item(struct board *board, const struct gw_state_type *type, void *object)
{
    int r = board_add_state_item(board, type, object);
    assert(r == 0); /* BOARD_MAX_ITEMS counts all that a kind may add */
    (void)r;
}

void board_add_device(struct board *board, const struct board_window *window,
                      const struct device_ops *ops, const struct gw_state_type *state, void *object)
{
    assert(board->device_count < BOARD_MAX_DEVICES);
    board->device[board->device_count++] = (struct device){
        .ops = ops,
        .state = state,
        .object = object,
        .space = window->space,
        .base = window->base,
        .bytes = window->bytes,
    };
    if (state)
        board_add_item(board, state, object);
}

struct device *board_find_device(struct board *board, enum device_space space, uint64_t address,
                                 unsigned size)
{
    for (unsigned i = 0; i < board->device_count; i++) {
        struct device *device = &board->device[i];
        uint64_t offset = address - device->base;
        if (device->space == space && offset < device->bytes)
            return device->bytes - offset >= size ? device : NULL;
    }
    return NULL;
}

void board_request_made(void *opaque)
{
    struct board *board = opaque;
    cpus_halt(board);
    board_notify_loop(board);
}

/* ---- Serial port ---- */

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

void board_add_uart(struct board *board, const struct board_window *window, struct irq_line irq)
{
    struct uart_peer peer = {serial_output, serial_room, board};
    uart16550_init(&board->uart, irq, peer);
    board_add_device(board, window, &uart16550_ops, &uart16550_state_type, &board->uart);
}

/* ---- virtio ---- */

void board_add_rng(struct board *board, const struct board_window *window, struct irq_line irq)
{
    struct virtio_host host = {board->memory, &board->time.clock, irq};
    virtio_rng_init(&board->rng, &host, board->config.seed);
    board->rng_ready = true;
    board_add_device(board, window, &virtio_mmio_ops, &virtio_rng_state_type, &board->rng);
}

int board_add_disk(struct board *board, unsigned index, const struct board_window *window,
                   struct irq_line irq, struct gw_error *error)
{
    const struct board_disk *disk = &board->config.disks[index];
    struct virtio_host host = {board->memory, &board->time.clock, irq};
    char serial[VIRTIO_BLK_SERIAL_BYTES + 1];
    snprintf(serial, sizeof serial, "godwit-%u", index);
    int r = virtio_blk_init(&board->blk[index], &host, board->block[index],
                            disk->serial ? disk->serial : serial, error);
    if (r < 0)
        return r;
    board->blk_ready[index] = true;
    board_add_device(board, window, &virtio_mmio_ops, &virtio_blk_state_type, &board->blk[index]);
    return 0;
}

/* ---- Guest notice ---- */

void board_add_vmclock(struct board *board, struct irq_line irq)
{
    const struct board_window no_registers = {DEVICE_SPACE_MEMORY, 0, 0, 0};
    if (!board->config.vmclock)
        return;
    vmclock_init(&board->vmclock, board->memory, board->kind->vmclock_base, irq);
    board_add_device(board, &no_registers, &vmclock_ops, &vmclock_state_type, &board->vmclock);
}

void board_fini_devices(struct board *board)
{
    for (unsigned i = 0; i < BOARD_MAX_DISKS; i++)
        if (board->blk_ready[i])
            virtio_blk_fini(&board->blk[i]);
    if (board->rng_ready)
        virtio_rng_fini(&board->rng);
}
