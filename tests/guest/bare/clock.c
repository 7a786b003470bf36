/* SPDX-License-Identifier: Apache-2.0 */
#include "bare.h"

/* KVM's own CPUID leaves and clock: Documentation/virt/kvm/x86/{cpuid,msr}.rst. */
#define KVM_LEAVES 0x40000000
#define KVM_FEATURES 0x40000001
#define KVM_FEATURE_CLOCK 0x8
#define KVM_FREQUENCIES 0x40000010
#define MSR_KVM_SYSTEM_TIME 0x4b564d01
static volatile struct {
    uint32_t version, padding;
    uint64_t tsc, nanoseconds;
    uint32_t multiplier;
    int8_t shift;
    uint8_t flags, rest[2];
} kvm_clock __attribute__((aligned(64)));

/* Intel SDM volume 3, "Local APIC": the timer. */
#define APIC_SPURIOUS ((volatile uint32_t *)0xfee000f0)
#define APIC_TIMER ((volatile uint32_t *)0xfee00320)
#define APIC_COUNT ((volatile uint32_t *)0xfee00380)
#define APIC_DIVIDE ((volatile uint32_t *)0xfee003e0)
#define SPURIOUS_ENABLE 0x1ff
#define DIVIDE_BY_1 0xb

uint64_t ticks_per_ms;

static uint32_t hypervisor_leaves(void)
{
    return read_cpuid(1).c >> 31 ? read_cpuid(KVM_LEAVES).a : 0;
}

static bool has_kvm_clock(void)
{
    return hypervisor_leaves() >= KVM_FEATURES && read_cpuid(KVM_LEAVES).b == 0x4b4d564b &&
           (read_cpuid(KVM_FEATURES).a & KVM_FEATURE_CLOCK) != 0;
}

/* In ring 0: asks for the page that tells the frequency where nothing else does. */
void clock_prepare(void);
void clock_prepare(void)
{
    if (!has_kvm_clock())
        return;
    uint64_t at = (uint64_t)&kvm_clock | 1;
    __asm__ volatile("wrmsr" : : "c"(MSR_KVM_SYSTEM_TIME), "a"((uint32_t)at), "d"(0) : "memory");
}

static uint64_t find_tsc_khz(const char **ret_source)
{
    *ret_source = "cpuid 0x40000010";
    if (hypervisor_leaves() >= KVM_FREQUENCIES && read_cpuid(KVM_FREQUENCIES).a > 0)
        return read_cpuid(KVM_FREQUENCIES).a;
    struct cpuid crystal = read_cpuid(0).a >= 0x15 ? read_cpuid(0x15) : (struct cpuid){0};
    *ret_source = "cpuid 0x15";
    if (crystal.a > 0 && crystal.b > 0 && crystal.c > 0)
        return (uint64_t)crystal.c * crystal.b / crystal.a / 1000;
    *ret_source = "kvmclock";
    if (kvm_clock.multiplier > 0) {
        uint64_t khz = (UINT64_C(1000000) << 32) / kvm_clock.multiplier;
        return kvm_clock.shift < 0 ? khz << -kvm_clock.shift : khz >> kvm_clock.shift;
    }
    *ret_source = "assumed";
    return 2600000;
}

const char *clock_find(uint64_t khz)
{
    const char *source = "option";
    ticks_per_ms = khz > 0 ? khz : find_tsc_khz(&source);
    return source;
}

void timer_start(void)
{
    *APIC_SPURIOUS = SPURIOUS_ENABLE;
    *APIC_DIVIDE = DIVIDE_BY_1;
    *APIC_TIMER = WAKE_VECTOR;
}

void timer_set(uint64_t ticks)
{
    *APIC_COUNT = (uint32_t)(ticks * 1000000 / ticks_per_ms); /* KVM's and QEMU's count nanoseconds */
}

void sleep_ticks(uint64_t ticks)
{
    timer_set(ticks);
    cpu_halt();
}
