/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MMIO transport, version 2 (virtio 1.2 §4.2), and how queues are run.
 *
 * A notification runs the queues at once in host-clock mode. In instruction-clock mode it arms a
 * timer of guest time, so that the device acts at an instant which the guest alone determines; the
 * deadline is state, and a machine that is saved in between goes on as if it had not been.
 *
 * One run takes at most as many chains from a queue as the queue has entries. A driver on another
 * hart could add entries as fast as we take them, and we hold the I/O lock; what is left over is
 * done by the same timer later.
 *
 * A driver that breaks a rule of the rings gets DEVICE_NEEDS_RESET and a configuration interrupt
 * (§2.1.2). The queues then rest until it writes 0 to the status register.
 */
#include "virtio/mmio.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define MAGIC 0x74726976u  /* "virt" */
#define VENDOR 0x57444f47u /* "GODW" */
#define TRANSPORT_VERSION 2u
#define CONFIG_OFFSET 0x100u

#define INTERRUPT_USED 1u
#define INTERRUPT_CONFIG 2u

/* What is left over in host mode waits this long, so that others get the I/O lock. */
#define AGAIN_NS 20000u

/* §4.2.2, table 4.1. */
enum {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE_ID = 0x008,
    REG_VENDOR_ID = 0x00c,
    REG_DEVICE_FEATURES = 0x010,
    REG_DEVICE_FEATURES_SELECT = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SELECT = 0x024,
    REG_QUEUE_SELECT = 0x030,
    REG_QUEUE_SIZE_MAX = 0x034,
    REG_QUEUE_SIZE = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = VIRTIO_MMIO_QUEUE_NOTIFY,
    REG_INTERRUPT_STATUS = 0x060,
    REG_INTERRUPT_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC_LOW = 0x080,
    REG_QUEUE_DESC_HIGH = 0x084,
    REG_QUEUE_DRIVER_LOW = 0x090,
    REG_QUEUE_DRIVER_HIGH = 0x094,
    REG_QUEUE_DEVICE_LOW = 0x0a0,
    REG_QUEUE_DEVICE_HIGH = 0x0a4,
    REG_SHM_LENGTH_LOW = 0x0b0,
    REG_SHM_BASE_HIGH = 0x0bc,
    REG_CONFIG_GENERATION = 0x0fc,
};

static bool is_deterministic(const struct virtio_mmio *mmio)
{
    return mmio->host.clock->mode == GW_CLOCK_INSTRUCTIONS;
}

bool virtio_mmio_live(const struct virtio_mmio *mmio)
{
    return (mmio->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET)) == VIRTIO_DRIVER_OK;
}

static void update_interrupt(const struct virtio_mmio *mmio)
{
    irq_line_set(&mmio->host.irq, mmio->interrupt_status != 0);
}

static void raise_interrupt(struct virtio_mmio *mmio, uint32_t bits)
{
    mmio->interrupt_status |= bits;
    update_interrupt(mmio);
}

void virtio_mmio_config_changed(struct virtio_mmio *mmio)
{
    if (mmio->status & VIRTIO_DRIVER_OK)
        raise_interrupt(mmio, INTERRUPT_CONFIG);
}

void virtio_mmio_break(struct virtio_mmio *mmio)
{
    mmio->status |= VIRTIO_NEEDS_RESET;
    virtio_mmio_config_changed(mmio);
}

void virtio_mmio_push(struct virtio_mmio *mmio, struct virtio_queue *queue, uint16_t head,
                      uint32_t written)
{
    if (virtio_mmio_live(mmio) && virtio_queue_push(queue, head, written) < 0)
        virtio_mmio_break(mmio);
}

void virtio_mmio_signal(struct virtio_mmio *mmio, struct virtio_queue *queue)
{
    if (virtio_mmio_live(mmio) && virtio_queue_should_signal(queue))
        raise_interrupt(mmio, INTERRUPT_USED);
}

void virtio_mmio_interrupt(struct virtio_mmio *mmio)
{
    if (virtio_mmio_live(mmio))
        raise_interrupt(mmio, INTERRUPT_USED);
}

/* ---- Running queues ---- */

static void work_arm(struct virtio_work *work, uint64_t deadline_ns)
{
    work->deadline_ns = deadline_ns;
    clock_timer_arm(&work->timer, deadline_ns);
}

