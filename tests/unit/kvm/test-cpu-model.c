/* SPDX-License-Identifier: Apache-2.0 */
/* CPU models: levels, checks and what hosts have in common, on hosts of both makers made by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"

/* ---- Hosts ---- */

static const char *const intel = "GenuineIntel", *const amd = "AuthenticAMD";

static const char kvm_all[] =
    "kvm_clock kvm_nop_io_delay kvm_clock2 kvm_async_pf kvm_steal_time kvm_pv_eoi kvm_pv_unhalt "
    "kvm_pv_tlb_flush kvm_async_pf_vmexit kvm_pv_ipi kvm_poll_control kvm_pv_sched_yield "
    "kvm_async_pf_int kvm_clock_stable hypervisor x2apic tsc_deadline_timer arat";
static const char old_core[] =
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse "
    "sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt syscall nx lm lahf_lm rdtscp constant_tsc";
#define NEW_CORE                                                                                   \
    "pclmulqdq fma movbe aes xsave avx f16c rdrand fsgsbase tsc_adjust bmi1 avx2 smep bmi2 "       \
    "rdseed adx smap clflushopt sha_ni abm 3dnowprefetch pdpe1gb xsaveopt xsavec xgetbv1 xsaves "
#define AVX512_OF_BOTH                                                                             \
    "avx512f avx512dq avx512cd avx512bw avx512vl pcid invpcid pku avx512_vnni clwb erms umip "

struct layout {
    unsigned component, size, offset;
};
static const struct layout intel_layout[] = {{2, 256, 576},   {5, 64, 1088}, {6, 512, 1152},
                                             {7, 1024, 1664}, {9, 8, 2688},  {0}};
static const struct layout amd_layout[] = {{2, 256, 576},   {5, 64, 832}, {6, 512, 896},
                                           {7, 1024, 1408}, {9, 8, 2432}, {0}};

static void put_vendor(struct cpu_model *host, const char *vendor)
{
    static const enum cpu_register order[] = {CPU_EBX, CPU_EDX, CPU_ECX};

    for (unsigned i = 0; i < 3; i++) {
        uint32_t part;

        memcpy(&part, vendor + 4 * i, 4);
        cpu_model_set(host, 0, 0, order[i], part);
    }
}

static void put_layout(struct cpu_model *host, const struct layout *layout)
{
    for (; layout->component; layout++) {
        cpu_model_set(host, 0xd, layout->component, CPU_EAX, layout->size);
        cpu_model_set(host, 0xd, layout->component, CPU_EBX, layout->offset);
    }
}

/* What KVM would tell, before it is normalized. */
static struct cpu_model raw_host(const char *vendor, uint32_t signature, const char *features)
{
    struct cpu_model host = {.name = "host", .tsc_khz = 2600000};

    put_vendor(&host, vendor);
    cpu_model_set(&host, 1, 0, CPU_EAX, signature);
    cpu_model_set(&host, 1, 0, CPU_EBX, 0x0800);
    cpu_model_set(&host, 0x80000008, 0, CPU_EAX, 0x302e);
    put_layout(&host, vendor == intel ? intel_layout : amd_layout);
    cpu_model_put(&host, kvm_all, true);
    cpu_model_put(&host, old_core, true);
    cpu_model_put(&host, features, true);
    cpu_model_set_brand(&host, vendor == intel ? "A Xeon" : "An EPYC");
    return host;
}

static struct cpu_model make_host(const char *vendor, uint32_t signature, const char *features)
{
    struct cpu_model raw = raw_host(vendor, signature, features), host;

    cpu_model_normalize(&raw, &host);
    return host;
}

static struct cpu_model with(struct cpu_model host, const char *features)
{
    struct cpu_model form;

    cpu_model_put(&host, features, true);
    cpu_model_normalize(&host, &form);
    return form;
}

static struct cpu_model without(struct cpu_model host, const char *features)
{
    struct cpu_model form;

    cpu_model_put(&host, features, false);
    cpu_model_normalize(&host, &form);
    return form;
}

static struct cpu_model westmere(void)
{
    return make_host(intel, 0x000206c2, "aes pclmulqdq");
}

static struct cpu_model skylake(void)
{
    return make_host(intel, 0x00050654, NEW_CORE AVX512_OF_BOTH);
}

