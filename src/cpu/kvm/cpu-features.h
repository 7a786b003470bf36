/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the leaves of a CPU model hold: the names of feature bits, which of them need what, which
 * are held back, and which make up the psABI levels. Sources: Intel SDM volume 2A, CPUID; AMD APM
 * volume 3, appendix E; the kernel's Documentation/virt/kvm/x86/cpuid.rst. Names are those of
 * Linux's /proc/cpuinfo where it has one.
 *
 * A list of features is a string of names with single spaces between them.
 */
#ifndef CPU_KVM_CPU_FEATURES_H
#define CPU_KVM_CPU_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cpu_register { CPU_EAX, CPU_EBX, CPU_ECX, CPU_EDX, CPU_REGISTERS };

/* One register of one leaf, with the names of its bits. */
struct cpu_word {
    uint32_t function, index;
    enum cpu_register reg;
    const char *bit[32]; /* NULL: has no name */
};
extern const struct cpu_word cpu_words[];
extern const size_t cpu_word_count;

/* Where one feature is. */
struct cpu_place {
    uint32_t function, index;
    enum cpu_register reg;
    uint32_t mask;
};

/* NULL: the bit has no name. */
const char *cpu_bit_name(uint32_t function, uint32_t index, enum cpu_register reg, unsigned bit);
/* False: there is no such name. `name` need not end after `length`. */
bool cpu_bit_find(const char *name, size_t length, struct cpu_place *ret_place);

/* The next name of a list: where it begins, NULL at the end. *at moves on, *ret_length is its
 * length. */
const char *cpu_list_next(const char **at, size_t *ret_length);

/* A feature that others build upon, with the components of the XSAVE area (SDM volume 1, §13.1)
 * that it uses. Without the feature, or without room for its components, none of the others works.
 */
struct cpu_need {
    const char *feature;
    uint32_t components;
    const char *dependents;
};
extern const struct cpu_need cpu_needs[]; /* in an order in which one pass settles all */
extern const size_t cpu_need_count;

struct cpu_held_back {
    const char *why; /* "guests inside the guest do not move" */
    const char *features;
};
extern const struct cpu_held_back cpu_held_back[];
extern const size_t cpu_held_back_count;

/* Each has all that the one before it has. */
struct cpu_level {
    const char *name;
    const char *abi;    /* AMD64 ABI supplement, §3.1.1, table 3.1 */
    const char *kernel; /* what a named model of the level has besides */
};
extern const struct cpu_level cpu_levels[];

#endif
