/* SPDX-License-Identifier: Apache-2.0 */
#include "board/riscv-virt.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "board/riscv-machine.h"

/* The order is that of sections in the saved state. RAM begins at RAM_BASE. */
const struct board_window riscv_virt_map[PART_COUNT] = {
    [PART_CLINT] = {DEVICE_SPACE_MEMORY, 0x2000000, CLINT_BYTES, 0},
    [PART_PLIC] = {DEVICE_SPACE_MEMORY, 0xc000000, PLIC_BYTES, 0},
    [PART_UART] = {DEVICE_SPACE_MEMORY, 0x10000000, UART_BYTES, 10},
    [PART_RTC] = {DEVICE_SPACE_MEMORY, 0x101000, GOLDFISH_RTC_BYTES, 11},
    [PART_TEST] = {DEVICE_SPACE_MEMORY, 0x100000, TEST_FINISHER_BYTES, 0},
    [PART_VIRTIO + 0] = {DEVICE_SPACE_MEMORY, 0x10001000, 0x1000, 1},
    [PART_VIRTIO + 1] = {DEVICE_SPACE_MEMORY, 0x10002000, 0x1000, 2},
    [PART_VIRTIO + 2] = {DEVICE_SPACE_MEMORY, 0x10003000, 0x1000, 3},
    [PART_VIRTIO + 3] = {DEVICE_SPACE_MEMORY, 0x10004000, 0x1000, 4},
    [PART_VIRTIO + 4] = {DEVICE_SPACE_MEMORY, 0x10005000, 0x1000, 5},
    [PART_VIRTIO + 5] = {DEVICE_SPACE_MEMORY, 0x10006000, 0x1000, 6},
    [PART_VIRTIO + 6] = {DEVICE_SPACE_MEMORY, 0x10007000, 0x1000, 7},
    [PART_VIRTIO + 7] = {DEVICE_SPACE_MEMORY, 0x10008000, 0x1000, 8},
    [PART_VMCLOCK] = {DEVICE_SPACE_MEMORY, RISCV_VIRT_VMCLOCK_BASE, VMCLOCK_BYTES, 12},
};
static_assert(RISCV_VIRT_DISK_SLOT + RISCV_VIRT_MAX_DISKS == RISCV_VIRT_BUTTON_SLOT,
              "the disks fill the slots up to the power button's");

static struct irq_line irq_of(struct board *board, unsigned part)
{
    return (struct irq_line){plic_set_level, &riscv_virt_of(board)->plic, riscv_virt_map[part].irq};
}

static void connect_harts(struct board *board)
{
    struct riscv_virt *riscv = riscv_virt_of(board);
    for (unsigned i = 0; i < board->config.cpus; i++) {
        struct riscv_hart *hart = &riscv->hart[i];
        riscv->clint.hart[i].software_line = (struct irq_line){hart_set_irq, hart, RV_IRQ_MSIP};
        riscv->clint.hart[i].timer_line = (struct irq_line){hart_set_irq, hart, RV_IRQ_MTIP};
        riscv->plic.context[2 * i].output = (struct irq_line){hart_set_irq, hart, RV_IRQ_MEIP};
        riscv->plic.context[2 * i + 1].output = (struct irq_line){hart_set_irq, hart, RV_IRQ_SEIP};
    }
}

/* ---- Building ---- */

static int prepare(struct board *board, struct gw_error *error)
{
    board->machine = calloc(1, sizeof(struct riscv_virt));
    return board->machine ? 0
                          : gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                                         "no memory for a machine");
}

static int add_ram(struct gw_memory *memory, uint64_t bytes,
                   const struct gw_memory_backing *backing, struct gw_error *error)
{
    return gw_memory_add_backed_region(memory, "ram", RAM_BASE, bytes, backing, error);
}

static void watch_harts(void *opaque, bool on)
{
    const struct board *board = opaque;
    for (unsigned i = 0; i < board->config.cpus; i++)
        rv_hart_set_watching(riscv_virt_of(board)->hart[i].cpu, on);
}

static void start_watching(void *board)
{
    watch_harts(board, true);
}

static void stop_watching(void *board)
{
    watch_harts(board, false);
}

static void set_watching(void *board, bool on)
{
    board_while_parked(board, on ? start_watching : stop_watching, board);
}

static int build_tracker(struct board *board, struct gw_error *error)
{
    struct riscv_virt *riscv = riscv_virt_of(board);
    riscv->tracker = gw_bytemap_tracker_new(board->memory, set_watching, board);
    return riscv->tracker ? 0
                          : gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                                         "no memory for the dirty tracker");
}

static void build_platform(struct board *board)
{
    struct riscv_virt *riscv = riscv_virt_of(board);
    struct clock *clock = &board->time.clock;
    const struct board_window *map = riscv_virt_map;
    clint_init(&riscv->clint, clock, board->config.cpus);
    plic_init(&riscv->plic, board->config.cpus);
    connect_harts(board);
    goldfish_rtc_init(&riscv->rtc, clock, irq_of(board, PART_RTC));
    test_finisher_init(&riscv->finisher, board_request_made, board);
    board_add_device(board, &map[PART_CLINT], &clint_ops, &clint_state_type, &riscv->clint);
    board_add_device(board, &map[PART_PLIC], &plic_ops, &plic_state_type, &riscv->plic);
    board_add_uart(board, &map[PART_UART], irq_of(board, PART_UART));
    board_add_device(board, &map[PART_RTC], &goldfish_rtc_ops, &goldfish_rtc_state_type,
                     &riscv->rtc);
    board_add_device(board, &map[PART_TEST], &test_finisher_ops, &test_finisher_state_type,
                     &riscv->finisher);
}

