/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The algebra of CPU models. All of it works on normalized models (cpu-leaves.h): a host has
 * features and numbers, a model asks for them, and what several hosts have in common is the
 * intersection of the former and the least of the latter.
 */
#include <stdlib.h>
#include <string.h>

#include <godwit/buf.h>

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"

#define LEVEL_ADDRESS_BITS 39 /* the least that 64-bit processors with KVM have */
#define TSC_TOLERANCE_PPM 250 /* within it KVM runs a guest without scaling */
#define RSBA_BITS                                                                                  \
    UINT64_C(0x80004) /* arch_capabilities: RSBA, RRSBA; they warn, others promise                 \
                       */

#define unsupported(...)                                                                           \
    gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EOPNOTSUPP, __VA_ARGS__)
#define invalid(...) gw_error_set(error, GW_LAYER_CPU, GW_CODE_INVALID, -EINVAL, __VA_ARGS__)

/* ---- What lacks, as the middle of a sentence ---- */

struct lacking {
    char text[360];
    size_t length, last; /* `last`: where the last name's separator is; 0 with one name */
    unsigned more;       /* names that had no room */
};

__attribute__((format(printf, 2, 3))) static void add_lacking(struct lacking *list,
                                                              const char *format, ...)
{
    char name[64];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (list->more || list->length + strlen(name) + 2 >= sizeof list->text) {
        list->more++;
        return;
    }
    if (list->length)
        list->last = list->length;
    list->length += (size_t)snprintf(list->text + list->length, sizeof list->text - list->length,
                                     "%s%s", list->length ? ", " : "", name);
}

/* "a", "a and b", "a, b and c", or with a count of those that had no room. */
static void finish_list(const struct lacking *list, char *ret_text, size_t size)
{
    if (list->more)
        snprintf(ret_text, size, "%s and %u more", list->text, list->more);
    else if (list->last)
        snprintf(ret_text, size, "%.*s and %s", (int)list->last, list->text,
                 list->text + list->last + 2);
    else
        snprintf(ret_text, size, "%s", list->text);
}

static void add_missing_bits(struct lacking *list, const struct cpu_leaf *leaf,
                             enum cpu_register reg, uint32_t bits)
{
    static const char *const names[] = {"eax", "ebx", "ecx", "edx"};

    for (unsigned bit = 0; bit < 32; bit++) {
        const char *name = cpu_bit_name(leaf->function, leaf->index, reg, bit);

        if (!(bits & 1U << bit))
            continue;
        if (name)
            add_lacking(list, "%s", name);
        else if (leaf->index)
            add_lacking(list, "leaf 0x%x.%u %s bit %u", leaf->function, leaf->index, names[reg],
                        bit);
        else
            add_lacking(list, "leaf 0x%x %s bit %u", leaf->function, names[reg], bit);
    }
}

