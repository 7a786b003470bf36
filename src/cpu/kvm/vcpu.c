/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a vCPU.
 *
 * A kick sets immediate_exit and sends a signal whose handler does nothing. If the vCPU is in the
 * guest, the signal ends KVM_RUN; if it is about to enter, immediate_exit does; if it is handling
 * an exit, the next KVM_RUN first completes the instruction that left and then returns, again with
 * EINTR. So vcpu_run() tells of a kick only there, and no instruction is ever half done when a
 * vCPU's state is read (api.rst 5, "For KVM_EXIT_IO, …"). A flush does the same without telling of
 * it: the vCPU runs on.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "cpu/kvm/vm.h"

#define KICK_SIGNAL SIGUSR2

int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned index, struct gw_error *error)
{
    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->fd < 0)
        return vm_fail(error, errno, "make a vCPU");
    struct kvm_run *run =
        mmap(NULL, vm->host->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return vm_fail(error, errno, "show a vCPU");
    vcpu->run = run;
    vcpu->state.vcpu = vcpu;
    return vcpu_set_model(vcpu, error);
}

void vcpu_fini(struct vcpu *vcpu)
{
    if (vcpu->run)
        munmap(vcpu->run, vcpu->vm->host->run_bytes);
    if (vcpu->fd >= 0)
        close(vcpu->fd);
    free(vcpu->state.xsave);
    free(vcpu->state.msr);
    free(vcpu->power_on.xsave);
    free(vcpu->power_on.msr);
}

/* ---- Entry ---- */

static struct kvm_segment flat_segment(uint16_t selector, bool code, bool wide)
{
    return (struct kvm_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .type = code ? 0xb : 0x3, /* accessed, readable or writable */
        .present = 1,
        .s = 1,
        .db = !(code && wide),
        .l = code && wide,
        .g = 1,
    };
}

static void set_segments(struct kvm_sregs *sregs, const struct vcpu_entry *entry)
{
    bool wide = entry->mode == VCPU_ENTRY_LONG;
    struct kvm_segment data = flat_segment(0x18, false, wide);
    sregs->cs = flat_segment(0x10, true, wide);
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
    sregs->gdt = (struct kvm_dtable){.base = wide ? entry->gdt : 0, .limit = wide ? 4 * 8 - 1 : 0};
    sregs->idt = (struct kvm_dtable){0};
}

int vcpu_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry, struct gw_error *error)
{
    struct kvm_regs regs = {
        .rip = entry->rip,
        .rsi = entry->rsi,
        .rbx = entry->rbx,
        .rsp = entry->rsp,
        .rflags = 2,
    };
    struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
    struct kvm_sregs sregs;
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return vm_fail(error, errno, "tell a vCPU's segments");
    set_segments(&sregs, entry);
    sregs.cr0 = 0x11; /* PE, ET */
    sregs.cr4 = 0;
    sregs.efer = 0;
    if (entry->mode == VCPU_ENTRY_LONG) {
        sregs.cr0 |= UINT64_C(1) << 31; /* PG */
        sregs.cr3 = entry->cr3;
        sregs.cr4 = 0x20;   /* PAE */
        sregs.efer = 0x500; /* LME, LMA */
    }
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0 ||
        ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable) < 0)
        return vm_fail(error, errno, "set where the guest begins");
    return 0;
}

/* ---- Kicks ---- */

static void do_nothing(int signal)
{
}

int vcpu_bind_thread(struct vcpu *vcpu, struct gw_error *error)
{
    struct sigaction action = {.sa_handler = do_nothing};
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    if (sigaction(KICK_SIGNAL, &action, NULL) < 0)
        return vm_fail(error, errno, "be interrupted");
    int r = pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    if (r != 0)
        return vm_fail(error, r, "be interrupted");
    vcpu->thread = pthread_self();
    atomic_store(&vcpu->bound, true);
    return 0;
}

static void poke(struct vcpu *vcpu)
{
    if (atomic_load(&vcpu->bound))
        pthread_kill(vcpu->thread, KICK_SIGNAL);
}

void vcpu_kick(struct vcpu *vcpu)
{
    atomic_store(&vcpu->kicked, true);
    __atomic_store_n(&vcpu->run->immediate_exit, (uint8_t)1, __ATOMIC_SEQ_CST);
    poke(vcpu);
}

/* Forgets a kick; one that comes meanwhile is either forgotten with it, and told of by the caller,
 * or ends the next run. */
static bool take_kick(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->run->immediate_exit, (uint8_t)0, __ATOMIC_SEQ_CST);
    return atomic_exchange(&vcpu->kicked, false);
}

/* A signal alone is not enough here either: the vCPU may be about to enter, and a guest that then
 * does nothing but compute never leaves. */
void vcpu_flush(struct vcpu *vcpu)
{
    unsigned exits = atomic_load(&vcpu->exits);
    if (!atomic_load(&vcpu->in_guest))
        return;
    __atomic_store_n(&vcpu->run->immediate_exit, (uint8_t)1, __ATOMIC_SEQ_CST);
    poke(vcpu);
    while (atomic_load(&vcpu->in_guest) && atomic_load(&vcpu->exits) == exits)
        usleep(20);
}