static struct cpu_model zen2(void)
{
    return make_host(amd, 0x00830f10,
                     "pclmulqdq fma movbe aes xsave avx f16c rdrand fsgsbase bmi1 "
                     "avx2 smep bmi2 rdseed adx smap clflushopt abm sse4a topoext "
                     "xsaveopt xsavec xgetbv1 xsaves clzero amd_ibpb");
}

static struct cpu_model zen4(void)
{
    return make_host(amd, 0x00a10f11,
                     NEW_CORE AVX512_OF_BOTH
                     "sse4a topoext clzero amd_ibpb amd_ssbd autoibrs avx512_vpopcntdq");
}

/* ---- Helpers ---- */

static bool has(const struct cpu_model *model, const char *feature)
{
    struct cpu_place place;

    assert_true(cpu_bit_find(feature, strlen(feature), &place));
    return cpu_model_has(model, &place);
}

static void expect_equal_leaves(const struct cpu_model *one, const struct cpu_model *other)
{
    assert_int_equal(one->count, other->count);
    for (unsigned i = 0; i < one->count; i++) {
        assert_int_equal(one->leaf[i].function, other->leaf[i].function);
        assert_int_equal(one->leaf[i].index, other->leaf[i].index);
        assert_int_equal(one->leaf[i].indexed, other->leaf[i].indexed);
        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            assert_int_equal(cpu_leaf_get(&one->leaf[i], reg), cpu_leaf_get(&other->leaf[i], reg));
    }
}

static void expect_said(const struct gw_error *error, int expected, int got, const char *part)
{
    assert_int_equal(expected, got);
    if (!strstr(error->message, part))
        fail_msg("'%s' does not say '%s'", error->message, part);
    assert_null(strchr(error->message, '\n'));
    assert_int_equal(error->layer, GW_LAYER_CPU);
}

static struct cpu_model named(const char *name, const struct cpu_model *host)
{
    struct gw_error error = {0};
    struct cpu_model model;

    if (cpu_model_by_name(name, host, &model, &error) < 0)
        fail_msg("%s: %s", name, error.message);
    return model;
}

static void expect_verdict(const struct cpu_model *model, const struct cpu_model *host,
                           int expected, const char *part)
{
    struct gw_error error = {0};
    int r = cpu_model_check(model, host, &error);

    if (expected == 0 && r < 0)
        fail_msg("refused: %s", error.message);
    else if (expected < 0)
        expect_said(&error, expected, r, part);
}

static struct cpu_model common_of(struct cpu_model one, struct cpu_model other)
{
    struct cpu_model hosts[] = {one, other}, model;
    struct gw_error error = {0};

    if (cpu_model_common(hosts, 2, &model, &error) < 0)
        fail_msg("%s", error.message);
    return model;
}

/* ---- The tables ---- */

static void expect_names(const char *list)
{
    struct cpu_place place;
    const char *name;
    size_t length;

    while ((name = cpu_list_next(&list, &length)))
        if (!cpu_bit_find(name, length, &place))
            fail_msg("'%.*s' is not the name of a bit", (int)length, name);
}

static void every_name_in_a_list_is_that_of_a_bit(void **state)
{
    for (unsigned i = 0; i < CPU_LEVELS; i++) {
        expect_names(cpu_levels[i].abi);
        expect_names(cpu_levels[i].kernel);
    }
    for (size_t i = 0; i < cpu_need_count; i++) {
        expect_names(cpu_needs[i].feature);
        expect_names(cpu_needs[i].dependents);
    }
    for (size_t i = 0; i < cpu_held_back_count; i++)
        expect_names(cpu_held_back[i].features);
}

static void no_name_stands_twice_and_all_are_in_a_model(void **state)
{
    for (size_t i = 0; i < cpu_word_count; i++)
        for (unsigned bit = 0; bit < 32; bit++) {
            const struct cpu_word *word = &cpu_words[i];
            struct cpu_place place;

            if (!word->bit[bit])
                continue;
            assert_true(cpu_bit_find(word->bit[bit], strlen(word->bit[bit]), &place));
            if (place.function != word->function || place.index != word->index ||
                place.reg != word->reg || place.mask != 1U << bit)
                fail_msg("'%s' stands twice", word->bit[bit]);
            assert_non_null(cpu_leaf_rule_of(word->function, word->index));
        }
}