static void add_low_numbers(struct lacking *list, const struct cpu_leaf *leaf, uint32_t wanted,
                            uint32_t given)
{
    static const struct {
        uint32_t function;
        unsigned shift, unit;
        const char *name;
    } numbers[] = {
        {0x1, 8, 8, "clflush of %u bytes"},
        {0x80000008, 0, 1, "%u-bit physical addresses"},
        {0x80000008, 8, 1, "%u-bit virtual addresses"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        uint32_t want = wanted >> numbers[i].shift & 0xff;

        if (leaf->function == numbers[i].function && want > (given >> numbers[i].shift & 0xff)) {
            char name[48];

            snprintf(name, sizeof name, numbers[i].name, want * numbers[i].unit);
            add_lacking(list, "%s", name);
        }
    }
}

/* ---- Check ---- */

static bool leaves_equal(const struct cpu_leaf *one, const struct cpu_leaf *other)
{
    return one->function == other->function && one->index == other->index &&
           one->indexed == other->indexed && one->eax == other->eax && one->ebx == other->ebx &&
           one->ecx == other->ecx && one->edx == other->edx;
}

static int check_form(const struct cpu_model *model, struct gw_error *error)
{
    struct cpu_model form;

    cpu_model_normalize(model, &form);
    for (unsigned i = 0; i < model->count; i++)
        if (i >= form.count || !leaves_equal(&model->leaf[i], &form.leaf[i]))
            return invalid("the CPU model '%s' is not one that godwit makes: leaf 0x%x.%u does not "
                           "follow from the rest or holds what is not moved",
                           model->name, model->leaf[i].function, model->leaf[i].index);
    if (form.count != model->count)
        return invalid("the CPU model '%s' is not one that godwit makes: it has no leaf 0x%x",
                       model->name, form.leaf[model->count].function);
    if (form.arch_capabilities != model->arch_capabilities)
        return invalid("the CPU model '%s' has a value of arch_capabilities but not the feature",
                       model->name);
    return 0;
}

static int check_vendor(const struct cpu_model *model, const struct cpu_model *supported,
                        struct gw_error *error)
{
    char wanted[13], given[13];

    cpu_model_vendor(model, wanted);
    cpu_model_vendor(supported, given);
    if (strcmp(wanted, given) == 0)
        return 0;
    return unsupported("the CPU model '%s' is of %s and this host's processor is of %s: a guest "
                       "stays with the maker of the processor on which it was started",
                       model->name, wanted, given);
}

static bool same_frequency(uint32_t one_khz, uint32_t other_khz)
{
    uint64_t difference = one_khz > other_khz ? one_khz - other_khz : other_khz - one_khz;

    return difference * 1000000 <= (uint64_t)one_khz * TSC_TOLERANCE_PPM;
}

static int check_tsc(const struct cpu_model *model, const struct cpu_model *supported,
                     struct gw_error *error)
{
    if (!model->tsc_khz || !supported->tsc_khz || supported->tsc_scaling ||
        same_frequency(model->tsc_khz, supported->tsc_khz))
        return 0;
    return unsupported("the CPU model '%s' has a TSC of %u kHz; this host's runs at %u kHz and its "
                       "KVM cannot scale it",
                       model->name, model->tsc_khz, supported->tsc_khz);
}

static void compare_register(const struct cpu_leaf *leaf, enum cpu_register reg, uint32_t given,
                             struct lacking *list)
{
    const struct cpu_leaf_rule *rule = cpu_leaf_rule_of(leaf->function, leaf->index);
    uint32_t wanted = cpu_leaf_get(leaf, reg);

    switch (rule->kind[reg]) {
    case KIND_FEATURES:
        add_missing_bits(list, leaf, reg, wanted & ~given);
        break;
    case KIND_LEAST:
        add_low_numbers(list, leaf, wanted, given);
        break;
    case KIND_SAME:
        if (wanted != given && leaf->function == 0xd && reg == CPU_EBX && given)
            add_lacking(list, "XSAVE component %u at %u (here: %u)", leaf->index, wanted, given);
        else if (wanted != given && leaf->function == 0xd)
            add_lacking(list, "XSAVE component %u", leaf->index);
        break;
    case KIND_NONE:
    case KIND_FREE:
    case KIND_DERIVED:
        break;
    }
}

static void compare_arch_capabilities(uint64_t wanted, uint64_t given, struct lacking *list)
{
    uint64_t lost = wanted & ~given & ~RSBA_BITS, untold = given & ~wanted & RSBA_BITS;

    for (unsigned bit = 0; bit < 64; bit++)
        if ((lost | untold) & UINT64_C(1) << bit)
            add_lacking(list, "arch_capabilities with%s bit %u",
                        lost & UINT64_C(1) << bit ? "" : "out", bit);
}

int cpu_model_check(const struct cpu_model *model, const struct cpu_model *supported,
                    struct gw_error *error)
{
    struct lacking list = {0};
    char names[400];
    int r = check_form(model, error);

    if (r == 0)
        r = check_vendor(model, supported, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < model->count; i++) {
        const struct cpu_leaf *leaf = &model->leaf[i];

        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            compare_register(leaf, reg, cpu_model_get(supported, leaf->function, leaf->index, reg),
                             &list);
    }
    if (cpu_model_get(model, 0x7, 0, CPU_EDX) & 1U << 29)
        compare_arch_capabilities(model->arch_capabilities, supported->arch_capabilities, &list);
    if (!list.length)
        return check_tsc(model, supported, error);
    finish_list(&list, names, sizeof names);
    return unsupported("this host cannot give the CPU model '%s': it lacks %s", model->name, names);
}

/* ---- By name ---- */

static void build_level(unsigned level, const struct cpu_model *supported,
                        struct cpu_model *ret_model)
{
    struct cpu_model model = {.tsc_khz = supported->tsc_khz};

    snprintf(model.name, sizeof model.name, "%s", cpu_level_name(level));
    for (unsigned i = 0; i < supported->count; i++) /* where the maker puts what XSAVE saves */
        if (supported->leaf[i].function == 0xd && supported->leaf[i].index >= 2)
            model.leaf[model.count++] = supported->leaf[i];
    for (enum cpu_register reg = CPU_EBX; reg < CPU_REGISTERS; reg++)
        cpu_model_set(&model, 0x0, 0, reg, cpu_model_get(supported, 0x0, 0, reg));
    for (unsigned i = 0; i < level; i++) {
        cpu_model_put(&model, cpu_levels[i].abi, true);
        cpu_model_put(&model, cpu_levels[i].kernel, true);
    }
    cpu_model_set(&model, 0x1, 0, CPU_EAX, cpu_model_get(supported, 0x1, 0, CPU_EAX));
    cpu_model_set(&model, 0x1, 0, CPU_EBX, 64 / 8 << 8);
    cpu_model_set(&model, 0x80000008, 0, CPU_EAX, LEVEL_ADDRESS_BITS);
    cpu_model_set_generic_signature(&model);
    cpu_model_set_generic_caches(&model);
    cpu_model_set_brand(&model, model.name);
    cpu_model_normalize(&model, ret_model);
}

static int give_level(unsigned level, const struct cpu_model *supported,
                      struct cpu_model *ret_model, struct gw_error *error)
{
    _cleanup_free_ char *lacks = cpu_model_lacks(supported, level);
    struct lacking list = {0};
    struct cpu_model model;
    const char *at = lacks, *name;
    char names[400];
    size_t length;
    int r;

    if (!lacks)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    while ((name = cpu_list_next(&at, &length)))
        add_lacking(&list, "%.*s", (int)length, name);
    finish_list(&list, names, sizeof names);
    if (list.length)
        return unsupported("this host cannot give the CPU model '%s': it lacks %s",
                           cpu_level_name(level), names);
    build_level(level, supported, &model);
    r = cpu_model_check(&model, supported, error);
    if (r == 0)
        *ret_model = model;
    return r;
}

int cpu_model_by_name(const char *name, const struct cpu_model *supported,
                      struct cpu_model *ret_model, struct gw_error *error)
{
    struct cpu_model form;

    cpu_model_normalize(supported, &form);
    for (unsigned level = 1; level <= CPU_LEVELS; level++)
        if (strcmp(name, cpu_level_name(level)) == 0)
            return give_level(level, &form, ret_model, error);
    if (strcmp(name, "host") != 0)
        return invalid("there is no CPU model '%.64s'; there are host, x86-64, x86-64-v2, "
                       "x86-64-v3, x86-64-v4, and files that 'godwit cpu' has made",
                       name);
    snprintf(form.name, sizeof form.name, "host");
    form.tsc_scaling = false;
    *ret_model = form;
    return 0;
}

static bool is_file(const char *text)
{
    size_t length = strlen(text);

    return strchr(text, '/') || (length > 5 && strcmp(text + length - 5, ".json") == 0);
}

int cpu_model_from_text(const char *text, const struct cpu_model *supported,
                        struct cpu_model *ret_model, struct gw_error *error)
{
    struct cpu_model model;
    int r;

    if (!is_file(text))
        return cpu_model_by_name(text, supported, ret_model, error);
    r = cpu_model_read(text, &model, error);
    if (r == 0)
        r = cpu_model_check(&model, supported, error);
    if (r < 0)
        return r;
    model.tsc_scaling = false;
    *ret_model = model;
    return 0;
}

/* ---- Common ---- */

static uint32_t least_bytes(uint32_t one, uint32_t other)
{
    uint32_t least = 0;

    for (unsigned shift = 0; shift < 32; shift += 8) {
        uint32_t a = one >> shift & 0xff, b = other >> shift & 0xff;

        least |= (a < b ? a : b) << shift;
    }
    return least;
}

/* The register of a model that both have; what is free is settled for all hosts at once. */
static uint32_t meet(enum cpu_kind kind, uint32_t one, uint32_t other)
{
    switch (kind) {
    case KIND_FEATURES:
        return one & other;
    case KIND_LEAST:
        return least_bytes(one, other);
    case KIND_SAME: /* vendors are alike, and meet_leaf() knows what differing places mean */
    case KIND_NONE:
    case KIND_FREE:
    case KIND_DERIVED:
        break;
    }
    return one;
}

static void meet_leaf(struct cpu_leaf *leaf, const struct cpu_model *other)
{
    const struct cpu_leaf_rule *rule = cpu_leaf_rule_of(leaf->function, leaf->index);
    uint32_t result[CPU_REGISTERS];
    bool differs = false;

    for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++) {
        uint32_t given = cpu_model_get(other, leaf->function, leaf->index, reg);

        result[reg] = meet(rule->kind[reg], cpu_leaf_get(leaf, reg), given);
        differs |= rule->kind[reg] == KIND_SAME && cpu_leaf_get(leaf, reg) != given;
    }
    if (differs) /* a component that lies elsewhere is no component */
        memset(result, 0, sizeof result);
    leaf->eax = result[CPU_EAX];
    leaf->ebx = result[CPU_EBX];
    leaf->ecx = result[CPU_ECX];
    leaf->edx = result[CPU_EDX];
}

