/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSRs out of KVM and back.
 *
 * State are all that KVM lists (KVM_GET_MSR_INDEX_LIST) and that this vCPU lets be read, but for
 * the counters: the TSC has a field of its own, and Hyper-V's, which no model has, nobody can set.
 * The list holds some that depend on CPUID. A value that the other host does not take is an error
 * with the MSR's name, unless the vCPU there has this value already; and a 0 in a register that
 * does not exist there is no loss, since it is what the guest could have found at power-on.
 *
 * Not set on loading but when the vCPU is about to run (time.c): the TSC and its deadline, which
 * depend on when that is; and those of the paravirtual interface, because setting them makes KVM
 * write to guest memory (seen: a kvmclock page changed under a rehearsal). Whether they exist is
 * checked on loading.
 */
#include "cpu/kvm/msr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "cpu/kvm/vm.h"

#define BATCH 64

struct batch {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[BATCH];
};

/* ---- The list ---- */

int msr_list(struct vm *vm, struct gw_error *error)
{
    struct kvm_msr_list none = {.nmsrs = 0};
    if (ioctl(vm->host->fd, KVM_GET_MSR_INDEX_LIST, &none) == 0 || errno != E2BIG)
        return vm_fail(error, errno, "list its MSRs");
    if (none.nmsrs > VCPU_MSRS_MAX)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -E2BIG,
                            "this host's KVM lists %u MSRs, more than the limit of %u", none.nmsrs,
                            VCPU_MSRS_MAX);
    vm->msr_list = calloc(1, sizeof none + none.nmsrs * sizeof none.indices[0]);
    if (!vm->msr_list)
        return vm_fail(error, ENOMEM, "list its MSRs");
    vm->msr_list->nmsrs = none.nmsrs;
    return ioctl(vm->host->fd, KVM_GET_MSR_INDEX_LIST, vm->msr_list) < 0
               ? vm_fail(error, errno, "list its MSRs")
               : 0;
}

/* ---- One ---- */

int msr_get(struct vcpu *vcpu, uint32_t index, uint64_t *ret_value)
{
    struct batch one = {.head.nmsrs = 1, .entry[0].index = index};
    int r = ioctl(vcpu->fd, KVM_GET_MSRS, &one);
    if (r != 1)
        return r < 0 ? -errno : -ENOENT;
    *ret_value = one.entry[0].data;
    return 0;
}

int msr_set(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    struct batch one = {.head.nmsrs = 1, .entry[0] = {.index = index, .data = value}};
    int r = ioctl(vcpu->fd, KVM_SET_MSRS, &one);
    return r == 1 ? 0 : r < 0 ? -errno : -EINVAL;
}

/* ---- All ---- */

static bool is_counter(uint32_t index)
{
    return index == MSR_TSC || index == MSR_HV_RUNTIME || index == MSR_HV_REFERENCE_COUNT;
}

/* KVM stops at the first that it does not give; the batch then goes on behind it. */
static int fetch_batch(struct vcpu *vcpu, struct vcpu_state *state, const uint32_t *indices,
                       uint32_t count)
{
    struct batch batch = {.head.nmsrs = count};
    for (uint32_t i = 0; i < count; i++)
        batch.entry[i].index = indices[i];
    int r = ioctl(vcpu->fd, KVM_GET_MSRS, &batch);
    if (r < 0)
        return -errno;
    for (int i = 0; i < r; i++)
        if (!is_counter(batch.entry[i].index))
            state->msr[state->msr_count++] =
                (struct vcpu_msr){.index = batch.entry[i].index, .value = batch.entry[i].data};
    return r;
}

