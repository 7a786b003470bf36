/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/kvm/cpu-leaves.h"

#include <assert.h>
#include <string.h>

#include "base/cleanup.h"

/* clang-format off */
#define ALL UINT32_MAX
#define FEATURES4 {KIND_FEATURES, KIND_FEATURES, KIND_FEATURES, KIND_FEATURES}
#define FREE4 {KIND_FREE, KIND_FREE, KIND_FREE, KIND_FREE}
#define SAME4 {KIND_SAME, KIND_SAME, KIND_SAME, KIND_SAME}
#define DERIVED4 {KIND_DERIVED, KIND_DERIVED, KIND_DERIVED, KIND_DERIVED}
#define ALL4 {ALL, ALL, ALL, ALL}

/*
 * What is masked away, beyond what is held back: leaf 1: APIC id, number of logical processors, ht
 * (per vCPU), osxsave (follows CR4). Leaf 4 and 0x8000001d: who shares a cache (per vCPU). Leaf 7:
 * ospke (follows CR4). Leaf 0xd: sizes that follow XCR0 and XSS. 0x80000001: cmp_legacy; 0x80000008:
 * bits of APIC ids (per vCPU).
 */
const struct cpu_leaf_rule cpu_leaf_rules[] = {
    {0x0, 0, 0, false, {KIND_DERIVED, KIND_SAME, KIND_SAME, KIND_SAME}, ALL4},
    {0x1, 0, 0, false, {KIND_FREE, KIND_LEAST, KIND_FEATURES, KIND_FEATURES},
     {0x0fff3fff, 0x0000ff00, ~(1U << 27), ~(1U << 28)}},
    {0x2, 0, 0, false, FREE4, ALL4},
    {0x4, 0, 7, true, FREE4, {0x000003ff, ALL, ALL, 0x7}},
    {0x6, 0, 0, false, {KIND_FEATURES}, {0x4}},
    {0x7, 0, 0, true, {KIND_DERIVED, KIND_FEATURES, KIND_FEATURES, KIND_FEATURES},
     {0, ALL, ~(1U << 4), ALL}},
    {0x7, 1, 2, true, FEATURES4, ALL4},
    {0xd, 0, 0, true, DERIVED4, {0}},
    {0xd, 1, 1, true, {KIND_FEATURES}, {0x1f}},
    {0xd, 2, 31, true, SAME4, ALL4},
    {0x40000000, 0, 0, false, DERIVED4, {0}},
    {0x40000001, 0, 0, false, {KIND_FEATURES}, {ALL}},
    {0x80000000, 0, 0, false, DERIVED4, {0}},
    {0x80000001, 0, 0, false, {KIND_DERIVED, KIND_NONE, KIND_FEATURES, KIND_FEATURES},
     {0, 0, ~(1U << 1), ALL}},
    {0x80000002, 0, 0, false, FREE4, ALL4},
    {0x80000003, 0, 0, false, FREE4, ALL4},
    {0x80000004, 0, 0, false, FREE4, ALL4},
    {0x80000005, 0, 0, false, FREE4, ALL4},
    {0x80000006, 0, 0, false, FREE4, ALL4},
    {0x80000007, 0, 0, false, {KIND_NONE, KIND_NONE, KIND_NONE, KIND_FEATURES}, {0, 0, 0, 0x100}},
    {0x80000008, 0, 0, false, {KIND_LEAST, KIND_FEATURES}, {0x0000ffff, ALL}},
    {0x8000001d, 0, 7, true, FREE4, {0x000003ff, ALL, ALL, 0x7}},
    {0x80000021, 0, 0, false, {KIND_FEATURES, KIND_NONE, KIND_FEATURES}, {ALL, 0, ALL}},
};
/* clang-format on */
const size_t cpu_leaf_rule_count = ARRAY_COUNT(cpu_leaf_rules);

const struct cpu_leaf_rule *cpu_leaf_rule_of(uint32_t function, uint32_t index)
{
    for (size_t i = 0; i < cpu_leaf_rule_count; i++) {
        const struct cpu_leaf_rule *rule = &cpu_leaf_rules[i];

        if (rule->function == function && rule->first <= index && index <= rule->last)
            return rule;
    }
    return NULL;
}

/* ---- One register, one feature ---- */

static const size_t register_offsets[] = {
    [CPU_EAX] = offsetof(struct cpu_leaf, eax),
    [CPU_EBX] = offsetof(struct cpu_leaf, ebx),
    [CPU_ECX] = offsetof(struct cpu_leaf, ecx),
    [CPU_EDX] = offsetof(struct cpu_leaf, edx),
};

uint32_t cpu_leaf_get(const struct cpu_leaf *leaf, enum cpu_register reg)
{
    return *(const uint32_t *)((const char *)leaf + register_offsets[reg]);
}