int virtio_work_loaded(struct virtio_work *work, struct gw_error *error)
{
    clock_timer_arm(&work->timer, work->deadline_ns);
    return 0;
}

/* Takes chains until the queue is empty, the device has no room or `limit` is reached: true in the
 * last case. */
static bool take_chains(struct virtio_mmio *mmio, unsigned index, unsigned limit)
{
    struct virtio_queue *queue = &mmio->queues[index];
    for (unsigned taken = 0; taken < limit;) {
        struct virtio_chain *chain = mmio->ops->room(mmio, index);
        if (!chain)
            return false;
        int r = virtio_queue_pop(queue, chain);
        if (r < 0) {
            virtio_mmio_break(mmio);
            return false;
        }
        if (r > 0) {
            mmio->ops->handle(mmio, index, chain);
            taken++;
        } else if (!virtio_queue_rearm(queue)) {
            return false;
        }
    }
    return true;
}

static bool run_queue(struct virtio_mmio *mmio, unsigned index)
{
    struct virtio_queue *queue = &mmio->queues[index];
    if (!queue->ready)
        return false;
    uint16_t used = queue->next_used;
    bool more = take_chains(mmio, index, queue->size_max);
    if (queue->next_used != used)
        virtio_mmio_signal(mmio, queue);
    return more;
}

static bool runs_itself(const struct virtio_mmio *mmio, unsigned index)
{
    return mmio->ops->runs_itself && mmio->ops->runs_itself(mmio, index);
}

void virtio_mmio_run(struct virtio_mmio *mmio)
{
    bool more = false;
    if (mmio->ops->prepare)
        mmio->ops->prepare(mmio);
    for (unsigned i = 0; i < mmio->queue_count; i++)
        if (virtio_mmio_live(mmio) && !mmio->stopped && !runs_itself(mmio, i))
            more |= run_queue(mmio, i);
    if (mmio->ops->handled)
        mmio->ops->handled(mmio);
    if (more && mmio->work.deadline_ns == CLOCK_NEVER)
        work_arm(&mmio->work, clock_now_ns(mmio->host.clock) +
                                  (is_deterministic(mmio) ? VIRTIO_LATENCY_NS : AGAIN_NS));
}

static void run_by_timer(void *opaque)
{
    struct virtio_mmio *mmio = opaque;
    mmio->work.deadline_ns = CLOCK_NEVER;
    virtio_mmio_run(mmio);
}

void virtio_mmio_notify(struct virtio_mmio *mmio)
{
    if (!virtio_mmio_live(mmio))
        return;
    if (!is_deterministic(mmio))
        virtio_mmio_run(mmio);
    else if (mmio->work.deadline_ns == CLOCK_NEVER)
        work_arm(&mmio->work, clock_now_ns(mmio->host.clock) + VIRTIO_LATENCY_NS);
}

/* ---- Status ---- */

static void reset_device(struct virtio_mmio *mmio)
{
    if (mmio->ops->reset)
        mmio->ops->reset(mmio);
    work_arm(&mmio->work, CLOCK_NEVER);
    for (unsigned i = 0; i < mmio->queue_count; i++)
        virtio_queue_reset(&mmio->queues[i]);
    mmio->status = 0;
    mmio->interrupt_status = 0;
    mmio->device_features_select = 0;
    mmio->driver_features_select = 0;
    mmio->queue_select = 0;
    mmio->driver_features = 0;
    mmio->negotiated = 0;
    update_interrupt(mmio);
}

static bool features_acceptable(const struct virtio_mmio *mmio)
{
    return !(mmio->driver_features & ~mmio->offered) && mmio->driver_features & VIRTIO_F_VERSION_1;
}

/* §3.1.1: bits come one after the other and only a reset takes them away. */
static void write_status(struct virtio_mmio *mmio, uint32_t value)
{
    if (value == 0) {
        reset_device(mmio);
        return;
    }
    uint32_t before = mmio->status;
    uint32_t status = before | (value & (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK |
                                         VIRTIO_FEATURES_OK | VIRTIO_FAILED));
    if (!(before & VIRTIO_FEATURES_OK) && !features_acceptable(mmio))
        status &= ~(uint32_t)VIRTIO_FEATURES_OK;
    if (!(status & VIRTIO_FEATURES_OK))
        status &= ~(uint32_t)VIRTIO_DRIVER_OK;
    mmio->status = status;
    mmio->negotiated = status & VIRTIO_FEATURES_OK ? mmio->driver_features : 0;
    if (!(before & VIRTIO_DRIVER_OK))
        virtio_mmio_notify(
            mmio); /* a driver may have filled its queues before it said that it is ready */
}