#ifdef __x86_64__
/* The compiler's header knows the bits of the ABI's table by itself. */
static void the_levels_have_the_bits_of_the_abi(void **state)
{
    static const struct {
        uint32_t function, index;
        enum cpu_register reg;
        uint32_t bits[CPU_LEVELS];
    } table[] = {
        {0x1, 0, CPU_EDX, {bit_CMOV | bit_CMPXCHG8B | bit_FXSAVE | bit_MMX | bit_SSE | bit_SSE2}},
        {0x80000001, 0, CPU_EDX, {1U << 11}},
        {0x1,
         0,
         CPU_ECX,
         {0, bit_CMPXCHG16B | bit_POPCNT | bit_SSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_SSSE3,
          bit_AVX | bit_F16C | bit_FMA | bit_MOVBE | bit_XSAVE}},
        {0x80000001, 0, CPU_ECX, {0, bit_LAHF_LM, bit_LZCNT}},
        {0x7,
         0,
         CPU_EBX,
         {0, 0, bit_AVX2 | bit_BMI | bit_BMI2,
          bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL}},
    };
    struct cpu_model hosts[] = {skylake(), zen4()};

    for (unsigned h = 0; h < 2; h++)
        for (unsigned level = 1; level <= CPU_LEVELS; level++) {
            struct cpu_model model = named(cpu_level_name(level), &hosts[h]);

            assert_int_equal(level, cpu_model_level(&model));
            for (size_t i = 0; i < ARRAY_COUNT(table); i++)
                for (unsigned l = 0; l < CPU_LEVELS; l++) {
                    uint32_t bits =
                        cpu_model_get(&model, table[i].function, table[i].index, table[i].reg) &
                        table[i].bits[l];

                    assert_int_equal(l < level ? table[i].bits[l] : 0, bits);
                }
        }
}

/* Each flag that the kernel shows is the bit that the table says, as this processor tells it. */
static void the_names_are_the_kernels(void **state)
{
    static char line[16384];
    FILE *file = fopen("/proc/cpuinfo", "re");
    unsigned compared = 0;
    char *flags = NULL;

    while (file && !flags && fgets(line, sizeof line, file))
        flags = strncmp(line, "flags", 5) == 0 ? strchr(line, ':') + 1 : NULL;
    if (file)
        fclose(file);
    if (!flags) {
        print_message("skipped: no flags in /proc/cpuinfo here\n");
        skip();
    }
    flags[strcspn(flags, "\n")] = 0;
    const char *at = flags, *name;
    for (size_t length; (name = cpu_list_next(&at, &length));) {
        uint32_t value[CPU_REGISTERS] = {0};
        struct cpu_place place;

        /* the kernel sets this one for older processors by itself */
        if (!cpu_bit_find(name, length, &place) || place.function == 0x80000007 ||
            !__get_cpuid_count(place.function, place.index, &value[0], &value[1], &value[2],
                               &value[3]))
            continue;
        if (!(value[place.reg] & place.mask))
            fail_msg("the kernel shows %.*s, but CPUID has no such bit where the table says",
                     (int)length, name);
        compared++;
    }
    assert_true(compared > 20);
}
#endif

/* ---- Named models ---- */

static void a_level_is_the_same_on_every_host_of_a_maker(void **state)
{
    struct cpu_model one = zen2(), other = zen4();
    struct cpu_model first = named("x86-64-v3", &one), second = named("x86-64-v3", &other);

    expect_equal_leaves(&first, &second);
    assert_string_equal(first.name, "x86-64-v3");
    expect_verdict(&first, &other, 0, NULL);
    expect_verdict(&second, &one, 0, NULL);
}

static void a_level_is_contained_in_the_next(void **state)
{
    struct cpu_model host = skylake();

    for (unsigned level = 1; level < CPU_LEVELS; level++) {
        struct cpu_model lower = named(cpu_level_name(level), &host);
        struct cpu_model higher = named(cpu_level_name(level + 1), &host);

        expect_verdict(&lower, &higher, 0, NULL);
        expect_verdict(&higher, &lower, -EOPNOTSUPP, "it lacks");
    }
}

