/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The leaves of a CPU model: for each register whether it holds features, a number, or something
 * that any host can tell a guest; and the one form in which models are kept.
 */
#ifndef CPU_KVM_CPU_LEAVES_H
#define CPU_KVM_CPU_LEAVES_H

#include "cpu/kvm/cpu-features.h"
#include "cpu/kvm/cpu-model.h"

enum cpu_kind {
    KIND_NONE,     /* always 0 in a model: made per vCPU, by KVM as the guest runs, or held back */
    KIND_FEATURES, /* bits that the host must have as well */
    KIND_LEAST,    /* bytes, each a number that the host must reach */
    KIND_SAME,     /* nobody can choose: the host must have the same */
    KIND_FREE,     /* any host can tell a guest anything: brand, caches, family */
    KIND_DERIVED,  /* follows from the rest of the model */
};

struct cpu_leaf_rule {
    uint32_t function, first, last; /* indices */
    bool indexed;
    enum cpu_kind kind[CPU_REGISTERS];
    uint32_t mask[CPU_REGISTERS]; /* for FEATURES, LEAST, SAME and FREE: the other bits are 0 */
};
extern const struct cpu_leaf_rule cpu_leaf_rules[];
extern const size_t cpu_leaf_rule_count;

const struct cpu_leaf_rule *cpu_leaf_rule_of(uint32_t function, uint32_t index); /* NULL: none */

uint32_t cpu_leaf_get(const struct cpu_leaf *leaf, enum cpu_register reg);

/* 0 where the leaf is absent. */
uint32_t cpu_model_get(const struct cpu_model *model, uint32_t function, uint32_t index,
                       enum cpu_register reg);
/* Makes the leaf where it is absent; the leaf must have a rule. */
void cpu_model_set(struct cpu_model *model, uint32_t function, uint32_t index,
                   enum cpu_register reg, uint32_t value);

bool cpu_model_has(const struct cpu_model *model, const struct cpu_place *place);
/* All features of a list, which the rules must allow, on or off. */
void cpu_model_put(struct cpu_model *model, const char *features, bool on);

/*
 * The one form of a model: only leaves and bits that the rules allow and that are not held back,
 * only features whose needs are met, derived values computed, no leaf that is all zero, in order.
 * Applied to any list of leaves; applied again it changes nothing.
 */
void cpu_model_normalize(const struct cpu_model *model, struct cpu_model *ret_model);

enum cpu_vendor { VENDOR_INTEL, VENDOR_AMD, VENDOR_OTHER };
enum cpu_vendor cpu_model_vendor_kind(const struct cpu_model *model);

/* What named models, and common ones of unlike hosts, tell where any host can tell anything. */
void cpu_model_set_generic_signature(struct cpu_model *model);
void cpu_model_set_generic_caches(struct cpu_model *model);
void cpu_model_set_brand(struct cpu_model *model, const char *brand);
/* The groups of leaves that these set. */
bool cpu_leaf_is_cache(uint32_t function);
bool cpu_leaf_is_brand(uint32_t function);

#endif
