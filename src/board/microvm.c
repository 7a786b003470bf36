/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the machine hangs together.
 *
 * Exits come on a vCPU's thread and take the I/O lock for the device. What does not leave the vCPU:
 * a virtio driver's notification is an ioeventfd, which the loop serves, or a network card's own
 * thread if the queue is for frames; a virtio device's
 * interrupt is an irqfd, and one write to it is one edge on its IOAPIC pin. The pins of virtio are
 * edge triggered (the DSDT says so), and a device raises its line again for every cause and after
 * every acknowledgement that leaves one, so no cause is lost. The serial port's and the GED's lines
 * go to the IOAPIC by level.
 *
 * When the machine has stopped nothing is on its way in: quiesce() takes the notifications that
 * still lie in the eventfds. An interrupt may still be on its way out: injection through an irqfd
 * is asynchronous. It is not lost by a move, since a device whose interrupt status is not empty
 * raises its line when it is loaded; at worst the guest sees one interrupt without a cause.
 *
 * A triple fault is how kernels reboot when all else fails, so it is a reset.
 */
#include "board/microvm.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cpu/kvm/kvm.h"
#include "device/ged.h"

/* The order is that of sections in the saved state. */
const struct board_window microvm_map[MICROVM_PARTS] = {
    [MICROVM_UART] = {DEVICE_SPACE_PORTS, 0x3f8, 8, 4},
    [MICROVM_GED] = {DEVICE_SPACE_MEMORY, 0xfea00000, GED_EVENT_BYTES, 9},
    [MICROVM_GED_REGISTERS] = {DEVICE_SPACE_MEMORY, 0xfea00200, GED_REGISTER_BYTES, 0},
    [MICROVM_VIRTIO + 0] = {DEVICE_SPACE_MEMORY, 0xfeb00000, 0x200, 16},
    [MICROVM_VIRTIO + 1] = {DEVICE_SPACE_MEMORY, 0xfeb00200, 0x200, 17},
    [MICROVM_VIRTIO + 2] = {DEVICE_SPACE_MEMORY, 0xfeb00400, 0x200, 18},
    [MICROVM_VIRTIO + 3] = {DEVICE_SPACE_MEMORY, 0xfeb00600, 0x200, 19},
    [MICROVM_VIRTIO + 4] = {DEVICE_SPACE_MEMORY, 0xfeb00800, 0x200, 20},
    [MICROVM_VIRTIO + 5] = {DEVICE_SPACE_MEMORY, 0xfeb00a00, 0x200, 21},
    [MICROVM_VIRTIO + 6] = {DEVICE_SPACE_MEMORY, 0xfeb00c00, 0x200, 22},
    [MICROVM_VIRTIO + 7] = {DEVICE_SPACE_MEMORY, 0xfeb00e00, 0x200, 23},
};
static_assert(MICROVM_DISK_SLOT + MICROVM_MAX_DISKS == MICROVM_SLOTS, "disks fill the slots");

/* One virtio slot that is in use: its line out, and a notification in for all its queues but those
 * that the device's own thread is told of. */
struct slot {
    /* set once */
    struct board *board;
    struct virtio_mmio *device;
    int irq_fd, notify_fd;
    sd_event_source *notify_source;
};

struct microvm {
    /* set once */
    struct kvm_host *host;
    struct vm *vm;
    struct slot slot[MICROVM_SLOTS];
    /* under the I/O lock */
    struct ged ged;
};

static struct microvm *microvm_of(const struct board *board)
{
    return board->machine;
}

/* ---- What the vCPUs reach outside RAM ---- */

static uint64_t access_read(struct board *board, enum device_space space, uint64_t address,
                            unsigned size)
{
    uint64_t value = UINT64_MAX; /* nobody drives the bus */
    pthread_mutex_lock(&board->io_lock);
    struct device *device = board_find_device(board, space, address, size);
    if (device)
        value = device->ops->read(device->object, address - device->base, size);
    pthread_mutex_unlock(&board->io_lock);
    return value;
}

