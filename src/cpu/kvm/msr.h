/* SPDX-License-Identifier: Apache-2.0 */
/* Model-specific registers: which of them are state, when each is set, and what they are called. */
#ifndef CPU_KVM_MSR_H
#define CPU_KVM_MSR_H

#include <stddef.h>
#include <stdint.h>

#define MSR_TSC 0x10u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_KVM_WALL_CLOCK 0x11u
#define MSR_KVM_SYSTEM_TIME 0x12u
#define MSR_KVM_FIRST 0x4b564d00u
#define MSR_KVM_COUNT 0x100u
#define MSR_HV_RUNTIME 0x40000010u /* counters, read-only */
#define MSR_HV_REFERENCE_COUNT 0x40000020u

/* "IA32_SYSENTER_CS", as the makers' manuals and the kernel's documentation call it, or "MSR 0x…";
 * written to `text`. Returns text. */
const char *msr_name(uint32_t index, char *text, size_t bytes);

#endif
