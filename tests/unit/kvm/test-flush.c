/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU that is to leave the guest once leaves it wherever it is met, also when the signal comes
 * in the moment before it enters. The guest never leaves by itself: it spins in its registers.
 * ioctl() is wrapped, so that this moment can be made to last.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../patience.h"
#include "guest.h"

extern const char spin_begin[], spin_end[];
__asm__(".globl spin_begin, spin_end\nspin_begin:\n1: inc %rbx\n jmp 1b\nspin_end:\n");

/* The vCPU waits before it enters the guest the next time, until a signal has come and gone. */
static atomic_bool hold, held;

int __wrap_ioctl(int fd, unsigned long request, void *argument);
int __real_ioctl(int fd, unsigned long request, void *argument);

int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
    if (request == KVM_RUN && atomic_load(&hold)) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        atomic_store(&hold, false);
        atomic_store(&held, true);
        sigsuspend(&before);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return __real_ioctl(fd, request, argument);
}

struct flush {
    struct vcpu *vcpu;
    atomic_bool done;
};

static void *flush(void *opaque)
{
    struct flush *flush = opaque;
    vcpu_flush(flush->vcpu);
    atomic_store(&flush->done, true);
    return NULL;
}

static void wait_for(atomic_bool *it, const char *what)
{
    for (uint64_t end_ns = patience_end_ns(); !atomic_load(it);) {
        if (host_monotonic_ns() > end_ns)
            fail_msg("%s", what);
        usleep(1000);
    }
}

/* Flushes the vCPU; where it does not leave the guest, a kick makes it. */
static void flush_in_time(struct guest *guest)
{
    struct flush one = {.vcpu = vm_vcpu(guest->vm, 0)};
    pthread_t thread;
    uint64_t end_ns = patience_end_ns();
    assert_int_equal(pthread_create(&thread, NULL, flush, &one), 0);
    while (!atomic_load(&one.done) && host_monotonic_ns() < end_ns)
        usleep(1000);
    bool in_time = atomic_load(&one.done);
    if (!in_time)
        guest_stop(guest);
    pthread_join(thread, NULL);
    if (!in_time)
        fail_msg("the vCPU stayed in the guest (%u exits)", atomic_load(&one.vcpu->exits));
}

static void begin(struct guest *guest)
{
    guest_new(guest, 1, VM_TRACK_AUTO, NULL);
    guest_put_code(guest, spin_begin, spin_end);
    guest_set_registers(guest, 0, &(struct kvm_regs){0});
}

static void it_leaves_the_guest_in_which_it_is(void **state)
{
    struct guest guest;
    begin(&guest);
    guest_start(&guest);
    guest_wait_cpu_time(&guest, 10000000);
    flush_in_time(&guest);
    guest_free(&guest);
}

static void it_leaves_the_guest_that_it_is_about_to_enter(void **state)
{
    struct guest guest;
    begin(&guest);
    atomic_store(&held, false);
    atomic_store(&hold, true);
    guest_start(&guest);
    wait_for(&held, "the vCPU does not run");
    flush_in_time(&guest);
    guest_free(&guest);
}

/* It is no kick: the guest goes on by itself. */
static void it_goes_on_afterwards(void **state)
{
    struct guest guest;
    begin(&guest);
    guest_start(&guest);
    for (unsigned i = 0; i < 100; i++)
        flush_in_time(&guest);
    guest_wait_cpu_time(&guest, 10000000);
    assert_false(atomic_load(&vm_vcpu(guest.vm, 0)->kicked));
    guest_free(&guest); /* which says if it stopped for anything but a kick */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_leaves_the_guest_in_which_it_is),
        cmocka_unit_test(it_leaves_the_guest_that_it_is_about_to_enter),
        cmocka_unit_test(it_goes_on_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