static void access_write(struct board *board, enum device_space space, uint64_t address,
                         unsigned size, uint64_t value)
{
    pthread_mutex_lock(&board->io_lock);
    struct device *device = board_find_device(board, space, address, size);
    if (device)
        device->ops->write(device->object, address - device->base, value, size);
    pthread_mutex_unlock(&board->io_lock);
}

static uint64_t mmio_read(void *board, uint64_t address, unsigned size)
{
    return access_read(board, DEVICE_SPACE_MEMORY, address, size);
}

static void mmio_write(void *board, uint64_t address, unsigned size, uint64_t value)
{
    access_write(board, DEVICE_SPACE_MEMORY, address, size, value);
}

static uint32_t port_read(void *board, uint16_t port, unsigned size)
{
    return (uint32_t)access_read(board, DEVICE_SPACE_PORTS, port, size);
}

static void port_write(void *board, uint16_t port, unsigned size, uint32_t value)
{
    access_write(board, DEVICE_SPACE_PORTS, port, size, value);
}

/* ---- Host, CPU model, memory ---- */

static int refuse_memory(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                        "no memory for a machine");
}

/* The model of a machine that arrives, or that the user named; config.cpu_model afterwards. */
static int settle_cpu_model(struct board *board, struct gw_error *error)
{
    struct board_config *config = &board->config;
    struct cpu_model supported;
    int r = cpu_model_of_host(microvm_of(board)->host, &supported, error);
    if (r < 0)
        return r;
    if (config->cpu_model)
        return cpu_model_check(config->cpu_model, &supported, error);
    config->cpu_model = malloc(sizeof *config->cpu_model);
    if (!config->cpu_model)
        return refuse_memory(error);
    return cpu_model_from_text(config->cpu_name ? config->cpu_name : "host", &supported,
                               config->cpu_model, error);
}

/* RAM above what the CPU model can address would not exist for the guest. */
static int check_addresses(const struct board *board, struct gw_error *error)
{
    const struct cpu_model *model = board->config.cpu_model;
    uint64_t bytes = board->config.memory_bytes;
    uint64_t end =
        bytes > MICROVM_LOW_RAM_END ? MICROVM_HIGH_RAM_BASE + bytes - MICROVM_LOW_RAM_END : bytes;
    unsigned bits = cpu_model_address_bits(model);
    if (bits < 64 && end > UINT64_C(1) << bits)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "the CPU model '%s' has %u-bit physical addresses, too few for %llu "
                            "MiB of memory: take 'host', or less memory",
                            model->name, bits, (unsigned long long)(bytes >> 20));
    return 0;
}

/* A KVM that emulates privileged code would stop in the middle of a kernel's start. */
static int check_kvm(struct board *board, struct gw_error *error)
{
    struct kvm_kind kind;
    if (!board->config.linux_kernel)
        return 0;
    int r = kvm_host_kind(microvm_of(board)->host, &kind, error);
    if (r < 0 || kind.runs_kernels)
        return r;
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "this host's KVM (%s) does not run Linux: %s; use a host with hardware "
                        "virtualization, or a riscv64 kernel, which the software CPU runs anywhere",
                        kind.name, kind.obstacle);
}

static int prepare(struct board *board, struct gw_error *error)
{
    struct microvm *microvm = calloc(1, sizeof *microvm);
    if (!microvm)
        return refuse_memory(error);
    board->machine = microvm;
    for (unsigned i = 0; i < MICROVM_SLOTS; i++)
        microvm->slot[i].irq_fd = microvm->slot[i].notify_fd = -1;
    int r = kvm_host_open(NULL, &microvm->host, error);
    if (r == 0 && board->config.boot_bytes)
        r = check_kvm(board, error);
    if (r == 0)
        r = settle_cpu_model(board, error);
    return r < 0 ? r : check_addresses(board, error);
}

