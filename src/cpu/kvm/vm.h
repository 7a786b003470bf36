/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct vm and struct vcpu, for the files of this folder. */
#ifndef CPU_KVM_VM_H
#define CPU_KVM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cpu/kvm/dirty.h"
#include "cpu/kvm/kvm.h"
#include "cpu/kvm/state.h"

struct kvm_host {
    int fd;
    size_t run_bytes; /* of the mapping behind a vCPU */
    unsigned max_cpus;
};
int kvm_host_cap(const struct kvm_host *host, int capability); /* 0 where it is absent */

struct vcpu {
    /* set once */
    struct vm *vm;
    unsigned index;
    int fd;
    struct kvm_run *run; /* shared with the kernel; the vCPU's thread, but immediate_exit */
    pthread_t thread;
    struct vcpu_state power_on;
    /* while no thread is in vcpu_run() */
    struct vcpu_state state; /* as fetched or loaded last */
    /* any thread */
    _Atomic bool bound; /* `thread` is set */
    _Atomic bool kicked, in_guest;
    _Atomic unsigned exits; /* from KVM_RUN */
};

struct vm {
    /* set once */
    struct kvm_host *host;
    int fd;
    struct gw_memory *memory;
    struct vm_platform platform;
    struct cpu_model model;
    unsigned cpus;
    bool exception_payload, triple_fault_event; /* KVM tells and takes them */
    struct kvm_msr_list *msr_list;
    struct dirty_log *log;
    struct vcpu vcpu[VM_MAX_CPUS];
    struct vm_state power_on;
    /* while no thread is in vcpu_run() */
    struct vm_state state;
    bool time_loaded; /* the state's time has not been brought up to date yet */
    bool tsc_scaled;  /* the guest's TSC runs at another frequency than the host's */
};

int vm_fail(struct gw_error *error, int number, const char *what); /* "KVM cannot WHAT: why" */

/* vcpu.c */
int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned index, struct gw_error *error);
void vcpu_fini(struct vcpu *vcpu);
void vcpu_flush(struct vcpu *vcpu); /* returns when it has left the guest once; any other thread */

/* vcpu-cpuid.c: CPUID, the TSC's frequency and MSR 0x10a as the machine's model has them */
int vcpu_set_model(struct vcpu *vcpu, struct gw_error *error);

/* vcpu-state.c: all registers but the clocks */
int vcpu_fetch(struct vcpu *vcpu, struct vcpu_state *state, struct gw_error *error);
int vcpu_load(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error);
/*
 * Before a reset: what KVM (Linux 6.12) forgets of a vCPU that fell into a triple fault on AMD, whose
 * VMCB it empties. Where paging is off before and after, it believes its nested page table to be in
 * place still, and the vCPU faults for ever: a change of CR3 makes it look again. And the TSC's offset
 * is gone from the VMCB while KVM goes on counting with it, so that no deadline is ever reached:
 * saying it again puts it back.
 */
int vcpu_forget_mappings(struct vcpu *vcpu, struct gw_error *error);

/* msr.c */
int msr_list(struct vm *vm, struct gw_error *error); /* makes vm->msr_list */
int msr_get(struct vcpu *vcpu, uint32_t index, uint64_t *ret_value);
int msr_set(struct vcpu *vcpu, uint32_t index, uint64_t value);
int msr_fetch(struct vcpu *vcpu, struct vcpu_state *state, struct gw_error *error);
int msr_load(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error);
int msr_reset_waiting(struct vcpu *vcpu, const struct vcpu_state *power_on, struct gw_error *error);
int msr_load_waiting(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error);

/* time.c */
int time_restate_offset(struct vcpu *vcpu, struct gw_error *error); /* above */
int time_fetch(struct vm *vm, struct gw_error *error);
/* Lets the guest's TSC run at this frequency (0: as it does), or says that it cannot. */
int time_set_frequency(struct vcpu *vcpu, uint32_t tsc_khz, struct gw_error *error);

/* vm-state.c */
int vm_keep_power_on_state(struct vm *vm, struct gw_error *error);

#endif
