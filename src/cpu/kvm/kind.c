/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of KVM this is, found out by trying: a machine of two pages whose only vCPU begins in
 * ring 0, in flat 32-bit mode, with a breakpoint whose handler writes to a port. Linux takes
 * breakpoints early and often, to change its own code. Hardware delivers them; the kernel's
 * instruction emulator does not, outside of real mode.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpu/kvm/vm.h"

#define PAGE_BYTES 4096u
#define CODE_ADDRESS 0x1000u
#define IDT_ADDRESS 0x2000u
#define GDT_ADDRESS 0x2100u
#define DONE_PORT 0xf4
#define CODE_SELECTOR 0x10
#define BREAKPOINT 3u

static const uint8_t code[] = {
    0xcc,            /* int3 */
    0xf4,            /* hlt */
    0xe6, DONE_PORT, /* handler: out DONE_PORT, al */
    0xf4,            /* hlt */
};
#define HANDLER_ADDRESS (CODE_ADDRESS + 2)

/* The module that stands behind KVM. */
static void find_module(char *name, size_t bytes)
{
    DIR *modules = opendir("/sys/module");
    snprintf(name, bytes, "kvm");
    for (const struct dirent *entry; modules && (entry = readdir(modules));)
        if (strncmp(entry->d_name, "kvm_", 4) == 0)
            snprintf(name, bytes, "%.*s", (int)bytes - 1, entry->d_name);
    if (modules)
        closedir(modules);
}

struct probe {
    int vm_fd, vcpu_fd;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_bytes;
};

static void probe_fini(struct probe *probe)
{
    if (probe->run)
        munmap(probe->run, probe->run_bytes);
    if (probe->memory)
        munmap(probe->memory, 2 * PAGE_BYTES);
    if (probe->vcpu_fd >= 0)
        close(probe->vcpu_fd);
    if (probe->vm_fd >= 0)
        close(probe->vm_fd);
}

static int make_memory(struct probe *probe)
{
    void *memory =
        mmap(NULL, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    probe->memory = memory;
    memcpy(probe->memory, code, sizeof code);
    put_le64(probe->memory + IDT_ADDRESS - CODE_ADDRESS + BREAKPOINT * 8,
             UINT64_C(0x00008e0000000000) | CODE_SELECTOR << 16 | HANDLER_ADDRESS);
    put_le64(probe->memory + GDT_ADDRESS - CODE_ADDRESS + CODE_SELECTOR,
             UINT64_C(0x00cf9b000000ffff));
    struct kvm_userspace_memory_region slot = {
        .guest_phys_addr = CODE_ADDRESS,
        .memory_size = 2 * PAGE_BYTES,
        .userspace_addr = (uintptr_t)memory,
    };
    return ioctl(probe->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

static int set_registers(const struct probe *probe)
{
    struct kvm_segment flat = {.limit = UINT32_MAX, .present = 1, .s = 1, .db = 1, .g = 1};
    struct kvm_regs regs = {.rip = CODE_ADDRESS, .rsp = GDT_ADDRESS + 0x800, .rflags = 2};
    struct kvm_sregs sregs;
    if (ioctl(probe->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
    flat.type = 3;
    flat.selector = 0x18;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
    flat.type = 0xb;
    flat.selector = 0x10;
    sregs.cs = flat;
    sregs.cr0 = 0x11;
    sregs.idt = (struct kvm_dtable){.base = IDT_ADDRESS, .limit = (BREAKPOINT + 1) * 8 - 1};
    sregs.gdt = (struct kvm_dtable){.base = GDT_ADDRESS, .limit = CODE_SELECTOR + 7};
    return ioctl(probe->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
                   ioctl(probe->vcpu_fd, KVM_SET_REGS, &regs) < 0
               ? -errno
               : 0;
}

static int probe_new(const struct kvm_host *host, struct probe *probe)
{
    *probe = (struct probe){.vm_fd = -1, .vcpu_fd = -1, .run_bytes = host->run_bytes};
    probe->vm_fd = ioctl(host->fd, KVM_CREATE_VM, 0);
    if (probe->vm_fd < 0)
        return -errno;
    int r = make_memory(probe);
    if (r < 0)
        return r;
    probe->vcpu_fd = ioctl(probe->vm_fd, KVM_CREATE_VCPU, 0);
    if (probe->vcpu_fd < 0)
        return -errno;
    void *run = mmap(NULL, host->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, probe->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return -errno;
    probe->run = run;
    return set_registers(probe);
}

static void judge(const struct kvm_run *run, struct kvm_kind *kind)
{
    kind->runs_kernels = run->exit_reason == KVM_EXIT_IO && run->io.port == DONE_PORT;
    if (kind->runs_kernels)
        return;
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        snprintf(kind->obstacle, sizeof kind->obstacle,
                 "it emulates privileged code and cannot emulate int3");
    else
        snprintf(kind->obstacle, sizeof kind->obstacle,
                 "a first privileged instruction ended with exit %u", run->exit_reason);
}

int kvm_host_kind(struct kvm_host *host, struct kvm_kind *ret_kind, struct gw_error *error)
{
    _cleanup_(probe_fini) struct probe probe;
    struct kvm_kind kind = {0};
    int r = probe_new(host, &probe);
    while (r == 0 && (r = ioctl(probe.vcpu_fd, KVM_RUN, 0)) < 0 && errno == EINTR)
        r = 0;
    if (r < 0)
        return vm_fail(error, r == -1 ? errno : -r, "run a first guest");
    find_module(kind.name, sizeof kind.name);
    judge(probe.run, &kind);
    *ret_kind = kind;
    return 0;
}