static int add_ram(struct gw_memory *memory, uint64_t bytes,
                   const struct gw_memory_backing *backing, struct gw_error *error)
{
    uint64_t low = bytes < MICROVM_LOW_RAM_END ? bytes : MICROVM_LOW_RAM_END;
    int r = gw_memory_add_backed_region(memory, "ram", 0, low, backing, error);
    if (r == 0 && bytes > low)
        r = gw_memory_add_backed_region(memory, "ram-high", MICROVM_HIGH_RAM_BASE, bytes - low,
                                        backing, error);
    return r;
}

static int build_vm(struct board *board, struct gw_error *error)
{
    static const enum vm_tracking tracking[BOARD_TRACKINGS] = {
        [BOARD_TRACKING_AUTO] = VM_TRACK_AUTO,
        [BOARD_TRACKING_BITMAP] = VM_TRACK_BITMAP,
        [BOARD_TRACKING_RING] = VM_TRACK_RING,
    };
    struct microvm *microvm = microvm_of(board);
    struct vm_config config = {
        .model = board->config.cpu_model,
        .cpus = board->config.cpus,
        .tracking = tracking[board->config.tracking],
        .platform = {board, mmio_read, mmio_write, port_read, port_write},
    };
    int r = vm_new(microvm->host, board->memory, &config, &microvm->vm, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < board->config.cpus; i++)
        board_add_item(board, &vcpu_state_state_type, vcpu_state_object(vm_vcpu(microvm->vm, i)));
    board_add_item(board, &vm_state_state_type, vm_state_object(microvm->vm));
    return 0;
}

/* ---- Virtio slots ---- */

static void raise_edge(void *opaque, unsigned number, bool level)
{
    const struct slot *slot = opaque;
    if (level)
        eventfd_write(slot->irq_fd, 1);
}

/* I/O lock held. */
static void take_notification(struct slot *slot)
{
    eventfd_t count;
    if (eventfd_read(slot->notify_fd, &count) == 0)
        virtio_mmio_notify(slot->device);
}

static int notified(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
    struct slot *slot = opaque;
    pthread_mutex_lock(&slot->board->io_lock);
    take_notification(slot);
    pthread_mutex_unlock(&slot->board->io_lock);
    return 0;
}

/* The slot's line, before its device is made. */
static int open_slot(struct board *board, unsigned number, struct irq_line *ret_line,
                     struct gw_error *error)
{
    struct slot *slot = &microvm_of(board)->slot[number];
    slot->board = board;
    slot->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    slot->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (slot->irq_fd < 0 || slot->notify_fd < 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -errno,
                            "cannot make an eventfd: %s", strerror(errno));
    *ret_line = (struct irq_line){raise_edge, slot, 0};
    return vm_add_irqfd(microvm_of(board)->vm, microvm_map[MICROVM_VIRTIO + number].irq,
                        slot->irq_fd, error);
}

/* `net`: NULL, or the network device in the slot. */
static int connect_slot(struct board *board, unsigned number, struct virtio_mmio *device,
                        const struct virtio_net *net, struct gw_error *error)
{
    struct slot *slot = &microvm_of(board)->slot[number];
    uint64_t base = microvm_map[MICROVM_VIRTIO + number].base;
    slot->device = device;
    for (unsigned queue = 0; queue < device->queue_count; queue++) {
        int kick_fd = net ? virtio_net_kick_fd(net, queue) : -1;
        int r = vm_add_ioeventfd(microvm_of(board)->vm, base + VIRTIO_MMIO_QUEUE_NOTIFY, queue,
                                 kick_fd >= 0 ? kick_fd : slot->notify_fd, error);
        if (r < 0)
            return r;
    }
    int r = sd_event_add_io(board->loop, &slot->notify_source, slot->notify_fd, EPOLLIN, notified,
                            slot);
    return r < 0 ? gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, r,
                                "cannot watch an eventfd: %s", strerror(-r))
                 : 0;
}

static int build_rng(struct board *board, struct gw_error *error)
{
    struct irq_line line;
    int r = open_slot(board, MICROVM_RNG_SLOT, &line, error);
    if (r < 0)
        return r;
    board_add_rng(board, &microvm_map[MICROVM_VIRTIO + MICROVM_RNG_SLOT], line);
    return connect_slot(board, MICROVM_RNG_SLOT, &board->rng.transport, NULL, error);
}

