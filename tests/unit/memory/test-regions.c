/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <godwit/memory.h>

#define LOW 0x80000000u
#define HIGH 0x100000000u
#define MIB (1u << 20)

static int set_up(void **state)
{
    struct gw_memory *memory = gw_memory_new();
    assert_int_equal(gw_memory_add_region(memory, "ram", LOW, 4 * MIB, NULL), 0);
    assert_int_equal(gw_memory_add_region(memory, "ram-high", HIGH, 2 * MIB, NULL), 0);
    *state = memory;
    return 0;
}

static int tear_down(void **state)
{
    gw_memory_free(*state);
    return 0;
}

static void regions_keep_their_order_and_shape(void **state)
{
    struct gw_memory *memory = *state;
    assert_int_equal(gw_memory_region_count(memory), 2);
    assert_int_equal(gw_memory_total_bytes(memory), 6 * MIB);
    assert_string_equal(gw_memory_region(memory, 1)->name, "ram-high");
    assert_int_equal(gw_memory_region(memory, 1)->guest_base, HIGH);
    assert_null(gw_memory_region(memory, 2));
    assert_true(fcntl(gw_memory_region(memory, 0)->fd, F_GETFD) & FD_CLOEXEC);
}

static void overlap_and_bad_shapes_are_refused_by_name(void **state)
{
    struct gw_memory *memory = *state;
    struct gw_error error = {0};
    assert_int_equal(gw_memory_add_region(memory, "x", LOW + 2 * MIB, 4 * MIB, &error), -EEXIST);
    assert_non_null(strstr(error.message, "'ram'"));
    assert_int_equal(gw_memory_add_region(memory, "x", LOW - MIB, 8 * MIB, NULL), -EEXIST);
    assert_int_equal(gw_memory_add_region(memory, "ram", 0, MIB, NULL), -EEXIST);
    assert_int_equal(gw_memory_add_region(memory, "x", 0, 100, NULL), -EINVAL);
    assert_int_equal(gw_memory_add_region(memory, "x", 12, MIB, NULL), -EINVAL);
    assert_int_equal(gw_memory_add_region(memory, "x", 0, 0, NULL), -EINVAL);
    assert_int_equal(gw_memory_add_region(memory, "", 0, MIB, NULL), -EINVAL);
    assert_int_equal(gw_memory_add_region(memory, "a-name-of-thirty-two-characters!", 0, MIB, NULL),
                     -EINVAL);
    assert_int_equal(gw_memory_add_region(memory, "x", UINT64_MAX - 4095, 4096, NULL), -EINVAL);
    assert_int_equal(gw_memory_region_count(memory), 2);
}

static void a_seventeenth_region_is_refused(void **state)
{
    struct gw_memory *memory = *state;
    for (unsigned i = 2; i < GW_MEMORY_MAX_REGIONS; i++) {
        char name[8] = {'r', (char)('a' + i)};
        assert_int_equal(gw_memory_add_region(memory, name, i * (uint64_t)MIB, 4096, NULL), 0);
    }
    assert_int_equal(gw_memory_add_region(memory, "last", 0, 4096, NULL), -ENOSPC);
}

static void what_was_written_is_read_back(void **state)
{
    struct gw_memory *memory = *state;
    char text[6];
    assert_int_equal(gw_memory_write(memory, LOW + 4094, "hello", 6), 0);
    assert_int_equal(gw_memory_read(memory, LOW + 4094, text, 6), 0);
    assert_string_equal(text, "hello");
    assert_memory_equal(gw_memory_map(memory, LOW + 4094, 6), "hello", 6);
}

static void no_access_leaves_a_region(void **state)
{
    struct gw_memory *memory = *state;
    const struct {
        uint64_t guest, length;
    } bad[] = {
        {0, 1},
        {LOW - 1, 1},
        {LOW - 1, 2},
        {LOW + 4 * MIB, 1},
        {LOW + 4 * MIB - 1, 2},
        {LOW, (uint64_t)4 * MIB + 1},
        {LOW, UINT64_MAX},
        {LOW + 1, UINT64_MAX},
        {UINT64_MAX, 1},
        {UINT64_MAX, UINT64_MAX},
        {HIGH + 2 * MIB, 0},
    };
    char byte;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(gw_memory_map(memory, bad[i].guest, bad[i].length));
        assert_int_equal(gw_memory_read(memory, bad[i].guest, &byte, bad[i].length), -EFAULT);
        assert_int_equal(gw_memory_write(memory, bad[i].guest, &byte, bad[i].length), -EFAULT);
    }
    uint64_t offset = 0;
    assert_ptr_equal(gw_memory_find(memory, LOW + 4 * MIB - 1, 0, &offset),
                     gw_memory_region(memory, 0));
    assert_int_equal(offset, 4 * MIB - 1);
}

/* Exit status 0 means that the store went through. */
static int store_in_child(uint8_t *at)
{
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        __atomic_store_n(at, (uint8_t)1, __ATOMIC_RELAXED);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void guard_pages_stop_a_stray_pointer(void **state)
{
    struct gw_memory_region *region = gw_memory_region(*state, 0);
    assert_int_equal(store_in_child(region->host), 0);
    assert_int_not_equal(store_in_child(region->host - 1), 0);
    assert_int_not_equal(store_in_child(region->host + region->bytes), 0);
}

static void nobody_can_shrink_the_backing(void **state)
{
    struct gw_memory_region *region = gw_memory_region(*state, 0);
    assert_int_equal(ftruncate(region->fd, 4096), -1);
    assert_int_equal(errno, EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(regions_keep_their_order_and_shape, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overlap_and_bad_shapes_are_refused_by_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_seventeenth_region_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_written_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_access_leaves_a_region, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guard_pages_stop_a_stray_pointer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_can_shrink_the_backing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
