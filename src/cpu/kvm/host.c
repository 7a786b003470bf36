/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cpu/kvm/vm.h"

#define DEVICE "/dev/kvm"

#define unsupported(...)                                                                           \
    gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EOPNOTSUPP, __VA_ARGS__)

/* Nothing works without these. */
static const struct {
    int capability;
    const char *name;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "user memory"},
    {KVM_CAP_IRQCHIP, "an interrupt controller in the kernel"},
    {KVM_CAP_IRQ_ROUTING, "routing of interrupts"},
    {KVM_CAP_IRQFD, "irqfd"},
    {KVM_CAP_IOEVENTFD, "ioeventfd"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit (Linux 4.13)"},
    {KVM_CAP_EXT_CPUID, "CPUID"},
    {KVM_CAP_SET_TSS_ADDR, "a TSS address"},
    {KVM_CAP_MP_STATE, "MP state"},
    {KVM_CAP_VCPU_EVENTS, "vCPU events"},
    {KVM_CAP_DEBUGREGS, "debug registers"},
    {KVM_CAP_XSAVE, "XSAVE state"},
    {KVM_CAP_XCRS, "extended control registers"},
    {KVM_CAP_ADJUST_CLOCK, "kvmclock"},
    {KVM_CAP_GET_TSC_KHZ, "the TSC's frequency"},
};

static int refuse_open(const char *device, int number, struct gw_error *error)
{
    struct stat status;
    if (number == ENOENT || number == ENODEV || number == ENXIO)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_NOT_FOUND, -ENOENT,
                            "this host has no KVM (%s is not there): enable virtualization in its "
                            "firmware or the machine it runs in and load kvm_intel or kvm_amd, or "
                            "use a riscv64 kernel, which the software CPU runs",
                            device);
    if (number != EACCES && number != EPERM)
        return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(number), -number,
                            "cannot open %s: %s", device, strerror(number));
    const struct group *group = stat(device, &status) == 0 ? getgrgid(status.st_gid) : NULL;
    return gw_error_set(error, GW_LAYER_CPU, GW_CODE_DENIED, -EACCES,
                        "no permission to open %s: become a member of the group '%s' (and log in "
                        "again), or run as root",
                        device, group && status.st_gid != 0 ? group->gr_name : "kvm");
}

int kvm_host_cap(const struct kvm_host *host, int capability)
{
    int r = ioctl(host->fd, KVM_CHECK_EXTENSION, capability);
    return r > 0 ? r : 0;
}

static int check(struct kvm_host *host, const char *device, struct gw_error *error)
{
    int version = ioctl(host->fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_INVALID, -EPROTO,
                            "%s is not a KVM: it does not know its version (%s)", device,
                            strerror(errno));
    if (version != KVM_API_VERSION)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_VERSION, -EPROTO,
                            "%s speaks version %d of the KVM interface, godwit %d", device, version,
                            KVM_API_VERSION);
    for (size_t i = 0; i < ARRAY_COUNT(needed); i++)
        if (!kvm_host_cap(host, needed[i].capability))
            return unsupported("this host's KVM has no %s: a newer kernel would", needed[i].name);
    int bytes = ioctl(host->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run))
        return unsupported("this host's KVM does not tell how large a vCPU is");
    host->run_bytes = (size_t)bytes;
    host->max_cpus = (unsigned)kvm_host_cap(host, KVM_CAP_MAX_VCPUS);
    return 0;
}

int kvm_host_open(const char *device, struct kvm_host **ret_host, struct gw_error *error)
{
    if (!device)
        device = DEVICE;
    _cleanup_close_ int fd = open(device, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return refuse_open(device, errno, error);
    struct kvm_host *host = calloc(1, sizeof *host);
    if (!host)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    host->fd = TAKE_FD(fd);
    int r = check(host, device, error);
    if (r < 0) {
        kvm_host_close(host);
        return r;
    }
    *ret_host = host;
    return 0;
}

void kvm_host_close(struct kvm_host *host)
{
    if (!host)
        return;
    close(host->fd);
    free(host);
}

int kvm_host_fd(const struct kvm_host *host)
{
    return host->fd;
}
