/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every device of the project, once, and two samples that keep the stream's format. A new device
 * gets a make function, which gives it what it needs to be alive but connects its lines to nothing,
 * and a row in all_devices; then "ninja state-golden" records it.
 */
#include "device-suite.h"
#include "grow-3.h"
#include "samples.h"

#include <assert.h>
#include <stdlib.h>

#include "block/block.h"
#include "board/board-time.h"
#ifdef GW_HAVE_KVM
#include "cpu/kvm/kvm.h"
#include "cpu/kvm/state.h"
#endif
#include "cpu/riscv/cpu.h"
#include "device/clint.h"
#include "device/ged.h"
#include "device/goldfish-rtc.h"
#include "device/plic.h"
#include "device/test-finisher.h"
#include "device/uart16550.h"
#include "device/vmclock.h"
#include "virtio/blk.h"
#include "virtio/input.h"
#include "virtio/net-internal.h"
#include "virtio/rng.h"
#include "vmm/scrollback.h"

/* A device and what is around it; `device` comes first, so that its address is the bench's. */
#define BENCH(type)                                                                                \
    struct {                                                                                       \
        struct type device;                                                                        \
        struct clock clock;                                                                        \
        struct gw_memory *memory;                                                                  \
        struct block *block;                                                                       \
    }
#define NEW_BENCH(type)                                                                            \
    ({                                                                                             \
        BENCH(type) *made_ = calloc(1, sizeof *made_);                                             \
        assert(made_);                                                                             \
        clock_init(&made_->clock, GW_CLOCK_INSTRUCTIONS);                                          \
        made_;                                                                                     \
    })

static const struct irq_line no_line;
static const struct uart_peer no_peer;

static void *make_sample(void)
{
    return calloc(1, sizeof(struct sample));
}

static void destroy_sample(void *object)
{
    sample_fini(object);
    free(object);
}

static void *make_grow(void)
{
    return calloc(1, sizeof(struct grow_3));
}

static void *make_board_time(void)
{
    struct board_time *time = calloc(1, sizeof *time);
    assert(time);
    clock_init(&time->clock, GW_CLOCK_INSTRUCTIONS);
    return time;
}

static void *make_uart(void)
{
    struct uart16550 *uart = calloc(1, sizeof *uart);
    assert(uart);
    uart16550_init(uart, no_line, no_peer);
    return uart;
}

static void *make_rtc(void)
{
    __auto_type bench = NEW_BENCH(goldfish_rtc);
    goldfish_rtc_init(&bench->device, &bench->clock, no_line);
    return bench;
}

static void *make_clint(void)
{
    __auto_type bench = NEW_BENCH(clint);
    clint_init(&bench->device, &bench->clock, 2);
    return bench;
}

static void *make_plic(void)
{
    struct plic *plic = calloc(1, sizeof *plic);
    assert(plic);
    plic_init(plic, 2);
    return plic;
}

static void *make_finisher(void)
{
    struct test_finisher *finisher = calloc(1, sizeof *finisher);
    assert(finisher);
    test_finisher_init(finisher, NULL, NULL);
    return finisher;
}

static void *make_ged(void)
{
    struct ged *ged = calloc(1, sizeof *ged);
    assert(ged);
    ged_init(ged, no_line, NULL, NULL);
    return ged;
}

/* Loading does not reach the page. */
static void *make_vmclock(void)
{
    struct vmclock *vmclock = calloc(1, sizeof *vmclock);
    assert(vmclock);
    vmclock_init(vmclock, NULL, 0, no_line);
    return vmclock;
}

/* A hart reads its memory only when it runs. */
static struct gw_memory *memory;
static const struct rv_platform platform;

static void *make_hart(void)
{
    memory = gw_memory_new();
    struct rv_hart *hart = memory ? rv_hart_new(memory, &platform, 0) : NULL;
    assert(hart);
    return rv_hart_state_object(hart);
}

static void destroy_hart(void *object)
{
    rv_hart_free(object); /* the struct with the state is the hart's own */
    gw_memory_free(memory);
}

/* A driver that accepted what is not offered is refused: see virtio_mmio_loaded(). */
static void settle_transport(struct virtio_mmio *transport)
{
    transport->driver_features &= transport->offered;
    transport->driver_features |= VIRTIO_F_VERSION_1;
}

static void *make_rng(void)
{
    __auto_type bench = NEW_BENCH(virtio_rng);
    bench->memory = gw_memory_new();
    struct virtio_host host = {.memory = bench->memory, .clock = &bench->clock};
    virtio_rng_init(&bench->device, &host, 1);
    return bench;
}

static void destroy_rng(void *object)
{
    BENCH(virtio_rng) *bench = object;
    virtio_rng_fini(&bench->device);
    gw_memory_free(bench->memory);
    free(bench);
}

static void settle_rng(void *object)
{
    settle_transport(&((struct virtio_rng *)object)->transport);
}

static void *make_input(void)
{
    __auto_type bench = NEW_BENCH(virtio_input);
    bench->memory = gw_memory_new();
    struct virtio_host host = {.memory = bench->memory, .clock = &bench->clock};
    virtio_input_init(&bench->device, &host);
    return bench;
}

