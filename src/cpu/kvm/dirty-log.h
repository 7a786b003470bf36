/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct dirty_log, for the files of dirty.h. */
#ifndef CPU_KVM_DIRTY_LOG_H
#define CPU_KVM_DIRTY_LOG_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cpu/kvm/dirty.h"

struct dirty_log;

/* One of KVM's two ways. Called with the lock. */
struct dirty_mechanism {

    /* Adds what KVM knows to the bitmaps of all slots. */
    int (*gather)(struct dirty_log *log);
    /* Before bits [first, first+count) of a slot are handed out: writes from now on are told of. */
    int (*protect)(struct dirty_log *log, unsigned slot, uint64_t first, uint64_t count);
};
extern const struct dirty_mechanism dirty_bitmap_mechanism, dirty_ring_mechanism;

struct dirty_ring {

    struct kvm_dirty_gfn *entry; /* shared with the kernel */
    uint32_t next;               /* to be looked at; wraps around */
};

struct dirty_log {
    /* set once */
    int vm_fd;
    struct gw_memory *memory;
    const struct dirty_mechanism *mechanism;
    bool manual;           /* of the bitmap: clearing is a call of its own */
    uint32_t ring_entries; /* a power of two; 0: no ring */

    void (*flush_vcpus)(void *opaque);
    void *opaque;
    struct gw_bytemap_tracker *devices_owner;
    struct gw_tracker devices; /* what was written through the checked accessor */
    /* before the machine first runs */
    struct dirty_ring ring[VM_MAX_CPUS];
    unsigned ring_count;
    /* under the lock */
    pthread_mutex_t lock;
    bool on;
    uint64_t *bitmap[GW_MEMORY_MAX_REGIONS]; /* of each slot; bits gathered, not handed out yet */
    uint64_t *answer;                        /* room for KVM's bitmap of the largest slot */
    /* any thread */
    _Atomic uint64_t ring_full; /* how often a vCPU had to stop for it */
};

static inline uint64_t dirty_log_pages(const struct dirty_log *log, unsigned slot)
{
    return gw_memory_region(log->memory, slot)->bytes >> GW_PAGE_SHIFT;
}

/* dirty-ring.c: chooses a size and turns the ring on, before there are vCPUs. -EOPNOTSUPP. */
int dirty_ring_enable(struct dirty_log *log);

#endif