/* What one host tells that another does not. */
struct differences {
    bool signature, caches, brand;
};

static bool is_signature(uint32_t function)
{
    return function == 0x1;
}

/* Whether the free registers of the leaves that `belongs` picks are as those of the other. */
static bool free_registers_equal(const struct cpu_model *one, const struct cpu_model *other,
                                 bool (*belongs)(uint32_t function))
{
    for (unsigned i = 0; i < one->count; i++) {
        const struct cpu_leaf *leaf = &one->leaf[i];
        const struct cpu_leaf_rule *rule = cpu_leaf_rule_of(leaf->function, leaf->index);

        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            if (belongs(leaf->function) && rule->kind[reg] == KIND_FREE &&
                cpu_leaf_get(leaf, reg) != cpu_model_get(other, leaf->function, leaf->index, reg))
                return false;
    }
    return true;
}

static bool told_alike(const struct cpu_model *one, const struct cpu_model *other,
                       bool (*belongs)(uint32_t function))
{
    return free_registers_equal(one, other, belongs) && free_registers_equal(other, one, belongs);
}

/* The TSC that all can give; where there is a choice the slowest. */
static int meet_tsc(const struct cpu_model *one, const struct cpu_model *other, unsigned number,
                    struct cpu_model *result, struct gw_error *error)
{
    bool one_fixed = one->tsc_khz && !one->tsc_scaling;
    bool other_fixed = other->tsc_khz && !other->tsc_scaling;
    uint32_t least = one->tsc_khz && one->tsc_khz < other->tsc_khz ? one->tsc_khz : other->tsc_khz;

