/* SPDX-License-Identifier: Apache-2.0 */
/* The device tree: dtc has nothing to say against it, and it says what the machine is. */
#include "board-test.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "board/boot-images.h"
#include "board/device-tree.h"
#include "board/riscv-virt.h"
#include "cpu/riscv/cpu.h"

#include "../shell-word.h"

static uint8_t *build_tree(const struct device_tree_config *config, uint64_t *ret_length)
{
    uint8_t *tree;
    struct gw_error error = {0};
    if (device_tree_build(config, &tree, ret_length, &error) < 0)
        fail_msg("%s", error.message);
    assert_int_equal(fdt_check_header(tree), 0);
    assert_int_equal(fdt_totalsize(tree), *ret_length);
    return tree;
}

static struct device_tree_config full_config(void)
{
    return (struct device_tree_config){
        .memory_bytes = 3ull << 30,
        .cpus = RISCV_VIRT_MAX_HARTS,
        .append = "console=ttyS0 quiet",
        .initrd = 0x90000000,
        .initrd_bytes = 12345,
        .seed = {1, 2, 3},
    };
}

/* dtc's exit status is 0 with warnings too, so its standard error must be empty. */
static void dtc_accepts_it_without_a_word(void **state)
{
    struct device_tree_config config = full_config();
    for (config.cpus = 1; config.cpus <= RISCV_VIRT_MAX_HARTS; config.cpus += 7) {
        config.vmclock = config.cpus > 1;
        uint64_t length;
        _cleanup_free_ uint8_t *tree = build_tree(&config, &length);
        char path[] = "/tmp/godwit-tree-XXXXXX", command[4096], word[2048], said[4096];
        const char *program = getenv("GODWIT_TEST_DTC");
        _cleanup_close_ int fd = mkstemp(path);
        assert_int_equal(write(fd, tree, length), (ssize_t)length);
        snprintf(command, sizeof command, "%s -I dtb -O dtb -o /dev/null %s 2>&1",
                 shell_word(word, sizeof word, program ? program : "dtc"), path);
        FILE *dtc = popen(command, "r");
        size_t n = fread(said, 1, sizeof said - 1, dtc);
        said[n] = 0;
        int status = pclose(dtc);
        unlink(path);
        assert_string_equal(said, "");
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static uint32_t cell(const void *tree, const char *path, const char *name, unsigned index)
{
    int node = fdt_path_offset(tree, path), length;
    const fdt32_t *cells = fdt_getprop(tree, node, name, &length);
    assert_non_null(cells);
    assert_true((unsigned)length >= 4 * (index + 1));
    return fdt32_to_cpu(cells[index]);
}

static void devices_stand_where_the_map_says(void **state)
{
    static const struct {
        const char *path;
        uint32_t base, irq;
    } devices[] = {
        {"/soc/clint@2000000", 0x2000000, 0},
        {"/soc/plic@c000000", 0xc000000, 0},
        {"/soc/serial@10000000", 0x10000000, 10},
        {"/soc/rtc@101000", 0x101000, 11},
        {"/soc/test@100000", 0x100000, 0},
        {"/soc/virtio_mmio@10001000", 0x10001000, 1},
        {"/soc/virtio_mmio@10008000", 0x10008000, 8},
    };
    struct device_tree_config config = full_config();
    uint64_t length;
    _cleanup_free_ uint8_t *tree = build_tree(&config, &length);
    for (size_t i = 0; i < ARRAY_COUNT(devices); i++) {
        assert_int_equal(cell(tree, devices[i].path, "reg", 1), devices[i].base);
        if (devices[i].irq)
            assert_int_equal(cell(tree, devices[i].path, "interrupts", 0), devices[i].irq);
    }
}

static void vmclock_is_told_only_where_there_is_one(void **state)
{
    struct device_tree_config config = full_config();
    uint64_t length;
    _cleanup_free_ uint8_t *without = build_tree(&config, &length);
    assert_true(fdt_path_offset(without, "/soc/ptp@102000") < 0);
    config.vmclock = true;
    _cleanup_free_ uint8_t *with = build_tree(&config, &length);
    assert_int_equal(cell(with, "/soc/ptp@102000", "reg", 1), 0x102000);
    assert_int_equal(cell(with, "/soc/ptp@102000", "reg", 3), 0x1000);
    assert_int_equal(cell(with, "/soc/ptp@102000", "interrupts", 0), 12);
    int node = fdt_path_offset(with, "/soc/ptp@102000");
    assert_string_equal(fdt_getprop(with, node, "compatible", NULL), "amazon,vmclock");
}

static void memory_and_initrd_are_told(void **state)
{
    struct device_tree_config config = full_config();
    uint64_t length;
    _cleanup_free_ uint8_t *tree = build_tree(&config, &length);
    assert_int_equal(cell(tree, "/memory@80000000", "reg", 1), 0x80000000u);
    assert_int_equal(cell(tree, "/memory@80000000", "reg", 3), 3u << 30);
    assert_int_equal(cell(tree, "/chosen", "linux,initrd-start", 1), 0x90000000u);
    assert_int_equal(cell(tree, "/chosen", "linux,initrd-end", 1), 0x90000000u + 12345);
    assert_string_equal(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "bootargs", NULL),
                        "console=ttyS0 quiet");
}

static void harts_are_listed_with_their_interrupts(void **state)
{
    struct device_tree_config config = full_config();
    uint64_t length;
    config.cpus = 3;
    _cleanup_free_ uint8_t *tree = build_tree(&config, &length);
    assert_true(fdt_path_offset(tree, "/cpus/cpu@2") >= 0);
    assert_true(fdt_path_offset(tree, "/cpus/cpu@3") < 0);
    uint32_t intc = cell(tree, "/cpus/cpu@2/interrupt-controller", "phandle", 0);
    assert_int_equal(cell(tree, "/soc/plic@c000000", "interrupts-extended", 8), intc);
    assert_int_equal(cell(tree, "/soc/plic@c000000", "interrupts-extended", 9), RV_IRQ_MEIP);
    assert_int_equal(cell(tree, "/soc/plic@c000000", "interrupts-extended", 11), RV_IRQ_SEIP);
    assert_int_equal(cell(tree, "/soc/clint@2000000", "interrupts-extended", 11), RV_IRQ_MTIP);
}

static void without_initrd_none_is_told(void **state)
{
    struct device_tree_config config = {.memory_bytes = MIB, .cpus = 1};
    uint64_t length;
    _cleanup_free_ uint8_t *tree = build_tree(&config, &length);
    assert_null(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "linux,initrd-start", NULL));
}

static void too_long_a_command_line_is_refused(void **state)
{
    static char append[5000];
    memset(append, 'x', sizeof append - 1);
    struct device_tree_config config = {.memory_bytes = MIB, .cpus = 1, .append = append};
    struct gw_error error = {0};
    uint8_t *tree;
    uint64_t length;
    assert_int_equal(device_tree_build(&config, &tree, &length, &error), -E2BIG);
    assert_int_equal(error.code, GW_CODE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtc_accepts_it_without_a_word),
        cmocka_unit_test(devices_stand_where_the_map_says),
        cmocka_unit_test(vmclock_is_told_only_where_there_is_one),
        cmocka_unit_test(memory_and_initrd_are_told),
        cmocka_unit_test(harts_are_listed_with_their_interrupts),
        cmocka_unit_test(without_initrd_none_is_told),
        cmocka_unit_test(too_long_a_command_line_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