/* The number of leaves before the place of this one. */
static unsigned place_of(const struct cpu_model *model, uint32_t function, uint32_t index)
{
    unsigned i = 0;

    while (i < model->count &&
           (model->leaf[i].function < function ||
            (model->leaf[i].function == function && model->leaf[i].index < index)))
        i++;
    return i;
}

static bool is_at(const struct cpu_model *model, unsigned i, uint32_t function, uint32_t index)
{
    return i < model->count && model->leaf[i].function == function && model->leaf[i].index == index;
}

uint32_t cpu_model_get(const struct cpu_model *model, uint32_t function, uint32_t index,
                       enum cpu_register reg)
{
    unsigned i = place_of(model, function, index);

    return is_at(model, i, function, index) ? cpu_leaf_get(&model->leaf[i], reg) : 0;
}

void cpu_model_set(struct cpu_model *model, uint32_t function, uint32_t index,
                   enum cpu_register reg, uint32_t value)
{
    const struct cpu_leaf_rule *rule = cpu_leaf_rule_of(function, index);
    unsigned i = place_of(model, function, index);

    assert(rule);
    if (!is_at(model, i, function, index)) {
        assert(model->count < CPU_MODEL_MAX_LEAVES); /* the rules allow fewer leaves */
        memmove(&model->leaf[i + 1], &model->leaf[i], (model->count - i) * sizeof model->leaf[0]);
        model->leaf[i] =
            (struct cpu_leaf){.function = function, .index = index, .indexed = rule->indexed};
        model->count++;
    }
    *(uint32_t *)((char *)&model->leaf[i] + register_offsets[reg]) = value;
}

bool cpu_model_has(const struct cpu_model *model, const struct cpu_place *place)
{
    return cpu_model_get(model, place->function, place->index, place->reg) & place->mask;
}

void cpu_model_put(struct cpu_model *model, const char *features, bool on)
{
    struct cpu_place place;
    const char *name;
    size_t length;

    while ((name = cpu_list_next(&features, &length))) {
        if (!cpu_bit_find(name, length, &place))
            continue;
        uint32_t value = cpu_model_get(model, place.function, place.index, place.reg);

        if (on || value & place.mask)
            cpu_model_set(model, place.function, place.index, place.reg,
                          on ? value | place.mask : value & ~place.mask);
    }
}

/* ---- The one form ---- */

#define AMD_COPIES UINT32_C(0x0183f3ff) /* bits of 0x80000001 edx that repeat leaf 1 edx */
#define XSAVE_LEGACY_BYTES 576          /* the x87 and SSE area with the XSAVE header */

enum cpu_vendor cpu_model_vendor_kind(const struct cpu_model *model)
{
    char vendor[13];

    cpu_model_vendor(model, vendor);
    if (strcmp(vendor, "GenuineIntel") == 0)
        return VENDOR_INTEL;
    return strcmp(vendor, "AuthenticAMD") == 0 ? VENDOR_AMD : VENDOR_OTHER;
}

static void copy_what_is_allowed(const struct cpu_model *from, struct cpu_model *to)
{
    for (unsigned i = 0; i < from->count; i++) {
        const struct cpu_leaf *leaf = &from->leaf[i];
        const struct cpu_leaf_rule *rule = cpu_leaf_rule_of(leaf->function, leaf->index);

        for (enum cpu_register reg = CPU_EAX; rule && reg < CPU_REGISTERS; reg++) {
            bool kept = rule->kind[reg] != KIND_NONE && rule->kind[reg] != KIND_DERIVED;

            if (kept && cpu_leaf_get(leaf, reg) & rule->mask[reg])
                cpu_model_set(to, leaf->function, leaf->index, reg,
                              cpu_leaf_get(leaf, reg) & rule->mask[reg]);
        }
    }
}

/* The components of the XSAVE area for which there is a place; 0 and 1 need none. */
static uint32_t components_with_place(const struct cpu_model *model)
{
    uint32_t components = 0x3;

    for (unsigned i = 2; i < 32; i++)
        if (cpu_model_get(model, 0xd, i, CPU_EAX) && !(cpu_model_get(model, 0xd, i, CPU_ECX) & 1))
            components |= 1U << i;
    return components;
}

/* Takes away what lacks its need; the components that the rest uses. */
static uint32_t settle_needs(struct cpu_model *model, uint32_t available)
{
    uint32_t used = 0;

    for (size_t i = 0; i < cpu_need_count; i++) {
        const struct cpu_need *need = &cpu_needs[i];
        struct cpu_place place;

        if (cpu_bit_find(need->feature, strlen(need->feature), &place) &&
            cpu_model_has(model, &place) && !(need->components & ~available)) {
            used |= need->components;
        } else {
            cpu_model_put(model, need->feature, false);
            cpu_model_put(model, need->dependents, false);
        }
    }
    return used;
}

