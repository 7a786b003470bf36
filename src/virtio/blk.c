/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (virtio 1.2 §5.2).
 *
 * Host-clock mode: each chain becomes a request of the block back end, up to BLOCK_DEPTH in flight,
 * reading from and writing to guest memory directly. It ends in request_done(), under the I/O lock,
 * on whatever thread reaps: first the pages are marked dirty, then the status byte is written, then
 * the used ring shows the chain.
 *
 * Instruction-clock mode: the transport calls us a fixed guest time after the notification, and
 * everything available is done here and now, so how long the host's disk takes cannot be seen.
 *
 * Either way nothing is in flight while the machine is stopped, and what is saved is the transport
 * and the queue.
 *
 * A chain that is a request but a bad one (outside the disk, not in sectors, writing to a read-only
 * disk) fails with a status, as a disk's request can. A chain that has no header or no room for a
 * status cannot be answered: the device needs a reset.
 */
#include "virtio/blk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define QUEUE_SIZE 256
#define CHAIN_SEGMENTS 256
#define HEADER_BYTES 16u
#define RANGE_BYTES 16u /* struct virtio_blk_discard_write_zeroes */

/* Limits that the driver is told. All requests in flight together are what draining may have to
 * wait for. */
#define SEGMENT_BYTES_MAX (1u << 20)
#define SEGMENTS_MAX (CHAIN_SEGMENTS - 2u)
#define REQUEST_BYTES_MAX ((uint64_t)SEGMENT_BYTES_MAX * CHAIN_SEGMENTS)
#define DISCARD_SECTORS_MAX (1u << 21)
#define ZERO_SECTORS_MAX (1u << 16)
#define PHYSICAL_SECTORS_LOG2 3u

/* Feature bits, §5.2.3. */
#define F_SIZE_MAX (UINT64_C(1) << 1)
#define F_SEG_MAX (UINT64_C(1) << 2)
#define F_RO (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_TOPOLOGY (UINT64_C(1) << 10)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

#define FEATURES_ALWAYS (F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY)
#define FEATURES_WRITABLE (F_DISCARD | F_WRITE_ZEROES)

/* Request types and status bytes, §5.2.6. */
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum status {
    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,
    S_PENDING = 256 /* ours: the back end has it */
};

#define RANGE_UNMAP 1u

struct virtio_blk_request {
    struct virtio_blk *blk;
    struct virtio_blk_request *next; /* while idle */
    struct virtio_chain chain;
    struct block_request block;
    uint64_t sector;
    uint32_t written; /* bytes from the start of the writable part, if all goes well */
    struct virtio_segment segments[CHAIN_SEGMENTS];
    struct iovec iov[CHAIN_SEGMENTS];
};

static_assert(offsetof(struct virtio_blk, transport) == 0, "virtio_mmio_ops gets the transport");

static bool is_deterministic(const struct virtio_blk *blk)
{
    return blk->transport.host.clock->mode == GW_CLOCK_INSTRUCTIONS;
}

static bool has_feature(const struct virtio_blk *blk, uint64_t feature)
{
    return blk->transport.negotiated & feature;
}

/* ---- The end of a request ---- */

static void make_idle(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    request->next = blk->idle;
    blk->idle = request;
}

static void finish(struct virtio_blk *blk, struct virtio_blk_request *request, enum status status)
{
    uint8_t byte = (uint8_t)status;
    struct virtio_chain *chain = &request->chain;
    virtio_chain_write(chain, blk->transport.host.memory, chain->writable_bytes - 1, &byte, 1);
    virtio_mmio_push(&blk->transport, &blk->queue, chain->head,
                     status == S_OK ? request->written : 0);
    make_idle(blk, request);
}

/* Even a failed read may have written something. */
static void mark_read(struct virtio_blk *blk, const struct virtio_blk_request *request)
{
    if (request->block.kind == BLOCK_READ)
        virtio_chain_mark(&request->chain, blk->transport.host.memory);
}

static void request_done(struct block_request *block, int result)
{
    struct virtio_blk_request *request = container_of(block, struct virtio_blk_request, block);
    struct virtio_blk *blk = request->blk;
    mark_read(blk, request);
    if (blk->discarding) {
        make_idle(blk, request);
        return;
    }
    finish(blk, request, result < 0 ? S_IOERR : S_OK);
    virtio_mmio_signal(&blk->transport, &blk->queue);
    virtio_mmio_run(&blk->transport);
}

/* ---- The kinds of requests; each returns the status, or S_PENDING ---- */

static enum status start_block(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    request->block.done = request_done;
    if (!is_deterministic(blk)) {
        block_submit(blk->block, &request->block);
        return S_PENDING;
    }
    int r = block_execute(blk->block, &request->block);
    mark_read(blk, request);
    return r < 0 ? S_IOERR : S_OK;
}

