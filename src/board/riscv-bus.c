/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "board/riscv-machine.h"

static void enter(struct riscv_hart *hart, uint64_t retired)
{
    pthread_mutex_lock(&hart->board->io_lock);
    if (hart->board->time.clock.mode == GW_CLOCK_INSTRUCTIONS)
        instruction_clock_account(hart, retired);
}

static int bus_read(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                    uint64_t *ret_value)
{
    struct riscv_hart *hart = opaque;
    struct device *device = board_find_device(hart->board, DEVICE_SPACE_MEMORY, address, size);
    if (!device)
        return -EFAULT;
    enter(hart, retired);
    *ret_value = device->ops->read(device->object, address - device->base, size);
    pthread_mutex_unlock(&hart->board->io_lock);
    return 0;
}

static int bus_write(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                     uint64_t value)
{
    struct riscv_hart *hart = opaque;
    struct device *device = board_find_device(hart->board, DEVICE_SPACE_MEMORY, address, size);
    if (!device)
        return -EFAULT;
    enter(hart, retired);
    device->ops->write(device->object, address - device->base, value, size);
    pthread_mutex_unlock(&hart->board->io_lock);
    return 0;
}

static uint64_t bus_time(void *opaque, uint64_t retired)
{
    const struct riscv_hart *hart = opaque;
    const struct clock *clock = &hart->board->time.clock;
    uint64_t now_ns = clock->mode == GW_CLOCK_INSTRUCTIONS ? instruction_clock_now_ns(hart, retired)
                                                           : clock_now_ns(clock);
    return now_ns / CLINT_TICK_NS;
}

const struct rv_platform riscv_bus = {
    .read = bus_read,
    .write = bus_write,
    .time = bus_time,
};
