/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/rng.h"

#include <assert.h>
#include <stddef.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define QUEUE_SIZE 64
#define CHAIN_BYTES 4096u /* for one chain at most; a driver that wants more comes again */

static_assert(offsetof(struct virtio_rng, transport) == 0, "virtio_mmio_ops gets the transport");

/* splitmix64: every state is a good one, and one word is all of it. */
static uint64_t generator_next(uint64_t *state)
{
    uint64_t mixed = *state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

static size_t fill_from_seed(struct virtio_rng *rng, uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length; at += 8) {
        uint8_t word[8];
        put_le64(word, generator_next(&rng->generator));
        memcpy(bytes + at, word, length - at < 8 ? length - at : 8);
    }
    return length;
}

/* Less than asked for only when a signal comes in between or the host has no entropy source. */
static size_t fill_from_host(uint8_t *bytes, size_t length)
{
    ssize_t got = getrandom(bytes, length, 0);
    return got < 0 ? 0 : (size_t)got;
}

static struct virtio_chain *rng_room(struct virtio_mmio *device, unsigned index)
{
    struct virtio_rng *rng = (struct virtio_rng *)device;
    rng->chain = (struct virtio_chain){.segments = rng->segments,
                                       .segments_max = ARRAY_COUNT(rng->segments)};
    return &rng->chain;
}

static void rng_handle(struct virtio_mmio *device, unsigned index, struct virtio_chain *chain)
{
    struct virtio_rng *rng = (struct virtio_rng *)device;
    uint8_t bytes[CHAIN_BYTES];
    size_t wanted = chain->writable_bytes < CHAIN_BYTES ? chain->writable_bytes : CHAIN_BYTES;
    size_t got = rng->transport.host.clock->mode == GW_CLOCK_INSTRUCTIONS
                     ? fill_from_seed(rng, bytes, wanted)
                     : fill_from_host(bytes, wanted);
    virtio_chain_write(chain, rng->transport.host.memory, 0, bytes, got);
    virtio_mmio_push(device, &rng->queue, chain->head, (uint32_t)got);
}

static const struct virtio_device_ops rng_ops = {
    .id = VIRTIO_ID_ENTROPY,
    .room = rng_room,
    .handle = rng_handle,
};

void virtio_rng_init(struct virtio_rng *rng, const struct virtio_host *host, uint64_t seed)
{
    *rng = (struct virtio_rng){.generator = seed};
    const struct virtio_mmio_config config = {
        .ops = &rng_ops, .queues = &rng->queue, .queue_count = 1};
    virtio_mmio_init(&rng->transport, host, &config);
    virtio_queue_init(&rng->queue, host->memory, &rng->transport.negotiated, QUEUE_SIZE);
}

void virtio_rng_fini(struct virtio_rng *rng)
{
    virtio_mmio_fini(&rng->transport);
}