static bool is_on_disk(const struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
    return sector <= blk->capacity_sectors && sectors <= blk->capacity_sectors - sector;
}

static enum status start_transfer(struct virtio_blk *blk, struct virtio_blk_request *request,
                                  const struct virtio_segment *segments, unsigned count,
                                  uint64_t offset, uint64_t bytes)
{
    if (bytes % BLOCK_SECTOR_BYTES || bytes > REQUEST_BYTES_MAX ||
        !is_on_disk(blk, request->sector, bytes / BLOCK_SECTOR_BYTES))
        return S_IOERR;
    if (bytes == 0)
        return S_OK;
    request->block.iov = request->iov;
    request->block.iov_count = virtio_segments_gather(segments, count, offset, bytes, request->iov);
    request->block.offset_bytes = request->sector * BLOCK_SECTOR_BYTES;
    request->block.bytes = bytes;
    return start_block(blk, request);
}

static enum status start_in(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    const struct virtio_chain *chain = &request->chain;
    request->block.kind = BLOCK_READ;
    request->written = (uint32_t)chain->writable_bytes;
    return start_transfer(blk, request, chain->segments + chain->readable, chain->writable, 0,
                          chain->writable_bytes - 1);
}

/* A driver that did not take FLUSH counts on every write to last (§5.2.6.2). */
static enum status start_out(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    const struct virtio_chain *chain = &request->chain;
    if (block_read_only(blk->block))
        return S_IOERR;
    request->block.kind = BLOCK_WRITE;
    request->block.durable = !has_feature(blk, F_FLUSH);
    return start_transfer(blk, request, chain->segments, chain->readable, HEADER_BYTES,
                          chain->readable_bytes - HEADER_BYTES);
}

static enum status start_flush(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    request->block.kind = BLOCK_FLUSH;
    return start_block(blk, request);
}

static enum status start_get_id(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    struct virtio_chain *chain = &request->chain;
    if (chain->writable_bytes - 1 < VIRTIO_BLK_SERIAL_BYTES)
        return S_IOERR;
    virtio_chain_write(chain, blk->transport.host.memory, 0, blk->serial, VIRTIO_BLK_SERIAL_BYTES);
    request->written = VIRTIO_BLK_SERIAL_BYTES + (chain->writable_bytes == 21);
    return S_OK;
}

/* One range, as the configuration says (§5.2.6.2 for what is not supported). */
static enum status start_range(struct virtio_blk *blk, struct virtio_blk_request *request,
                               uint32_t known_flags, uint32_t sectors_max)
{
    uint8_t range[RANGE_BYTES];
    if (request->chain.readable_bytes != HEADER_BYTES + RANGE_BYTES ||
        !virtio_chain_read(&request->chain, HEADER_BYTES, range, sizeof range))
        return S_IOERR;
    uint64_t sector = get_le64(range);
    uint32_t sectors = get_le32(range + 8), flags = get_le32(range + 12);
    if (flags & ~known_flags)
        return S_UNSUPP;
    if (block_read_only(blk->block) || sectors > sectors_max || !is_on_disk(blk, sector, sectors))
        return S_IOERR;
    if (sectors == 0)
        return S_OK;
    request->block.may_unmap |= flags & RANGE_UNMAP;
    request->block.offset_bytes = sector * BLOCK_SECTOR_BYTES;
    request->block.bytes = (uint64_t)sectors * BLOCK_SECTOR_BYTES;
    return start_block(blk, request);
}

/* What a discarded sector holds afterwards depends on the host's file system, unless it is made
 * zero. */
static enum status start_discard(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    if (!has_feature(blk, F_DISCARD))
        return S_UNSUPP;
    request->block.kind = is_deterministic(blk) ? BLOCK_ZERO : BLOCK_DISCARD;
    request->block.may_unmap = true;
    return start_range(blk, request, 0, DISCARD_SECTORS_MAX);
}

static enum status start_write_zeroes(struct virtio_blk *blk, struct virtio_blk_request *request)
{
    if (!has_feature(blk, F_WRITE_ZEROES))
        return S_UNSUPP;
    request->block.kind = BLOCK_ZERO;
    return start_range(blk, request, RANGE_UNMAP, ZERO_SECTORS_MAX);
}

static const struct {
    uint32_t type;
    enum status (*start)(struct virtio_blk *blk, struct virtio_blk_request *request);
} request_types[] = {
    {T_IN, start_in},         {T_OUT, start_out},         {T_FLUSH, start_flush},
    {T_GET_ID, start_get_id}, {T_DISCARD, start_discard}, {T_WRITE_ZEROES, start_write_zeroes},
};

