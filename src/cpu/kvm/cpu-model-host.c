/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host's KVM can give: KVM_GET_SUPPORTED_CPUID, what KVM tells elsewhere (the TSC-deadline
 * timer, MSR 0x10a, the TSC's frequency), and the processor's own name. All of it is given to a
 * vCPU that is made for the question, and what that vCPU then says is the answer: a KVM that cannot
 * make CPUID leave the guest shows programs more, or less, than it was asked for.
 */
#include <cpuid.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"
#include "cpu/kvm/kvm.h"

#define MAX_ENTRIES 512
#define MSR_ARCH_CAPABILITIES 0x10a

/* The kernel's list; NULL and errno. Too short a list is refused with E2BIG, so it begins long. */
static struct kvm_cpuid2 *get_supported(int fd)
{
    _cleanup_free_ struct kvm_cpuid2 *list =
        calloc(1, sizeof *list + MAX_ENTRIES * sizeof list->entries[0]);

    if (!list)
        return NULL;
    list->nent = MAX_ENTRIES;
    return ioctl(fd, KVM_GET_SUPPORTED_CPUID, list) < 0 ? NULL : TAKE_PTR(list);
}

/* Leaves that no model has are left where they are. */
static void take_leaves(const struct kvm_cpuid2 *list, struct cpu_model *model)
{
    for (uint32_t i = 0; i < list->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &list->entries[i];
        uint32_t index = entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX ? entry->index : 0;
        const uint32_t value[] = {entry->eax, entry->ebx, entry->ecx, entry->edx};

        for (enum cpu_register reg = CPU_EAX;
             cpu_leaf_rule_of(entry->function, index) && reg < CPU_REGISTERS; reg++)
            cpu_model_set(model, entry->function, index, reg, value[reg]);
    }
}

/* ---- A vCPU to ask ---- */

struct trial {
    int vm, vcpu; /* negative: could not be made, with errno */
};

/* With the interrupt controllers of a machine, on which the apic bit depends. */
static struct trial make_trial(int fd)
{
    struct trial trial = {.vm = ioctl(fd, KVM_CREATE_VM, 0), .vcpu = -1};

    if (trial.vm >= 0 && ioctl(trial.vm, KVM_CREATE_IRQCHIP) == 0)
        trial.vcpu = ioctl(trial.vm, KVM_CREATE_VCPU, 0);
    return trial;
}

static void end_trial(struct trial *trial)
{
    cleanup_close(&trial->vcpu);
    cleanup_close(&trial->vm);
}

static struct kvm_cpuid2 *as_entries(const struct cpu_model *model)
{
    struct kvm_cpuid2 *list = calloc(1, sizeof *list + MAX_ENTRIES * sizeof list->entries[0]);

    if (!list)
        return NULL;
    list->nent = model->count;
    for (unsigned i = 0; i < model->count; i++) {
        const struct cpu_leaf *leaf = &model->leaf[i];

        list->entries[i] =
            (struct kvm_cpuid_entry2){.function = leaf->function,
                                      .index = leaf->index,
                                      .flags = leaf->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                      .eax = leaf->eax,
                                      .ebx = leaf->ebx,
                                      .ecx = leaf->ecx,
                                      .edx = leaf->edx};
    }
    return list;
}

/* What the vCPU shows once it was given `asked`; false and errno if it does not take it. */
static bool show(const struct trial *trial, const struct cpu_model *asked,
                 struct cpu_model *ret_shown)
{
    _cleanup_free_ struct kvm_cpuid2 *list = as_entries(asked);
    struct cpu_model shown = *asked;

    if (!list || trial->vcpu < 0 || ioctl(trial->vcpu, KVM_SET_CPUID2, list) < 0)
        return false;
    list->nent = MAX_ENTRIES;
    if (ioctl(trial->vcpu, KVM_GET_CPUID2, list) < 0)
        return false;
    shown.count = 0;
    take_leaves(list, &shown);
    cpu_model_normalize(&shown, ret_shown);
    return true;
}

