/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM on x86-64: a virtual machine with the kernel's interrupt controllers, its vCPUs, and what
 * they need to be saved and loaded whole. Source: the kernel's Documentation/virt/kvm/api.rst;
 * section numbers below are of that file.
 *
 * Threads: a vCPU is run by one thread, the same one for its whole life. vcpu_kick(), vm_set_irq()
 * and the tracker may be used from any thread. Everything else happens while no thread is in
 * vcpu_run(). Exits to the platform come on the vCPU's thread, without a lock.
 */
#ifndef CPU_KVM_KVM_H
#define CPU_KVM_KVM_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/error.h>
#include <godwit/memory.h>
#include <godwit/state.h>

#include "cpu/kvm/cpu-model.h"

#define VM_MAX_CPUS 64

/* ---- The host's KVM ---- */

struct kvm_host;

/* Opens `device` (NULL: /dev/kvm) and checks version and capabilities that nothing works without.
 * A sentence of its own for: no such device (-ENOENT), no permission (-EACCES, with the group that
 * would have it), another API (-EPROTO), a capability that lacks (-EOPNOTSUPP, named). */
int kvm_host_open(const char *device, struct kvm_host **ret_host, struct gw_error *error);
void kvm_host_close(struct kvm_host *host); /* NULL is fine; after its machines */
int kvm_host_fd(const struct kvm_host *host);

/*
 * What kind of KVM it is. A KVM without hardware virtualization below it emulates privileged code
 * instruction by instruction and knows only some instructions: programs in ring 3 run at full
 * speed, kernels do not run. Found out by running a few privileged instructions in a machine of a
 * page or two.
 */
struct kvm_kind {
    char name[32];      /* the kernel module behind it, "kvm_amd"; "kvm" when it cannot be told */
    bool runs_kernels;  /* stock kernels can run */
    char obstacle[128]; /* when not: "it emulates privileged code and cannot emulate xrstor"; else
                           empty */
};
int kvm_host_kind(struct kvm_host *host, struct kvm_kind *ret_kind, struct gw_error *error);

/* ---- The machine ---- */

/* What the guest reaches outside RAM. `size` is 1, 2, 4 or 8 (ports: 1, 2 or 4). What nothing
 * answers reads as all ones. */
struct vm_platform {
    void *opaque;
    uint64_t (*mmio_read)(void *opaque, uint64_t address, unsigned size);
    void (*mmio_write)(void *opaque, uint64_t address, unsigned size, uint64_t value);
    uint32_t (*port_read)(void *opaque, uint16_t port, unsigned size);
    void (*port_write)(void *opaque, uint16_t port, unsigned size, uint32_t value);
};

enum vm_tracking { VM_TRACK_AUTO, VM_TRACK_BITMAP, VM_TRACK_RING };

struct vm_config {
    const struct cpu_model *model; /* copied */
    unsigned cpus;                 /* 1 to VM_MAX_CPUS */
    enum vm_tracking tracking;     /* AUTO: what the host has and does better (dirty.h) */
    struct vm_platform platform;
};

struct vm;
struct vcpu;

/* Regions of `memory` whose base is below 2^52 become the guest's RAM; others are not for KVM. All
 * regions were added before. The machine is as after power-on, with vCPU 0 waiting for
 * vcpu_set_entry() and the others for their start-up interrupt. */
int vm_new(struct kvm_host *host, struct gw_memory *memory, const struct vm_config *config,
           struct vm **ret_vm, struct gw_error *error);
void vm_free(struct vm *vm); /* NULL is fine */
struct vcpu *vm_vcpu(struct vm *vm, unsigned index);

/* vCPUs, interrupt controllers, clock as after power-on. */
int vm_reset(struct vm *vm, struct gw_error *error);

/* Level of an interrupt line (GSI of the IOAPIC, 0 to 23). Any thread. */
void vm_set_irq(struct vm *vm, unsigned gsi, bool level);
/* Each write to `fd` (an eventfd that the caller keeps) is one edge of the line. */
int vm_add_irqfd(struct vm *vm, unsigned gsi, int fd, struct gw_error *error);
/* A 4-byte store of `value` to `address` signals `fd` instead of leaving the vCPU. */
int vm_add_ioeventfd(struct vm *vm, uint64_t address, uint32_t value, int fd,
                     struct gw_error *error);

/* ---- vCPUs ---- */

/* Where the boot processor begins. LONG: 64-bit mode with `cr3`, flat segments from `gdt`
 * (selectors 0x10 code, 0x18 data: Documentation/arch/x86/boot.rst, 64-bit boot protocol).
 * PROTECTED: flat 32-bit without paging (Xen's PVH start,
 * xen/include/public/arch-x86/hvm/start_info.h). Interrupts off. */
struct vcpu_entry {
    enum { VCPU_ENTRY_LONG, VCPU_ENTRY_PROTECTED } mode;
    uint64_t rip, rsi, rbx, rsp;
    uint64_t cr3, gdt; /* LONG: guest addresses; the table has four entries */
};
int vcpu_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry, struct gw_error *error);

/* On the thread that will run the vCPU, first of all: makes kicks reach it. */
int vcpu_bind_thread(struct vcpu *vcpu, struct gw_error *error);

enum vcpu_stop {
    VCPU_STOP_KICKED,   /* vcpu_kick(); the instruction that left for the platform is complete */
    VCPU_STOP_SHUTDOWN, /* triple fault */
    VCPU_STOP_FAILED,   /* KVM cannot go on: the sentence says what and where */
};
enum vcpu_stop vcpu_run(struct vcpu *vcpu, struct gw_error *error);
/* The run returns soon; a kick while no run is on makes the next one return at once. */
void vcpu_kick(struct vcpu *vcpu);

/* ---- State ---- */

/* For gw_state_item. The objects are what was fetched last; loading them writes to KVM, and a value
 * that KVM does not take is an error that names it. Items in the order: all vCPUs, then the vm. */
extern const struct gw_state_type vm_state_state_type, vcpu_state_state_type;
void *vm_state_object(struct vm *vm);
void *vcpu_state_object(struct vcpu *vcpu);

/* Reads everything from KVM into the objects: before they are saved, printed or hashed. */
int vm_fetch_state(struct vm *vm, struct gw_error *error);

/*
 * Just before vCPUs run. Guest time never stands still: where a state was loaded, kvmclock and TSCs
 * go on by the real time that has passed since it was fetched (host's CLOCK_REALTIME on both
 * sides), never backwards. A machine that was only stopped runs on with what KVM has.
 */
int vm_resume_time(struct vm *vm, struct gw_error *error);

/* ---- Dirty pages ---- */

/* "kvm-bitmap" or "kvm-ring": KVM's log and what devices marked through the checked accessor, in
 * one. Owned by the vm. */
struct gw_tracker vm_tracker(struct vm *vm);

#endif
