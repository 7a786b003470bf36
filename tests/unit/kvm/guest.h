/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of a few MiB whose vCPUs run a piece of code of the test in ring 3, in 64-bit mode, at
 * the speed of the host whatever kind of KVM it has. Memory is mapped one to one; the page tables
 * lie in the first 64 KiB, the code at GUEST_CODE.
 */
#ifndef TESTS_KVM_GUEST_H
#define TESTS_KVM_GUEST_H

#include <pthread.h>

#include "cpu/kvm/vm.h"

#define GUEST_CODE 0x10000u
#define GUEST_STACK 0x20000u /* of vCPU n: n pages above */
#define GUEST_BYTES (UINT64_C(64) << 20)

struct guest {
    struct kvm_host *host;
    struct gw_memory *memory;
    struct vm *vm;
    unsigned cpus;
    pthread_t thread[VM_MAX_CPUS];
    enum vcpu_stop stop[VM_MAX_CPUS];
    struct gw_error error[VM_MAX_CPUS];
    unsigned started;
};

/* Skips the test, with the reason, where there is no KVM. `platform` may be NULL. */
void guest_new(struct guest *guest, unsigned cpus, enum vm_tracking tracking,
               const struct vm_platform *platform);
void guest_free(struct guest *guest);
/* Code for all vCPUs, and the registers of one, which the code begins with. */
void guest_put_code(struct guest *guest, const void *begin, const void *end);
void guest_set_registers(struct guest *guest, unsigned cpu, const struct kvm_regs *regs);
/* Each vCPU on a thread of its own, until guest_stop(). */
void guest_start(struct guest *guest);
void guest_stop(struct guest *guest);
/* Until each vCPU has had so much time of a CPU since it was started; they must not sleep. */
void guest_wait_cpu_time(const struct guest *guest, uint64_t ns);
/* What `cpu` stopped for without being asked to; on the caller's thread. */
enum vcpu_stop guest_run(struct guest *guest, unsigned cpu, struct gw_error *error);

#endif
