/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU that a guest sees: the exact answer to every CPUID leaf. It is part of the machine's
 * description, travels in OFFER, and never changes under a running guest. Per-vCPU values (APIC ids
 * in leaves 1, 0xb, 0x1f; topology) are filled in when a vCPU is made and are not part of the
 * model. docs/cpu-models.md says what is in a model, what is held back, and why.
 *
 * Named models: "host" (all that this host can give), and the psABI levels "x86-64", "x86-64-v2",
 * "-v3", "-v4" (System V ABI, AMD64 supplement, §3.1.1), which are the same bits on every host that
 * has them.
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
    uint32_t tsc_khz;           /* the guest's TSC; 0: as the host's */
    bool tsc_scaling;           /* only of a host: it can give a guest any tsc_khz */
    uint64_t arch_capabilities; /* MSR 0x10a, to be set where leaf 7 edx bit 29 is; else 0 */
    unsigned count;             /* leaves in use, by function and index ascending */
    struct cpu_leaf leaf[CPU_MODEL_MAX_LEAVES];
};

struct kvm_host;

/* All that the host's KVM can give to a guest (KVM_GET_SUPPORTED_CPUID, 4.46), as a vCPU shows it.
 */
int cpu_model_of_host(struct kvm_host *host, struct cpu_model *ret_model, struct gw_error *error);
/* The features that a vCPU shows besides those of `model` when it is given that. None on hardware;
 * a KVM that runs programs without it cannot hide from them what the processor has. */
int cpu_model_added_by_host(struct kvm_host *host, const struct cpu_model *model,
                            struct cpu_model *ret_added, struct gw_error *error);
/* What the CPUID instruction tells this process, which may be more or less than KVM gives: for
 * people to see. */
void cpu_model_of_processor(struct cpu_model *ret_model);

/* A model by its name, of what `supported` (cpu_model_of_host) has. -EINVAL unknown name, with the
 * names that exist; -EOPNOTSUPP with the names of the features that lack. Any machine can call
 * this: there is no KVM behind it. */
int cpu_model_by_name(const char *name, const struct cpu_model *supported,
                      struct cpu_model *ret_model, struct gw_error *error);
/* What people write after --cpu: a name, or a file (a path with '/' in it or ".json" at its end)
 * that holds a description or a saved `godwit cpu --json`. Checked against `supported`. */
int cpu_model_from_text(const char *text, const struct cpu_model *supported,
                        struct cpu_model *ret_model, struct gw_error *error);
/* Whether a host with `supported` can give exactly `model`: -EOPNOTSUPP with the names of what
 * lacks (all bits, "avx512f, bmi2 and leaf 7 ebx bit 11", however many fit a sentence). Also
 * refuses, with -EINVAL, a model that contradicts itself or holds what no model holds. */
int cpu_model_check(const struct cpu_model *model, const struct cpu_model *supported,
                    struct gw_error *error);
/* The largest model that all of the hosts can give; the same in whatever order they are given. */
int cpu_model_common(const struct cpu_model *hosts, unsigned count, struct cpu_model *ret_model,
                     struct gw_error *error);

/* What a model is, for people: the vendor's 12 characters; the brand string of leaves 0x80000002
 * and following, "" where it has none; family, model and stepping as Linux counts them. */
void cpu_model_vendor(const struct cpu_model *model, char ret_vendor[13]);
void cpu_model_brand(const struct cpu_model *model, char ret_brand[49]);
struct cpu_signature {
    unsigned family, model, stepping;
};
struct cpu_signature cpu_model_signature(const struct cpu_model *model);
/* Bits of a guest's physical addresses: what lies above does not exist for it. */
unsigned cpu_model_address_bits(const struct cpu_model *model);

/* The psABI levels, 1 to CPU_LEVELS. cpu_model_level(): the highest that a program finds, 0 none
 * (the ABI's features alone; a named model of that level asks for a little more). */
enum { CPU_LEVELS = 4 };
const char *cpu_level_name(unsigned level);
unsigned cpu_model_level(const struct cpu_model *model);

/* The names of features, separated by spaces, into a new string that the caller frees; NULL without
 * memory: all of the model's; and those of a level (as a named model) that it lacks. */
char *cpu_model_features(const struct cpu_model *model);
char *cpu_model_lacks(const struct cpu_model *model, unsigned level);

/* JSON, for descriptions and files: {"model": …, "tsc_khz": …, "cpuid": [[function, index or null,
 * eax, ebx, ecx, edx], …]}, and "arch_capabilities" and "tsc_scaling" where they are not 0. Reading
 * is of hostile input: order, counts, duplicates, ranges are checked. */
json_t *cpu_model_describe(const struct cpu_model *model); /* new reference; NULL without memory */
int cpu_model_from_description(const json_t *description, struct cpu_model *ret_model,
                               struct gw_error *error);
/* From a file: a description, or an object that holds one as "host_model" (godwit cpu --json). */
int cpu_model_read(const char *path, struct cpu_model *ret_model, struct gw_error *error);

#endif
