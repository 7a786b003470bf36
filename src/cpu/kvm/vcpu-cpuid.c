/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one vCPU answers to CPUID: the model, and what differs from vCPU to vCPU: APIC ids and the
 * topology, which is one package of as many cores as there are vCPUs, one thread each (Intel SDM
 * 2A, CPUID; AMD APM 3, appendix E). A kernel that knows only one of the descriptions finds the
 * same.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"
#include "cpu/kvm/vm.h"

#define MSR_ARCH_CAPABILITIES 0x10a
#define EXTRA_LEAVES 4 /* 0xb, 0, 1 and 2; 0x8000001e */

struct table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[CPU_MODEL_MAX_LEAVES + EXTRA_LEAVES];
};

/* Bits that hold the numbers 0 to count - 1. */
static unsigned bits_for(unsigned count)
{
    return count < 2 ? 0 : 32 - (unsigned)__builtin_clz(count - 1);
}

static void add(struct table *table, uint32_t function, uint32_t index, bool indexed,
                const uint32_t value[4])
{
    table->head.entries[table->head.nent++] = (struct kvm_cpuid_entry2){
        .function = function,
        .index = index,
        .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
        .eax = value[0],
        .ebx = value[1],
        .ecx = value[2],
        .edx = value[3],
    };
}

/* Who shares a cache: the last level is the package's, others are each core's own. */
static uint32_t cache_sharers(uint32_t eax, unsigned cpus)
{
    bool shared = (eax >> 5 & 7) >= 3;
    return shared ? (1u << bits_for(cpus)) - 1 : 0;
}

static void fill_in(struct kvm_cpuid_entry2 *entry, unsigned id, unsigned cpus)
{
    unsigned bits = bits_for(cpus);
    switch (entry->function) {
    case 0x1:
        entry->ebx |= (id & 0xff) << 24 | (1u << bits) << 16;
        entry->edx |= cpus > 1 ? 1u << 28 : 0;
        break;
    case 0x4:
        if (entry->eax & 0x1f)
            entry->eax |= cache_sharers(entry->eax, cpus) << 14 | ((1u << bits) - 1) << 26;
        break;
    case 0x8000001d:
        if (entry->eax & 0x1f)
            entry->eax |= cache_sharers(entry->eax, cpus) << 14;
        break;
    case 0x80000001:
        entry->ecx |= cpus > 1 ? 1u << 1 : 0; /* cmp_legacy; reserved with Intel and ignored */
        break;
    case 0x80000008:
        entry->ecx |= (cpus - 1) | bits << 12;
        break;
    }
}

static void add_topology(struct table *table, unsigned id, unsigned cpus)
{
    unsigned bits = bits_for(cpus);
    add(table, 0xb, 0, true, (uint32_t[4]){0, 1, 1 << 8, id});
    add(table, 0xb, 1, true, (uint32_t[4]){bits, cpus, 2 << 8 | 1, id});
    add(table, 0xb, 2, true, (uint32_t[4]){0, 0, 2, id});
    add(table, 0x8000001e, 0, false, (uint32_t[4]){id, id & 0xff, 0, 0});
}

static int set_cpuid(struct vcpu *vcpu, struct gw_error *error)
{
    const struct cpu_model *model = &vcpu->vm->model;
    _cleanup_free_ struct table *table = calloc(1, sizeof *table);
    if (!table)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < model->count; i++) {
        const struct cpu_leaf *leaf = &model->leaf[i];
        add(table, leaf->function, leaf->index, leaf->indexed,
            (uint32_t[4]){leaf->eax, leaf->ebx, leaf->ecx, leaf->edx});
        fill_in(&table->head.entries[i], vcpu->index, vcpu->vm->cpus);
    }
    add_topology(table, vcpu->index, vcpu->vm->cpus);
    return ioctl(vcpu->fd, KVM_SET_CPUID2, table) < 0 ? vm_fail(error, errno, "take the CPU model")
                                                      : 0;
}

int vcpu_set_model(struct vcpu *vcpu, struct gw_error *error)
{
    const struct cpu_model *model = &vcpu->vm->model;
    int r = set_cpuid(vcpu, error);
    if (r == 0)
        r = time_set_frequency(vcpu, model->tsc_khz, error);
    if (r < 0 || !(cpu_model_get(model, 0x7, 0, CPU_EDX) & 1u << 29))
        return r;
    r = msr_set(vcpu, MSR_ARCH_CAPABILITIES, model->arch_capabilities);
    return r < 0 ? vm_fail(error, -r, "take the model's arch_capabilities") : 0;
}