static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
    if (mmio->status & VIRTIO_FEATURES_OK || mmio->driver_features_select > 1)
        return;
    unsigned shift = 32 * mmio->driver_features_select;
    mmio->driver_features &= ~((uint64_t)UINT32_MAX << shift);
    mmio->driver_features |= (uint64_t)value << shift;
}

/* ---- Queue registers ---- */

static struct virtio_queue *selected_queue(const struct virtio_mmio *mmio)
{
    return mmio->queue_select < mmio->queue_count ? &mmio->queues[mmio->queue_select] : NULL;
}

/* A queue that is taken out of service keeps nothing; what was in flight may not be published any
 * more. */
static void write_queue_ready(struct virtio_mmio *mmio, struct virtio_queue *queue, uint32_t value)
{
    if (value & 1) {
        queue->ready = true;
    } else if (queue->ready) {
        if (mmio->ops->reset)
            mmio->ops->reset(mmio);
        virtio_queue_reset(queue);
    }
}

static void write_low(uint64_t *field, uint32_t value)
{
    *field = (*field & ~(uint64_t)UINT32_MAX) | value;
}

static void write_high(uint64_t *field, uint32_t value)
{
    *field = (*field & UINT32_MAX) | (uint64_t)value << 32;
}

static void write_queue(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct virtio_queue *queue = selected_queue(mmio);
    if (!queue)
        return;
    if (offset == REG_QUEUE_READY)
        write_queue_ready(mmio, queue, value);
    if (queue->ready)
        return;
    switch (offset) {
    case REG_QUEUE_SIZE:
        queue->size = value <= queue->size_max ? (uint16_t)value : 0;
        break;
    case REG_QUEUE_DESC_LOW:
        write_low(&queue->descriptor_address, value);
        break;
    case REG_QUEUE_DESC_HIGH:
        write_high(&queue->descriptor_address, value);
        break;
    case REG_QUEUE_DRIVER_LOW:
        write_low(&queue->driver_address, value);
        break;
    case REG_QUEUE_DRIVER_HIGH:
        write_high(&queue->driver_address, value);
        break;
    case REG_QUEUE_DEVICE_LOW:
        write_low(&queue->device_address, value);
        break;
    case REG_QUEUE_DEVICE_HIGH:
        write_high(&queue->device_address, value);
        break;
    }
}

/* ---- Registers ---- */

static uint32_t read_device_features(const struct virtio_mmio *mmio)
{
    unsigned select = mmio->device_features_select;
    return select > 1 ? 0 : (uint32_t)(mmio->offered >> (32 * select));
}

static uint32_t read_register(const struct virtio_mmio *mmio, uint64_t offset)
{
    const struct virtio_queue *queue = selected_queue(mmio);
    if (offset >= REG_SHM_LENGTH_LOW && offset <= REG_SHM_BASE_HIGH)
        return UINT32_MAX; /* there is no shared memory region */
    switch (offset) {
    case REG_MAGIC:
        return MAGIC;
    case REG_VERSION:
        return TRANSPORT_VERSION;
    case REG_DEVICE_ID:
        return mmio->ops->id;
    case REG_VENDOR_ID:
        return VENDOR;
    case REG_DEVICE_FEATURES:
        return read_device_features(mmio);
    case REG_QUEUE_SIZE_MAX:
        return queue ? queue->size_max : 0;
    case REG_QUEUE_READY:
        return queue ? queue->ready : 0;
    case REG_INTERRUPT_STATUS:
        return mmio->interrupt_status;
    case REG_STATUS:
        return mmio->status;
    case REG_CONFIG_GENERATION:
        return mmio->config_generation ? *mmio->config_generation : 0;
    }
    return 0;
}

static void write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case REG_DEVICE_FEATURES_SELECT:
        mmio->device_features_select = value;
        break;
    case REG_DRIVER_FEATURES:
        write_driver_features(mmio, value);
        break;
    case REG_DRIVER_FEATURES_SELECT:
        mmio->driver_features_select = value;
        break;
    case REG_QUEUE_SELECT:
        mmio->queue_select = value;
        break;
    case REG_QUEUE_NOTIFY:
        if (value < mmio->queue_count)
            virtio_mmio_notify(mmio);
        break;
    case REG_INTERRUPT_ACK:
        mmio->interrupt_status &= ~value;
        update_interrupt(mmio);
        break;
    case REG_STATUS:
        write_status(mmio, value);
        break;
    default:
        write_queue(mmio, offset, value);
    }
}

