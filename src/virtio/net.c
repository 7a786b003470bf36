/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (virtio 1.2 §5.1): configuration, features, life. The thread is in
 * net-thread.c, the data path in net-queues.c, the control queue in net-control.c.
 *
 * Frames are moved by one thread for each device, off the vCPUs and off the loop. The driver's
 * notifications reach it through an eventfd (from the vCPU that wrote the register, or from KVM
 * itself), frames through the back end's descriptors; it sleeps in poll() on these.
 *
 * Two locks, taken in this order:
 *
 *   I/O lock    the machine's: registers, configuration, control queue, interrupts
 *   path lock   the device's: rings of the receive and transmit queues, the back end, counters
 *
 * The thread holds the path lock while it runs queues, and never waits for the I/O lock with it.
 * What the driver must be told (an interrupt, a broken ring) it notes under the path lock, lets go
 * of that, and tells with the I/O lock. So whoever holds the I/O lock may take the path lock and
 * waits for one batch at most: the `door`, a lock that is held while one waits for the path, keeps
 * the thread from coming back first.
 *
 * Fields that both sides need (which queues may run, what was negotiated, filters) are written with
 * both locks and so may be read with either. The thread touches a queue only while its bit in
 * `enabled` is set, the transport changes a queue only while it is not: a queue is enabled by
 * net_prepare() when driver, machine and queue are ready, and disabled by resets and by drain.
 *
 *   who                       holds             does
 *   vCPU, loop                I/O lock          net_prepare(): enables queues, wakes the thread
 *   vCPU, loop (control)      I/O, then path    changes filters, offloads, pairs in use
 *   thread                    path              rings and frames; notes interrupts
 *   thread                    I/O, then path    net_tell_transport()
 *   stopper (drain)           I/O, then path    disables all, waits until the thread is idle, tells
 *
 * Idle means that the thread waits for `enabled` to change, or for the I/O lock: it polls nothing
 * and uses neither memory nor back end. What it has noted by then is told by drain, so no interrupt
 * is lost by a move. A frame that has been received and waits for the guest's buffers goes along
 * (net-held.c).
 */
#include "virtio/net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "virtio/net-internal.h"

static_assert(offsetof(struct virtio_net, transport) == 0, "virtio_mmio_ops gets the transport");

/* ---- Features ---- */

#define GENERAL_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC)
#define FEATURES_ALWAYS                                                                            \
    (F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN | F_CTRL_RX_EXTRA |      \
     F_GUEST_ANNOUNCE | F_CTRL_MAC_ADDR)

static const struct {
    enum net_offload offload;
    uint64_t features;
} offered_for[] = {
    {NET_CHECKSUM, F_CSUM | F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS},
    {NET_TSO4, F_HOST_TSO4 | F_GUEST_TSO4},
    {NET_TSO6, F_HOST_TSO6 | F_GUEST_TSO6},
    {NET_ECN, F_HOST_ECN | F_GUEST_ECN},
    {NET_USO, F_HOST_USO | F_GUEST_USO4 | F_GUEST_USO6},
};

/* Segmentation without checksums means nothing (§5.1.3.1). */
static uint64_t features_with(unsigned offloads, unsigned pairs, unsigned mtu)
{
    uint64_t features = FEATURES_ALWAYS;
    if (!(offloads & NET_CHECKSUM))
        offloads = 0;
    if (pairs > 1)
        features |= F_MQ;
    if (mtu)
        features |= F_MTU;
    for (size_t i = 0; i < ARRAY_COUNT(offered_for); i++)
        if (offloads & offered_for[i].offload)
            features |= offered_for[i].features;
    return features;
}

/* What a network gives that has never been open is not known for certain: nothing is excluded then,
 * and virtio_net_acquired() settles it. */
static uint64_t offered_features(const struct virtio_net *net)
{
    return features_with(net->acquired ? net->net->offloads : ~0u, net->pairs, net->mtu);
}

