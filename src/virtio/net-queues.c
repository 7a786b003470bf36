/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device's data path, on its thread with the path lock.
 *
 * Out: a frame is sent from where it lies in guest memory, behind a copy of its header, so that
 * what was checked is what is sent. A frame that the back end has no room for goes back to the ring
 * and the back end is polled.
 *
 * In: a frame comes into a buffer of ours, is looked at there, and is copied into as many of the
 * driver's chains as it needs (with MRG_RXBUF), which the driver then sees all at once. While there
 * is no chain nothing is received: frames wait in the back end, where the network's own rules for
 * full queues hold. One whose chains run out halfway is held until there are more.
 *
 * One call moves at most BATCH_FRAMES and about BATCH_BYTES, so that others get the path.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "virtio/net-internal.h"

#define BATCH_FRAMES 64u
#define BATCH_BYTES (512u << 10)
#define BUFFERS_AT 10u /* num_buffers in the header */

static void break_queue(struct virtio_net *net)
{
    net->broken = true;
}

static void signal_driver(struct virtio_net *net, struct virtio_queue *queue, bool used)
{
    if (used && virtio_queue_should_signal(queue))
        net->interrupt = true;
}

/* ---- Out ---- */

enum sent { SENT, SENT_LATER, SENT_NEVER };

static enum sent give_frame(struct virtio_net *net, unsigned pair, const struct virtio_chain *chain,
                            uint8_t *header)
{
    struct iovec *iov = net->pair[pair].iov;
    uint64_t bytes = chain->readable_bytes - NET_HEADER_BYTES;
    if (bytes < ETHERNET_HEADER_BYTES || bytes > NET_FRAME_BYTES ||
        !net_header_clean(header, bytes, net_offloads_out(net), false))
        return SENT_NEVER;
    iov[0] = (struct iovec){header, NET_HEADER_BYTES};
    unsigned count =
        virtio_segments_gather(chain->segments, chain->readable, NET_HEADER_BYTES, bytes, iov + 1);
    int r = net_send(net->net, pair, iov, count + 1);
    if (r == -EAGAIN)
        return SENT_LATER;
    return r < 0 ? SENT_NEVER : SENT;
}

static void count_out(struct virtio_net *net, uint64_t frames, uint64_t bytes)
{
    struct virtio_net_counters *counters = &net->counters;
    if (frames == 0)
        return;
    counters->frames_out += frames;
    counters->bytes_out += bytes;
    counters->last_out_ns = host_realtime_ns();
    if (!counters->first_out_ns)
        counters->first_out_ns = counters->last_out_ns;
}

/* What was sent in a batch. */
struct batch {
    uint64_t frames, bytes;
    bool used;
};

/* False: the rest has to wait. */
static bool transmit_chain(struct virtio_net *net, unsigned pair, const struct virtio_chain *chain,
                           struct batch *batch)
{
    struct virtio_queue *queue = transmit_queue(net, pair);
    uint8_t header[NET_HEADER_BYTES];
    if (!virtio_chain_read(chain, 0, header, sizeof header)) {
        break_queue(net);
        return false;
    }
    enum sent sent = give_frame(net, pair, chain, header);
    if (sent == SENT_LATER) {
        virtio_queue_unpop(queue, 1);
        net->pair[pair].blocked = true;
        return false;
    }
    net->counters.dropped_out += sent == SENT_NEVER;
    if (sent == SENT) {
        batch->frames++;
        batch->bytes += chain->readable_bytes - NET_HEADER_BYTES;
    }
    virtio_queue_fill(queue, 0, chain->head, 0);
    virtio_queue_publish(queue, 1);
    batch->used = true;
    return true;
}

/* 1 a chain, 0 there is none, negative: the rest has to wait. */
static int transmit_next(struct virtio_net *net, unsigned pair, struct batch *batch)
{
    struct virtio_chain chain = {.segments = net->pair[pair].segments,
                                 .segments_max = CHAIN_SEGMENTS};
    int r = virtio_queue_pop(transmit_queue(net, pair), &chain);
    if (r < 0)
        break_queue(net);
    else if (r > 0 && !transmit_chain(net, pair, &chain, batch))
        return -EAGAIN;
    return r;
}

bool net_transmit(struct virtio_net *net, unsigned pair)
{
    struct virtio_queue *queue = transmit_queue(net, pair);
    struct batch batch = {0};
    bool more = true;
    for (unsigned i = 0; more && i < BATCH_FRAMES && batch.bytes < BATCH_BYTES; i++) {
        int r = transmit_next(net, pair, &batch);
        if (r < 0)
            more = false;
        else if (r == 0)
            more = virtio_queue_rearm(queue);
    }
    count_out(net, batch.frames, batch.bytes);
    signal_driver(net, queue, batch.used);
    return more;
}

/* ---- In ---- */

enum delivered { DELIVERED, DELIVERED_LATER, DELIVERED_NEVER };

static bool has_feature(const struct virtio_net *net, uint64_t feature)
{
    return net->features & feature;
}

/* Copies the next part of the frame into a chain; how much. */
static uint32_t copy_part(struct virtio_net *net, const struct virtio_net_pair *pair,
                          const struct virtio_chain *chain, uint32_t at)
{
    uint64_t room = chain->writable_bytes, left = pair->held - at;
    uint32_t part = (uint32_t)(room < left ? room : left);
    virtio_chain_write(chain, net->transport.host.memory, 0, pair->frame + at, part);
    return part;
}

/* Takes chains until the frame is in them. The first is filled last: it tells how many there are.
 * When they run out the driver is asked to tell of the next one, unless it has come meanwhile. */
