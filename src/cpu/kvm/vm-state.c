/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's own state (IOAPIC, PICs, clock), the whole of it, and power-on.
 *
 * What a reset restores is not written down anywhere but taken from KVM: the state of a new machine
 * is kept when it is made. Time does not go back at a reset.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu/kvm/vm.h"

static_assert(sizeof(struct vm_pic) == sizeof(struct kvm_pic_state),
              "field by field the same bytes");

static int get_chip(struct vm *vm, uint32_t id, struct kvm_irqchip *chip)
{
    *chip = (struct kvm_irqchip){.chip_id = id};
    return ioctl(vm->fd, KVM_GET_IRQCHIP, chip) < 0 ? -errno : 0;
}

static int fetch_chips(struct vm *vm, struct vm_state *state)
{
    struct kvm_irqchip chip;
    for (uint32_t i = 0; i < VM_PICS; i++) {
        int r = get_chip(vm, KVM_IRQCHIP_PIC_MASTER + i, &chip);
        if (r < 0)
            return r;
        memcpy(&state->pic[i], &chip.chip.pic, sizeof state->pic[i]);
    }
    int r = get_chip(vm, KVM_IRQCHIP_IOAPIC, &chip);
    if (r < 0)
        return r;
    state->ioapic_base = chip.chip.ioapic.base_address;
    state->ioapic_select = chip.chip.ioapic.ioregsel;
    state->ioapic_id = chip.chip.ioapic.id;
    state->ioapic_irr = chip.chip.ioapic.irr;
    for (unsigned i = 0; i < VM_IOAPIC_PINS; i++)
        state->ioapic_redirection[i] = chip.chip.ioapic.redirtbl[i].bits;
    return 0;
}

static int load_chips(struct vm *vm, const struct vm_state *state)
{
    struct kvm_irqchip chip = {0};
    for (uint32_t i = 0; i < VM_PICS; i++) {
        chip.chip_id = KVM_IRQCHIP_PIC_MASTER + i;
        memcpy(&chip.chip.pic, &state->pic[i], sizeof state->pic[i]);
        if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
            return -errno;
    }
    chip = (struct kvm_irqchip){.chip_id = KVM_IRQCHIP_IOAPIC};
    chip.chip.ioapic.base_address = state->ioapic_base;
    chip.chip.ioapic.ioregsel = state->ioapic_select;
    chip.chip.ioapic.id = state->ioapic_id;
    chip.chip.ioapic.irr = state->ioapic_irr;
    for (unsigned i = 0; i < VM_IOAPIC_PINS; i++)
        chip.chip.ioapic.redirtbl[i].bits = state->ioapic_redirection[i];
    return ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0 ? -errno : 0;
}

static int refuse_chips(const char *what, int r, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(-r), r,
                        "KVM does not %s the interrupt controllers: %s", what, strerror(-r));
}

int vm_state_loaded(struct vm_state *state, struct gw_error *error)
{
    if (!state->vm)
        return 0;
    int r = load_chips(state->vm, state);
    state->vm->time_loaded = true;
    return r < 0 ? refuse_chips("take", r, error) : 0;
}

/* ---- The whole ---- */

static int fetch_all(struct vm *vm, struct vm_state *vm_state,
                     struct vcpu_state *const *vcpu_states, struct gw_error *error)
{
    int r = fetch_chips(vm, vm_state);
    if (r < 0)
        return refuse_chips("tell", r, error);
    for (unsigned i = 0; r == 0 && i < vm->cpus; i++)
        r = vcpu_fetch(&vm->vcpu[i], vcpu_states[i], error);
    return r;
}

int vm_fetch_state(struct vm *vm, struct gw_error *error)
{
    struct vcpu_state *states[VM_MAX_CPUS];
    for (unsigned i = 0; i < vm->cpus; i++)
        states[i] = &vm->vcpu[i].state;
    int r = fetch_all(vm, &vm->state, states, error);
    return r < 0 ? r : time_fetch(vm, error);
}

int vm_keep_power_on_state(struct vm *vm, struct gw_error *error)
{
    struct vcpu_state *states[VM_MAX_CPUS];
    for (unsigned i = 0; i < vm->cpus; i++)
        states[i] = &vm->vcpu[i].power_on;
    return fetch_all(vm, &vm->power_on, states, error);
}

int vm_reset(struct vm *vm, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < vm->cpus; i++) {
        r = vcpu_forget_mappings(&vm->vcpu[i], error);
        if (r == 0)
            r = time_restate_offset(&vm->vcpu[i], error);
        if (r == 0)
            r = vcpu_load(&vm->vcpu[i], &vm->vcpu[i].power_on, error);
        if (r == 0)
            r = msr_reset_waiting(&vm->vcpu[i], &vm->vcpu[i].power_on, error);
    }
    if (r < 0)
        return r;
    r = load_chips(vm, &vm->power_on);
    vm->time_loaded = false;
    return r < 0 ? refuse_chips("reset", r, error) : 0;
}

void *vm_state_object(struct vm *vm)
{
    return &vm->state;
}

void *vcpu_state_object(struct vcpu *vcpu)
{
    return &vcpu->state;
}