static int build_disk(struct board *board, unsigned index, struct gw_error *error)
{
    unsigned number = MICROVM_DISK_SLOT + index;
    struct irq_line line;
    int r = open_slot(board, number, &line, error);
    if (r == 0)
        r = board_add_disk(board, index, &microvm_map[MICROVM_VIRTIO + number], line, error);
    return r < 0 ? r : connect_slot(board, number, &board->blk[index].transport, NULL, error);
}

static int build_net(struct board *board, unsigned index, unsigned number, struct gw_error *error)
{
    struct irq_line line;
    struct virtio_net *device = &board->link[index].device;
    int r = open_slot(board, number, &line, error);
    if (r == 0)
        r = board_add_net(board, index, &microvm_map[MICROVM_VIRTIO + number], line, error);
    return r < 0 ? r : connect_slot(board, number, &device->transport, device, error);
}

/* Disks from the front of their slots, networks at the end of them. */
static int build_slot(struct board *board, unsigned index, struct gw_error *error)
{
    const struct board_config *config = &board->config;
    unsigned number = MICROVM_DISK_SLOT + index;
    unsigned first_net = MICROVM_MAX_DISKS - config->net_count;
    if (index < config->disk_count)
        return build_disk(board, index, error);
    if (index >= first_net)
        return build_net(board, index - first_net, number, error);
    board_add_device(board, &microvm_map[MICROVM_VIRTIO + number], &virtio_mmio_empty_ops, NULL,
                     NULL);
    return 0;
}

static int build_slots(struct board *board, struct gw_error *error)
{
    int r = build_rng(board, error);
    for (unsigned i = 0; r == 0 && i < MICROVM_MAX_DISKS; i++)
        r = build_slot(board, i, error);
    return r;
}

static void close_slot(struct slot *slot)
{
    sd_event_source_disable_unref(slot->notify_source);
    if (slot->irq_fd >= 0)
        close(slot->irq_fd);
    if (slot->notify_fd >= 0)
        close(slot->notify_fd);
}

/* ---- The whole ---- */

static void set_level(void *vm, unsigned gsi, bool level)
{
    vm_set_irq(vm, gsi, level);
}

static struct irq_line level_line(struct board *board, enum microvm_part part)
{
    return (struct irq_line){set_level, microvm_of(board)->vm, microvm_map[part].irq};
}

static void tell_event(void *ged, unsigned event, bool level)
{
    if (level)
        ged_tell(ged, event);
}

static int build(struct board *board, struct gw_error *error)
{
    struct microvm *microvm = microvm_of(board);
    int r = build_vm(board, error);
    if (r < 0)
        return r;
    board_add_uart(board, &microvm_map[MICROVM_UART], level_line(board, MICROVM_UART));
    ged_init(&microvm->ged, level_line(board, MICROVM_GED), board_request_made, board);
    board_add_device(board, &microvm_map[MICROVM_GED], &ged_ops, &ged_state_type, &microvm->ged);
    board_add_device(board, &microvm_map[MICROVM_GED_REGISTERS], &ged_register_ops, NULL,
                     &microvm->ged);
    r = build_slots(board, error);
    if (r == 0)
        board_add_vmclock(board, (struct irq_line){tell_event, &microvm->ged, GED_EVENT_VMCLOCK});
    return r;
}

static void fini(struct board *board)
{
    struct microvm *microvm = microvm_of(board);
    if (!microvm)
        return;
    for (unsigned i = 0; i < MICROVM_SLOTS; i++)
        close_slot(&microvm->slot[i]);
    vm_free(microvm->vm);
    kvm_host_close(microvm->host);
    free(microvm);
}

/* ---- Running ---- */

