/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ways of logging have in common: memory slots, a bitmap of our own for each, and the
 * writes of devices.
 *
 * KVM tells of everything at once, the engine asks for pieces. So sync() gathers what KVM knows
 * into our bitmaps, and collect() hands a piece of them out. No write is lost between the two:
 * before bits are handed out their pages are protected again, and only then does the engine read
 * them. A page that is written after it was gathered and before it was protected is read
 * afterwards, written or not; one that is written after it was protected is gathered the next time.
 *
 * AUTO is the bitmap. It costs one question per slot and round, and a guest that writes much pays
 * one fault per page and round for either. The ring saves the question, but its entries are worked
 * through one by one and a full ring stops the vCPU; it pays with far more memory than is written
 * between rounds, and where single vCPUs are to be told apart.
 *
 * Locks: `lock` protects all that is not set once. It is not held while vCPUs are waited for.
 */
#include "cpu/kvm/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "cpu/kvm/dirty-log.h"

static int fail(struct gw_error *error, int r, const char *what)
{
    return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(-r), r, "KVM cannot %s: %s", what,
                        strerror(-r));
}

/* ---- Slots ---- */

static bool has_slot(const struct gw_memory_region *region)
{
    return region->guest_base < VM_GUEST_ADDRESS_LIMIT;
}

static int set_slots(const struct dirty_log *log, bool logging)
{
    for (unsigned i = 0; i < gw_memory_region_count(log->memory); i++) {
        const struct gw_memory_region *region = gw_memory_region(log->memory, i);
        struct kvm_userspace_memory_region slot = {
            .slot = i,
            .flags = logging ? KVM_MEM_LOG_DIRTY_PAGES : 0,
            .guest_phys_addr = region->guest_base,
            .memory_size = region->bytes,
            .userspace_addr = (uintptr_t)region->host,
        };
        if (has_slot(region) && ioctl(log->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return -errno;
    }
    return 0;
}

/* ---- The tracker ---- */

static uint64_t word_count(const struct dirty_log *log, unsigned slot)
{
    return (dirty_log_pages(log, slot) + 63) / 64;
}

static void forget(struct dirty_log *log)
{
    for (unsigned i = 0; i < gw_memory_region_count(log->memory); i++)
        if (log->bitmap[i])
            memset(log->bitmap[i], 0, word_count(log, i) * 8);
}

static int start(void *opaque, struct gw_error *error)
{
    struct dirty_log *log = opaque;
    int r = log->devices.ops->start(log->devices.opaque, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&log->lock);
    forget(log);
    r = set_slots(log, true);
    log->on = r == 0;
    pthread_mutex_unlock(&log->lock);
    return r < 0 ? fail(error, r, "log dirty pages") : 0;
}

static void stop(void *opaque)
{
    struct dirty_log *log = opaque;
    pthread_mutex_lock(&log->lock);
    if (log->on)
        (void)log->mechanism->gather(log); /* a ring is left empty for the next start */
    (void)set_slots(log, false);
    log->on = false;
    pthread_mutex_unlock(&log->lock);
    log->devices.ops->stop(log->devices.opaque);
}

static int sync_log(void *opaque, struct gw_error *error)
{
    struct dirty_log *log = opaque;
    if (log->flush_vcpus)
        log->flush_vcpus(log->opaque);
    pthread_mutex_lock(&log->lock);
    int r = log->on ? log->mechanism->gather(log) : -EINVAL;
    pthread_mutex_unlock(&log->lock);
    return r < 0 ? fail(error, r, "tell which pages are dirty") : 0;
}

/* Moves bits [first, first+count) of ours to the caller's. */
static int64_t take_bits(uint64_t *ours, uint64_t first, uint64_t count, uint64_t *theirs)
{
    int64_t found = 0;
    for (uint64_t i = 0; i < count;) {
        uint64_t page = first + i, *word = &ours[page / 64];
        if (*word == 0) {
            i += 64 - page % 64;
            continue;
        }
        uint64_t bit = UINT64_C(1) << page % 64, their_bit = UINT64_C(1) << i % 64;
        if (*word & bit && !(theirs[i / 64] & their_bit)) {
            theirs[i / 64] |= their_bit;
            found++;
        }
        *word &= ~bit;
        i++;
    }
    return found;
}

static int64_t collect(void *opaque, unsigned slot, uint64_t first, uint64_t count,
                       uint64_t *bitmap)
{
    struct dirty_log *log = opaque;
    int64_t marked = log->devices.ops->collect(log->devices.opaque, slot, first, count, bitmap);
    if (marked < 0 || count == 0 || !log->bitmap[slot])
        return marked;
    pthread_mutex_lock(&log->lock);
    int64_t found = log->mechanism->protect(log, slot, first, count);
    if (found == 0)
        found = take_bits(log->bitmap[slot], first, count, bitmap);
    pthread_mutex_unlock(&log->lock);
    return found < 0 ? found : marked + found;
}

static uint64_t count_dirty(void *opaque)
{
    struct dirty_log *log = opaque;
    uint64_t dirty = log->devices.ops->count(log->devices.opaque);
    pthread_mutex_lock(&log->lock);
    if (log->on)
        (void)log->mechanism->gather(log);
    for (unsigned i = 0; i < gw_memory_region_count(log->memory); i++)
        for (uint64_t word = 0; log->bitmap[i] && word < word_count(log, i); word++)
            dirty += (uint64_t)__builtin_popcountll(log->bitmap[i][word]);
    pthread_mutex_unlock(&log->lock);
    return dirty;
}

struct gw_tracker dirty_log_tracker(struct dirty_log *log)
{
    static const struct gw_tracker_ops bitmap_ops = {
        .name = "kvm-bitmap",
        .start = start,
        .stop = stop,
        .sync = sync_log,
        .collect = collect,
        .count = count_dirty,
    };
    static const struct gw_tracker_ops ring_ops = {
        .name = "kvm-ring",
        .start = start,
        .stop = stop,
        .sync = sync_log,
        .collect = collect,
        .count = count_dirty,
    };
    return (struct gw_tracker){log->ring_entries ? &ring_ops : &bitmap_ops, log};
}

/* ---- Making it ---- */

static int allocate(struct dirty_log *log)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < gw_memory_region_count(log->memory); i++) {
        if (!has_slot(gw_memory_region(log->memory, i)))
            continue;
        log->bitmap[i] = calloc(word_count(log, i), 8);
        if (!log->bitmap[i])
            return -ENOMEM;
        largest = word_count(log, i) > largest ? word_count(log, i) : largest;
    }
    log->answer = calloc(largest, 8);
    log->devices_owner = gw_bytemap_tracker_new(log->memory, NULL, NULL);
    if (!log->answer || !log->devices_owner)
        return -ENOMEM;
    log->devices = gw_bytemap_tracker_interface(log->devices_owner);
    return 0;
}