static void levels_without_vectors_save_no_vectors(void **state)
{
    struct cpu_model host = zen4();
    struct cpu_model v2 = named("x86-64-v2", &host), v3 = named("x86-64-v3", &host),
                     v4 = named("x86-64-v4", &host);

    assert_int_equal(0, cpu_model_get(&v2, 0xd, 0, CPU_EAX));
    assert_int_equal(0x7, cpu_model_get(&v3, 0xd, 0, CPU_EAX));
    assert_int_equal(576 + 256, cpu_model_get(&v3, 0xd, 0, CPU_ECX));
    assert_int_equal(0xe7, cpu_model_get(&v4, 0xd, 0, CPU_EAX));
    assert_int_equal(1408 + 1024, cpu_model_get(&v4, 0xd, 0, CPU_ECX));
    assert_int_equal(0, cpu_model_get(&v4, 0xd, 9, CPU_EAX));
}

static void a_level_that_the_host_lacks_names_what_lacks(void **state)
{
    struct cpu_model old = westmere(), half = zen2(), model;
    struct gw_error error = {0};

    expect_said(&error, -EOPNOTSUPP, cpu_model_by_name("x86-64-v3", &old, &model, &error),
                "this host cannot give the CPU model 'x86-64-v3': it lacks avx, avx2, bmi1");
    expect_said(&error, -EOPNOTSUPP, cpu_model_by_name("x86-64-v4", &half, &model, &error),
                "it lacks avx512f, avx512bw, avx512cd, avx512dq, avx512vl, pcid and invpcid");
    assert_int_equal(0, cpu_model_by_name("x86-64-v2", &old, &model, &error));
}

static void an_unknown_name_gets_those_that_exist(void **state)
{
    struct cpu_model host = zen2(), model;
    struct gw_error error = {0};

    expect_said(&error, -EINVAL, cpu_model_by_name("haswell", &host, &model, &error),
                "no CPU model 'haswell'; there are host, x86-64, x86-64-v2");
}

static void host_is_all_that_the_host_has(void **state)
{
    struct cpu_model host = zen4();
    host.tsc_scaling = true;
    struct cpu_model model = named("host", &host);

    expect_equal_leaves(&model, &host);
    assert_false(model.tsc_scaling);
    assert_int_equal(2600000, model.tsc_khz);
}

/* ---- The one form ---- */

static void what_does_not_move_is_held_back(void **state)
{
    struct cpu_model host =
        make_host(intel, 0x000806f8, "vmx pdcm intel_pt sgx shstk ibt amx_tile amx_bf16 arch_lbr");

    assert_false(has(&host, "vmx") || has(&host, "pdcm") || has(&host, "intel_pt") ||
                 has(&host, "sgx") || has(&host, "shstk") || has(&host, "ibt") ||
                 has(&host, "amx_tile") || has(&host, "arch_lbr"));
    assert_true(has(&host, "sse4_2"));
}

static void vectors_without_room_in_xsave_are_dropped(void **state)
{
    struct cpu_model raw = raw_host(intel, 0x00050654, NEW_CORE AVX512_OF_BOTH), host;

    cpu_model_set(&raw, 0xd, 6, CPU_EAX, 0);
    cpu_model_normalize(&raw, &host);
    assert_false(has(&host, "avx512f") || has(&host, "avx512_vnni"));
    assert_true(has(&host, "avx2") && has(&host, "pku"));
    assert_int_equal(0x207, cpu_model_get(&host, 0xd, 0, CPU_EAX));
    assert_int_equal(0, cpu_model_get(&host, 0xd, 5, CPU_EAX));
}

static void vectors_without_xsave_are_dropped(void **state)
{
    struct cpu_model host = without(zen4(), "xsave");

    assert_false(has(&host, "avx") || has(&host, "avx2") || has(&host, "fma") ||
                 has(&host, "avx512f") || has(&host, "pku") || has(&host, "xsaveopt"));
    assert_int_equal(0, cpu_model_get(&host, 0xd, 0, CPU_EAX));
}

static void supervisor_components_are_no_room(void **state)
{
    struct cpu_model raw = raw_host(intel, 0x00050654, NEW_CORE), host;

    cpu_model_set(&raw, 0xd, 2, CPU_ECX, 1);
    cpu_model_normalize(&raw, &host);
    assert_false(has(&host, "avx"));
}

