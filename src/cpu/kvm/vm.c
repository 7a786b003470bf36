/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine: its file descriptor, interrupt controllers, vCPUs.
 *
 * The kernel's interrupt controllers are the LAPICs, the IOAPIC and the two PICs
 * (KVM_CREATE_IRQCHIP makes all three kinds). No line leads to the PICs: the machine has none, and
 * they would answer any interrupt with vectors that a guest never gave them. There is no PIT: a
 * guest of hardware-reduced ACPI does not look for one; it has kvmclock, the TSC and the LAPIC
 * timer.
 *
 * KVM wants three pages of the guest's address space for itself on Intel processors without
 * unrestricted guests, the TSS and an identity map. They lie just below the place of a BIOS, where
 * this machine has nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cpu/kvm/vm.h"

#define IDENTITY_MAP_ADDRESS UINT64_C(0xfffbc000)
#define TSS_ADDRESS UINT64_C(0xfffbd000)
#define HALT_POLL_NS 20000u

int vm_fail(struct gw_error *error, int number, const char *what)
{
    return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(number), -number,
                        "KVM cannot %s: %s", what, strerror(number));
}

static bool enable(const struct vm *vm, uint32_t capability)
{
    struct kvm_enable_cap enable = {.cap = capability, .args[0] = 1};
    return kvm_host_cap(vm->host, (int)capability) && ioctl(vm->fd, KVM_ENABLE_CAP, &enable) == 0;
}

/* Nanoseconds, as the host's administrator has set it; false: it is not to be read here. */
static bool host_halt_poll(uint64_t *ret_ns)
{
    char text[32];
    _cleanup_close_ int fd = open("/sys/module/kvm/parameters/halt_poll_ns", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0)
        return false;
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    return parse_number(text, UINT64_MAX, ret_ns) == 0;
}

/*
 * A vCPU that halts is kept on its processor for a while, in case it is woken at once. Hosts allow
 * 200 us by default. A device's thread answers within that nearly always, so that the vCPU never
 * sleeps and the thread shares the other processors with whom it talks to: on a host with two,
 * small datagrams are a quarter slower by that. Waiting for longer than it takes to wake up gains
 * nothing; what the host allows less it has a reason for.
 */
static void limit_halt_poll(const struct vm *vm)
{
    uint64_t allowed_ns;
    struct kvm_enable_cap most = {.cap = KVM_CAP_HALT_POLL, .args[0] = HALT_POLL_NS};
    if (kvm_host_cap(vm->host, KVM_CAP_HALT_POLL) && host_halt_poll(&allowed_ns) &&
        allowed_ns > HALT_POLL_NS)
        (void)ioctl(vm->fd, KVM_ENABLE_CAP, &most); /* slower without, that is all */
}

static int create(struct vm *vm, struct gw_error *error)
{
    uint64_t identity_map = IDENTITY_MAP_ADDRESS;
    do
        vm->fd = ioctl(vm->host->fd, KVM_CREATE_VM, 0);
    while (vm->fd < 0 && errno == EINTR);
    if (vm->fd < 0)
        return vm_fail(error, errno, "make a machine");
    if (kvm_host_cap(vm->host, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
        return vm_fail(error, errno, "place its identity map");
    if (ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)TSS_ADDRESS) < 0)
        return vm_fail(error, errno, "place its TSS");
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return vm_fail(error, errno, "make interrupt controllers");
    limit_halt_poll(vm);
    vm->exception_payload = enable(vm, KVM_CAP_EXCEPTION_PAYLOAD);
    vm->triple_fault_event = enable(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT);
    return 0;
}

/* Every line to the IOAPIC's pin of the same number, and nowhere else (api.rst 4.52). */
static int route_lines(struct vm *vm, struct gw_error *error)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[VM_IOAPIC_PINS];
    } routes = {.head.nr = VM_IOAPIC_PINS};
    for (unsigned i = 0; i < VM_IOAPIC_PINS; i++)
        routes.entry[i] = (struct kvm_irq_routing_entry){
            .gsi = i,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = i},
        };
    if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, &routes) < 0)
        return vm_fail(error, errno, "route interrupts");
    return 0;
}