    if (one_fixed && other_fixed && !same_frequency(one->tsc_khz, other->tsc_khz))
        return unsupported("no guest can move between these hosts: host %u has a TSC of %u kHz, "
                           "those before it %u kHz, and KVM can scale none of them",
                           number, other->tsc_khz, one->tsc_khz);
    if (one_fixed != other_fixed)
        least = one_fixed ? one->tsc_khz : other->tsc_khz;
    result->tsc_khz = least ? least : one->tsc_khz;
    result->tsc_scaling = !one_fixed && !other_fixed && (one->tsc_scaling || other->tsc_scaling);
    return 0;
}

static int meet_host(struct cpu_model *all, const struct cpu_model *host, unsigned number,
                     struct differences *differences, struct gw_error *error)
{
    char first[13], vendor[13];

    cpu_model_vendor(all, first);
    cpu_model_vendor(host, vendor);
    if (strcmp(first, vendor) != 0)
        return unsupported("no guest can move between these hosts: host 1 is of %s and host %u of "
                           "%s",
                           first, number, vendor);
    differences->signature |= !told_alike(all, host, is_signature);
    differences->caches |= !told_alike(all, host, cpu_leaf_is_cache);
    differences->brand |= !told_alike(all, host, cpu_leaf_is_brand);
    all->arch_capabilities = (all->arch_capabilities & host->arch_capabilities & ~RSBA_BITS) |
                             ((all->arch_capabilities | host->arch_capabilities) & RSBA_BITS);
    for (unsigned i = 0; i < all->count; i++)
        meet_leaf(&all->leaf[i], host);
    return meet_tsc(all, host, number, all, error);
}

int cpu_model_common(const struct cpu_model *hosts, unsigned count, struct cpu_model *ret_model,
                     struct gw_error *error)
{
    struct differences differences = {0};
    struct cpu_model all;

    if (count == 0)
        return invalid("no hosts were given that could have a CPU model in common");
    cpu_model_normalize(&hosts[0], &all);
    for (unsigned i = 1; i < count; i++) {
        struct cpu_model host;

        cpu_model_normalize(&hosts[i], &host);
        int r = meet_host(&all, &host, i + 1, &differences, error);
        if (r < 0)
            return r;
    }
    snprintf(all.name, sizeof all.name, "common");
    all.tsc_scaling = false;
    if (differences.signature)
        cpu_model_set_generic_signature(&all);
    if (differences.caches)
        cpu_model_set_generic_caches(&all);
    if (differences.brand)
        cpu_model_set_brand(&all, all.name);
    cpu_model_normalize(&all, ret_model);
    return 0;
}