static void amd_repeats_leaf_1_and_intel_does_not(void **state)
{
    struct cpu_model one = zen2(), other = skylake();

    assert_int_equal(cpu_model_get(&one, 1, 0, CPU_EDX) & 0x0183f3ff,
                     cpu_model_get(&one, 0x80000001, 0, CPU_EDX) & 0x0183f3ff);
    assert_int_equal(0, cpu_model_get(&other, 0x80000001, 0, CPU_EDX) & 0x0183f3ff);
    assert_int_equal(cpu_model_get(&one, 0, 0, CPU_EBX),
                     cpu_model_get(&one, 0x80000000, 0, CPU_EBX));
    assert_int_equal(0, cpu_model_get(&other, 0x80000000, 0, CPU_EBX));
}

static void per_vcpu_values_are_not_in_a_model(void **state)
{
    struct cpu_model raw = raw_host(amd, 0x00830f10, "topoext"), host;

    cpu_model_set(&raw, 1, 0, CPU_EBX, 0x03040800);
    cpu_model_set(&raw, 1, 0, CPU_EDX, cpu_model_get(&raw, 1, 0, CPU_EDX) | 1U << 28);
    cpu_model_set(&raw, 0x8000001d, 0, CPU_EAX, 0x0001c121);
    cpu_model_normalize(&raw, &host);
    assert_int_equal(0x0800, cpu_model_get(&host, 1, 0, CPU_EBX));
    assert_int_equal(0, cpu_model_get(&host, 1, 0, CPU_EDX) & 1U << 28);
    assert_int_equal(0x121, cpu_model_get(&host, 0x8000001d, 0, CPU_EAX));
}

/* Whatever list of leaves comes in: what comes out is a form that comes out again, and is whole. */
static void the_one_form_is_one(void **state)
{
    uint64_t random = 7;

    for (unsigned round = 0; round < 2000; round++) {
        struct cpu_model raw = {.name = "any"}, form, again;

        for (size_t i = 0; i < cpu_leaf_rule_count; i++) {
            const struct cpu_leaf_rule *rule = &cpu_leaf_rules[i];

            for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++) {
                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                cpu_model_set(&raw, rule->function, rule->first, reg, (uint32_t)(random >> 32));
            }
        }
        if (round % 3)
            put_vendor(&raw, round % 3 == 1 ? intel : amd);
        if (round % 2)
            put_layout(&raw, amd_layout);
        cpu_model_normalize(&raw, &form);
        cpu_model_normalize(&form, &again);
        expect_equal_leaves(&form, &again);
        expect_verdict(&form, &form, 0, NULL);
    }
}

/* ---- Check ---- */

static void another_maker_is_said_by_name(void **state)
{
    struct cpu_model one = zen4(), other = skylake();
    struct cpu_model model = named("x86-64-v3", &one);

    expect_verdict(&model, &other, -EOPNOTSUPP,
                   "'x86-64-v3' is of AuthenticAMD and this host's processor is of GenuineIntel");
}

static void bits_that_lack_are_named(void **state)
{
    struct cpu_model full = zen4(), model = named("host", &full);
    struct cpu_model host = without(full, "bmi2 avx512f");

    expect_verdict(&model, &host, -EOPNOTSUPP, "it lacks bmi2, avx512f, avx512dq");
    expect_verdict(&host, &model, 0, NULL);
    host = without(full, "erms");
    expect_verdict(&model, &host, -EOPNOTSUPP, "'host': it lacks erms");
}

static void a_bit_without_a_name_is_told_by_its_place(void **state)
{
    struct cpu_model host = zen4(), model = host;

    cpu_model_set(&model, 7, 0, CPU_EBX, cpu_model_get(&model, 7, 0, CPU_EBX) | 1U << 22);
    cpu_model_set(&model, 7, 1, CPU_ECX, 1U << 3);
    cpu_model_set(&model, 7, 0, CPU_EAX, 1);
    expect_verdict(&model, &host, -EOPNOTSUPP,
                   "it lacks leaf 0x7 ebx bit 22 and leaf 0x7.1 ecx bit 3");
}

