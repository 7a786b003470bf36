/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No write is lost: vCPUs count up in random pages while a collector copies what the tracker calls
 * dirty, piece by piece, to a shadow. When all have stopped and a last sweep has been copied, the
 * shadow is the memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../patience.h"
#include "guest.h"

#define SET_BASE (UINT64_C(16) << 20)
#define SET_PAGES 4096u
#define SWEEPS 60

extern const char count_begin[], count_end[];
/* rax: random state; rdi: where the pages begin; rsi: their number - 1; rdx: offset in each. */
__asm__(".globl count_begin, count_end\n"
        "count_begin:\n"
        "mov %rax, %rcx\n shl $13, %rcx\n xor %rcx, %rax\n"
        "mov %rax, %rcx\n shr $7, %rcx\n xor %rcx, %rax\n"
        "mov %rax, %rcx\n shl $17, %rcx\n xor %rcx, %rax\n"
        "mov %rax, %rcx\n and %rsi, %rcx\n shl $12, %rcx\n add %rdi, %rcx\n"
        "incq (%rcx,%rdx)\n"
        "jmp count_begin\n"
        "count_end:\n");

struct shadow {
    struct guest guest;
    struct gw_tracker tracker;
    uint8_t *copy;
    uint64_t collected;
};

static void begin(struct shadow *shadow, unsigned cpus, enum vm_tracking tracking)
{
    guest_new(&shadow->guest, cpus, tracking, NULL);
    guest_put_code(&shadow->guest, count_begin, count_end);
    for (unsigned i = 0; i < cpus; i++)
        guest_set_registers(&shadow->guest, i,
                            &(struct kvm_regs){.rax = 88172645463325252u + i,
                                               .rdi = SET_BASE,
                                               .rsi = SET_PAGES - 1,
                                               .rdx = i * 8});
    shadow->tracker = vm_tracker(shadow->guest.vm);
    shadow->copy = malloc(GUEST_BYTES);
    shadow->collected = 0;
}

/* Pieces of `step` pages over all memory; what is dirty is copied. */
static void sweep(struct shadow *shadow, uint64_t step)
{
    struct gw_memory_region *region = gw_memory_region(shadow->guest.memory, 0);
    uint64_t pages = region->bytes / GW_PAGE_BYTES;
    struct gw_error error = {0};
    if (shadow->tracker.ops->sync(shadow->tracker.opaque, &error) < 0)
        fail_msg("%s", error.message);
    for (uint64_t first = 0; first < pages; first += step) {
        uint64_t bitmap[8] = {0}, count = pages - first < step ? pages - first : step;
        int64_t found =
            shadow->tracker.ops->collect(shadow->tracker.opaque, 0, first, count, bitmap);
        assert_true(found >= 0);
        shadow->collected += (uint64_t)found;
        for (uint64_t i = 0; i < count; i++)
            if (bitmap[i / 64] >> i % 64 & 1)
                memcpy(shadow->copy + (first + i) * GW_PAGE_BYTES,
                       region->host + (first + i) * GW_PAGE_BYTES, GW_PAGE_BYTES);
    }
}

static void start_tracking(struct shadow *shadow)
{
    struct gw_memory_region *region = gw_memory_region(shadow->guest.memory, 0);
    struct gw_error error = {0};
    if (shadow->tracker.ops->start(shadow->tracker.opaque, &error) < 0)
        fail_msg("%s", error.message);
    memcpy(shadow->copy, region->host, region->bytes);
}

static void compare(struct shadow *shadow)
{
    struct gw_memory_region *region = gw_memory_region(shadow->guest.memory, 0);
    for (uint64_t page = 0; page < region->bytes / GW_PAGE_BYTES; page++)
        if (memcmp(shadow->copy + page * GW_PAGE_BYTES, region->host + page * GW_PAGE_BYTES,
                   GW_PAGE_BYTES) != 0)
            fail_msg("a write to page %llu was lost", (unsigned long long)page);
}

static void end(struct shadow *shadow)
{
    shadow->tracker.ops->stop(shadow->tracker.opaque);
    free(shadow->copy);
    guest_free(&shadow->guest);
}

/* Of one vCPU, which has a word of its own in each page. */
static uint64_t sum_of_counts(const struct shadow *shadow, unsigned cpu)
{
    const uint8_t *set = gw_memory_region(shadow->guest.memory, 0)->host + SET_BASE + cpu * 8;
    uint64_t sum = 0;
    for (unsigned page = 0; page < SET_PAGES; page++)
        sum += __atomic_load_n((const uint64_t *)(const void *)(set + page * GW_PAGE_BYTES),
                               __ATOMIC_RELAXED);
    return sum;
}