static int enter(struct board *board, const struct boot_entry *entry, struct gw_error *error)
{
    struct vm *vm = microvm_of(board)->vm;
    bool long_mode = entry->argument[1] == MICROVM_ENTRY_LONG;
    struct vcpu_entry start = {
        .mode = long_mode ? VCPU_ENTRY_LONG : VCPU_ENTRY_PROTECTED,
        .rip = entry->pc,
        .rsi = long_mode ? entry->argument[0] : 0,
        .rbx = long_mode ? 0 : entry->argument[0],
        .rsp = long_mode ? MICROVM_BOOT_STACK : 0,
        .cr3 = MICROVM_PAGE_TABLES,
        .gdt = MICROVM_GDT,
    };
    int r = vm_reset(vm, error);
    return r < 0 ? r : vcpu_set_entry(vm_vcpu(vm, 0), &start, error);
}

static int fetch(struct board *board, struct gw_error *error)
{
    return vm_fetch_state(microvm_of(board)->vm, error);
}

static int resume(struct board *board, struct gw_error *error)
{
    return vm_resume_time(microvm_of(board)->vm, error);
}

static void quiesce(struct board *board)
{
    struct microvm *microvm = microvm_of(board);
    for (unsigned i = 0; i < MICROVM_SLOTS; i++)
        if (microvm->slot[i].device)
            take_notification(&microvm->slot[i]);
}

static void cpu_failed(struct board *board, const struct gw_error *error)
{
    pthread_mutex_lock(&board->io_lock);
    snprintf(board->failure, sizeof board->failure, "%s", error->message);
    board_request_made(board);
    pthread_mutex_unlock(&board->io_lock);
}

static void cpu_begin(struct board *board, unsigned index)
{
    struct gw_error error = {0};
    if (vcpu_bind_thread(vm_vcpu(microvm_of(board)->vm, index), &error) < 0)
        cpu_failed(board, &error);
}

static void cpu_step(struct board *board, unsigned index)
{
    struct microvm *microvm = microvm_of(board);
    struct gw_error error = {0};
    switch (vcpu_run(vm_vcpu(microvm->vm, index), &error)) {
    case VCPU_STOP_KICKED:
        return;
    case VCPU_STOP_SHUTDOWN:
        pthread_mutex_lock(&board->io_lock);
        ged_ask(&microvm->ged, GED_REQUEST_RESET);
        pthread_mutex_unlock(&board->io_lock);
        return;
    case VCPU_STOP_FAILED:
        cpu_failed(board, &error);
        return;
    }
}

static void cpu_kick(struct board *board, unsigned index)
{
    vcpu_kick(vm_vcpu(microvm_of(board)->vm, index));
}

static enum board_request request(const struct board *board)
{
    static const enum board_request requests[GED_REQUESTS] = {
        [GED_REQUEST_NONE] = BOARD_REQUEST_NONE,
        [GED_REQUEST_POWER_OFF] = BOARD_REQUEST_POWER_OFF,
        [GED_REQUEST_RESET] = BOARD_REQUEST_RESET,
    };
    return board->failure[0] ? BOARD_REQUEST_CRASH : requests[microvm_of(board)->ged.request];
}

/* The GED cannot know whether a driver listens; the guest finds the press when it has one. */
static int press_power(struct board *board, struct gw_error *error)
{
    ged_tell(&microvm_of(board)->ged, GED_EVENT_POWER_BUTTON);
    return 0;
}

static struct gw_tracker tracker(struct board *board)
{
    return vm_tracker(microvm_of(board)->vm);
}

const struct machine_kind microvm_kind = {
    .name = MICROVM_NAME,
    .short_name = "microvm",
    .architecture = IMAGE_X86_64,
    .max_cpus = MICROVM_MAX_CPUS,
    .max_disks = MICROVM_MAX_DISKS,
    .cpu_models = true,
    .vmclock_base = MICROVM_VMCLOCK_BASE,
    .prepare = prepare,
    .add_ram = add_ram,
    .read_images = microvm_images_read,
    .accept_images = check_kvm,
    .build = build,
    .fini = fini,
    .enter = enter,
    .fetch = fetch,
    .resume = resume,
    .quiesce = quiesce,
    .cpu_begin = cpu_begin,
    .cpu_step = cpu_step,
    .cpu_kick = cpu_kick,
    .request = request,
    .press_power = press_power,
    .tracker = tracker,
};