static void very_many_bits_fit_one_sentence(void **state)
{
    struct cpu_model host = zen4(), nothing = {.name = "nothing"};
    struct gw_error error = {0};
    unsigned more = 0;

    put_vendor(&nothing, amd);
    expect_said(&error, -EOPNOTSUPP, cpu_model_check(&host, &nothing, &error),
                "it lacks clflush of 64 bytes, pni");
    assert_int_equal(1, sscanf(strstr(error.message, " and "), " and %u more", &more));
    assert_true(more > 20);
    assert_true(strlen(error.message) < sizeof error.message - 1);
}

static void numbers_must_be_reached(void **state)
{
    struct cpu_model host = zen4(), model = named("host", &host);

    cpu_model_set(&model, 0x80000008, 0, CPU_EAX, 0x3034);
    expect_verdict(&model, &host, -EOPNOTSUPP, "it lacks 52-bit physical addresses");
    cpu_model_set(&model, 0x80000008, 0, CPU_EAX, 0x302a);
    expect_verdict(&model, &host, 0, NULL);
}

static void what_xsave_saves_must_lie_in_the_same_place(void **state)
{
    struct cpu_model one = zen4(), raw = one, other;

    put_layout(&raw, intel_layout);
    cpu_model_normalize(&raw, &other);
    struct cpu_model model = named("x86-64-v4", &one);
    expect_verdict(&model, &other, -EOPNOTSUPP, "XSAVE component 5 at 832 (here: 1088)");
    model = named("x86-64-v3", &one);
    expect_verdict(&model, &other, 0, NULL);
}

static void what_any_host_can_tell_is_not_asked_for(void **state)
{
    struct cpu_model one = zen4(), other = one;

    cpu_model_set(&other, 1, 0, CPU_EAX, 0x00b00f21);
    cpu_model_set_brand(&other, "Another EPYC");
    cpu_model_set_generic_caches(&other);
    struct cpu_model form;
    cpu_model_normalize(&other, &form);
    expect_verdict(&one, &form, 0, NULL);
}

static void another_tsc_needs_scaling(void **state)
{
    struct cpu_model one = zen4(), other = zen4();
    struct cpu_model model = named("x86-64-v2", &one);

    other.tsc_khz = 2600600; /* 231 ppm */
    expect_verdict(&model, &other, 0, NULL);
    other.tsc_khz = 2600700;
    expect_verdict(&model, &other, -EOPNOTSUPP,
                   "a TSC of 2600000 kHz; this host's runs at 2600700 kHz");
    other.tsc_scaling = true;
    expect_verdict(&model, &other, 0, NULL);
}

static void arch_capabilities_promise_and_warn(void **state)
{
    struct cpu_model one = with(skylake(), "arch_capabilities"), other = one;

    one.arch_capabilities = 0x21;
    other.arch_capabilities = 0x61;
    expect_verdict(&one, &other, 0, NULL);
    expect_verdict(&other, &one, -EOPNOTSUPP, "arch_capabilities with bit 6");
    other.arch_capabilities = 0x21 | 1U << 19;
    expect_verdict(&one, &other, -EOPNOTSUPP, "arch_capabilities without bit 19");
    expect_verdict(&other, &one, 0, NULL);
}

static void a_model_that_contradicts_itself_is_refused(void **state)
{
    struct cpu_model host = zen4(), model = host;

    cpu_model_put(&model, "svm", true);
    expect_verdict(&model, &host, -EINVAL, "is not one that godwit makes: leaf 0x80000001");
    model = host;
    cpu_model_set(&model, 0xd, 0, CPU_EAX, 0x7);
    expect_verdict(&model, &host, -EINVAL, "leaf 0xd.0");
    model = host;
    model.leaf[model.count++] = (struct cpu_leaf){.function = 0xc0000001, .eax = 1};
    expect_verdict(&model, &host, -EINVAL, "leaf 0xc0000001");
    model = host;
    model.count--;
    expect_verdict(&model, &host, -EINVAL, "leaf 0x80000000");
    struct cpu_model other = skylake(), shorter = other;
    shorter.count--;
    expect_verdict(&shorter, &other, -EINVAL, "it has no leaf 0x80000008");
    model = host;
    model.arch_capabilities = 1;
    expect_verdict(&model, &host, -EINVAL, "arch_capabilities");
}

/* ---- Common ---- */

