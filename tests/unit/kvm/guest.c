/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "../patience.h"
#include "base/bytes.h"
#include "guest.h"

#define PML4 0x1000u
#define PDPT 0x2000u
#define DIRECTORY 0x3000u
#define USER_WRITABLE 7u
#define LARGE 0x80u

static uint64_t no_read(void *opaque, uint64_t address, unsigned size)
{
    return UINT64_MAX;
}

static void no_write(void *opaque, uint64_t address, unsigned size, uint64_t value)
{
}

static uint32_t no_port_read(void *opaque, uint16_t port, unsigned size)
{
    return UINT32_MAX;
}

static void no_port_write(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
}

static const struct vm_platform nothing = {NULL, no_read, no_write, no_port_read, no_port_write};

static void put64(struct guest *guest, uint64_t address, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    assert_int_equal(gw_memory_write(guest->memory, address, bytes, sizeof bytes), 0);
}

static void make_page_tables(struct guest *guest)
{
    put64(guest, PML4, PDPT | USER_WRITABLE);
    put64(guest, PDPT, DIRECTORY | USER_WRITABLE);
    for (uint64_t i = 0; i < 512; i++)
        put64(guest, DIRECTORY + i * 8, i << 21 | USER_WRITABLE | LARGE);
}

static void enter_ring_3(struct vcpu *vcpu)
{
    struct kvm_segment flat = {
        .limit = UINT32_MAX, .present = 1, .s = 1, .g = 1, .dpl = 3, .type = 3, .db = 1};
    struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
    struct kvm_sregs sregs;
    assert_int_equal(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs), 0);
    flat.selector = 0x2b;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
    flat.selector = 0x33;
    flat.type = 0xb;
    flat.db = 0;
    flat.l = 1;
    sregs.cs = flat;
    sregs.cr0 = 0x80000033;
    sregs.cr3 = PML4;
    sregs.cr4 = 0x620; /* PAE, OSFXSR, OSXMMEXCPT */
    sregs.efer = 0x500;
    assert_int_equal(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs), 0);
    assert_int_equal(ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable), 0);
}

void guest_new(struct guest *guest, unsigned cpus, enum vm_tracking tracking,
               const struct vm_platform *platform)
{
    struct gw_error error = {0};
    struct cpu_model model;
    *guest = (struct guest){.cpus = cpus};
    if (kvm_host_open(NULL, &guest->host, &error) < 0) {
        print_message("skipped: %s\n", error.message);
        skip();
    }
    assert_int_equal(cpu_model_of_host(guest->host, &model, &error), 0);
    guest->memory = gw_memory_new();
    assert_int_equal(gw_memory_add_region(guest->memory, "ram", 0, GUEST_BYTES, &error), 0);
    struct vm_config config = {.model = &model,
                               .cpus = cpus,
                               .tracking = tracking,
                               .platform = platform ? *platform : nothing};
    if (vm_new(guest->host, guest->memory, &config, &guest->vm, &error) < 0)
        fail_msg("%s", error.message);
    make_page_tables(guest);
    for (unsigned i = 0; i < cpus; i++)
        enter_ring_3(vm_vcpu(guest->vm, i));
}

void guest_free(struct guest *guest)
{
    guest_stop(guest);
    vm_free(guest->vm);
    gw_memory_free(guest->memory);
    kvm_host_close(guest->host);
}

void guest_put_code(struct guest *guest, const void *begin, const void *end)
{
    size_t length = (size_t)((const char *)end - (const char *)begin);
    assert_int_equal(gw_memory_write(guest->memory, GUEST_CODE, begin, length), 0);
}

void guest_set_registers(struct guest *guest, unsigned cpu, const struct kvm_regs *regs)
{
    struct kvm_regs all = *regs;
    all.rip = GUEST_CODE;
    all.rsp = GUEST_STACK + (cpu + 1) * GW_PAGE_BYTES - 16;
    all.rflags = 0x3002; /* I/O privilege level 3 */
    assert_int_equal(ioctl(vm_vcpu(guest->vm, cpu)->fd, KVM_SET_REGS, &all), 0);
}

struct start {
    struct guest *guest;
    unsigned cpu;
};

static void *run_thread(void *opaque)
{
    struct start start = *(struct start *)opaque;
    struct vcpu *vcpu = vm_vcpu(start.guest->vm, start.cpu);
    free(opaque);
    vcpu_bind_thread(vcpu, NULL);
    start.guest->stop[start.cpu] = vcpu_run(vcpu, &start.guest->error[start.cpu]);
    return NULL;
}

void guest_start(struct guest *guest)
{
    for (guest->started = 0; guest->started < guest->cpus; guest->started++) {
        struct start *start = malloc(sizeof *start);
        *start = (struct start){guest, guest->started};
        assert_int_equal(pthread_create(&guest->thread[guest->started], NULL, run_thread, start),
                         0);
    }
}

void guest_stop(struct guest *guest)
{
    for (unsigned i = 0; i < guest->started; i++)
        vcpu_kick(vm_vcpu(guest->vm, i));
    for (unsigned i = 0; i < guest->started; i++) {
        pthread_join(guest->thread[i], NULL);
        if (guest->stop[i] != VCPU_STOP_KICKED)
            fail_msg("vCPU %u stopped by itself: %s", i, guest->error[i].message);
    }
    guest->started = 0;
}

static uint64_t cpu_time_ns(pthread_t thread)
{
    clockid_t clock;
    struct timespec time;
    assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &time), 0);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void guest_wait_cpu_time(const struct guest *guest, uint64_t ns)
{
    uint64_t end_ns = patience_end_ns();
    for (unsigned i = 0; i < guest->started; i++)
        while (cpu_time_ns(guest->thread[i]) < ns) {
            if (host_monotonic_ns() > end_ns)
                fail_msg("vCPU %u got no CPU", i);
            usleep(1000);
        }
}

enum vcpu_stop guest_run(struct guest *guest, unsigned cpu, struct gw_error *error)
{
    return vcpu_run(vm_vcpu(guest->vm, cpu), error);
}