static enum delivered fill_chains(struct virtio_net *net, struct virtio_net_pair *pair,
                                  struct virtio_queue *queue, unsigned *count)
{
    bool merge = has_feature(net, F_MRG_RXBUF);
    struct virtio_chain first = {.segments = pair->first, .segments_max = CHAIN_SEGMENTS};
    struct virtio_chain next = {.segments = pair->segments, .segments_max = CHAIN_SEGMENTS};
    uint32_t at = 0;
    for (*count = 0; at < pair->held; (*count)++) {
        struct virtio_chain *chain = *count == 0 ? &first : &next;
        if (*count == (merge ? queue->size : 1))
            return DELIVERED_NEVER; /* the driver cannot give more */
        int r = virtio_queue_pop(queue, chain);
        if (r == 0 && virtio_queue_rearm(queue))
            r = virtio_queue_pop(queue, chain);
        if (r == 0)
            return DELIVERED_LATER;
        if (r < 0 || chain->writable_bytes < (*count == 0 ? NET_HEADER_BYTES : 1)) {
            break_queue(net);
            return DELIVERED_LATER;
        }
        uint32_t left = pair->held - at;
        uint32_t part = chain->writable_bytes < left ? (uint32_t)chain->writable_bytes : left;
        if (*count > 0)
            part = copy_part(net, pair, chain, at);
        pair->heads[*count] = chain->head;
        pair->written[*count] = part;
        at += part;
    }
    put_le16(pair->frame + BUFFERS_AT, (uint16_t)*count);
    copy_part(net, pair, &first, 0);
    return DELIVERED;
}

static enum delivered deliver(struct virtio_net *net, unsigned index)
{
    struct virtio_net_pair *pair = &net->pair[index];
    struct virtio_queue *queue = receive_queue(net, index);
    unsigned count;
    enum delivered delivered = fill_chains(net, pair, queue, &count);
    if (delivered != DELIVERED) {
        virtio_queue_unpop(queue, count);
        return delivered;
    }
    for (unsigned i = 0; i < count; i++)
        virtio_queue_fill(queue, i, pair->heads[i], pair->written[i]);
    virtio_queue_publish(queue, count);
    return DELIVERED;
}

static void count_in(struct virtio_net *net, uint64_t frames, uint64_t bytes)
{
    struct virtio_net_counters *counters = &net->counters;
    counters->frames_in += frames;
    counters->bytes_in += bytes;
    if (frames && !counters->first_in_ns)
        counters->first_in_ns = host_realtime_ns();
}

/* Whether what came into the buffer is for the guest. */
static bool accept_frame(struct virtio_net *net, struct virtio_net_pair *pair, size_t bytes)
{
    size_t frame_bytes = bytes - NET_HEADER_BYTES;
    uint8_t *frame = pair->frame + NET_HEADER_BYTES;
    if (bytes < NET_HEADER_BYTES + ETHERNET_HEADER_BYTES ||
        !net_header_clean(pair->frame, frame_bytes, net_offloads_in(net), true)) {
        net->counters.dropped_in++;
        return false;
    }
    if (!net_wants(net, frame, frame_bytes)) {
        net->counters.filtered++;
        return false;
    }
    return true;
}

/* Receives one frame into the pair's buffer: 1, 0 when it was not for the guest, negative when
 * there is none. */
static int take_frame(struct virtio_net *net, unsigned index)
{
    struct virtio_net_pair *pair = &net->pair[index];
    const struct iovec iov = {pair->frame, sizeof pair->frame};
    ssize_t r = net_receive(net->net, index, &iov, 1);
    if (r == -EMSGSIZE) {
        net->counters.dropped_in++;
        return 0;
    }
    if (r < 0) {
        pair->failed = r != -EAGAIN || pair->suspect;
        pair->readable = false;
        pair->finding = false;
        return -EAGAIN;
    }
    net->counters.waited += pair->finding;
    if (!accept_frame(net, pair, (size_t)r))
        return 0;
    pair->held = (uint32_t)r;
    return 1;
}

/* A chain for the next frame: 1, 0 when there is none and the driver will tell, or -errno. */
static int wait_for_chain(struct virtio_queue *queue)
{
    int waiting = virtio_queue_waiting(queue);
    if (waiting != 0)
        return waiting;
    return virtio_queue_rearm(queue);
}

/* False: nothing more can be done now. */
static bool receive_next(struct virtio_net *net, unsigned index, struct batch *batch)
{
    struct virtio_net_pair *pair = &net->pair[index];
    struct virtio_queue *queue = receive_queue(net, index);
    int r = wait_for_chain(queue);
    if (r < 0)
        break_queue(net);
    if (r <= 0)
        return false;
    if (!pair->held) {
        r = pair->readable ? take_frame(net, index) : -EAGAIN;
        if (r <= 0)
            return r == 0;
    }
    switch (deliver(net, index)) {
    case DELIVERED_LATER:
        return false;
    case DELIVERED_NEVER:
        net->counters.dropped_in++;
        break;
    case DELIVERED:
        batch->used = true;
        batch->frames++;
        batch->bytes += pair->held - NET_HEADER_BYTES;
        break;
    }
    pair->held = 0;
    return true;
}

bool net_receive_frames(struct virtio_net *net, unsigned index)
{
    struct batch batch = {0};
    bool more = true;
    for (unsigned i = 0; more && i < BATCH_FRAMES && batch.bytes < BATCH_BYTES; i++)
        more = receive_next(net, index, &batch);
    count_in(net, batch.frames, batch.bytes);
    signal_driver(net, receive_queue(net, index), batch.used);
    return more;
}
