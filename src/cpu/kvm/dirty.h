/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of RAM the guest has written: KVM's dirty bitmap with manual protection (api.rst 4.8,
 * 4.117 KVM_CLEAR_DIRTY_LOG, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) or its dirty ring (8.29), and the
 * memory slots that both hang on. What devices write is marked by the checked accessor; the log
 * owns a byte-map tracker for that and gives both as one.
 *
 * Order of use: dirty_log_new() right after KVM_CREATE_VM and before any vCPU (the ring is a
 * property of the machine); dirty_log_add_vcpu() for each; dirty_log_free() after all threads.
 */
#ifndef CPU_KVM_DIRTY_H
#define CPU_KVM_DIRTY_H

#include "cpu/kvm/kvm.h"

struct dirty_log;

struct dirty_log_config {
    int vm_fd;
    struct gw_memory
        *memory; /* slot number = region index; regions from VM_GUEST_ADDRESS_LIMIT on have none */
    enum vm_tracking tracking;
    /* Makes every running vCPU leave the guest once, so that what its CPU has buffered is in the
     * log; returns when all have. Any thread but a vCPU's. */
    void (*flush_vcpus)(void *opaque);
    void *opaque;
};

#define VM_GUEST_ADDRESS_LIMIT (UINT64_C(1) << 52)

/* Makes the memory slots too, without logging. -EOPNOTSUPP when the tracking that was asked for is
 * not there. */
int dirty_log_new(const struct dirty_log_config *config, struct dirty_log **ret_log,
                  struct gw_error *error);
void dirty_log_free(struct dirty_log *log); /* NULL is fine */
int dirty_log_add_vcpu(struct dirty_log *log, int vcpu_fd, struct gw_error *error);
/* KVM_EXIT_DIRTY_RING_FULL: makes room. On the vCPU's thread. */
int dirty_log_ring_full(struct dirty_log *log, struct gw_error *error);
struct gw_tracker dirty_log_tracker(struct dirty_log *log);

#endif
