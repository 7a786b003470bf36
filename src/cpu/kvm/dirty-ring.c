/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's dirty ring (api.rst 8.29 KVM_CAP_DIRTY_LOG_RING, and its _ACQ_REL form): one per vCPU, of
 * (slot, page) entries. The kernel fills an entry and publishes it by its flag; we take it, mark it
 * for reset, and KVM_RESET_DIRTY_RINGS then protects all pages so marked and frees their entries.
 * The flag is read with acquire and written with release order: the kernel's side does the same.
 *
 * Gathering takes all entries and resets at once, so when bits are handed out their pages are
 * protected long since and protect() has nothing to do. A page that was written again meanwhile is
 * in the ring again.
 *
 * A full ring stops its vCPU, which then gathers for all and goes on.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/kvm/dirty-log.h"

#define RING_ENTRIES 65536u /* 256 MiB of pages, 1 MiB for each vCPU */

int dirty_ring_enable(struct dirty_log *log)
{
    static const int capabilities[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING};
    for (unsigned i = 0; i < 2; i++) {
        int most = ioctl(log->vm_fd, KVM_CHECK_EXTENSION, capabilities[i]);
        uint32_t entries = RING_ENTRIES;
        while (most > 0 && entries * sizeof(struct kvm_dirty_gfn) > (unsigned)most)
            entries /= 2;
        struct kvm_enable_cap enable = {
            .cap = (uint32_t)capabilities[i],
            .args[0] = entries * sizeof(struct kvm_dirty_gfn),
        };
        if (most <= 0 || ioctl(log->vm_fd, KVM_ENABLE_CAP, &enable) < 0)
            continue;
        log->ring_entries = entries;
        return 0;
    }
    return -EOPNOTSUPP;
}

int dirty_log_add_vcpu(struct dirty_log *log, int vcpu_fd, struct gw_error *error)
{
    if (!log->ring_entries)
        return 0;
    void *entries =
        mmap(NULL, log->ring_entries * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE,
             MAP_SHARED, vcpu_fd, KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
    if (entries == MAP_FAILED)
        return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(errno), -errno,
                            "KVM does not show a vCPU's dirty ring");
    log->ring[log->ring_count++] = (struct dirty_ring){.entry = entries};
    return 0;
}

/* An entry names a slot of ours: the upper half of `slot` is the address space, always 0. */
static void note(struct dirty_log *log, uint32_t slot, uint64_t page)
{
    if (slot < GW_MEMORY_MAX_REGIONS && log->bitmap[slot] && page < dirty_log_pages(log, slot))
        log->bitmap[slot][page / 64] |= UINT64_C(1) << page % 64;
}

static unsigned take_entries(struct dirty_log *log, struct dirty_ring *ring)
{
    unsigned taken = 0;
    for (; taken < log->ring_entries; taken++, ring->next++) {
        struct kvm_dirty_gfn *entry = &ring->entry[ring->next & (log->ring_entries - 1)];
        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
            break;
        note(log, entry->slot, entry->offset);
        __atomic_store_n(&entry->flags, (uint32_t)KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
    return taken;
}

static int gather(struct dirty_log *log)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < log->ring_count; i++)
        taken += take_entries(log, &log->ring[i]);
    return taken && ioctl(log->vm_fd, KVM_RESET_DIRTY_RINGS, 0) < 0 ? -errno : 0;
}

static int protect(struct dirty_log *log, unsigned slot, uint64_t first, uint64_t count)
{
    return 0;
}

const struct dirty_mechanism dirty_ring_mechanism = {.gather = gather, .protect = protect};

int dirty_log_ring_full(struct dirty_log *log, struct gw_error *error)
{
    atomic_fetch_add(&log->ring_full, 1);
    pthread_mutex_lock(&log->lock);
    int r = gather(log);
    pthread_mutex_unlock(&log->lock);
    return r < 0 ? gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(-r), r,
                                "KVM does not empty a full dirty ring")
                 : 0;
}
