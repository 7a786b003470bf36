/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that were received before the machine stopped and wait for more buffers of the guest: the
 * network has handed them over, so they go along.
 */
#include <stdlib.h>
#include <string.h>

#include "virtio/net-internal.h"

bool virtio_net_held_needed(const struct virtio_net *net)
{
    return net->held_bytes > 0;
}

/* Without memory for them they are lost, as a network may lose frames. */
void virtio_net_saving(struct virtio_net *net)
{
    net->held_bytes = 0;
    net_enter_path(net);
    for (unsigned i = 0; i < VIRTIO_NET_MAX_PAIRS; i++) {
        uint32_t bytes = i < net->pairs ? net->pair[i].held : 0;
        if (bytes && !net->held)
            net->held = malloc(VIRTIO_NET_MAX_PAIRS * VIRTIO_NET_HELD_MAX);
        net->held_frame[i] = net->held ? bytes : 0;
        if (net->held_frame[i])
            memcpy(net->held + net->held_bytes, net->pair[i].frame, bytes);
        net->held_bytes += net->held_frame[i];
    }
    net_leave_path(net);
}

const char *net_held_fault(const struct virtio_net *net)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < VIRTIO_NET_MAX_PAIRS; i++) {
        uint32_t bytes = net->held_frame[i];
        if (bytes && i >= net->pairs)
            return "a frame waits in a queue that the machine does not have";
        if (bytes &&
            (bytes < NET_HEADER_BYTES + ETHERNET_HEADER_BYTES || bytes > VIRTIO_NET_HELD_MAX))
            return "a frame that waits has an impossible length";
        sum += bytes;
    }
    return sum == net->held_bytes ? NULL : "the frames that wait are not as long as they say";
}

/* The driver may have chosen other offloads since a frame came; then it is dropped here. */
void net_held_loaded(struct virtio_net *net)
{
    const uint8_t *from = net->held;
    for (unsigned i = 0; i < net->pairs; i++) {
        struct virtio_net_pair *pair = &net->pair[i];
        uint32_t bytes = net->held_frame[i];
        pair->held = 0;
        if (bytes == 0)
            continue;
        memcpy(pair->frame, from, bytes);
        from += bytes;
        if (net_header_clean(pair->frame, bytes - NET_HEADER_BYTES, net_offloads_in(net), true))
            pair->held = bytes;
    }
}