static void destroy_input(void *object)
{
    BENCH(virtio_input) *bench = object;
    virtio_input_fini(&bench->device);
    gw_memory_free(bench->memory);
    free(bench);
}

static void settle_input(void *object)
{
    settle_transport(&((struct virtio_input *)object)->transport);
}

/* A disk that is never opened: its size is all that the device asks for. */
static void *make_blk(void)
{
    __auto_type bench = NEW_BENCH(virtio_blk);
    bench->memory = gw_memory_new();
    bench->block = calloc(1, sizeof *bench->block);
    assert(bench->memory && bench->block);
    bench->block->bytes = 1 << 20;
    struct virtio_host host = {.memory = bench->memory, .clock = &bench->clock};
    int r = virtio_blk_init(&bench->device, &host, bench->block, "serial", NULL);
    assert(r == 0);
    (void)r;
    return bench;
}

static void destroy_blk(void *object)
{
    BENCH(virtio_blk) *bench = object;
    virtio_blk_fini(&bench->device);
    free(bench->block);
    gw_memory_free(bench->memory);
    free(bench);
}

static void settle_blk(void *object)
{
    settle_transport(&((struct virtio_blk *)object)->transport);
}

/* A network that is never opened. */
struct net_bench {
    struct virtio_net device;
    struct clock clock;
    struct gw_memory *memory;
    struct net net;
    pthread_mutex_t io_lock;
};

static void *make_net(void)
{
    struct net_bench *bench = calloc(1, sizeof *bench);
    assert(bench);
    clock_init(&bench->clock, GW_CLOCK_HOST);
    bench->memory = gw_memory_new();
    bench->net.offloads = NET_CHECKSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO;
    pthread_mutex_init(&bench->io_lock, NULL);
    struct virtio_host host = {.memory = bench->memory, .clock = &bench->clock};
    struct virtio_net_config config = {
        .net = &bench->net, .name = "net", .pairs = VIRTIO_NET_MAX_PAIRS, .mtu = 1500};
    int r = virtio_net_init(&bench->device, &host, &config, &bench->io_lock, NULL);
    assert(r == 0);
    (void)r;
    return bench;
}

static void destroy_net(void *object)
{
    struct net_bench *bench = object;
    virtio_net_fini(&bench->device);
    gw_memory_free(bench->memory);
    pthread_mutex_destroy(&bench->io_lock);
    free(bench);
}

/* Offloads that were not negotiated are refused. What is held comes from the pairs. */
static void settle_net(void *object)
{
    struct virtio_net *net = object;
    settle_transport(&net->transport);
    if (!(net->transport.status & VIRTIO_FEATURES_OK))
        net->offloads_chosen = false;
    net->guest_offloads &= net->transport.driver_features & GUEST_OFFLOADS;
    for (unsigned i = 0; i < VIRTIO_NET_MAX_PAIRS; i++) {
        net->pair[i].held = net->mac.bytes[0] >> i & 1 ? NET_HEADER_BYTES + 60 + i : 0;
        net->pair[i].frame[NET_HEADER_BYTES - 2] = 1; /* num_buffers, of a header that is clean */
    }
}

#ifdef GW_HAVE_KVM
/* Without a vCPU behind it: loading does not reach KVM. */
static void *make_vcpu(void)
{
    return calloc(1, sizeof(struct vcpu_state));
}

static void destroy_vcpu(void *object)
{
    struct vcpu_state *state = object;
    free(state->xsave);
    free(state->msr);
    free(state);
}

static void *make_vm(void)
{
    return calloc(1, sizeof(struct vm_state));
}
#endif

static void *make_scrollback(void)
{
    return calloc(1, sizeof(struct scrollback));
}

static void settle_scrollback(void *object)
{
    struct scrollback *scrollback = object;
    if (scrollback->total < scrollback->count)
        scrollback->total = scrollback->count;
    if (scrollback->count < SCROLLBACK_BYTES)
        scrollback->start = 0;
}

const struct suite_device all_devices[] = {
    {&sample_state_type, make_sample, destroy_sample, sample_settle},
    {&grow_3_state_type, make_grow, free, NULL},
    {&board_time_state_type, make_board_time, free, NULL},
    {&rv_hart_state_type, make_hart, destroy_hart, NULL},
    {&clint_state_type, make_clint, free, NULL},
    {&plic_state_type, make_plic, free, NULL},
    {&uart16550_state_type, make_uart, free, NULL},
    {&goldfish_rtc_state_type, make_rtc, free, NULL},
    {&test_finisher_state_type, make_finisher, free, NULL},
    {&ged_state_type, make_ged, free, NULL},
    {&vmclock_state_type, make_vmclock, free, NULL},
    {&virtio_rng_state_type, make_rng, destroy_rng, settle_rng},
    {&virtio_blk_state_type, make_blk, destroy_blk, settle_blk},
    {&virtio_input_state_type, make_input, destroy_input, settle_input},
    {&virtio_net_state_type, make_net, destroy_net, settle_net},
#ifdef GW_HAVE_KVM
    {&vcpu_state_state_type, make_vcpu, destroy_vcpu, NULL},
    {&vm_state_state_type, make_vm, free, NULL},
#endif
    {&scrollback_state_type, make_scrollback, free, settle_scrollback},
    {NULL, NULL, NULL, NULL},
};
