/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's time: kvmclock, one for the machine, and a TSC for each vCPU.
 *
 * A saved state holds both at one moment of the host's real time. When vCPUs are about to run where
 * such a state was loaded, both are moved on by the real time that has passed since, so the guest
 * finds its clock right, and never earlier than it was: a host whose clock is behind the other's
 * counts as no time at all.
 *
 * Exactly: where the host's own clock is its TSC, KVM tells kvmclock, real time and the host's TSC
 * of one instant, and what each vCPU's TSC is ahead of the host's (KVM_GET_CLOCK;
 * KVM_VCPU_TSC_OFFSET, Documentation/virt/kvm/devices/vcpu.rst). From these the guest's clocks keep
 * their distances to the nanosecond, however often it moves. Not so with a TSC that is scaled.
 *
 * Else by samples, of which one is only as good as the few hundred nanoseconds that it takes, while
 * TSCs of one machine must agree to the cycle or its kernel stops trusting them. So one vCPU is
 * sampled, and others get their distance to it: by their offsets where KVM tells these; elsewhere
 * differences below what a sample can see are none. The same on the way back; without offsets KVM
 * itself aligns values that are written within a second.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "cpu/kvm/msr.h"
#include "cpu/kvm/vm.h"

#define SAMPLES 8
#define CLOCK_TRIES 6
#define CLOCK_NEAR_NS 100
#define UNSEEN_NS 50000     /* distances below are noise of the samples */
#define ALIGNED_NS 1000000u /* a TSC that is less past what was written is what was written */
#define FAR_NS UINT64_C(10000000000)
#define TOLERANCE_PPM 250 /* of frequencies, as KVM has it */

struct moment {
    uint64_t realtime_ns, value;
};

static uint64_t cycles(uint64_t ns, uint32_t khz)
{
    return (uint64_t)((unsigned __int128)ns * khz / 1000000);
}

/* The sample of several that took least. `read` returns 0 or a negative errno. */
static int sample(int (*read)(void *of, uint64_t *ret_value), void *of, struct moment *ret_moment)
{
    uint64_t best_ns = UINT64_MAX;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t value = 0, before_ns = host_realtime_ns();
        int r = read(of, &value);
        uint64_t after_ns = host_realtime_ns();
        if (r < 0)
            return r;
        if (after_ns < before_ns || after_ns - before_ns >= best_ns)
            continue;
        best_ns = after_ns - before_ns;
        *ret_moment = (struct moment){before_ns + best_ns / 2, value};
    }
    return best_ns == UINT64_MAX ? -EAGAIN : 0;
}

static int read_clock(void *of, uint64_t *ret_value)
{
    const struct vm *vm = of;
    struct kvm_clock_data clock = {0};
    if (ioctl(vm->fd, KVM_GET_CLOCK, &clock) < 0)
        return -errno;
    *ret_value = clock.clock;
    return 0;
}

static int read_tsc(void *vcpu, uint64_t *ret_value)
{
    return msr_get(vcpu, MSR_TSC, ret_value);
}

/* ---- Offsets ---- */

static struct kvm_device_attr offset_attribute(uint64_t *value)
{
    return (struct kvm_device_attr){
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)value};
}

static bool get_offset(const struct vcpu *vcpu, uint64_t *ret_offset)
{
    struct kvm_device_attr attribute = offset_attribute(ret_offset);
    return ioctl(vcpu->fd, KVM_GET_DEVICE_ATTR, &attribute) == 0;
}

static int set_offset(const struct vcpu *vcpu, uint64_t offset)
{
    struct kvm_device_attr attribute = offset_attribute(&offset);
    return ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &attribute) < 0 ? -errno : 0;
}

int time_restate_offset(struct vcpu *vcpu, struct gw_error *error)
{
    uint64_t offset;
    if (!get_offset(vcpu, &offset))
        return 0;
    int r = set_offset(vcpu, offset);
    return r < 0 ? vm_fail(error, -r, "set the TSC's offset") : 0;
}

/* ---- What belongs to one instant ---- */

struct instant {
    uint64_t realtime_ns, clock_ns, host_tsc;
};

static bool read_instant(const struct vm *vm, struct instant *ret_instant)
{
    const uint32_t needed = KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
    struct kvm_clock_data clock = {0};
    if (ioctl(vm->fd, KVM_GET_CLOCK, &clock) < 0 || (clock.flags & needed) != needed)
        return false;
    *ret_instant = (struct instant){clock.realtime, clock.clock, clock.host_tsc};
    return true;
}

/* ---- Fetching ---- */

