/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU that a guest sees: the exact answer to every CPUID leaf. It is part of the machine's
 * description, travels in OFFER, and never changes under a running guest. Per-vCPU values (APIC ids
 * in leaves 1, 0xb, 0x1f; topology) are filled in when a vCPU is made and are not part of the
 * model.
 *
 * Named models: "host" (all that this host can give), and the psABI levels "x86-64-v2", "-v3",
 * "-v4" (System V ABI, AMD64 supplement, §3.1.1), which are the same bits on every host that has
 * them.
 */
#ifndef CPU_KVM_CPU_MODEL_H
#define CPU_KVM_CPU_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include <godwit/error.h>

#define CPU_MODEL_MAX_LEAVES 128
#define CPU_MODEL_NAME_BYTES 32

struct cpu_leaf {
    uint32_t function, index;
    bool indexed; /* the guest's ECX chooses `index` */
    uint32_t eax, ebx, ecx, edx;
};

struct cpu_model {
    char name[CPU_MODEL_NAME_BYTES];
    uint32_t tsc_khz; /* the guest's TSC; 0: as the host's */
    unsigned count;   /* leaves in use, by function and index ascending */
    struct cpu_leaf leaf[CPU_MODEL_MAX_LEAVES];
};

struct kvm_host;

/* All that the host's KVM can give to a guest (KVM_GET_SUPPORTED_CPUID, 4.46). */
int cpu_model_of_host(struct kvm_host *host, struct cpu_model *ret_model, struct gw_error *error);
/* A model by its name, of what `supported` (cpu_model_of_host) has. -EINVAL unknown name, with the
 * names that exist; -EOPNOTSUPP with the names of the features that lack. Any machine can call
 * this: there is no KVM behind it. */
int cpu_model_by_name(const char *name, const struct cpu_model *supported,
                      struct cpu_model *ret_model, struct gw_error *error);
/* Whether a host with `supported` can give exactly `model`: -EOPNOTSUPP with the names of what
 * lacks (all bits, "avx512f, bmi2 and leaf 7 ebx bit 11", however many fit a sentence). */
int cpu_model_check(const struct cpu_model *model, const struct cpu_model *supported,
                    struct gw_error *error);
/* The largest model that all of the hosts can give. */
int cpu_model_common(const struct cpu_model *hosts, unsigned count, struct cpu_model *ret_model,
                     struct gw_error *error);

/* JSON, for descriptions and files: {"model": …, "tsc_khz": …, "cpuid": [[function, index or null,
 * eax, ebx, ecx, edx], …]}. Reading is of hostile input: order, counts, duplicates, ranges are
 * checked. */
json_t *cpu_model_describe(const struct cpu_model *model); /* new reference; NULL without memory */
int cpu_model_from_description(const json_t *description, struct cpu_model *ret_model,
                               struct gw_error *error);

#endif
