/* SPDX-License-Identifier: Apache-2.0 */
/* What the KVM of this host says that it can give, it gives. Skipped where /dev/kvm does not open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"
#include "cpu/kvm/kvm.h"

static struct kvm_host *host;
static struct cpu_model supported;

static int open_host(void **state)
{
    struct gw_error error = {0};

    if (kvm_host_open(NULL, &host, &error) < 0) {
        print_message("skipped: %s\n", error.message);
        return 0;
    }
    return cpu_model_of_host(host, &supported, &error);
}

static int close_host(void **state)
{
    kvm_host_close(host);
    return 0;
}

static void need_host(void)
{
    if (!host)
        skip();
}

static struct kvm_cpuid2 *as_entries(const struct cpu_model *model)
{
    struct kvm_cpuid2 *list =
        calloc(1, sizeof *list + CPU_MODEL_MAX_LEAVES * sizeof list->entries[0]);

    assert_non_null(list);
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

/* What a new vCPU shows that was given the model. */
static struct cpu_model shown_by_vcpu(const struct cpu_model *model)
{
    _cleanup_close_ int vm = ioctl(kvm_host_fd(host), KVM_CREATE_VM, 0);
    assert_int_equal(0, ioctl(vm, KVM_CREATE_IRQCHIP));
    _cleanup_close_ int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    _cleanup_free_ struct kvm_cpuid2 *list = as_entries(model);
    struct cpu_model back = {.name = "back"}, form;

    assert_true(vcpu >= 0);
    assert_int_equal(0, ioctl(vcpu, KVM_SET_CPUID2, list));
    list->nent = CPU_MODEL_MAX_LEAVES;
    assert_int_equal(0, ioctl(vcpu, KVM_GET_CPUID2, list));
    for (uint32_t i = 0; i < list->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &list->entries[i];
        const uint32_t value[] = {entry->eax, entry->ebx, entry->ecx, entry->edx};

        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            cpu_model_set(&back, entry->function, entry->index, reg, value[reg]);
    }
    cpu_model_normalize(&back, &form);
    return form;
}

static void the_host_is_a_model_that_it_can_give(void **state)
{
    struct gw_error error = {0};

    need_host();
    if (cpu_model_check(&supported, &supported, &error) < 0)
        fail_msg("%s", error.message);
    assert_true(supported.tsc_khz > 100000);
    assert_true(cpu_model_address_bits(&supported) >= 36);
    assert_true(cpu_model_level(&supported) >= 1);
}

static void a_vcpu_shows_exactly_the_model_of_the_host(void **state)
{
    need_host();
    struct cpu_model shown = shown_by_vcpu(&supported);
    assert_int_equal(shown.count, supported.count);
    for (unsigned i = 0; i < shown.count; i++)
        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            assert_int_equal(cpu_leaf_get(&supported.leaf[i], reg),
                             cpu_leaf_get(&shown.leaf[i], reg));
}

static void a_vcpu_shows_all_of_each_level_and_what_is_told_besides(void **state)
{
    unsigned given = 0;

    need_host();
    for (unsigned level = 1; level <= CPU_LEVELS; level++) {
        struct cpu_model model, more;
        struct gw_error error = {0};

        if (cpu_model_by_name(cpu_level_name(level), &supported, &model, NULL) < 0)
            continue;
        struct cpu_model shown = shown_by_vcpu(&model);
        if (cpu_model_check(&model, &shown, &error) < 0)
            fail_msg("%s", error.message);
        assert_int_equal(0, cpu_model_added_by_host(host, &model, &more, &error));
        for (size_t i = 0; i < cpu_word_count; i++) {
            const struct cpu_word *word = &cpu_words[i];

            assert_int_equal(cpu_model_get(&shown, word->function, word->index, word->reg),
                             cpu_model_get(&model, word->function, word->index, word->reg) |
                                 cpu_model_get(&more, word->function, word->index, word->reg));
        }
        given++;
    }
    assert_true(given >= 1);
}

static void the_processor_is_of_the_same_maker(void **state)
{
    struct cpu_model own;
    char one[13], other[13];

    need_host();
    cpu_model_of_processor(&own);
    cpu_model_vendor(&own, one);
    cpu_model_vendor(&supported, other);
    assert_string_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_is_a_model_that_it_can_give),
        cmocka_unit_test(a_vcpu_shows_exactly_the_model_of_the_host),
        cmocka_unit_test(a_vcpu_shows_all_of_each_level_and_what_is_told_besides),
        cmocka_unit_test(the_processor_is_of_the_same_maker),
    };

    return cmocka_run_group_tests(tests, open_host, close_host);
}