static void fail_hung(struct shadow *shadow, unsigned sweeps)
{
    struct vm *vm = shadow->guest.vm;
    for (unsigned i = 0; i < shadow->guest.cpus; i++)
        print_message("vCPU %u: %u exits, %s the guest, %llu writes\n", i,
                      atomic_load(&vm_vcpu(vm, i)->exits),
                      atomic_load(&vm_vcpu(vm, i)->in_guest) ? "in" : "out of",
                      (unsigned long long)sum_of_counts(shadow, i));
    fail_msg("only %llu pages were found dirty in %u sweeps, %u and more were waited for",
             (unsigned long long)shadow->collected, sweeps, SET_PAGES + 1);
}

static void check_no_write_is_lost(unsigned cpus, enum vm_tracking tracking)
{
    static const uint64_t steps[] = {256, 64, 100, 1, 511, 37};
    struct shadow shadow;
    begin(&shadow, cpus, tracking);
    guest_start(&shadow.guest);
    start_tracking(&shadow);
    uint64_t end_ns = patience_end_ns();
    /* On a busy host the guest may get its turn late. */
    for (unsigned i = 0; i < SWEEPS || shadow.collected <= SET_PAGES; i++) {
        if (host_monotonic_ns() > end_ns)
            fail_hung(&shadow, i);
        uint64_t word = i;
        sweep(&shadow, steps[i % (sizeof steps / sizeof steps[0])]);
        /* A device writes too, and through the checked accessor. */
        gw_memory_write(shadow.guest.memory, SET_BASE + (SET_PAGES + i % SWEEPS) * GW_PAGE_BYTES,
                        &word, sizeof word);
    }
    guest_stop(&shadow.guest);
    sweep(&shadow, 256);
    compare(&shadow);
    end(&shadow);
}

static void bitmap_loses_no_write_of_one_vcpu(void **state)
{
    check_no_write_is_lost(1, VM_TRACK_BITMAP);
}

static void bitmap_loses_no_write_of_four_vcpus(void **state)
{
    check_no_write_is_lost(4, VM_TRACK_BITMAP);
}

static void ring_loses_no_write_of_one_vcpu(void **state)
{
    check_no_write_is_lost(1, VM_TRACK_RING);
}

static void ring_loses_no_write_of_four_vcpus(void **state)
{
    check_no_write_is_lost(4, VM_TRACK_RING);
}

/* However long it takes until it has its turn. */
static void run_until_it_has_written(struct shadow *shadow)
{
    uint64_t before = sum_of_counts(shadow, 0);
    guest_start(&shadow->guest);
    for (uint64_t end_ns = patience_end_ns(); sum_of_counts(shadow, 0) == before;) {
        if (host_monotonic_ns() > end_ns)
            fail_msg("the guest writes nothing");
        usleep(20000);
    }
    guest_stop(&shadow->guest);
}

static void check_nothing_old_after_a_new_start(enum vm_tracking tracking)
{
    struct shadow shadow;
    begin(&shadow, 1, tracking);
    start_tracking(&shadow);
    run_until_it_has_written(&shadow);
    shadow.tracker.ops->stop(shadow.tracker.opaque);
    start_tracking(&shadow);
    sweep(&shadow, 256);
    assert_int_equal(shadow.collected, 0);
    run_until_it_has_written(&shadow);
    assert_true(shadow.tracker.ops->count(shadow.tracker.opaque) > 0);
    sweep(&shadow, 256);
    compare(&shadow);
    assert_int_equal(shadow.tracker.ops->count(shadow.tracker.opaque), 0);
    end(&shadow);
}

static void bitmap_forgets_what_was_before_a_new_start(void **state)
{
    check_nothing_old_after_a_new_start(VM_TRACK_BITMAP);
}

static void ring_forgets_what_was_before_a_new_start(void **state)
{
    check_nothing_old_after_a_new_start(VM_TRACK_RING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bitmap_loses_no_write_of_one_vcpu),
        cmocka_unit_test(bitmap_loses_no_write_of_four_vcpus),
        cmocka_unit_test(ring_loses_no_write_of_one_vcpu),
        cmocka_unit_test(ring_loses_no_write_of_four_vcpus),
        cmocka_unit_test(bitmap_forgets_what_was_before_a_new_start),
        cmocka_unit_test(ring_forgets_what_was_before_a_new_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