static enum status start_request(struct virtio_blk *blk, struct virtio_blk_request *request,
                                 const uint8_t *header)
{
    uint32_t type = get_le32(header);
    request->sector = get_le64(header + 8);
    request->written = 1;
    request->block = (struct block_request){.kind = BLOCK_FLUSH};
    for (size_t i = 0; i < ARRAY_COUNT(request_types); i++)
        if (request_types[i].type == type)
            return request_types[i].start(blk, request);
    return S_UNSUPP;
}

/* ---- What the transport calls ---- */

static struct virtio_chain *blk_room(struct virtio_mmio *device, unsigned index)
{
    struct virtio_blk *blk = (struct virtio_blk *)device;
    return blk->idle ? &blk->idle->chain : NULL;
}

static void blk_handle(struct virtio_mmio *device, unsigned index, struct virtio_chain *chain)
{
    struct virtio_blk *blk = (struct virtio_blk *)device;
    struct virtio_blk_request *request = container_of(chain, struct virtio_blk_request, chain);
    uint8_t header[HEADER_BYTES];
    if (chain->writable_bytes == 0 || !virtio_chain_read(chain, 0, header, sizeof header)) {
        virtio_mmio_break(device);
        return;
    }
    blk->idle = request->next;
    enum status status = start_request(blk, request, header);
    if (status != S_PENDING)
        finish(blk, request, status);
}

static void blk_handled(struct virtio_mmio *device)
{
    block_kick(((struct virtio_blk *)device)->block);
}

static void blk_drain(struct virtio_mmio *device)
{
    block_drain(((struct virtio_blk *)device)->block);
}

static void blk_reset(struct virtio_mmio *device)
{
    struct virtio_blk *blk = (struct virtio_blk *)device;
    blk->discarding = true;
    block_drain(blk->block);
    blk->discarding = false;
}

static const struct virtio_device_ops blk_ops = {
    .id = VIRTIO_ID_BLOCK,
    .room = blk_room,
    .handle = blk_handle,
    .handled = blk_handled,
    .reset = blk_reset,
    .drain = blk_drain,
};

/* ---- Birth ---- */

static void fill_config(uint8_t *config, uint64_t capacity_sectors)
{
    put_le64(config, capacity_sectors);
    put_le32(config + 8, SEGMENT_BYTES_MAX);
    put_le32(config + 12, SEGMENTS_MAX);
    put_le32(config + 20, BLOCK_SECTOR_BYTES);
    config[24] = PHYSICAL_SECTORS_LOG2;
    put_le16(config + 26, 1u << PHYSICAL_SECTORS_LOG2); /* smallest good request, in sectors */
    put_le32(config + 36, DISCARD_SECTORS_MAX);
    put_le32(config + 40, 1); /* ranges in one discard */
    put_le32(config + 44, 1u << PHYSICAL_SECTORS_LOG2);
    put_le32(config + 48, ZERO_SECTORS_MAX);
    put_le32(config + 52, 1); /* ranges in one write zeroes */
    config[56] = 1;           /* write zeroes may unmap */
}

static int make_requests(struct virtio_blk *blk)
{
    blk->requests = calloc(BLOCK_DEPTH, sizeof *blk->requests);
    if (!blk->requests)
        return -ENOMEM;
    for (unsigned i = BLOCK_DEPTH; i-- > 0;) {
        struct virtio_blk_request *request = &blk->requests[i];
        request->blk = blk;
        request->chain.segments = request->segments;
        request->chain.segments_max = CHAIN_SEGMENTS;
        make_idle(blk, request);
    }
    return 0;
}

int virtio_blk_init(struct virtio_blk *blk, const struct virtio_host *host, struct block *block,
                    const char *serial, struct gw_error *error)
{
    uint64_t sectors = block_bytes(block) / BLOCK_SECTOR_BYTES;
    if (sectors == 0)
        return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_INVALID, -EINVAL,
                            "the size of a disk is not known; open it first or give its size");
    *blk = (struct virtio_blk){.block = block, .capacity_sectors = sectors};
    if (make_requests(blk) < 0)
        return gw_error_set(error, GW_LAYER_VIRTIO, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for the requests of a disk");
    if (serial)
        memcpy(blk->serial, serial, strnlen(serial, VIRTIO_BLK_SERIAL_BYTES));
    fill_config(blk->config, sectors);
    const struct virtio_mmio_config config = {
        .ops = &blk_ops,
        .features = FEATURES_ALWAYS | (block_read_only(block) ? F_RO : FEATURES_WRITABLE),
        .space = blk->config,
        .space_bytes = sizeof blk->config,
        .queues = &blk->queue,
        .queue_count = 1,
    };
    virtio_mmio_init(&blk->transport, host, &config);
    virtio_queue_init(&blk->queue, host->memory, &blk->transport.negotiated, QUEUE_SIZE);
    return 0;
}

void virtio_blk_fini(struct virtio_blk *blk)
{
    if (!blk->requests)
        return;
    virtio_mmio_fini(&blk->transport);
    free(blk->requests);
    blk->requests = NULL;
}