static const struct {
    uint64_t features;
    const char *words;
} feature_words[] = {
    {F_CSUM | F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS, "checksum offload"},
    {F_HOST_TSO4 | F_GUEST_TSO4 | F_HOST_TSO6 | F_GUEST_TSO6, "TCP segmentation offload"},
    {F_HOST_ECN | F_GUEST_ECN, "ECN with segmentation offload"},
    {F_HOST_USO | F_GUEST_USO4 | F_GUEST_USO6, "UDP segmentation offload"},
    {F_MQ, "several queues"},
    {F_MTU, "an MTU"},
};

static int refuse_missing(const struct net *net, const char *name, uint64_t missing,
                          struct gw_error *error)
{
    char words[160] = "";
    size_t length = 0;
    for (size_t i = 0; i < ARRAY_COUNT(feature_words); i++)
        if (missing & feature_words[i].features)
            length += (size_t)snprintf(words + length, sizeof words - length, "%s%s",
                                       length ? ", " : "", feature_words[i].words);
    return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "network '%s': the guest uses %s (features 0x%llx), which %s here does not "
                        "give; use the kind of network that the machine has had so far",
                        name, length ? words : "what this release does not know",
                        (unsigned long long)missing, net->what);
}

static int refuse_features(const struct virtio_mmio *device, uint64_t missing,
                           struct gw_error *error)
{
    const struct virtio_net *net = (const struct virtio_net *)device;
    return refuse_missing(net->net, net->name, missing, error);
}

int virtio_net_check_features(const struct virtio_net_config *config, uint64_t features,
                              struct gw_error *error)
{
    uint64_t given = features_with(config->net->offloads, config->pairs, config->mtu);
    uint64_t missing = features & ~(given | GENERAL_FEATURES);
    return missing ? refuse_missing(config->net, config->name, missing, error) : 0;
}

/* ---- Configuration ---- */

void net_fill_config(struct virtio_net *net)
{
    memcpy(net->config, net->mac.bytes, NET_MAC_BYTES);
    put_le16(net->config + 6, net->status);
    put_le16(net->config + 8, (uint16_t)net->pairs);
    put_le16(net->config + 10, net->mtu);
}

static void change_status(struct virtio_net *net, uint16_t status)
{
    net->status = status;
    net->config_generation++;
    net_fill_config(net);
    if (net->transport.negotiated & F_STATUS)
        virtio_mmio_config_changed(&net->transport);
}

static uint16_t link_status(const struct virtio_net *net)
{
    return atomic_load(&net->net->link_up) ? NET_S_LINK_UP : 0;
}

void virtio_net_link_changed(struct virtio_net *net)
{
    uint16_t told = net->status & NET_S_LINK_UP;
    if (!net->resting && told != link_status(net))
        change_status(net, net->status ^ NET_S_LINK_UP);
}

static bool can_announce(const struct virtio_net *net)
{
    uint64_t needed = F_GUEST_ANNOUNCE | F_CTRL_VQ | F_STATUS;
    return virtio_mmio_live(&net->transport) && (net->transport.negotiated & needed) == needed;
}

bool virtio_net_announce(struct virtio_net *net)
{
    if (!can_announce(net))
        return false;
    change_status(net, net->status | NET_S_ANNOUNCE);
    return true;
}

/* ---- Which queues may run ---- */

/* §5.1.2: without MQ there is one pair, and the control queue follows it. */
static unsigned control_index(const struct virtio_net *net)
{
    return net->transport.negotiated & F_MQ ? 2 * net->pairs : 2;
}

static bool net_runs_itself(const struct virtio_mmio *device, unsigned index)
{
    return index != control_index((const struct virtio_net *)device);
}

static uint32_t queues_to_run(const struct virtio_net *net)
{
    uint32_t queues = 0;
    if (!virtio_mmio_live(&net->transport) || net->transport.stopped)
        return 0;
    for (unsigned i = 0; i < 2u * net->pairs_in_use; i++)
        if (net->queue[i].ready && net_runs_itself(&net->transport, i))
            queues |= UINT32_C(1) << i;
    return queues;
}

bool net_apply(struct virtio_net *net)
{
    if (!net->net->held)
        return true;
    return net_set_offloads(net->net, net_offloads_in(net)) == 0 &&
           net_set_queues(net->net, net->pairs_in_use) == 0;
}