static void every_host_can_give_what_is_common(void **state)
{
    struct cpu_model hosts[] = {zen2(), zen4(), without(zen4(), "rdseed autoibrs"),
                                with(zen2(), "erms umip")};
    struct cpu_model model;

    assert_int_equal(0, cpu_model_common(hosts, 4, &model, NULL));
    for (unsigned i = 0; i < 4; i++)
        expect_verdict(&model, &hosts[i], 0, NULL);
    assert_true(has(&model, "avx2") && has(&model, "amd_ibpb") && has(&model, "topoext"));
    assert_false(has(&model, "rdseed") || has(&model, "erms") || has(&model, "avx512f"));
    assert_int_equal(3, cpu_model_level(&model));
}

static void nothing_that_all_have_is_missing_in_what_is_common(void **state)
{
    struct cpu_model one = zen2(), other = zen4(), model = common_of(one, other);

    for (size_t i = 0; i < cpu_word_count; i++) {
        const struct cpu_word *word = &cpu_words[i];
        uint32_t both = cpu_model_get(&one, word->function, word->index, word->reg) &
                        cpu_model_get(&other, word->function, word->index, word->reg);

        assert_int_equal(both, cpu_model_get(&model, word->function, word->index, word->reg));
    }
}

static void the_order_of_hosts_does_not_matter(void **state)
{
    struct cpu_model one = zen2(), other = zen4();
    struct cpu_model first = common_of(one, other), second = common_of(other, one);

    expect_equal_leaves(&first, &second);
    assert_int_equal(first.tsc_khz, second.tsc_khz);
    other.tsc_scaling = true;
    other.tsc_khz = 3000000;
    assert_int_equal(2600000, common_of(one, other).tsc_khz);
    assert_int_equal(2600000, common_of(other, one).tsc_khz);
}

static void like_hosts_keep_their_names_and_unlike_ones_get_a_plain_one(void **state)
{
    struct cpu_model one = zen4(), other = zen2();
    struct cpu_model alike = common_of(one, one), unlike = common_of(one, other);
    char brand[49];

    expect_equal_leaves(&alike, &one);
    cpu_model_brand(&alike, brand);
    assert_string_equal("An EPYC", brand);
    assert_int_equal(0x00800f12, cpu_model_get(&unlike, 1, 0, CPU_EAX));
    cpu_model_set_brand(&other, "Another EPYC");
    unlike = common_of(one, other);
    cpu_model_brand(&unlike, brand);
    assert_string_equal("common", brand);
    cpu_model_set(&other, 0x80000005, 0, CPU_ECX, 0x30080140);
    unlike = common_of(one, other);
    assert_int_equal(0x20080140, cpu_model_get(&unlike, 0x80000005, 0, CPU_ECX));
}

static void numbers_in_common_are_the_least(void **state)
{
    struct cpu_model one = zen4(), other = one;

    cpu_model_set(&other, 0x80000008, 0, CPU_EAX, 0x302b);
    struct cpu_model first = common_of(one, other), second = common_of(other, one);
    assert_int_equal(43, cpu_model_address_bits(&first));
    assert_int_equal(43, cpu_model_address_bits(&second));
}

static void makers_have_nothing_in_common(void **state)
{
    struct cpu_model hosts[] = {zen2(), zen4(), skylake()}, model;
    struct gw_error error = {0};

    expect_said(&error, -EOPNOTSUPP, cpu_model_common(hosts, 3, &model, &error),
                "host 1 is of AuthenticAMD and host 3 of GenuineIntel");
}

static void fixed_tscs_that_differ_have_nothing_in_common(void **state)
{
    struct cpu_model hosts[] = {zen2(), zen2()}, model;
    struct gw_error error = {0};

    hosts[1].tsc_khz = 3000000;
    expect_said(&error, -EOPNOTSUPP, cpu_model_common(hosts, 2, &model, &error),
                "host 2 has a TSC of 3000000 kHz");
    hosts[1].tsc_scaling = hosts[0].tsc_scaling = true;
    assert_int_equal(0, cpu_model_common(hosts, 2, &model, &error));
    assert_int_equal(2600000, model.tsc_khz);
}

static void common_promises_are_those_of_all_and_warnings_those_of_any(void **state)
{
    struct cpu_model one = with(skylake(), "arch_capabilities"), other = one;

    one.arch_capabilities = 0x61 | 1U << 19;
    other.arch_capabilities = 0x21;
    assert_int_equal(0x21 | 1U << 19, common_of(one, other).arch_capabilities);
    assert_int_equal(0, common_of(one, skylake()).arch_capabilities);
}