/* ---- Exits ---- */

static uint64_t get_bytes(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, bytes, size);
    return value;
}

/* Lengths up to 8; KVM cuts accesses into naturally sized parts, but promises no such thing. */
static void do_mmio(struct vcpu *vcpu)
{
    const struct vm_platform *platform = &vcpu->vm->platform;
    struct kvm_run *run = vcpu->run;
    unsigned size = run->mmio.len;
    if (size != 1 && size != 2 && size != 4 && size != 8) {
        memset(run->mmio.data, 0xff, sizeof run->mmio.data);
        return;
    }
    if (run->mmio.is_write) {
        platform->mmio_write(platform->opaque, run->mmio.phys_addr, size,
                             get_bytes(run->mmio.data, size));
        return;
    }
    uint64_t value = platform->mmio_read(platform->opaque, run->mmio.phys_addr, size);
    memcpy(run->mmio.data, &value, size);
}

static void do_port(struct vcpu *vcpu)
{
    const struct vm_platform *platform = &vcpu->vm->platform;
    struct kvm_run *run = vcpu->run;
    unsigned size = run->io.size;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            platform->port_write(platform->opaque, run->io.port, size,
                                 (uint32_t)get_bytes(data, size));
        } else {
            uint32_t value = platform->port_read(platform->opaque, run->io.port, size);
            memcpy(data, &value, size);
        }
    }
}

/* " at 0x… (0f 01 …)": where the vCPU stands and what KVM could not emulate there. */
static void describe_place(struct vcpu *vcpu, char *text, size_t bytes)
{
    const struct kvm_run *run = vcpu->run;
    struct kvm_regs regs = {0};
    (void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
    size_t length = (size_t)snprintf(text, bytes, "at 0x%llx", (unsigned long long)regs.rip);
    if (run->exit_reason != KVM_EXIT_INTERNAL_ERROR ||
        run->emulation_failure.suberror != KVM_INTERNAL_ERROR_EMULATION ||
        run->emulation_failure.ndata < 4 ||
        !(run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
        return;
    length += (size_t)snprintf(text + length, bytes - length, " (instruction");
    for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
        length += (size_t)snprintf(text + length, bytes - length, " %02x",
                                   run->emulation_failure.insn_bytes[i]);
    snprintf(text + length, bytes - length, ")");
}

static enum vcpu_stop stop_failed(struct vcpu *vcpu, struct gw_error *error)
{
    const struct kvm_run *run = vcpu->run;
    char place[128];
    describe_place(vcpu, place, sizeof place);
    switch (run->exit_reason) {
    case KVM_EXIT_FAIL_ENTRY:
        gw_error_set(error, GW_LAYER_CPU, GW_CODE_INTERNAL, -EIO,
                     "vCPU %u cannot enter the guest %s: the hardware's reason is 0x%llx",
                     vcpu->index, place,
                     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EIO,
                     run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
                         ? "vCPU %u cannot go on: KVM cannot emulate the guest's code %s"
                         : "vCPU %u cannot go on: KVM has an internal error %s",
                     vcpu->index, place);
        break;
    default:
        gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EIO,
                     "vCPU %u cannot go on: KVM stopped it for an unexpected reason, %u, %s",
                     vcpu->index, run->exit_reason, place);
    }
    return VCPU_STOP_FAILED;
}

/* True when the vCPU is to run on. */
static bool handle_exit(struct vcpu *vcpu, enum vcpu_stop *ret_stop, struct gw_error *error)
{
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_MMIO:
        do_mmio(vcpu);
        return true;
    case KVM_EXIT_IO:
        do_port(vcpu);
        return true;
    case KVM_EXIT_DIRTY_RING_FULL:
        if (dirty_log_ring_full(vcpu->vm->log, error) == 0)
            return true;
        *ret_stop = VCPU_STOP_FAILED;
        return false;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_HLT: /* the kernel's LAPIC sleeps for us */
        return true;
    case KVM_EXIT_SHUTDOWN:
        *ret_stop = VCPU_STOP_SHUTDOWN;
        return false;
    default:
        *ret_stop = stop_failed(vcpu, error);
        return false;
    }
}

enum vcpu_stop vcpu_run(struct vcpu *vcpu, struct gw_error *error)
{
    enum vcpu_stop stop;
    for (;;) {
        atomic_store(&vcpu->in_guest, true);
        int r = ioctl(vcpu->fd, KVM_RUN, 0);
        int number = errno;
        atomic_store(&vcpu->in_guest, false);
        atomic_fetch_add(&vcpu->exits, 1);
        if (r == 0) {
            if (!handle_exit(vcpu, &stop, error))
                return stop;
        } else if (number == EINTR || number == EAGAIN) {
            if (take_kick(vcpu))
                return VCPU_STOP_KICKED;
        } else {
            vm_fail(error, number, "run a vCPU");
            return VCPU_STOP_FAILED;
        }
    }
}
