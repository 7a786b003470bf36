/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu/kvm/cpu-features.h"

#include <string.h>

#include "base/cleanup.h"

/* clang-format off */
const struct cpu_word cpu_words[] = {
    {0x1, 0, CPU_ECX,
     {"pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est", "tm2", "ssse3", "cid",
      "sdbg", "fma", "cx16", "xtpr", "pdcm", [17] = "pcid", "dca", "sse4_1", "sse4_2", "x2apic",
      "movbe", "popcnt", "tsc_deadline_timer", "aes", "xsave", [28] = "avx", "f16c", "rdrand",
      "hypervisor"}},
    {0x1, 0, CPU_EDX,
     {"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", [11] = "sep", "mtrr",
      "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", [21] = "dts", "acpi", "mmx", "fxsr",
      "sse", "sse2", "ss", [29] = "tm", [31] = "pbe"}},
    {0x6, 0, CPU_EAX, {[2] = "arat"}},
    {0x7, 0, CPU_EBX,
     {"fsgsbase", "tsc_adjust", "sgx", "bmi1", "hle", "avx2", "fdp_excptn_only", "smep", "bmi2",
      "erms", "invpcid", "rtm", "cqm", "zero_fcs_fds", "mpx", "rdt_a", "avx512f", "avx512dq",
      "rdseed", "adx", "smap", "avx512ifma", [23] = "clflushopt", "clwb", "intel_pt", "avx512pf",
      "avx512er", "avx512cd", "sha_ni", "avx512bw", "avx512vl"}},
    {0x7, 0, CPU_ECX,
     {[1] = "avx512vbmi", "umip", "pku", [5] = "waitpkg", "avx512_vbmi2", "shstk", "gfni", "vaes",
      "vpclmulqdq", "avx512_vnni", "avx512_bitalg", "tme", "avx512_vpopcntdq", [16] = "la57",
      [22] = "rdpid", [24] = "bus_lock_detect", "cldemote", [27] = "movdiri", "movdir64b",
      "enqcmd", "sgx_lc", "pks"}},
    {0x7, 0, CPU_EDX,
     {[2] = "avx512_4vnniw", "avx512_4fmaps", "fsrm", "uintr", [8] = "avx512_vp2intersect",
      "srbds_ctrl", "md_clear", "rtm_always_abort", [14] = "serialize", [16] = "tsxldtrk",
      [18] = "pconfig", "arch_lbr", "ibt", [22] = "amx_bf16", "avx512_fp16", "amx_tile",
      "amx_int8", "spec_ctrl", "intel_stibp", "flush_l1d", "arch_capabilities",
      "core_capabilities", "spec_ctrl_ssbd"}},
    {0x7, 1, CPU_EAX,
     {"sha512", "sm3", "sm4", "rao_int", "avx_vnni", "avx512_bf16", [7] = "cmpccxadd",
      [10] = "fzrm", "fsrs", "fsrc", [17] = "fred", "lkgs", "wrmsrns", [21] = "amx_fp16", "hreset",
      "avx_ifma", [26] = "lam", "msrlist", [31] = "movrs"}},
    {0x7, 1, CPU_EDX,
     {[4] = "avx_vnni_int8", "avx_ne_convert", [8] = "amx_complex", [10] = "avx_vnni_int16",
      [14] = "prefetchi", "user_msr", [17] = "uiret_uif", "cet_sss", "avx10", [21] = "apx"}},
    {0x7, 2, CPU_EDX,
     {"intel_psfd", "ipred_ctrl", "rrsba_ctrl", "ddpd_u", "bhi_ctrl", "mcdt_no"}},
    {0xd, 1, CPU_EAX, {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"}},
    {0x40000001, 0, CPU_EAX,
     {"kvm_clock", "kvm_nop_io_delay", "kvm_mmu_op", "kvm_clock2", "kvm_async_pf",
      "kvm_steal_time", "kvm_pv_eoi", "kvm_pv_unhalt", [9] = "kvm_pv_tlb_flush",
      "kvm_async_pf_vmexit", "kvm_pv_ipi", "kvm_poll_control", "kvm_pv_sched_yield",
      "kvm_async_pf_int", "kvm_msi_ext_dest_id", "kvm_hc_map_gpa_range", "kvm_migration_control",
      [24] = "kvm_clock_stable"}},
    {0x80000001, 0, CPU_ECX,
     {"lahf_lm", "cmp_legacy", "svm", "extapic", "cr8_legacy", "abm", "sse4a", "misalignsse",
      "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", [15] = "lwp", "fma4", "tce",
      [19] = "nodeid_msr", [21] = "tbm", "topoext", "perfctr_core", "perfctr_nb", [26] = "bpext",
      "ptsc", "perfctr_llc", "mwaitx"}},
    {0x80000001, 0, CPU_EDX,
     {[11] = "syscall", [19] = "mp", "nx", [22] = "mmxext", [25] = "fxsr_opt", "pdpe1gb", "rdtscp",
      [29] = "lm", "3dnowext", "3dnow"}},
    {0x80000007, 0, CPU_EDX, {[8] = "constant_tsc"}},
    {0x80000008, 0, CPU_EBX,
     {"clzero", "irperf", "xsaveerptr", [4] = "rdpru", [9] = "wbnoinvd", [12] = "amd_ibpb",
      [14] = "amd_ibrs", "amd_stibp", "amd_ibrs_always_on", "amd_stibp_always_on",
      "amd_ibrs_preferred", "amd_ibrs_same_mode", [23] = "amd_ppin", "amd_ssbd", "virt_ssbd",
      "amd_ssb_no", "cppc", "amd_psfd", "btc_no", "amd_ibpb_ret", "brs"}},
    {0x80000021, 0, CPU_EAX,
     {"no_nested_data_bp", "wrmsr_xx_base_ns", "lfence_rdtsc", [5] = "verw_clear",
      "null_sel_clr_base", [8] = "autoibrs", "no_smm_ctl_msr", "amd_fsrs", "amd_fsrc",
      [13] = "prefetch_ctl_msr", [20] = "amd_prefetchi", [27] = "sbpb", "ibpb_brtype", "srso_no",
      "srso_user_kernel_no", "srso_bp_spec_reduce"}},
    {0x80000021, 0, CPU_ECX, {[1] = "tsa_sq_no", "tsa_l1_no"}},
};
/* clang-format on */
const size_t cpu_word_count = ARRAY_COUNT(cpu_words);

/* Components: 1 x87 and 2 SSE always, 4 AVX, 0xe0 masks and upper halves of AVX-512, 0x200 PKRU. */
const struct cpu_need cpu_needs[] = {
    {"xsave", 0x3, "xsaveopt xsavec xgetbv1 xsaves avx pku"},
    {"avx", 0x7,
     "fma f16c avx2 vaes vpclmulqdq avx_vnni avx_ifma avx_vnni_int8 avx_vnni_int16 avx_ne_convert "
     "sha512 sm3 sm4 xop fma4 avx512f"},
    {"avx512f", 0xe7,
     "avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi avx512_vbmi2 "
     "avx512_vnni avx512_bitalg avx512_vpopcntdq avx512_4vnniw avx512_4fmaps avx512_vp2intersect "
     "avx512_fp16 avx512_bf16"},
    {"pku", 0x203, ""},
};
const size_t cpu_need_count = ARRAY_COUNT(cpu_needs);

const struct cpu_held_back cpu_held_back[] = {
    {"guests inside the guest do not move", "vmx svm"},
    {"performance counters do not move",
     "pdcm ibs perfctr_core perfctr_nb perfctr_llc irperf cppc"},
    {"traces of branches do not move", "intel_pt arch_lbr brs"},
    {"enclaves do not move", "sgx sgx_lc"},
    {"the shadow stack's pointer is not saved", "shstk ibt cet_sss"},
    {"the state of its tiles is not saved", "amx_tile amx_bf16 amx_int8 amx_fp16 amx_complex xfd"},
    {"registers that it adds are not saved", "fred apx uintr uiret_uif pks lwp enqcmd"},
    {"newer processors of its maker lack it", "mpx"},
    {"what it offers is told by a version, not by bits", "avx10 core_capabilities"},
    {"the machine would have to take part", "kvm_msi_ext_dest_id kvm_hc_map_gpa_range "
                                            "kvm_migration_control"},
};
const size_t cpu_held_back_count = ARRAY_COUNT(cpu_held_back);

const struct cpu_level cpu_levels[] = {
    {"x86-64", "cmov cx8 fpu fxsr mmx syscall sse sse2",
     "de pse tsc msr pae mce apic sep mtrr pge mca pat pse36 clflush x2apic tsc_deadline_timer "
     "hypervisor arat nx lm kvm_clock kvm_nop_io_delay kvm_clock2 kvm_steal_time kvm_pv_eoi "
     "kvm_pv_unhalt kvm_pv_tlb_flush kvm_pv_ipi kvm_pv_sched_yield kvm_clock_stable"},
    {"x86-64-v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3", ""},
    {"x86-64-v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
     "aes pclmulqdq rdrand fsgsbase smep xsaveopt"},
    {"x86-64-v4", "avx512f avx512bw avx512cd avx512dq avx512vl",
     "smap adx rdseed clflushopt pcid invpcid xsavec xgetbv1"},
};

const char *cpu_bit_name(uint32_t function, uint32_t index, enum cpu_register reg, unsigned bit)
{
    for (size_t i = 0; i < cpu_word_count; i++) {
        const struct cpu_word *word = &cpu_words[i];

        if (word->function == function && word->index == index && word->reg == reg)
            return word->bit[bit];
    }
    return NULL;
}

bool cpu_bit_find(const char *name, size_t length, struct cpu_place *ret_place)
{
    for (size_t i = 0; i < cpu_word_count; i++) {
        const struct cpu_word *word = &cpu_words[i];

        for (unsigned bit = 0; bit < 32; bit++) {
            if (!word->bit[bit] || strncmp(word->bit[bit], name, length) != 0 ||
                word->bit[bit][length])
                continue;
            *ret_place = (struct cpu_place){word->function, word->index, word->reg, 1U << bit};
            return true;
        }
    }
    return false;
}

const char *cpu_list_next(const char **at, size_t *ret_length)
{
    const char *name = *at + strspn(*at, " ");

    *ret_length = strcspn(name, " ");
    *at = name + *ret_length;
    return *ret_length ? name : NULL;
}