static void components_that_lie_elsewhere_are_not_common(void **state)
{
    struct cpu_model one = zen4(), raw = one, other;

    put_layout(&raw, intel_layout);
    cpu_model_normalize(&raw, &other);
    struct cpu_model model = common_of(one, other);
    assert_false(has(&model, "avx512f") || has(&model, "pku"));
    assert_true(has(&model, "avx2"));
}

static void no_hosts_have_nothing_in_common(void **state)
{
    struct cpu_model model;
    struct gw_error error = {0};

    expect_said(&error, -EINVAL, cpu_model_common(NULL, 0, &model, &error), "no hosts");
}

/* ---- In words ---- */

static void a_model_tells_who_it_is(void **state)
{
    struct cpu_model host = zen4();
    struct cpu_signature signature = cpu_model_signature(&host);
    char vendor[13], brand[49];

    cpu_model_vendor(&host, vendor);
    cpu_model_brand(&host, brand);
    assert_string_equal("AuthenticAMD", vendor);
    assert_string_equal("An EPYC", brand);
    assert_int_equal(0x19, signature.family);
    assert_int_equal(0x11, signature.model);
    assert_int_equal(1, signature.stepping);
    assert_int_equal(46, cpu_model_address_bits(&host));
}

static void features_and_what_lacks_are_lists(void **state)
{
    struct cpu_model host = westmere();
    _cleanup_free_ char *features = cpu_model_features(&host);
    _cleanup_free_ char *v2 = cpu_model_lacks(&host, 2), *v3 = cpu_model_lacks(&host, 3);

    assert_non_null(strstr(features, " sse4_2 "));
    assert_null(strstr(features, "avx"));
    assert_string_equal("", v2);
    assert_string_equal("avx avx2 bmi1 bmi2 f16c fma abm movbe xsave rdrand fsgsbase smep xsaveopt",
                        v3);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_name_in_a_list_is_that_of_a_bit),
        TEST(no_name_stands_twice_and_all_are_in_a_model),
#ifdef __x86_64__
        TEST(the_levels_have_the_bits_of_the_abi),
        TEST(the_names_are_the_kernels),
#endif
        TEST(a_level_is_the_same_on_every_host_of_a_maker),
        TEST(a_level_is_contained_in_the_next),
        TEST(levels_without_vectors_save_no_vectors),
        TEST(a_level_that_the_host_lacks_names_what_lacks),
        TEST(an_unknown_name_gets_those_that_exist),
        TEST(host_is_all_that_the_host_has),
        TEST(what_does_not_move_is_held_back),
        TEST(vectors_without_room_in_xsave_are_dropped),
        TEST(vectors_without_xsave_are_dropped),
        TEST(supervisor_components_are_no_room),
        TEST(amd_repeats_leaf_1_and_intel_does_not),
        TEST(per_vcpu_values_are_not_in_a_model),
        TEST(the_one_form_is_one),
        TEST(another_maker_is_said_by_name),
        TEST(bits_that_lack_are_named),
        TEST(a_bit_without_a_name_is_told_by_its_place),
        TEST(very_many_bits_fit_one_sentence),
        TEST(numbers_must_be_reached),
        TEST(what_xsave_saves_must_lie_in_the_same_place),
        TEST(what_any_host_can_tell_is_not_asked_for),
        TEST(another_tsc_needs_scaling),
        TEST(arch_capabilities_promise_and_warn),
        TEST(a_model_that_contradicts_itself_is_refused),
        TEST(every_host_can_give_what_is_common),
        TEST(nothing_that_all_have_is_missing_in_what_is_common),
        TEST(the_order_of_hosts_does_not_matter),
        TEST(like_hosts_keep_their_names_and_unlike_ones_get_a_plain_one),
        TEST(numbers_in_common_are_the_least),
        TEST(makers_have_nothing_in_common),
        TEST(fixed_tscs_that_differ_have_nothing_in_common),
        TEST(common_promises_are_those_of_all_and_warnings_those_of_any),
        TEST(components_that_lie_elsewhere_are_not_common),
        TEST(no_hosts_have_nothing_in_common),
        TEST(a_model_tells_who_it_is),
        TEST(features_and_what_lacks_are_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
