/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest is told where the host's own answer would tie it to that host: a processor of each
 * maker that is old enough for a kernel to take every precaution, a plain set of caches, a name.
 */
#include <string.h>

#include "base/bytes.h"
#include "cpu/kvm/cpu-leaves.h"

/* Leaf 1 eax: AMD family 0x17 model 1 stepping 2; Intel family 6 model 85 stepping 4. */
#define AMD_SIGNATURE UINT32_C(0x00800f12)
#define INTEL_SIGNATURE UINT32_C(0x00050654)

void cpu_model_set_generic_signature(struct cpu_model *model)
{
    switch (cpu_model_vendor_kind(model)) {
    case VENDOR_AMD:
        cpu_model_set(model, 0x1, 0, CPU_EAX, AMD_SIGNATURE);
        break;
    case VENDOR_INTEL:
        cpu_model_set(model, 0x1, 0, CPU_EAX, INTEL_SIGNATURE);
        break;
    case VENDOR_OTHER: /* what a kernel expects of its models is known to its maker only */
        break;
    }
}

/* Lines of 64 bytes: 32 KiB 8-way for data and instructions, 512 KiB 8-way, 16 MiB 16-way. */
struct generic_leaf {
    enum cpu_vendor vendor;
    uint32_t function, index, reg[CPU_REGISTERS];
};
static const struct generic_leaf caches[] = {
    {VENDOR_INTEL, 0x2, 0, {0x0000ff01}}, /* "see leaf 4" */
    {VENDOR_INTEL, 0x4, 0, {0x121, 0x01c0003f, 0x0000003f}},
    {VENDOR_INTEL, 0x4, 1, {0x122, 0x01c0003f, 0x0000003f}},
    {VENDOR_INTEL, 0x4, 2, {0x143, 0x01c0003f, 0x000003ff}},
    {VENDOR_INTEL, 0x4, 3, {0x163, 0x03c0003f, 0x00003fff}},
    {VENDOR_INTEL, 0x80000006, 0, {0, 0, 0x02006040}},
    {VENDOR_AMD, 0x80000005, 0, {0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140}},
    {VENDOR_AMD, 0x80000006, 0, {0, 0x42004200, 0x02006140, 0x00808140}},
    {VENDOR_AMD, 0x8000001d, 0, {0x121, 0x01c0003f, 0x0000003f}}, /* these with topoext only */
    {VENDOR_AMD, 0x8000001d, 1, {0x122, 0x01c0003f, 0x0000003f}},
    {VENDOR_AMD, 0x8000001d, 2, {0x143, 0x01c0003f, 0x000003ff}},
    {VENDOR_AMD, 0x8000001d, 3, {0x163, 0x03c0003f, 0x00003fff}},
};

bool cpu_leaf_is_cache(uint32_t function)
{
    return function == 0x2 || function == 0x4 || function == 0x80000005 || function == 0x80000006 ||
           function == 0x8000001d;
}

bool cpu_leaf_is_brand(uint32_t function)
{
    return function >= 0x80000002 && function <= 0x80000004;
}

void cpu_model_set_generic_caches(struct cpu_model *model)
{
    enum cpu_vendor vendor = cpu_model_vendor_kind(model);
    unsigned kept = 0;

    for (unsigned i = 0; i < model->count; i++)
        if (!cpu_leaf_is_cache(model->leaf[i].function))
            model->leaf[kept++] = model->leaf[i];
    model->count = kept;
    for (size_t i = 0; i < sizeof caches / sizeof caches[0]; i++)
        for (enum cpu_register reg = CPU_EAX; reg < CPU_REGISTERS; reg++)
            if (caches[i].vendor == vendor)
                cpu_model_set(model, caches[i].function, caches[i].index, reg, caches[i].reg[reg]);
}

void cpu_model_set_brand(struct cpu_model *model, const char *brand)
{
    char text[48] = {0};

    strncpy(text, brand, sizeof text - 1);
    for (unsigned i = 0; i < 12; i++)
        cpu_model_set(model, 0x80000002 + i / 4, 0, (enum cpu_register)(i % 4),
                      get_le32(text + 4 * i));
}