static int fetch_frequency(struct vcpu *vcpu, struct gw_error *error)
{
    int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return vm_fail(error, khz < 0 ? errno : EIO, "tell the TSC's frequency");
    vcpu->state.tsc_khz = (uint32_t)khz;
    return 0;
}

/* The TSC at the machine's moment, from a sample that is a little later. */
static int fetch_tsc(struct vcpu *vcpu, uint64_t at_ns, struct gw_error *error)
{
    struct moment moment = {0};
    int r = sample(read_tsc, vcpu, &moment);
    if (r < 0)
        return vm_fail(error, -r, "read a TSC");
    vcpu->state.tsc = moment.value - cycles(moment.realtime_ns - at_ns, vcpu->state.tsc_khz);
    return 0;
}

static void align_to_first(struct vcpu *vcpu)
{
    const struct vcpu *first = &vcpu->vm->vcpu[0];
    uint64_t offset, first_offset;
    int64_t distance = (int64_t)(vcpu->state.tsc - first->state.tsc);
    if (get_offset(vcpu, &offset) && get_offset(first, &first_offset))
        distance = (int64_t)(offset - first_offset);
    else if ((uint64_t)llabs(distance) < cycles(UNSEEN_NS, vcpu->state.tsc_khz))
        distance = 0;
    vcpu->state.tsc = first->state.tsc + (uint64_t)distance;
}

static bool fetch_exactly(struct vm *vm)
{
    struct instant now;
    if (vm->tsc_scaled || !read_instant(vm, &now))
        return false;
    for (unsigned i = 0; i < vm->cpus; i++) {
        uint64_t offset;
        if (!get_offset(&vm->vcpu[i], &offset))
            return false;
        vm->vcpu[i].state.tsc = now.host_tsc + offset;
    }
    vm->state.realtime_ns = now.realtime_ns;
    vm->state.clock_ns = now.clock_ns;
    return true;
}

static int fetch_by_samples(struct vm *vm, struct gw_error *error)
{
    struct moment moment = {0};
    int r = sample(read_clock, vm, &moment);
    if (r < 0)
        return vm_fail(error, -r, "read kvmclock");
    vm->state.realtime_ns = moment.realtime_ns;
    vm->state.clock_ns = moment.value;
    for (unsigned i = 0; i < vm->cpus; i++) {
        r = fetch_tsc(&vm->vcpu[i], moment.realtime_ns, error);
        if (r < 0)
            return r;
        align_to_first(&vm->vcpu[i]);
    }
    return 0;
}

int time_fetch(struct vm *vm, struct gw_error *error)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < vm->cpus; i++)
        r = fetch_frequency(&vm->vcpu[i], error);
    if (r < 0 || fetch_exactly(vm))
        return r;
    return fetch_by_samples(vm, error);
}

/* ---- Going on ---- */

static bool near(uint32_t one, uint32_t other)
{
    uint64_t difference = one > other ? one - other : other - one;
    return difference * 1000000 <= (uint64_t)one * TOLERANCE_PPM;
}

int time_set_frequency(struct vcpu *vcpu, uint32_t tsc_khz, struct gw_error *error)
{
    int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return vm_fail(error, khz < 0 ? errno : EIO, "tell the TSC's frequency");
    if (tsc_khz == 0 || (uint32_t)khz == tsc_khz)
        return 0;
    if (kvm_host_cap(vcpu->vm->host, KVM_CAP_TSC_CONTROL) &&
        ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)tsc_khz) == 0) {
        vcpu->vm->tsc_scaled = true;
        return 0;
    }
    if (near((uint32_t)khz, tsc_khz))
        return 0;
    return gw_error_set(error, GW_LAYER_CPU, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "the guest's TSC runs at %u kHz, this host's at %d kHz, and its KVM cannot "
                        "scale it",
                        tsc_khz, khz);
}

/* Real time since the state was fetched; none when this host's clock is behind. */
static uint64_t elapsed_ns(const struct vm *vm, uint64_t realtime_ns)
{
    return realtime_ns > vm->state.realtime_ns ? realtime_ns - vm->state.realtime_ns : 0;
}

static uint64_t tsc_now(const struct vcpu *vcpu)
{
    return vcpu->state.tsc + cycles(elapsed_ns(vcpu->vm, host_realtime_ns()), vcpu->state.tsc_khz);
}