static void enable(struct virtio_net *net, uint32_t queues)
{
    net_enter_path(net);
    bool applied = true;
    net->features = net->transport.negotiated;
    if (queues)
        applied = net_apply(net);
    net->enabled = applied ? queues : 0;
    for (unsigned i = 0; i < net->pairs; i++) {
        net->pair[i].readable = true;
        net->pair[i].failed = net->pair[i].blocked = false;
    }
    pthread_cond_signal(&net->enabled_changed);
    net_leave_path(net);
    if (!applied)
        virtio_mmio_break(&net->transport);
}

void net_update(struct virtio_net *net, bool changed)
{
    uint32_t queues = queues_to_run(net);
    if (changed || queues != net->enabled || net->features != net->transport.negotiated)
        enable(net, queues);
}

static void begin_to_run(struct virtio_net *net)
{
    net->resting = false;
    virtio_net_link_changed(net);
    net_enter_path(net);
    struct virtio_net_counters *counters = &net->counters;
    counters->resumed_ns = host_realtime_ns();
    counters->first_out_ns = counters->first_in_ns = 0;
    counters->waited = 0;
    for (unsigned i = 0; i < net->pairs; i++)
        net->pair[i].finding = true;
    net_leave_path(net);
}

/* ---- What the transport calls ---- */

static void net_prepare(struct virtio_mmio *device)
{
    struct virtio_net *net = (struct virtio_net *)device;
    bool resumed = net->resting && !device->stopped;
    if (resumed)
        begin_to_run(net);
    net_update(net, resumed);
    net_kick(net);
}

static struct virtio_chain *net_room(struct virtio_mmio *device, unsigned index)
{
    struct virtio_net *net = (struct virtio_net *)device;
    net->control = (struct virtio_chain){.segments = net->control_segments,
                                         .segments_max = ARRAY_COUNT(net->control_segments)};
    return &net->control;
}

static void net_handle(struct virtio_mmio *device, unsigned index, struct virtio_chain *chain)
{
    struct virtio_net *net = (struct virtio_net *)device;
    net_control(net, &net->queue[index], chain);
}

static void net_handled(struct virtio_mmio *device)
{
    net_update((struct virtio_net *)device, false); /* a command may have broken the device */
}

/* Also when the driver takes one queue away, which §2.6.1 allows only to who negotiated it: all
 * begins anew then. */
static void net_reset(struct virtio_mmio *device)
{
    struct virtio_net *net = (struct virtio_net *)device;
    net_enter_path(net);
    net->enabled = 0;
    net->features = 0;
    net->interrupt = net->broken = false;
    for (unsigned i = 0; i < net->pairs; i++)
        net->pair[i].held = 0;
    net_control_reset(net);
    net_leave_path(net);
    net->status = link_status(net);
    net_fill_config(net);
}

static void net_drain(struct virtio_mmio *device)
{
    struct virtio_net *net = (struct virtio_net *)device;
    net->resting = true;
    net_enter_path(net);
    net->enabled = 0;
    net_wait_idle(net);
    net_leave_path(net);
    net_tell_transport(net);
}

static const struct virtio_device_ops net_device_ops = {
    .id = VIRTIO_ID_NET,
    .room = net_room,
    .handle = net_handle,
    .handled = net_handled,
    .reset = net_reset,
    .drain = net_drain,
    .prepare = net_prepare,
    .runs_itself = net_runs_itself,
    .refuse_features = refuse_features,
};

/* ---- State ---- */

static int refuse_state(const struct virtio_net *net, const char *what, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_CORRUPT, -EBADMSG,
                        "network '%s': the state is wrong: %s", net->name, what);
}

