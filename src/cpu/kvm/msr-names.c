/* SPDX-License-Identifier: Apache-2.0 */
/* Sources: Intel SDM volume 4; AMD64 APM volume 2, appendix A; Linux,
 * Documentation/virt/kvm/x86/msr.rst and Hyper-V TLFS for those of hypervisors. */
#include <stdio.h>

#include "base/cleanup.h"
#include "cpu/kvm/msr.h"

static const struct {
    uint32_t index;
    const char *name;
} names[] = {
    {0x10, "IA32_TIME_STAMP_COUNTER"},
    {0x11, "MSR_KVM_WALL_CLOCK"},
    {0x12, "MSR_KVM_SYSTEM_TIME"},
    {0x1b, "IA32_APIC_BASE"},
    {0x34, "MSR_SMI_COUNT"},
    {0x3a, "IA32_FEATURE_CONTROL"},
    {0x3b, "IA32_TSC_ADJUST"},
    {0x48, "IA32_SPEC_CTRL"},
    {0x8b, "IA32_BIOS_SIGN_ID"},
    {0xce, "MSR_PLATFORM_INFO"},
    {0xe1, "IA32_UMWAIT_CONTROL"},
    {0x10a, "IA32_ARCH_CAPABILITIES"},
    {0x122, "IA32_TSX_CTRL"},
    {0x140, "MSR_MISC_FEATURES_ENABLES"},
    {0x174, "IA32_SYSENTER_CS"},
    {0x175, "IA32_SYSENTER_ESP"},
    {0x176, "IA32_SYSENTER_EIP"},
    {0x17a, "IA32_MCG_STATUS"},
    {0x17b, "IA32_MCG_CTL"},
    {0x1a0, "IA32_MISC_ENABLE"},
    {0x1c4, "IA32_XFD"},
    {0x1c5, "IA32_XFD_ERR"},
    {0x1d9, "IA32_DEBUGCTL"},
    {0x1db, "LastBranchFromIP"},
    {0x1dc, "LastBranchToIP"},
    {0x1dd, "LastExceptionFromIP"},
    {0x1de, "LastExceptionToIP"},
    {0x1fc, "MSR_POWER_CTL"},
    {0x277, "IA32_PAT"},
    {0x2ff, "IA32_MTRR_DEF_TYPE"},
    {0x345, "IA32_PERF_CAPABILITIES"},
    {0x38d, "IA32_FIXED_CTR_CTRL"},
    {0x38e, "IA32_PERF_GLOBAL_STATUS"},
    {0x38f, "IA32_PERF_GLOBAL_CTRL"},
    {0x390, "IA32_PERF_GLOBAL_OVF_CTRL"},
    {0x3f1, "IA32_PEBS_ENABLE"},
    {0x4d0, "IA32_MCG_EXT_CTL"},
    {0x600, "IA32_DS_AREA"},
    {0x6a0, "IA32_U_CET"},
    {0x6a2, "IA32_S_CET"},
    {0x6a4, "IA32_PL0_SSP"},
    {0x6a5, "IA32_PL1_SSP"},
    {0x6a6, "IA32_PL2_SSP"},
    {0x6a7, "IA32_PL3_SSP"},
    {0x6a8, "IA32_INTERRUPT_SSP_TABLE_ADDR"},
    {0x6e0, "IA32_TSC_DEADLINE"},
    {0xd90, "IA32_BNDCFGS"},
    {0xda0, "IA32_XSS"},
    {0x40000000, "HV_X64_MSR_GUEST_OS_ID"},
    {0x40000001, "HV_X64_MSR_HYPERCALL"},
    {0x40000020, "HV_X64_MSR_TIME_REF_COUNT"},
    {0x40000021, "HV_X64_MSR_REFERENCE_TSC"},
    {0x4b564d00, "MSR_KVM_WALL_CLOCK_NEW"},
    {0x4b564d01, "MSR_KVM_SYSTEM_TIME_NEW"},
    {0x4b564d02, "MSR_KVM_ASYNC_PF_EN"},
    {0x4b564d03, "MSR_KVM_STEAL_TIME"},
    {0x4b564d04, "MSR_KVM_PV_EOI_EN"},
    {0x4b564d05, "MSR_KVM_POLL_CONTROL"},
    {0x4b564d06, "MSR_KVM_ASYNC_PF_INT"},
    {0x4b564d07, "MSR_KVM_ASYNC_PF_ACK"},
    {0x4b564d08, "MSR_KVM_MIGRATION_CONTROL"},
    {0xc0000080, "EFER"},
    {0xc0000081, "STAR"},
    {0xc0000082, "LSTAR"},
    {0xc0000083, "CSTAR"},
    {0xc0000084, "SYSCALL_MASK"},
    {0xc0000100, "FS_BASE"},
    {0xc0000101, "GS_BASE"},
    {0xc0000102, "KERNEL_GS_BASE"},
    {0xc0000103, "TSC_AUX"},
    {0xc0000104, "TSC_RATIO"},
    {0xc0000300, "PERF_CNTR_GLOBAL_STATUS"},
    {0xc0000301, "PERF_CNTR_GLOBAL_CTL"},
    {0xc0000302, "PERF_CNTR_GLOBAL_STATUS_CLR"},
    {0xc0000303, "PERF_CNTR_GLOBAL_STATUS_SET"},
    {0xc0010010, "SYSCFG"},
    {0xc0010015, "HWCR"},
    {0xc001001f, "NB_CFG"},
    {0xc0010055, "INT_PENDING"},
    {0xc0010114, "VM_CR"},
    {0xc0010117, "VM_HSAVE_PA"},
    {0xc001011f, "VIRT_SPEC_CTRL"},
    {0xc0011020, "LS_CFG"},
    {0xc0011022, "DC_CFG"},
    {0xc0011029, "DE_CFG"},
    {0xc001102a, "BU_CFG2"},
};

/* Runs of registers; the format gets the distance from the first. */
static const struct {
    uint32_t first, count;
    const char *format;
} runs[] = {
    {0xc1, 8, "IA32_PMC%u"},
    {0x186, 8, "IA32_PERFEVTSEL%u"},
    {0x309, 4, "IA32_FIXED_CTR%u"},
    {0x280, 32, "IA32_MC%u_CTL2"},
    {0x400, 128, "MC bank register %u"},
    {0x4c1, 8, "IA32_A_PMC%u"},
    {0x570, 8, "IA32_RTIT register %u"},
    {0x580, 8, "IA32_RTIT_ADDR register %u"},
    {0x480, 20, "IA32_VMX capability %u"},
    {0xc0010000, 4, "PERF_CTL%u (legacy)"},
    {0xc0010004, 4, "PERF_CTR%u (legacy)"},
    {0xc0010200, 12, "PERF_CTL/CTR register %u"},
    {0x200, 16, "IA32_MTRR variable register %u"},
    {0x250, 1, "IA32_MTRR_FIX64K register %u"},
    {0x258, 2, "IA32_MTRR_FIX16K register %u"},
    {0x268, 8, "IA32_MTRR_FIX4K register %u"},
    {0x40000000, 0x200, "Hyper-V MSR %u"},
};

const char *msr_name(uint32_t index, char *text, size_t bytes)
{
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (names[i].index == index) {
            snprintf(text, bytes, "%s", names[i].name);
            return text;
        }
    for (size_t i = 0; i < ARRAY_COUNT(runs); i++)
        if (index - runs[i].first < runs[i].count) {
            snprintf(text, bytes, runs[i].format, index - runs[i].first);
            return text;
        }
    snprintf(text, bytes, "MSR 0x%x", index);
    return text;
}
