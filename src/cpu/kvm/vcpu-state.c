/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's registers out of KVM and back.
 *
 * Loading has an order. Segments and control registers come first, because they say in what mode
 * the CPU is and whether its APIC is an x2APIC; then XCR0 and what it governs; the LAPIC before the
 * MSRs (msr.c), since a TSC deadline means something only in that timer mode; events and the MP
 * state last, since what came before may reset them.
 *
 * Loading never touches guest memory, which may still be arriving: the MSRs that make KVM write to
 * it, and those of time, wait until the vCPU is about to run (time.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu/kvm/vm.h"

static_assert(sizeof((struct kvm_lapic_state *)0)->regs == VCPU_LAPIC_BYTES, "the kernel's size");

/* ---- General and segment registers ---- */

/* struct kvm_regs begins with the sixteen in the order of struct vcpu_state. */
static int fetch_general(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_regs regs;
    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
        return -errno;
    memcpy(state->general, &regs, sizeof state->general);
    state->rip = regs.rip;
    state->rflags = regs.rflags;
    return 0;
}

static int load_general(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct kvm_regs regs = {.rip = state->rip, .rflags = state->rflags};
    memcpy(&regs, state->general, sizeof state->general);
    return ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

static struct vcpu_segment segment_from(const struct kvm_segment *segment)
{
    return (struct vcpu_segment){
        .base = segment->base,
        .limit = segment->limit,
        .selector = segment->selector,
        .type = segment->type & 15,
        .dpl = segment->dpl & 3,
        .present = segment->present,
        .db = segment->db,
        .s = segment->s,
        .l = segment->l,
        .g = segment->g,
        .avl = segment->avl,
        .unusable = segment->unusable,
    };
}

static struct kvm_segment segment_to(const struct vcpu_segment *segment)
{
    return (struct kvm_segment){
        .base = segment->base,
        .limit = segment->limit,
        .selector = segment->selector,
        .type = segment->type,
        .present = segment->present,
        .dpl = segment->dpl,
        .db = segment->db,
        .s = segment->s,
        .l = segment->l,
        .g = segment->g,
        .avl = segment->avl,
        .unusable = segment->unusable,
    };
}

static void take_sregs(struct vcpu_state *state, const struct kvm_sregs2 *sregs)
{
    const struct kvm_segment *segments[VCPU_SEGMENTS] = {
        [VCPU_CS] = &sregs->cs, [VCPU_DS] = &sregs->ds,   [VCPU_ES] = &sregs->es,
        [VCPU_FS] = &sregs->fs, [VCPU_GS] = &sregs->gs,   [VCPU_SS] = &sregs->ss,
        [VCPU_TR] = &sregs->tr, [VCPU_LDT] = &sregs->ldt,
    };
    for (unsigned i = 0; i < VCPU_SEGMENTS; i++)
        state->segment[i] = segment_from(segments[i]);
    state->gdt = (struct vcpu_table){sregs->gdt.base, sregs->gdt.limit};
    state->idt = (struct vcpu_table){sregs->idt.base, sregs->idt.limit};
    state->cr0 = sregs->cr0;
    state->cr2 = sregs->cr2;
    state->cr3 = sregs->cr3;
    state->cr4 = sregs->cr4;
    state->cr8 = sregs->cr8;
    state->efer = sregs->efer;
    state->apic_base = sregs->apic_base;
    state->pdptrs_valid = sregs->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
    for (unsigned i = 0; i < 4; i++)
        state->pdptrs[i] = state->pdptrs_valid ? sregs->pdptrs[i] : 0;
}

static struct kvm_sregs2 make_sregs(const struct vcpu_state *state)
{
    struct kvm_sregs2 sregs = {
        .cs = segment_to(&state->segment[VCPU_CS]),
        .ds = segment_to(&state->segment[VCPU_DS]),
        .es = segment_to(&state->segment[VCPU_ES]),
        .fs = segment_to(&state->segment[VCPU_FS]),
        .gs = segment_to(&state->segment[VCPU_GS]),
        .ss = segment_to(&state->segment[VCPU_SS]),
        .tr = segment_to(&state->segment[VCPU_TR]),
        .ldt = segment_to(&state->segment[VCPU_LDT]),
        .gdt = {.base = state->gdt.base, .limit = state->gdt.limit},
        .idt = {.base = state->idt.base, .limit = state->idt.limit},
        .cr0 = state->cr0,
        .cr2 = state->cr2,
        .cr3 = state->cr3,
        .cr4 = state->cr4,
        .cr8 = state->cr8,
        .efer = state->efer,
        .apic_base = state->apic_base,
        .flags = state->pdptrs_valid ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0,
    };
    memcpy(sregs.pdptrs, state->pdptrs, sizeof sregs.pdptrs);
    return sregs;
}

static bool has_sregs2(const struct vcpu *vcpu)
{
    return kvm_host_cap(vcpu->vm->host, KVM_CAP_SREGS2);
}

/* The old structure is the new one without flags and PDPTRs, and with pending interrupts, which
 * KVM_GET_VCPU_EVENTS gives too. */
static int fetch_segments(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_sregs2 sregs = {0};
    struct kvm_sregs old;
    if (has_sregs2(vcpu)) {
        if (ioctl(vcpu->fd, KVM_GET_SREGS2, &sregs) < 0)
            return -errno;
    } else {
        if (ioctl(vcpu->fd, KVM_GET_SREGS, &old) < 0)
            return -errno;
        memcpy(&sregs, &old, offsetof(struct kvm_sregs, interrupt_bitmap));
    }
    take_sregs(state, &sregs);
    return 0;
}

static int load_segments(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct kvm_sregs2 sregs = make_sregs(state);
    struct kvm_sregs old = {0};
    if (has_sregs2(vcpu))
        return ioctl(vcpu->fd, KVM_SET_SREGS2, &sregs) < 0 ? -errno : 0;
    memcpy(&old, &sregs, offsetof(struct kvm_sregs, interrupt_bitmap));
    return ioctl(vcpu->fd, KVM_SET_SREGS, &old) < 0 ? -errno : 0;
}

int vcpu_forget_mappings(struct vcpu *vcpu, struct gw_error *error)
{
    struct vcpu_state other = vcpu->power_on;
    other.cr3 ^= GW_PAGE_BYTES;
    int r = load_segments(vcpu, &other);
    return r < 0 ? vm_fail(error, -r, "reset a vCPU's memory mappings") : 0;
}

/* ---- Floating point, vectors, XCR0 ---- */

static int fetch_xcr0(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_xcrs xcrs;
    if (ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs) < 0)
        return -errno;
    state->xcr0 = xcrs.nr_xcrs > 0 ? xcrs.xcrs[0].value : 1;
    return 0;
}

static int load_xcr0(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = state->xcr0}};
    return ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0 ? -errno : 0;
}

