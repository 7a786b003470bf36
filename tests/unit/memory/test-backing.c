/* SPDX-License-Identifier: Apache-2.0 */
/* What holds of memory wherever it comes from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <godwit/memory.h>

#define MIB ((uint64_t)1 << 20)
#define BYTES (8 * MIB)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static char directory[] = "/tmp/godwit-memory-XXXXXX";

static struct gw_memory *make(const struct gw_memory_backing *backing)
{
    struct gw_memory *memory = gw_memory_new();
    struct gw_error error = {0};
    if (gw_memory_add_backed_region(memory, "ram", 0, BYTES, backing, &error) < 0)
        fail_msg("%s", error.message);
    return memory;
}

static void check_kind(const struct gw_memory_backing *backing, bool has_holes)
{
    struct gw_memory *memory = make(backing);
    struct gw_memory_region *region = gw_memory_region(memory, 0);
    uint64_t word = 0x1234567890abcdef, at = 5 * MIB + 3 * GW_PAGE_BYTES;
    assert_int_equal(gw_memory_next_data(region, 0), has_holes ? BYTES : 0);
    assert_int_equal(gw_memory_write(memory, at, &word, sizeof word), 0);
    assert_true(gw_memory_next_data(region, 0) <= at);
    assert_true(gw_memory_next_hole(region, at) > at);
    if (has_holes)
        assert_true(gw_memory_next_data(region, at + 2 * MIB) == BYTES);
    assert_int_equal(gw_memory_discard(region, at, GW_PAGE_BYTES), 0);
    word = 1;
    gw_memory_read(memory, at, &word, sizeof word);
    assert_int_equal(word, 0);
    gw_memory_write(memory, MIB, "abc", 3);
    assert_int_equal(gw_memory_discard(region, GW_PAGE_BYTES, BYTES - GW_PAGE_BYTES), 0);
    assert_true(gw_memory_is_zero(region->host, BYTES));
    assert_int_equal(gw_memory_populate(region, 0, BYTES), 0);
    assert_int_equal(gw_memory_next_data(region, 0), 0);
    assert_int_equal(gw_memory_next_hole(region, 0), BYTES);
    gw_memory_free(memory);
}

static void memfd_keeps_the_rules(void **state)
{
    check_kind(&(struct gw_memory_backing){.kind = GW_MEMORY_MEMFD, .no_huge_pages = true}, true);
}

static void anonymous_memory_keeps_the_rules(void **state)
{
    check_kind(&(struct gw_memory_backing){.kind = GW_MEMORY_ANONYMOUS, .no_huge_pages = true},
               true);
}

static void file_keeps_the_rules(void **state)
{
    check_kind(&(struct gw_memory_backing){.kind = GW_MEMORY_FILE, .path = directory}, true);
}

static long pool(long wanted)
{
    long count = -1;
    FILE *file = fopen(POOL, wanted < 0 ? "r" : "w");
    if (!file)
        return -1;
    if (wanted < 0 && fscanf(file, "%ld", &count) != 1)
        count = -1;
    if (wanted >= 0)
        fprintf(file, "%ld\n", wanted);
    fclose(file);
    return wanted < 0 ? count : pool(-1);
}

static void huge_pages_keep_the_rules(void **state)
{
    long before = pool(-1);
    if (before < 0 || pool(before + 4) < before + 4) {
        print_message("skipped: no huge pages can be reserved here\n");
        if (before >= 0)
            pool(before);
        skip();
    }
    check_kind(&(struct gw_memory_backing){.kind = GW_MEMORY_HUGETLB}, false);
    pool(before);
}

static void lack_of_huge_pages_is_told_with_the_remedy(void **state)
{
    struct gw_memory *memory = gw_memory_new();
    struct gw_memory_backing backing = {.kind = GW_MEMORY_HUGETLB};
    struct gw_error error = {0};
    assert_true(gw_memory_add_backed_region(memory, "ram", 0, (uint64_t)1 << 44, &backing, &error) <
                0);
    assert_true(strstr(error.message, "nr_hugepages") || strstr(error.message, "no huge pages"));
    assert_int_equal(gw_memory_add_backed_region(memory, "ram", 0, 3 * MIB, &backing, &error),
                     -EINVAL);
    gw_memory_free(memory);
}

static void file_belongs_to_one_machine(void **state)
{
    struct gw_memory_backing backing = {.kind = GW_MEMORY_FILE, .path = directory};
    struct gw_memory *memory = make(&backing), *other = gw_memory_new();
    struct gw_error error = {0};
    assert_int_equal(gw_memory_add_backed_region(other, "ram", 0, BYTES, &backing, &error), -EBUSY);
    gw_memory_free(memory);
    assert_int_equal(gw_memory_add_backed_region(other, "ram", 0, BYTES / 2, &backing, &error),
                     -EINVAL);
    assert_non_null(strstr(error.message, "remove it"));
    gw_memory_free(other);
}

static void memory_is_populated_by_threads(void **state)
{
    struct gw_memory_backing backing = {.populate_threads = 4};
    struct gw_memory *memory = make(&backing);
    assert_int_equal(gw_memory_next_hole(gw_memory_region(memory, 0), 0), BYTES);
    gw_memory_free(memory);
}

static int make_directory(void **state)
{
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char path[64];
    snprintf(path, sizeof path, "%s/ram", directory);
    unlink(path);
    return rmdir(directory);
}

static void ready_memory_becomes_a_region_of_its_size(void **state)
{
    struct gw_memory_backing backing = {.kind = GW_MEMORY_MEMFD, .populate_threads = 1};
    struct gw_memory *ready = make(&backing);
    const uint8_t *host = gw_memory_region(ready, 0)->host;
    backing.ready = ready;
    struct gw_memory *memory = gw_memory_new();
    assert_int_equal(
        gw_memory_add_backed_region(memory, "ram", 0x80000000, BYTES / 2, &backing, NULL), 0);
    assert_ptr_not_equal(gw_memory_region(memory, 0)->host, host);
    gw_memory_free(memory);
    memory = gw_memory_new();
    assert_int_equal(gw_memory_add_backed_region(memory, "ram", 0x80000000, BYTES, &backing, NULL),
                     0);
    assert_ptr_equal(gw_memory_region(memory, 0)->host, host);
    assert_int_equal(gw_memory_region(memory, 0)->guest_base, 0x80000000);
    struct gw_memory *other = make(&backing);
    assert_ptr_not_equal(gw_memory_region(other, 0)->host, host);
    gw_memory_free(ready);
    assert_int_equal(gw_memory_write(memory, 0x80000000, "abc", 3), 0);
    gw_memory_free(other);
    gw_memory_free(memory);
}

static void memory_is_pristine_until_somebody_writes(void **state)
{
    static const struct gw_memory_backing populated = {.populate_threads = 2};
    struct gw_memory *memory = make(&populated);
    assert_true(gw_memory_region(memory, 0)->pristine);
    gw_memory_write(memory, MIB, "abc", 3);
    assert_false(gw_memory_region(memory, 0)->pristine);
    gw_memory_free(memory);
    memory = make(&populated);
    assert_non_null(gw_memory_map(memory, 0, 1));
    assert_false(gw_memory_region(memory, 0)->pristine);
    gw_memory_free(memory);
    memory = make(&(struct gw_memory_backing){.kind = GW_MEMORY_MEMFD});
    assert_false(gw_memory_region(memory, 0)->pristine);
    gw_memory_free(memory);
}

static void a_file_that_was_there_is_not_pristine(void **state)
{
    struct gw_memory_backing backing = {
        .kind = GW_MEMORY_FILE, .path = directory, .populate_threads = 1};
    struct gw_memory *memory = make(&backing);
    assert_false(gw_memory_region(memory, 0)->pristine);
    gw_memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memfd_keeps_the_rules),
        cmocka_unit_test(anonymous_memory_keeps_the_rules),
        cmocka_unit_test(file_keeps_the_rules),
        cmocka_unit_test(huge_pages_keep_the_rules),
        cmocka_unit_test(lack_of_huge_pages_is_told_with_the_remedy),
        cmocka_unit_test(file_belongs_to_one_machine),
        cmocka_unit_test(memory_is_populated_by_threads),
        cmocka_unit_test(ready_memory_becomes_a_region_of_its_size),
        cmocka_unit_test(memory_is_pristine_until_somebody_writes),
        cmocka_unit_test(a_file_that_was_there_is_not_pristine),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