static uint64_t read_config(const struct virtio_mmio *mmio, uint64_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};
    for (unsigned i = 0; i < size && offset + i < mmio->config_bytes; i++)
        bytes[i] = mmio->config[offset + i];
    return get_le64(bytes);
}

static void write_config(struct virtio_mmio *mmio, uint64_t offset, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size && mmio->ops->write_config; i++)
        mmio->ops->write_config(mmio, offset + i, (uint8_t)(value >> (8 * i)));
}

/* Below the configuration space only aligned 32-bit accesses are defined (§4.2.2.2). */
static bool is_register(uint64_t offset, unsigned size)
{
    return offset < CONFIG_OFFSET && size == 4 && offset % 4 == 0;
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
    const struct virtio_mmio *mmio = device;
    if (offset >= CONFIG_OFFSET)
        return read_config(mmio, offset - CONFIG_OFFSET, size);
    return is_register(offset, size) ? read_register(mmio, offset) : 0;
}

static void mmio_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset >= CONFIG_OFFSET)
        write_config(device, offset - CONFIG_OFFSET, value, size);
    else if (is_register(offset, size))
        write_register(device, offset, (uint32_t)value);
}

/* ---- The machine's side ---- */

static void mmio_reset(void *device)
{
    reset_device(device);
}

static void mmio_drain(void *device)
{
    struct virtio_mmio *mmio = device;
    if (is_deterministic(mmio))
        return;
    mmio->stopped = true;
    if (mmio->ops->drain)
        mmio->ops->drain(mmio);
    work_arm(&mmio->work, CLOCK_NEVER); /* resume looks into the queues anyway */
}

static void mmio_resume(void *device)
{
    struct virtio_mmio *mmio = device;
    mmio->stopped = false;
    update_interrupt(mmio);
    if (!is_deterministic(mmio))
        virtio_mmio_run(mmio);
}

const struct device_ops virtio_mmio_ops = {
    .read = mmio_read,
    .write = mmio_write,
    .reset = mmio_reset,
    .drain = mmio_drain,
    .resume = mmio_resume,
};

void virtio_mmio_init(struct virtio_mmio *mmio, const struct virtio_host *host,
                      const struct virtio_mmio_config *config)
{
    *mmio = (struct virtio_mmio){
        .work.deadline_ns = CLOCK_NEVER,
        .ops = config->ops,
        .host = *host,
        .offered =
            config->features | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
        .config = config->space,
        .config_bytes = config->space_bytes,
        .config_generation = config->generation,
        .queues = config->queues,
        .queue_count = config->queue_count,
    };
    clock_timer_init(&mmio->work.timer, host->clock, run_by_timer, mmio);
}

void virtio_mmio_fini(struct virtio_mmio *mmio)
{
    clock_timer_disarm(&mmio->work.timer);
}

int virtio_mmio_loaded(struct virtio_mmio *mmio, struct gw_error *error)
{
    uint64_t missing = mmio->driver_features & ~mmio->offered;
    if (mmio->status & VIRTIO_FEATURES_OK && missing && mmio->ops->refuse_features)
        return mmio->ops->refuse_features(mmio, missing, error);
    if (mmio->status & VIRTIO_FEATURES_OK && !features_acceptable(mmio))
        return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                            "virtio device %u: the driver uses features 0x%llx, but this device "
                            "offers 0x%llx; the machines differ in release or settings",
                            mmio->ops->id, (unsigned long long)mmio->driver_features,
                            (unsigned long long)mmio->offered);
    mmio->negotiated = mmio->status & VIRTIO_FEATURES_OK ? mmio->driver_features : 0;
    mmio->stopped = !is_deterministic(mmio);
    return 0;
}

static uint64_t empty_read(void *device, uint64_t offset, unsigned size)
{
    static const uint32_t registers[] = {MAGIC, TRANSPORT_VERSION, 0, VENDOR};
    return is_register(offset, size) && offset / 4 < 4 ? registers[offset / 4] : 0;
}

static void empty_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
}

const struct device_ops virtio_mmio_empty_ops = {.read = empty_read, .write = empty_write};