/* What KVM reads and writes; never less than the old fixed structure. */
static size_t xsave_bytes(const struct vcpu *vcpu)
{
    size_t bytes = (size_t)kvm_host_cap(vcpu->vm->host, KVM_CAP_XSAVE2);
    return bytes > sizeof(struct kvm_xsave) ? bytes : sizeof(struct kvm_xsave);
}

static int fetch_xsave(struct vcpu *vcpu, struct vcpu_state *state)
{
    size_t bytes = xsave_bytes(vcpu);
    unsigned long get =
        kvm_host_cap(vcpu->vm->host, KVM_CAP_XSAVE2) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
    if (bytes > VCPU_XSAVE_MAX_BYTES)
        return -E2BIG;
    if (!state->xsave)
        state->xsave = calloc(1, VCPU_XSAVE_MAX_BYTES);
    if (!state->xsave)
        return -ENOMEM;
    state->xsave_bytes = (uint32_t)bytes;
    return ioctl(vcpu->fd, get, state->xsave) < 0 ? -errno : 0;
}

/* The kernel reads as many bytes as its own structure has; ours has room for the largest. A state
 * with more than this KVM takes is of another host's components. */
static int load_xsave(struct vcpu *vcpu, const struct vcpu_state *state)
{
    if (state->xsave_bytes < sizeof(struct kvm_xsave) || state->xsave_bytes > xsave_bytes(vcpu))
        return -EINVAL;
    return ioctl(vcpu->fd, KVM_SET_XSAVE, state->xsave) < 0 ? -errno : 0;
}

/* ---- Debug registers, events, MP state, LAPIC ---- */

static int fetch_debug(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_debugregs debug;
    if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug) < 0)
        return -errno;
    memcpy(state->debug_address, debug.db, sizeof state->debug_address);
    state->dr6 = debug.dr6;
    state->dr7 = debug.dr7;
    return 0;
}

static int load_debug(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct kvm_debugregs debug = {.dr6 = state->dr6, .dr7 = state->dr7};
    memcpy(debug.db, state->debug_address, sizeof state->debug_address);
    return ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &debug) < 0 ? -errno : 0;
}

static int fetch_events(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_vcpu_events events = {0};
    if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
        return -errno;
    bool payload = events.flags & KVM_VCPUEVENT_VALID_PAYLOAD;
    state->events = (struct vcpu_events){
        .exception_injected = events.exception.injected,
        .exception_pending = payload && events.exception.pending,
        .exception_has_error_code = events.exception.has_error_code,
        .exception_has_payload = payload && events.exception_has_payload,
        .exception_number = events.exception.nr,
        .exception_error_code = events.exception.error_code,
        .exception_payload = payload ? events.exception_payload : 0,
        .interrupt_injected = events.interrupt.injected,
        .interrupt_soft = events.interrupt.soft,
        .interrupt_number = events.interrupt.nr,
        .interrupt_shadow = events.interrupt.shadow,
        .nmi_injected = events.nmi.injected,
        .nmi_masked = events.nmi.masked,
        .nmi_pending = events.nmi.pending,
        .sipi_vector = events.sipi_vector,
        .smm = events.smi.smm,
        .smm_pending = events.smi.pending,
        .smm_inside_nmi = events.smi.smm_inside_nmi,
        .smm_latched_init = events.smi.latched_init,
        .triple_fault_pending =
            events.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT && events.triple_fault.pending,
    };
    return 0;
}

