/* SPDX-License-Identifier: Apache-2.0 */
/* Block device (virtio 1.2 §5.2) on top of a block back end. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include "block/block.h"
#include "virtio/mmio.h"

#define VIRTIO_BLK_SERIAL_BYTES 20

#define VIRTIO_BLK_CONFIG_BYTES 60 /* struct virtio_blk_config of §5.2.4, up to write zeroes */

struct virtio_blk_request;

struct virtio_blk {
    GW_SAVED(1) struct virtio_mmio transport; /* first: the object of virtio_mmio_ops */
    GW_SAVED(1) struct virtio_queue queue;
    /* set once */
    GW_HOST struct block *block;
    GW_HOST uint64_t capacity_sectors;
    GW_HOST uint8_t config[VIRTIO_BLK_CONFIG_BYTES];
    GW_HOST char serial[VIRTIO_BLK_SERIAL_BYTES]; /* padded with NUL */
    GW_HOST struct virtio_blk_request *requests;  /* owned, BLOCK_DEPTH */
    /* under the I/O lock */
    GW_HOST struct virtio_blk_request *idle; /* free list through requests[] */
    GW_HOST bool discarding;                 /* a reset is under way: results are dropped */
} GW_DEVICE("virtio-blk", 1, 1);

extern const struct gw_state_type virtio_blk_state_type;

/*
 * On the caller's memory. `block` outlives the device and is used by nobody else; its size must be
 * known (block_bytes(): acquired, or expected) and is the guest's capacity from now on. `serial`
 * (may be NULL) is cut at 20 bytes. In host-clock mode the board attaches the block to its loop; in
 * instruction-clock mode requests are done in one go, VIRTIO_LATENCY_NS of guest time after the
 * notification, and no loop is needed. -ENOMEM, -EINVAL (size unknown).
 */
int virtio_blk_init(struct virtio_blk *blk, const struct virtio_host *host, struct block *block,
                    const char *serial, struct gw_error *error);
/* The block stays; nothing may be in flight any more. A device that is all zeroes is fine. */
void virtio_blk_fini(struct virtio_blk *blk);

#endif