static bool enable_manual(const struct dirty_log *log)
{
    struct kvm_enable_cap enable = {
        .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
    };
    return ioctl(log->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) > 0 &&
           ioctl(log->vm_fd, KVM_ENABLE_CAP, &enable) == 0;
}

static int choose(struct dirty_log *log, enum vm_tracking tracking, struct gw_error *error)
{
    log->mechanism = &dirty_bitmap_mechanism;
    if (tracking == VM_TRACK_RING) {
        if (dirty_ring_enable(log) < 0)
            return gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                                "this host's KVM has no dirty ring (Linux 5.11 has): use "
                                "--dirty-tracking bitmap or auto");
        log->mechanism = &dirty_ring_mechanism;
        return 0;
    }
    log->manual = enable_manual(log);
    return 0;
}

int dirty_log_new(const struct dirty_log_config *config, struct dirty_log **ret_log,
                  struct gw_error *error)
{
    struct dirty_log *log = calloc(1, sizeof *log);
    if (!log)
        return fail(error, -ENOMEM, "keep a dirty log");
    log->vm_fd = config->vm_fd;
    log->memory = config->memory;
    log->flush_vcpus = config->flush_vcpus;
    log->opaque = config->opaque;
    pthread_mutex_init(&log->lock, NULL);
    int r = choose(log, config->tracking, error);
    if (r == 0 && (r = allocate(log)) < 0)
        fail(error, r, "keep a dirty log");
    if (r == 0 && (r = set_slots(log, false)) < 0)
        fail(error, r, "take the guest's memory");
    if (r < 0) {
        dirty_log_free(log);
        return r;
    }
    *ret_log = log;
    return 0;
}

void dirty_log_free(struct dirty_log *log)
{
    if (!log)
        return;
    for (unsigned i = 0; i < log->ring_count; i++)
        munmap(log->ring[i].entry, log->ring_entries * sizeof *log->ring[i].entry);
    for (unsigned i = 0; i < GW_MEMORY_MAX_REGIONS; i++)
        free(log->bitmap[i]);
    free(log->answer);
    gw_bytemap_tracker_free(log->devices_owner);
    pthread_mutex_destroy(&log->lock);
    free(log);
}
