/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <godwit/memory.h>

#define BASE 0x80000000u
#define MIB (1u << 20)
#define PAGE GW_PAGE_BYTES

static struct gw_memory *memory_of(const char *name, uint64_t base, uint64_t bytes)
{
    struct gw_memory *memory = gw_memory_new();
    assert_int_equal(gw_memory_add_region(memory, name, base, bytes, NULL), 0);
    return memory;
}

static int set_up(void **state)
{
    *state = memory_of("ram", BASE, 64 * MIB);
    return 0;
}

static int tear_down(void **state)
{
    gw_memory_free(*state);
    return 0;
}

static uint64_t resident_bytes(const struct gw_memory *memory)
{
    struct stat status;
    assert_int_equal(fstat(gw_memory_region(memory, 0)->fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void fresh_memory_takes_nothing_from_the_host(void **state)
{
    assert_int_equal(resident_bytes(*state), 0);
    const struct gw_memory_region *region = gw_memory_region(*state, 0);
    assert_int_equal(gw_memory_next_data(region, 0), 64 * MIB);
    assert_int_equal(gw_memory_next_hole(region, 0), 0);
}

static void data_and_holes_are_found_page_by_page(void **state)
{
    gw_memory_write(*state, BASE + 5 * PAGE + 17, "x", 1);
    const struct gw_memory_region *region = gw_memory_region(*state, 0);
    assert_int_equal(gw_memory_next_data(region, 0), 5 * PAGE);
    assert_int_equal(gw_memory_next_data(region, 5 * PAGE), 5 * PAGE);
    assert_int_equal(gw_memory_next_hole(region, 5 * PAGE), 6 * PAGE);
    assert_int_equal(gw_memory_next_data(region, 6 * PAGE), 64 * MIB);
    assert_int_equal(gw_memory_next_data(region, 64 * MIB), 64 * MIB);
    assert_int_equal(gw_memory_next_hole(region, 64 * MIB), 64 * MIB);
}

static void populate_allocates_and_keeps_contents(void **state)
{
    struct gw_memory_region *region = gw_memory_region(*state, 0);
    gw_memory_write(*state, BASE + MIB, "kept", 5);
    assert_int_equal(gw_memory_populate(region, 0, 2 * MIB), 0);
    assert_true(resident_bytes(*state) >= 2 * MIB);
    assert_string_equal((char *)region->host + MIB, "kept");
    assert_int_equal(gw_memory_populate(region, 64 * MIB, 0), 0);
    assert_int_equal(gw_memory_populate(region, 63 * MIB, 2 * MIB), -EINVAL);
    assert_int_equal(gw_memory_populate(region, 1, PAGE), -EINVAL);
}

static void discard_makes_zeroes_and_gives_memory_back(void **state)
{
    struct gw_memory_region *region = gw_memory_region(*state, 0);
    memset(region->host, 1, 3 * PAGE);
    assert_int_equal(gw_memory_discard(region, PAGE, PAGE), 0);
    assert_int_equal(resident_bytes(*state), 2 * PAGE);
    assert_int_equal(gw_memory_next_hole(region, 0), PAGE);
    assert_true(gw_memory_is_zero(region->host + PAGE, PAGE));
    assert_int_equal(region->host[PAGE - 1], 1);
    assert_int_equal(region->host[2 * PAGE], 1);
    assert_int_equal(gw_memory_discard(region, 64 * MIB, PAGE), -EINVAL);
}

static void one_set_bit_anywhere_is_not_zero(void **state)
{
    static uint8_t page[PAGE];
    assert_true(gw_memory_is_zero(page, 0));
    assert_true(gw_memory_is_zero(page, PAGE));
    for (unsigned i = 0; i < PAGE; i += 61) {
        page[i] = 1;
        assert_false(gw_memory_is_zero(page, PAGE));
        page[i] = 0;
    }
    page[PAGE - 1] = 0x80;
    assert_false(gw_memory_is_zero(page, PAGE));
}

static void holes_hash_like_zeroes_and_stay_holes(void **state)
{
    struct gw_memory *full = memory_of("ram", BASE, 64 * MIB);
    memset(gw_memory_region(full, 0)->host, 0, 64 * MIB);
    gw_memory_write(*state, BASE + 7 * PAGE, "x", 1);
    gw_memory_write(full, BASE + 7 * PAGE, "x", 1);
    assert_int_equal(gw_memory_hash(*state), gw_memory_hash(full));
    assert_int_equal(resident_bytes(*state), PAGE);
    gw_memory_free(full);
}

static void the_hash_sees_every_difference(void **state)
{
    uint64_t empty = gw_memory_hash(*state);
    gw_memory_write(*state, BASE + 7 * PAGE, "x", 1);
    uint64_t one = gw_memory_hash(*state);
    assert_int_not_equal(one, empty);

    struct gw_memory *moved = memory_of("ram", BASE, 64 * MIB);
    gw_memory_write(moved, BASE + 8 * PAGE, "x", 1);
    assert_int_not_equal(gw_memory_hash(moved), one);
    gw_memory_free(moved);

    struct gw_memory *renamed = memory_of("rom", BASE, 64 * MIB);
    assert_int_not_equal(gw_memory_hash(renamed), empty);
    gw_memory_free(renamed);

    struct gw_memory *elsewhere = memory_of("ram", 2 * BASE, 64 * MIB);
    assert_int_not_equal(gw_memory_hash(elsewhere), empty);
    gw_memory_free(elsewhere);

    struct gw_memory *shorter = memory_of("ram", BASE, 32 * MIB);
    assert_int_not_equal(gw_memory_hash(shorter), empty);
    gw_memory_free(shorter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fresh_memory_takes_nothing_from_the_host, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(data_and_holes_are_found_page_by_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(populate_allocates_and_keeps_contents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(discard_makes_zeroes_and_gives_memory_back, set_up,
                                        tear_down),
        cmocka_unit_test(one_set_bit_anywhere_is_not_zero),
        cmocka_unit_test_setup_teardown(holes_hash_like_zeroes_and_stay_holes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_hash_sees_every_difference, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