/* How far kvmclock is behind where it should be; false: this cannot be told. */
static bool clock_is_behind(struct vm *vm, int64_t *ret_ns)
{
    struct instant now;
    struct moment moment = {0};
    if (read_instant(vm, &now))
        moment = (struct moment){now.realtime_ns, now.clock_ns};
    else if (sample(read_clock, vm, &moment) < 0)
        return false;
    uint64_t right = vm->state.clock_ns + elapsed_ns(vm, moment.realtime_ns);
    *ret_ns = (int64_t)(right - moment.value);
    return true;
}

/*
 * Between reading the real time and KVM's taking the value some time passes, and much when the host
 * does something else then. It would be lost to the guest in each of its moves. So what came of it
 * is looked at, and what was lost is added next time. Never earlier than it was.
 */
static int set_clock(struct vm *vm)
{
    uint64_t more_ns = 0; /* may be "negative": what a stranger's state leads to only wraps */
    int64_t behind_ns = 0;
    for (unsigned try = 0; try < CLOCK_TRIES; try++) {
        int64_t passed_ns = (int64_t)(elapsed_ns(vm, host_realtime_ns()) + more_ns);
        struct kvm_clock_data clock = {.clock = vm->state.clock_ns};
        if (passed_ns > 0)
            clock.clock += (uint64_t)passed_ns;
        if (ioctl(vm->fd, KVM_SET_CLOCK, &clock) < 0)
            return -errno;
        if (!clock_is_behind(vm, &behind_ns) ||
            (behind_ns >= -CLOCK_NEAR_NS && behind_ns <= CLOCK_NEAR_NS))
            break;
        more_ns += (uint64_t)behind_ns;
    }
    return 0;
}

/* A value near to what the TSC shows already KVM may take for an attempt to align it with the
 * others and give it theirs (kvm_synchronize_tsc). Where that has happened, a value far away comes
 * first. */
static int write_tsc(struct vcpu *vcpu)
{
    uint64_t there, value = tsc_now(vcpu);
    int r = msr_set(vcpu, MSR_TSC, value);
    if (r == 0)
        r = msr_get(vcpu, MSR_TSC, &there);
    if (r < 0 || there - value < cycles(ALIGNED_NS, vcpu->state.tsc_khz))
        return r;
    (void)msr_set(vcpu, MSR_TSC, value + cycles(FAR_NS, vcpu->state.tsc_khz));
    return msr_set(vcpu, MSR_TSC, tsc_now(vcpu));
}

/* kvmclock has been set: each TSC to where it was when kvmclock was what the state says, and on by
 * what has passed since. False: this host does not tell. */
static bool move_exactly(struct vm *vm)
{
    struct instant now;
    if (vm->tsc_scaled || !read_instant(vm, &now))
        return false;
    for (unsigned i = 0; i < vm->cpus; i++) {
        const struct vcpu_state *state = &vm->vcpu[i].state;
        uint64_t passed = cycles(now.clock_ns - vm->state.clock_ns, state->tsc_khz);
        if (set_offset(&vm->vcpu[i], state->tsc + passed - now.host_tsc) < 0)
            return false;
    }
    return true;
}

/* Moves the first TSC to where it should be now; others by the same way, as far as they were apart.
 */
static int move_by_offset(struct vm *vm, uint64_t first_offset)
{
    struct vcpu *first = &vm->vcpu[0];
    struct moment moment = {0};
    int r = sample(read_tsc, first, &moment);
    if (r < 0)
        return r;
    uint64_t passed_ns = elapsed_ns(vm, moment.realtime_ns);
    uint64_t wanted = first->state.tsc + cycles(passed_ns, first->state.tsc_khz);
    for (unsigned i = 0; r == 0 && i < vm->cpus; i++)
        r = set_offset(&vm->vcpu[i], first_offset + (wanted - moment.value) +
                                         (vm->vcpu[i].state.tsc - first->state.tsc));
    return r;
}

static int move_by_writing(struct vm *vm)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < vm->cpus; i++)
        r = write_tsc(&vm->vcpu[i]);
    return r;
}

int vm_resume_time(struct vm *vm, struct gw_error *error)
{
    uint64_t offset;
    if (!vm->time_loaded)
        return 0;
    int r = set_clock(vm);
    if (r < 0)
        return vm_fail(error, -r, "set kvmclock");
    if (!move_exactly(vm))
        r = get_offset(&vm->vcpu[0], &offset) ? move_by_offset(vm, offset) : move_by_writing(vm);
    if (r < 0)
        return vm_fail(error, -r, "set the TSC");
    for (unsigned i = 0; r == 0 && i < vm->cpus; i++)
        r = msr_load_waiting(&vm->vcpu[i], &vm->vcpu[i].state, error);
    vm->time_loaded = r < 0;
    return r;
}
