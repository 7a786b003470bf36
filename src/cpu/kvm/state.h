/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a KVM machine: what KVM reports, field by field. Fetching reads it from the kernel,
 * loading writes it back, in the order that vcpu-state.c explains. api.rst has the meaning of the
 * fields; their names are the kernel's where people know them.
 */
#ifndef CPU_KVM_STATE_H
#define CPU_KVM_STATE_H

#include <godwit/state.h>

#define VCPU_XSAVE_MAX_BYTES 16384 /* the kernel's structure is 4096, and 11 KiB with AMX tiles */
#define VCPU_MSRS_MAX 1024
#define VCPU_LAPIC_BYTES 1024

struct vcpu_segment {
    GW_SAVED(1) uint64_t base;
    GW_SAVED(1) uint32_t limit;
    GW_SAVED(1) uint16_t selector;
    GW_SAVED(1) GW_MAX(15) uint8_t type;
    GW_SAVED(1) GW_MAX(3) uint8_t dpl;
    GW_SAVED(1) bool present, db, s, l, g, avl, unusable;
} GW_PART;

struct vcpu_table {
    GW_SAVED(1) uint64_t base;
    GW_SAVED(1) uint16_t limit;
} GW_PART;

struct vcpu_msr {
    GW_SAVED(1) uint32_t index;
    GW_SAVED(1) uint64_t value;
} GW_PART;

/* KVM_GET_VCPU_EVENTS: what is on its way into the vCPU. */
struct vcpu_events {
    GW_SAVED(1) bool exception_injected, exception_pending, exception_has_error_code;
    GW_SAVED(1) bool exception_has_payload;
    GW_SAVED(1) uint8_t exception_number;
    GW_SAVED(1) uint32_t exception_error_code;
    GW_SAVED(1) uint64_t exception_payload;
    GW_SAVED(1) bool interrupt_injected, interrupt_soft;
    GW_SAVED(1) uint8_t interrupt_number;
    GW_SAVED(1) uint8_t interrupt_shadow;
    GW_SAVED(1) bool nmi_injected, nmi_masked;
    GW_SAVED(1) uint8_t nmi_pending;
    GW_SAVED(1) uint32_t sipi_vector;
    GW_SAVED(1) bool smm, smm_pending, smm_inside_nmi, smm_latched_init;
    GW_SAVED(1) bool triple_fault_pending;
} GW_PART;

enum { VCPU_CS, VCPU_DS, VCPU_ES, VCPU_FS, VCPU_GS, VCPU_SS, VCPU_TR, VCPU_LDT, VCPU_SEGMENTS };

struct vcpu;

struct vcpu_state {
    GW_SAVED(1) uint64_t general[16]; /* rax rbx rcx rdx rsi rdi rsp rbp r8 … r15 */
    GW_SAVED(1) uint64_t rip, rflags;
    GW_SAVED(1) struct vcpu_segment segment[VCPU_SEGMENTS];
    GW_SAVED(1) struct vcpu_table gdt, idt;
    GW_SAVED(1) uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    GW_SAVED(1) bool pdptrs_valid;
    GW_SAVED(1) uint64_t pdptrs[4];
    GW_SAVED(1) uint64_t xcr0;
    GW_SAVED(1) uint64_t debug_address[4], dr6, dr7;
    GW_SAVED(1) struct vcpu_events events;
    GW_SAVED(1) GW_MAX(10) uint32_t mp_state;
    GW_SAVED(1) uint8_t lapic[VCPU_LAPIC_BYTES];
    GW_SAVED(1) uint32_t tsc_khz;
    GW_SAVED(1) uint64_t tsc; /* at the moment of vm_state's realtime_ns */
    GW_SAVED(1) uint32_t xsave_bytes;
    GW_SAVED(1) GW_ARRAY(xsave_bytes, VCPU_XSAVE_MAX_BYTES) uint8_t *xsave;
    GW_SAVED(1) uint32_t msr_count;
    GW_SAVED(1) GW_ARRAY(msr_count, VCPU_MSRS_MAX) struct vcpu_msr *msr;
    /* NULL: a state without a vCPU, which loads into nothing */
    GW_DERIVED(vcpu_state_loaded) struct vcpu *vcpu;
} GW_DEVICE("kvm-vcpu", 1, 1);

enum { VM_PICS = 2, VM_IOAPIC_PINS = 24 };

struct vm_pic { /* struct kvm_pic_state */
    GW_SAVED(1) uint8_t last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll;
    GW_SAVED(1) uint8_t special_mask, init_state, auto_eoi, rotate_on_auto_eoi;
    GW_SAVED(1) uint8_t special_fully_nested_mode, init4, elcr, elcr_mask;
} GW_PART;

struct vm;

struct vm_state {
    GW_SAVED(1) uint64_t ioapic_base;
    GW_SAVED(1) uint32_t ioapic_select, ioapic_id, ioapic_irr;
    GW_SAVED(1) uint64_t ioapic_redirection[VM_IOAPIC_PINS];
    GW_SAVED(1) struct vm_pic pic[VM_PICS];
    GW_SAVED(1) uint64_t clock_ns;             /* kvmclock */
    GW_SAVED(1) uint64_t realtime_ns;          /* the host's CLOCK_REALTIME when it was that */
    GW_DERIVED(vm_state_loaded) struct vm *vm; /* NULL as above */
} GW_DEVICE("kvm-vm", 1, 1);

int vcpu_state_loaded(struct vcpu_state *state, struct gw_error *error); /* hook: into KVM */
int vm_state_loaded(struct vm_state *state, struct gw_error *error);

#endif