int msr_fetch(struct vcpu *vcpu, struct vcpu_state *state, struct gw_error *error)
{
    const struct kvm_msr_list *list = vcpu->vm->msr_list;
    if (!state->msr)
        state->msr = calloc(VCPU_MSRS_MAX, sizeof *state->msr);
    if (!state->msr)
        return vm_fail(error, ENOMEM, "read MSRs");
    state->msr_count = 0;
    for (uint32_t i = 0; i < list->nmsrs;) {
        uint32_t count = list->nmsrs - i < BATCH ? list->nmsrs - i : BATCH;
        int r = fetch_batch(vcpu, state, list->indices + i, count);
        if (r < 0)
            return vm_fail(error, -r, "read MSRs");
        i += (uint32_t)r < count ? (uint32_t)r + 1 : count;
    }
    return 0;
}

/* Those by which a guest gives KVM a place in its memory. */
static bool is_paravirtual(uint32_t index)
{
    return index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_SYSTEM_TIME ||
           index - MSR_KVM_FIRST < MSR_KVM_COUNT;
}

static bool waits(uint32_t index)
{
    return index == MSR_TSC || index == MSR_TSC_DEADLINE || is_paravirtual(index);
}

/* One that KVM refused. */
static int judge(struct vcpu *vcpu, const struct vcpu_msr *msr, struct gw_error *error)
{
    char name[64];
    uint64_t present;
    bool exists = msr_get(vcpu, msr->index, &present) == 0;
    if (exists ? present == msr->value : msr->value == 0)
        return 0;
    return gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "this host's KVM does not take %s (0x%x) = 0x%llx of vCPU %u",
                        msr_name(msr->index, name, sizeof name), msr->index,
                        (unsigned long long)msr->value, vcpu->index);
}

static int check_waiting(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error)
{
    uint64_t present;
    for (uint32_t i = 0; i < state->msr_count; i++)
        if (waits(state->msr[i].index) && msr_get(vcpu, state->msr[i].index, &present) < 0) {
            int r = judge(vcpu, &state->msr[i], error);
            if (r < 0)
                return r;
        }
    return 0;
}

int msr_load(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error)
{
    int checked = check_waiting(vcpu, state, error);
    if (checked < 0)
        return checked;
    for (uint32_t i = 0; i < state->msr_count;) {
        struct batch batch = {0};
        uint32_t from[BATCH];
        for (; i < state->msr_count && batch.head.nmsrs < BATCH; i++) {
            if (waits(state->msr[i].index))
                continue;
            from[batch.head.nmsrs] = i;
            batch.entry[batch.head.nmsrs++] =
                (struct kvm_msr_entry){.index = state->msr[i].index, .data = state->msr[i].value};
        }
        int done = ioctl(vcpu->fd, KVM_SET_MSRS, &batch);
        if (done < 0)
            return vm_fail(error, errno, "set MSRs");
        if ((uint32_t)done == batch.head.nmsrs)
            continue;
        int r = judge(vcpu, &state->msr[from[done]], error);
        if (r < 0)
            return r;
        i = from[done] + 1;
    }
    return 0;
}

int msr_load_waiting(struct vcpu *vcpu, const struct vcpu_state *state, struct gw_error *error)
{
    for (uint32_t i = 0; i < state->msr_count; i++) {
        const struct vcpu_msr *msr = &state->msr[i];
        if (!waits(msr->index) || msr->index == MSR_TSC || msr->value == 0)
            continue;
        if (msr_set(vcpu, msr->index, msr->value) < 0) {
            int r = judge(vcpu, msr, error);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* Power-on has 0 in all of them. Where KVM is to write wall clocks was said once, and is forgotten
 * with the guest. */
int msr_reset_waiting(struct vcpu *vcpu, const struct vcpu_state *power_on, struct gw_error *error)
{
    for (uint32_t i = 0; i < power_on->msr_count; i++) {
        uint32_t index = power_on->msr[i].index;
        if (!waits(index) || index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_FIRST)
            continue;
        int r = msr_set(vcpu, index, power_on->msr[i].value);
        if (r < 0)
            r = judge(vcpu, &power_on->msr[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}