static int load_events(struct vcpu *vcpu, const struct vcpu_state *state)
{
    const struct vcpu_events *from = &state->events;
    bool triple_fault = vcpu->vm->triple_fault_event, payload = vcpu->vm->exception_payload;
    struct kvm_vcpu_events events = {
        .exception = {.injected = from->exception_injected,
                      .pending = from->exception_pending,
                      .has_error_code = from->exception_has_error_code,
                      .nr = from->exception_number,
                      .error_code = from->exception_error_code},
        .interrupt = {.injected = from->interrupt_injected,
                      .soft = from->interrupt_soft,
                      .nr = from->interrupt_number,
                      .shadow = from->interrupt_shadow},
        .nmi = {.injected = from->nmi_injected,
                .masked = from->nmi_masked,
                .pending = from->nmi_pending},
        .sipi_vector = from->sipi_vector,
        .smi = {.smm = from->smm,
                .pending = from->smm_pending,
                .smm_inside_nmi = from->smm_inside_nmi,
                .latched_init = from->smm_latched_init},
        .exception_has_payload = from->exception_has_payload,
        .exception_payload = from->exception_payload,
        .triple_fault = {.pending = from->triple_fault_pending},
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
    };
    if ((from->exception_pending && !payload) || (from->triple_fault_pending && !triple_fault))
        return -EOPNOTSUPP;
    if (state->mp_state == KVM_MP_STATE_SIPI_RECEIVED)
        events.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    if (from->smm || from->smm_pending || from->smm_latched_init)
        events.flags |= KVM_VCPUEVENT_VALID_SMM;
    events.flags |= payload ? KVM_VCPUEVENT_VALID_PAYLOAD : 0;
    events.flags |= triple_fault ? KVM_VCPUEVENT_VALID_TRIPLE_FAULT : 0;
    return ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ? -errno : 0;
}

static int fetch_mp_state(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct kvm_mp_state mp;
    if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) < 0)
        return -errno;
    state->mp_state = mp.mp_state;
    return 0;
}

static int load_mp_state(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct kvm_mp_state mp = {.mp_state = state->mp_state};
    return ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) < 0 ? -errno : 0;
}

static int fetch_lapic(struct vcpu *vcpu, struct vcpu_state *state)
{
    return ioctl(vcpu->fd, KVM_GET_LAPIC, (struct kvm_lapic_state *)(void *)state->lapic) < 0
               ? -errno
               : 0;
}

static int load_lapic(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct kvm_lapic_state lapic;
    memcpy(lapic.regs, state->lapic, sizeof lapic.regs);
    return ioctl(vcpu->fd, KVM_SET_LAPIC, &lapic) < 0 ? -errno : 0;
}

/* ---- All of it ---- */

static const struct {
    const char *name;
    int (*fetch)(struct vcpu *vcpu, struct vcpu_state *state);
    int (*load)(struct vcpu *vcpu, const struct vcpu_state *state);
} parts[] = {
    {"segment and control registers", fetch_segments, load_segments},
    {"general registers", fetch_general, load_general},
    {"XCR0", fetch_xcr0, load_xcr0},
    {"vector registers (XSAVE)", fetch_xsave, load_xsave},
    {"debug registers", fetch_debug, load_debug},
    {"local APIC", fetch_lapic, load_lapic},
    {"MSRs", NULL, NULL},
    {"events", fetch_events, load_events},
    {"MP state", fetch_mp_state, load_mp_state},
};

int vcpu_fetch(struct vcpu *vcpu, struct vcpu_state *state, struct gw_error *error)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int r = parts[i].fetch ? parts[i].fetch(vcpu, state) : msr_fetch(vcpu, state, error);
        if (r < 0 && parts[i].fetch)
            gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(-r), r,
                         "KVM does not tell the %s of vCPU %u: %s", parts[i].name, vcpu->index,
                         strerror(-r));
        if (r < 0)
            return r;
    }
    return 0;
}

int vcpu_load(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int r = parts[i].load ? parts[i].load(vcpu, state) : msr_load(vcpu, state, error);
        if (r < 0 && parts[i].load)
            gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, r,
                         "this host's KVM does not take the %s of vCPU %u: %s", parts[i].name,
                         vcpu->index, strerror(-r));
        if (r < 0)
            return r;
    }
    return 0;
}

int vcpu_state_loaded(struct vcpu_state *state, struct gw_error *error)
{
    if (!state->vcpu)
        return 0;
    state->vcpu->vm->time_loaded = true;
    int r = time_set_frequency(state->vcpu, state->tsc_khz, error);
    return r < 0 ? r : vcpu_load(state->vcpu, state, error);
}