static void flush_vcpus(void *opaque)
{
    struct vm *vm = opaque;
    for (unsigned i = 0; i < vm->cpus; i++)
        vcpu_flush(&vm->vcpu[i]);
}

static int make_log(struct vm *vm, enum vm_tracking tracking, struct gw_error *error)
{
    struct dirty_log_config config = {
        .vm_fd = vm->fd,
        .memory = vm->memory,
        .tracking = tracking,
        .flush_vcpus = flush_vcpus,
        .opaque = vm,
    };
    return dirty_log_new(&config, &vm->log, error);
}

static int make_vcpus(struct vm *vm, struct gw_error *error)
{
    for (unsigned i = 0; i < vm->cpus; i++) {
        int r = vcpu_init(&vm->vcpu[i], vm, i, error);
        if (r == 0)
            r = dirty_log_add_vcpu(vm->log, vm->vcpu[i].fd, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int build(struct vm *vm, const struct vm_config *config, struct gw_error *error)
{
    if (config->cpus < 1 || config->cpus > VM_MAX_CPUS || config->cpus > vm->host->max_cpus)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_INVALID, -EINVAL,
                            "this host's KVM makes machines with 1 to %u vCPUs",
                            vm->host->max_cpus < VM_MAX_CPUS ? vm->host->max_cpus : VM_MAX_CPUS);
    int r = create(vm, error);
    if (r == 0)
        r = route_lines(vm, error);
    if (r == 0)
        r = msr_list(vm, error);
    if (r == 0)
        r = make_log(vm, config->tracking, error);
    if (r == 0)
        r = make_vcpus(vm, error);
    if (r == 0)
        r = vm_keep_power_on_state(vm, error);
    return r;
}

int vm_new(struct kvm_host *host, struct gw_memory *memory, const struct vm_config *config,
           struct vm **ret_vm, struct gw_error *error)
{
    struct vm *vm = calloc(1, sizeof *vm);
    if (!vm)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    vm->host = host;
    vm->fd = -1;
    vm->memory = memory;
    vm->platform = config->platform;
    vm->model = *config->model;
    vm->cpus = config->cpus;
    vm->state.vm = vm;
    for (unsigned i = 0; i < VM_MAX_CPUS; i++)
        vm->vcpu[i].fd = -1;
    int r = build(vm, config, error);
    if (r < 0) {
        vm_free(vm);
        return r;
    }
    *ret_vm = vm;
    return 0;
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    dirty_log_free(vm->log);
    for (unsigned i = 0; i < VM_MAX_CPUS; i++)
        vcpu_fini(&vm->vcpu[i]);
    if (vm->fd >= 0)
        close(vm->fd);
    free(vm->msr_list);
    free(vm);
}

struct vcpu *vm_vcpu(struct vm *vm, unsigned index)
{
    return &vm->vcpu[index];
}

struct gw_tracker vm_tracker(struct vm *vm)
{
    return dirty_log_tracker(vm->log);
}

/* ---- Interrupts and notifications ---- */

void vm_set_irq(struct vm *vm, unsigned gsi, bool level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    (void)ioctl(vm->fd, KVM_IRQ_LINE, &line); /* fails only for lines that do not exist */
}

int vm_add_irqfd(struct vm *vm, unsigned gsi, int fd, struct gw_error *error)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi};
    return ioctl(vm->fd, KVM_IRQFD, &irqfd) < 0 ? vm_fail(error, errno, "connect an interrupt") : 0;
}

int vm_add_ioeventfd(struct vm *vm, uint64_t address, uint32_t value, int fd,
                     struct gw_error *error)
{
    struct kvm_ioeventfd event = {
        .datamatch = value,
        .addr = address,
        .len = 4,
        .fd = fd,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };
    return ioctl(vm->fd, KVM_IOEVENTFD, &event) < 0
               ? vm_fail(error, errno, "connect a notification")
               : 0;
}