int virtio_net_loaded(struct virtio_net *net, struct gw_error *error)
{
    if (net->pairs_in_use > net->pairs)
        return refuse_state(net, "it uses more queues than the machine has", error);
    if (net->offloads_chosen && net->guest_offloads & ~(net->transport.negotiated & GUEST_OFFLOADS))
        return refuse_state(net, "it takes offloads that were not negotiated", error);
    const char *fault = net_held_fault(net);
    if (fault)
        return refuse_state(net, fault, error);
    net_enter_path(net);
    net->features = net->transport.negotiated;
    net_held_loaded(net);
    net_leave_path(net);
    net->resting = true;
    net_fill_config(net);
    return 0;
}

int virtio_net_acquired(struct virtio_net *net, struct gw_error *error)
{
    struct virtio_mmio *transport = &net->transport;
    net->acquired = true;
    uint64_t offered = offered_features(net) | (transport->offered & GENERAL_FEATURES);
    if (transport->negotiated & ~offered)
        return refuse_features(transport, transport->negotiated & ~offered, error);
    transport->offered = offered;
    return 0;
}

/* ---- Looking ---- */

void virtio_net_look(struct virtio_net *net, struct virtio_net_view *ret_view)
{
    struct virtio_net_view view = {
        .features = net->transport.negotiated,
        .pairs_in_use = net->pairs_in_use,
        .link_up = net->status & NET_S_LINK_UP,
        .announcing = net->status & NET_S_ANNOUNCE,
        .can_announce = can_announce(net),
    };
    memcpy(view.mac, net->mac.bytes, NET_MAC_BYTES);
    net_enter_path(net);
    view.counters = net->counters;
    net_leave_path(net);
    *ret_view = view;
}

int virtio_net_kick_fd(const struct virtio_net *net, unsigned index)
{
    return index == 2 || index >= 2 * net->pairs ? -1 : net->kick_fd;
}

/* ---- Birth ---- */

static int check_config(const struct virtio_host *host, const struct virtio_net_config *config,
                        struct gw_error *error)
{
    if (host->clock->mode == GW_CLOCK_INSTRUCTIONS)
        return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                            "a machine with the instruction clock has no network: what arrives "
                            "from outside would make each run another one");
    if (config->pairs < 1 || config->pairs > VIRTIO_NET_MAX_PAIRS)
        return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_INVALID, -EINVAL,
                            "network '%s': it has 1 to %u queues", config->name,
                            VIRTIO_NET_MAX_PAIRS);
    return 0;
}

static void init_transport(struct virtio_net *net, const struct virtio_host *host)
{
    unsigned queues = 2 * net->pairs + 1;
    const struct virtio_mmio_config transport = {
        .ops = &net_device_ops,
        .features = offered_features(net),
        .space = net->config,
        .space_bytes = sizeof net->config,
        .generation = &net->config_generation,
        .queues = net->queue,
        .queue_count = queues,
    };
    virtio_mmio_init(&net->transport, host, &transport);
    for (unsigned i = 0; i < VIRTIO_NET_QUEUES; i++)
        virtio_queue_init(&net->queue[i], host->memory, &net->features, QUEUE_SIZE);
}

int virtio_net_init(struct virtio_net *net, const struct virtio_host *host,
                    const struct virtio_net_config *config, pthread_mutex_t *io_lock,
                    struct gw_error *error)
{
    int r = check_config(host, config, error);
    if (r < 0)
        return r;
    *net = (struct virtio_net){
        .net = config->net,
        .name = config->name,
        .pairs = config->pairs,
        .mtu = config->mtu,
        .io_lock = io_lock,
        .kick_fd = -1,
        .resting = true,
        .acquired = config->net->held,
        .pair = calloc(config->pairs, sizeof *net->pair),
    };
    if (!net->pair)
        return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for network '%s'", config->name);
    memcpy(net->machine_mac, config->mac, NET_MAC_BYTES);
    init_transport(net, host);
    net_control_reset(net);
    net->status = link_status(net);
    net_fill_config(net);
    r = net_thread_start(net, error);
    if (r < 0)
        virtio_net_fini(net);
    return r;
}

void virtio_net_fini(struct virtio_net *net)
{
    if (!net->pair)
        return;
    net_thread_end(net);
    virtio_mmio_fini(&net->transport);
    free(net->pair);
    free(net->held);
    net->pair = NULL;
}