/* Leaf 0xd, of the components in use and nothing else. */
static void derive_xsave(struct cpu_model *model)
{
    uint32_t available = components_with_place(model);
    uint32_t used = settle_needs(model, available), end = used ? XSAVE_LEGACY_BYTES : 0;

    for (unsigned i = 2; i < 32; i++) {
        uint32_t size = cpu_model_get(model, 0xd, i, CPU_EAX);
        uint32_t offset = cpu_model_get(model, 0xd, i, CPU_EBX);

        if (used & 1U << i)
            end = offset + size > end ? offset + size : end;
        else
            for (enum cpu_register reg = CPU_EAX; size && reg < CPU_REGISTERS; reg++)
                cpu_model_set(model, 0xd, i, reg, 0);
    }
    cpu_model_set(model, 0xd, 0, CPU_EAX, used);
    cpu_model_set(model, 0xd, 0, CPU_EBX, used ? XSAVE_LEGACY_BYTES : 0);
    cpu_model_set(model, 0xd, 0, CPU_ECX, end);
}

static void derive_vendor_leaves(struct cpu_model *model)
{
    bool amd = cpu_model_vendor_kind(model) == VENDOR_AMD;
    uint32_t extended = cpu_model_get(model, 0x80000001, 0, CPU_EDX) & ~AMD_COPIES;
    bool topoext = cpu_model_get(model, 0x80000001, 0, CPU_ECX) & 1U << 22;
    uint32_t last =
        cpu_model_get(model, 0x80000021, 0, CPU_EAX) || cpu_model_get(model, 0x80000021, 0, CPU_ECX)
            ? 0x80000021
            : (topoext ? 0x8000001e : 0x80000008);

    if (amd)
        extended |= cpu_model_get(model, 0x1, 0, CPU_EDX) & AMD_COPIES;
    cpu_model_set(model, 0x80000001, 0, CPU_EDX, extended);
    cpu_model_set(model, 0x80000001, 0, CPU_EAX, amd ? cpu_model_get(model, 1, 0, CPU_EAX) : 0);
    cpu_model_set(model, 0x80000000, 0, CPU_EAX, last);
    for (enum cpu_register reg = CPU_EBX; reg < CPU_REGISTERS; reg++)
        cpu_model_set(model, 0x80000000, 0, reg, amd ? cpu_model_get(model, 0, 0, reg) : 0);
    for (uint32_t i = 0; i < 8 && !topoext; i++)
        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            if (cpu_model_get(model, 0x8000001d, i, reg))
                cpu_model_set(model, 0x8000001d, i, reg, 0);
}

static void derive_limits(struct cpu_model *model)
{
    uint32_t subleaves = 0, address = cpu_model_get(model, 0x80000008, 0, CPU_EAX) & 0xff;
    bool la57 = cpu_model_get(model, 0x7, 0, CPU_ECX) & 1U << 16;

    for (uint32_t i = 1; i <= 2; i++)
        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            if (cpu_model_get(model, 0x7, i, reg))
                subleaves = i;
    cpu_model_set(model, 0x0, 0, CPU_EAX, 0xd);
    cpu_model_set(model, 0x7, 0, CPU_EAX, subleaves);
    cpu_model_set(model, 0x80000008, 0, CPU_EAX, address | (la57 ? 57U : 48U) << 8);
    cpu_model_set(model, 0x40000000, 0, CPU_EAX, 0x40000001);
    cpu_model_set(model, 0x40000000, 0, CPU_EBX, 0x4b4d564b); /* "KVMKVMKVM" */
    cpu_model_set(model, 0x40000000, 0, CPU_ECX, 0x564b4d56);
    cpu_model_set(model, 0x40000000, 0, CPU_EDX, 0x4d);
}

static void drop_empty_leaves(struct cpu_model *model)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < model->count; i++) {
        const struct cpu_leaf *leaf = &model->leaf[i];

        if (leaf->eax | leaf->ebx | leaf->ecx | leaf->edx)
            model->leaf[kept++] = *leaf;
    }
    model->count = kept;
}

void cpu_model_normalize(const struct cpu_model *model, struct cpu_model *ret_model)
{
    struct cpu_model form = *model;

    form.count = 0;
    copy_what_is_allowed(model, &form);
    for (size_t i = 0; i < cpu_held_back_count; i++)
        cpu_model_put(&form, cpu_held_back[i].features, false);
    derive_xsave(&form);
    derive_vendor_leaves(&form);
    derive_limits(&form);
    drop_empty_leaves(&form);
    if (!(cpu_model_get(&form, 0x7, 0, CPU_EDX) & 1U << 29))
        form.arch_capabilities = 0;
    *ret_model = form;
}