static void build_button(struct board *board)
{
    struct riscv_virt *riscv = riscv_virt_of(board);
    unsigned part = PART_VIRTIO + RISCV_VIRT_BUTTON_SLOT;
    struct virtio_host host = {board->memory, &board->time.clock, irq_of(board, part)};
    virtio_input_init(&riscv->button, &host);
    riscv->button_ready = true;
    board_add_device(board, &riscv_virt_map[part], &virtio_mmio_ops, &virtio_input_state_type,
                     &riscv->button);
}

/* Disks from the front of their slots, networks at the end of them. */
static int build_slot(struct board *board, unsigned index, struct gw_error *error)
{
    const struct board_config *config = &board->config;
    unsigned part = PART_VIRTIO + RISCV_VIRT_DISK_SLOT + index;
    unsigned first_net = RISCV_VIRT_MAX_DISKS - config->net_count;
    const struct board_window *window = &riscv_virt_map[part];
    if (index < config->disk_count)
        return board_add_disk(board, index, window, irq_of(board, part), error);
    if (index >= first_net)
        return board_add_net(board, index - first_net, window, irq_of(board, part), error);
    board_add_device(board, window, &virtio_mmio_empty_ops, NULL, NULL);
    return 0;
}

static int build_slots(struct board *board, struct gw_error *error)
{
    unsigned part = PART_VIRTIO + RISCV_VIRT_RNG_SLOT;
    board_add_rng(board, &riscv_virt_map[part], irq_of(board, part));
    for (unsigned i = 0; i < RISCV_VIRT_MAX_DISKS; i++) {
        int r = build_slot(board, i, error);
        if (r < 0)
            return r;
    }
    build_button(board);
    return 0;
}

static int build(struct board *board, struct gw_error *error)
{
    int r = build_tracker(board, error);
    if (r == 0)
        r = riscv_harts_new(board, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < board->config.cpus; i++)
        board_add_item(board, &rv_hart_state_type,
                       rv_hart_state_object(riscv_virt_of(board)->hart[i].cpu));
    build_platform(board);
    r = build_slots(board, error);
    if (r == 0)
        board_add_vmclock(board, irq_of(board, PART_VMCLOCK));
    return r;
}

static void fini(struct board *board)
{
    struct riscv_virt *riscv = riscv_virt_of(board);
    if (!riscv)
        return;
    if (riscv->button_ready)
        virtio_input_fini(&riscv->button);
    riscv_harts_free(board);
    gw_bytemap_tracker_free(riscv->tracker);
    free(riscv);
}

/* ---- Running ---- */

/* After registers or memory were changed from outside. */
static void flush_harts(struct board *board)
{
    for (unsigned i = 0; i < board->config.cpus; i++)
        rv_hart_flush_later(riscv_virt_of(board)->hart[i].cpu);
}

/* All harts begin at once; the firmware sorts them out. a1 is the device tree, a2 OpenSBI's block.
 */
static int enter(struct board *board, const struct boot_entry *entry, struct gw_error *error)
{
    for (unsigned i = 0; i < board->config.cpus; i++) {
        rv_hart_reset(riscv_virt_of(board)->hart[i].cpu, entry->pc, i, entry->argument[0],
                      entry->argument[1]);
        board->time.waiting[i] = false;
    }
    flush_harts(board);
    return 0;
}

static int resume(struct board *board, struct gw_error *error)
{
    if (board->config.clock == GW_CLOCK_INSTRUCTIONS)
        instruction_clock_attach(board);
    return 0;
}

static enum board_request request(const struct board *board)
{
    static const enum board_request requests[TEST_FINISHER_REQUESTS] = {
        [TEST_FINISHER_NONE] = BOARD_REQUEST_NONE,
        [TEST_FINISHER_PASS] = BOARD_REQUEST_POWER_OFF,
        [TEST_FINISHER_FAIL] = BOARD_REQUEST_FAIL,
        [TEST_FINISHER_RESET] = BOARD_REQUEST_RESET,
    };
    return requests[riscv_virt_of(board)->finisher.request];
}

static int press_power(struct board *board, struct gw_error *error)
{
    if (virtio_input_press(&riscv_virt_of(board)->button))
        return 0;
    return gw_error_set(
        error, GW_LAYER_BOARD, GW_CODE_STATE, -ENOTCONN,
        "the guest does not listen to its power button: it is still starting, or it has "
        "no driver for it (virtio_input); try again later, power it off from inside, or "
        "end the machine without asking it");
}

static struct gw_tracker tracker(struct board *board)
{
    return gw_bytemap_tracker_interface(riscv_virt_of(board)->tracker);
}

static uint64_t instructions(struct board *board)
{
    return rv_hart_instructions(riscv_virt_of(board)->hart[0].cpu);
}

const struct machine_kind riscv_virt_kind = {
    .name = RISCV_VIRT_NAME,
    .short_name = "riscv-virt",
    .architecture = IMAGE_RISCV64,
    .max_cpus = RISCV_VIRT_MAX_HARTS,
    .max_disks = RISCV_VIRT_MAX_DISKS,
    .instruction_clock = true,
    .vmclock_base = RISCV_VIRT_VMCLOCK_BASE,
    .prepare = prepare,
    .add_ram = add_ram,
    .read_images = riscv_images_read,
    .build = build,
    .fini = fini,
    .enter = enter,
    .loaded = flush_harts,
    .resume = resume,
    .cpu_step = riscv_hart_step,
    .cpu_kick = riscv_hart_kick,
    .request = request,
    .press_power = press_power,
    .tracker = tracker,
    .instructions = instructions,
};