static void take_processors_leaf(struct cpu_model *model, uint32_t function, uint32_t index)
{
    uint32_t value[CPU_REGISTERS] = {0};

    __get_cpuid_count(function, index, &value[CPU_EAX], &value[CPU_EBX], &value[CPU_ECX],
                      &value[CPU_EDX]);
    for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
        cpu_model_set(model, function, index, reg, value[reg]);
}

void cpu_model_of_processor(struct cpu_model *ret_model)
{
    struct cpu_model model = {.name = "processor"};

    for (size_t i = 0; i < cpu_leaf_rule_count; i++)
        for (uint32_t index = cpu_leaf_rules[i].first; index <= cpu_leaf_rules[i].last; index++)
            take_processors_leaf(&model, cpu_leaf_rules[i].function, index);
    cpu_model_normalize(&model, ret_model);
}

/* KVM leaves the brand to its users. */
static void take_brand(struct cpu_model *model)
{
    for (uint32_t function = 0x80000002; function <= 0x80000004; function++)
        take_processors_leaf(model, function, 0);
}

/* The value that a new vCPU has; 0 where KVM does not tell it. */
static uint64_t get_arch_capabilities(int fd)
{
    _cleanup_free_ struct kvm_msrs *msrs = calloc(1, sizeof *msrs + sizeof msrs->entries[0]);

    if (!msrs || ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_GET_MSR_FEATURES) <= 0)
        return 0;
    msrs->nmsrs = 1;
    msrs->entries[0].index = MSR_ARCH_CAPABILITIES;
    return ioctl(fd, KVM_GET_MSRS, msrs) == 1 ? msrs->entries[0].data & INT64_MAX : 0;
}

/* 0 where KVM does not tell it. */
static uint32_t get_tsc_khz(const struct trial *trial)
{
    int khz = ioctl(trial->vcpu, KVM_GET_TSC_KHZ);

    return khz > 0 ? (uint32_t)khz : 0;
}

/* All that KVM says that it supports, before a vCPU is asked. */
static int read_supported(int fd, struct cpu_model *ret_model, struct gw_error *error)
{
    _cleanup_free_ struct kvm_cpuid2 *list = get_supported(fd);
    struct cpu_model model = {.name = "host"};

    if (!list)
        return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(errno), -errno,
                            "KVM does not tell what CPU it can give: %s", strerror(errno));
    take_leaves(list, &model);
    take_brand(&model);
    cpu_model_put(&model, "hypervisor", true);
    if (ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
        cpu_model_put(&model, "tsc_deadline_timer", true);
    model.arch_capabilities = get_arch_capabilities(fd);
    model.tsc_scaling = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
    cpu_model_normalize(&model, ret_model);
    return 0;
}

static int cannot_try(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(errno), -errno,
                        "KVM makes no vCPU with the CPU that it says it can give: %s",
                        strerror(errno));
}

int cpu_model_of_host(struct kvm_host *host, struct cpu_model *ret_model, struct gw_error *error)
{
    int fd = kvm_host_fd(host);
    struct cpu_model model;
    int r = read_supported(fd, &model, error);

    if (r < 0)
        return r;
    _cleanup_(end_trial) struct trial trial = make_trial(fd);
    if (!show(&trial, &model, &model))
        return cannot_try(error);
    model.tsc_khz = get_tsc_khz(&trial);
    *ret_model = model;
    return 0;
}

int cpu_model_added_by_host(struct kvm_host *host, const struct cpu_model *model,
                            struct cpu_model *ret_added, struct gw_error *error)
{
    _cleanup_(end_trial) struct trial trial = make_trial(kvm_host_fd(host));
    struct cpu_model shown;

    if (!show(&trial, model, &shown))
        return cannot_try(error);
    *ret_added = (struct cpu_model){.name = "added"};
    for (size_t i = 0; i < cpu_word_count; i++) {
        const struct cpu_word *word = &cpu_words[i];
        uint32_t more = cpu_model_get(&shown, word->function, word->index, word->reg) &
                        ~cpu_model_get(model, word->function, word->index, word->reg);

        if (more)
            cpu_model_set(ret_added, word->function, word->index, word->reg, more);
    }
    return 0;
}
