/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Written front to back with libfdt's sequential functions. Those return an error code each, and go
 * on failing once one has failed for want of space; so the helpers drop the codes and fdt_finish()
 * tells whether all went well.
 */
#include "board/device-tree.h"

#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "board/riscv-virt.h"
#include "cpu/riscv/cpu.h"
#include "device/plic.h"
#include "device/uart16550.h"

#define TREE_MAX_BYTES 65536
#define COMMAND_LINE_MAX 4096

/* Phandles. Each hart's interrupt controller has HART_INTC + its number. */
enum { PLIC_PHANDLE = 1, TEST_PHANDLE, HART_PHANDLE = 0x10, HART_INTC_PHANDLE = 0x20 };

static void cells(void *fdt, const char *name, const uint32_t *values, unsigned count)
{
    fdt32_t big[64];
    for (unsigned i = 0; i < count; i++)
        big[i] = cpu_to_fdt32(values[i]);
    fdt_property(fdt, name, big, (int)(count * sizeof big[0]));
}
#define CELLS(fdt, name, ...)                                                                      \
    cells(fdt, name, (const uint32_t[]){__VA_ARGS__},                                              \
          sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void strings(void *fdt, const char *name, const char *text, size_t bytes_without_last_nul)
{
    fdt_property(fdt, name, text, (int)bytes_without_last_nul + 1);
}
/* A list of strings, "a\0b". */
#define STRINGS(fdt, name, text) strings(fdt, name, text, sizeof(text) - 1)

static void reg(void *fdt, uint64_t base, uint64_t bytes)
{
    CELLS(fdt, "reg", (uint32_t)(base >> 32), (uint32_t)base, (uint32_t)(bytes >> 32),
          (uint32_t)bytes);
}

static void begin_at(void *fdt, const char *name, uint64_t base)
{
    char full[48];
    snprintf(full, sizeof full, "%s@%llx", name, (unsigned long long)base);
    fdt_begin_node(fdt, full);
}

static void begin_part(void *fdt, const char *name, unsigned part)
{
    const struct board_window *window = &riscv_virt_map[part];
    begin_at(fdt, name, window->base);
    reg(fdt, window->base, window->bytes);
    if (window->irq) {
        CELLS(fdt, "interrupt-parent", PLIC_PHANDLE);
        CELLS(fdt, "interrupts", window->irq);
    }
}

static void write_cpu(void *fdt, unsigned hart)
{
    begin_at(fdt, "cpu", hart);
    CELLS(fdt, "phandle", HART_PHANDLE + hart);
    fdt_property_string(fdt, "device_type", "cpu");
    CELLS(fdt, "reg", hart);
    fdt_property_string(fdt, "status", "okay");
    fdt_property_string(fdt, "compatible", "riscv");
    fdt_property_string(fdt, "riscv,isa", "rv64imafdc");
    fdt_property_string(fdt, "mmu-type", "riscv,sv48");
    fdt_begin_node(fdt, "interrupt-controller");
    CELLS(fdt, "#address-cells", 0);
    CELLS(fdt, "#interrupt-cells", 1);
    fdt_property(fdt, "interrupt-controller", NULL, 0);
    fdt_property_string(fdt, "compatible", "riscv,cpu-intc");
    CELLS(fdt, "phandle", HART_INTC_PHANDLE + hart);
    fdt_end_node(fdt);
    fdt_end_node(fdt);
}

static void write_cpus(void *fdt, unsigned cpus)
{
    fdt_begin_node(fdt, "cpus");
    CELLS(fdt, "#address-cells", 1);
    CELLS(fdt, "#size-cells", 0);
    CELLS(fdt, "timebase-frequency", RISCV_VIRT_TIMEBASE_HZ);
    for (unsigned hart = 0; hart < cpus; hart++)
        write_cpu(fdt, hart);
    fdt_begin_node(fdt, "cpu-map");
    fdt_begin_node(fdt, "cluster0");
    for (unsigned hart = 0; hart < cpus; hart++) {
        char name[16];
        snprintf(name, sizeof name, "core%u", hart);
        fdt_begin_node(fdt, name);
        CELLS(fdt, "cpu", HART_PHANDLE + hart);
        fdt_end_node(fdt);
    }
    fdt_end_node(fdt);
    fdt_end_node(fdt);
    fdt_end_node(fdt);
}

/* For each hart its interrupts `first` and `second`, as the CLINT's and PLIC's outputs reach it. */
static void interrupts_extended(void *fdt, unsigned cpus, unsigned first, unsigned second)
{
    uint32_t values[RISCV_VIRT_MAX_HARTS * 4];
    for (unsigned hart = 0; hart < cpus; hart++) {
        values[hart * 4] = values[hart * 4 + 2] = HART_INTC_PHANDLE + hart;
        values[hart * 4 + 1] = first;
        values[hart * 4 + 3] = second;
    }
    cells(fdt, "interrupts-extended", values, cpus * 4);
}

static void write_controllers(void *fdt, unsigned cpus)
{
    begin_part(fdt, "clint", PART_CLINT);
    STRINGS(fdt, "compatible", "sifive,clint0\0riscv,clint0");
    interrupts_extended(fdt, cpus, RV_IRQ_MSIP, RV_IRQ_MTIP);
    fdt_end_node(fdt);

    begin_part(fdt, "plic", PART_PLIC);
    CELLS(fdt, "phandle", PLIC_PHANDLE);
    STRINGS(fdt, "compatible", "sifive,plic-1.0.0\0riscv,plic0");
    CELLS(fdt, "riscv,ndev", PLIC_SOURCES - 1);
    interrupts_extended(fdt, cpus, RV_IRQ_MEIP, RV_IRQ_SEIP);
    fdt_property(fdt, "interrupt-controller", NULL, 0);
    CELLS(fdt, "#address-cells", 0);
    CELLS(fdt, "#interrupt-cells", 1);
    fdt_end_node(fdt);
}

static void write_soc(void *fdt, const struct device_tree_config *config)
{
    fdt_begin_node(fdt, "soc");
    CELLS(fdt, "#address-cells", 2);
    CELLS(fdt, "#size-cells", 2);
    fdt_property_string(fdt, "compatible", "simple-bus");
    fdt_property(fdt, "ranges", NULL, 0);
    write_controllers(fdt, config->cpus);

    begin_part(fdt, "serial", PART_UART);
    fdt_property_string(fdt, "compatible", "ns16550a");
    CELLS(fdt, "clock-frequency", UART_CLOCK_HZ);
    fdt_end_node(fdt);

    begin_part(fdt, "rtc", PART_RTC);
    fdt_property_string(fdt, "compatible", "google,goldfish-rtc");
    fdt_end_node(fdt);

    begin_part(fdt, "test", PART_TEST);
    CELLS(fdt, "phandle", TEST_PHANDLE);
    STRINGS(fdt, "compatible", "sifive,test1\0sifive,test0\0syscon");
    fdt_end_node(fdt);

    for (unsigned slot = 0; slot < RISCV_VIRT_SLOTS; slot++) {
        begin_part(fdt, "virtio_mmio", PART_VIRTIO + slot);
        fdt_property_string(fdt, "compatible", "virtio,mmio");
        fdt_end_node(fdt);
    }

    if (config->vmclock) {
        begin_part(fdt, "ptp", PART_VMCLOCK);
        fdt_property_string(fdt, "compatible", "amazon,vmclock");
        fdt_end_node(fdt);
    }
    fdt_end_node(fdt);
}

/* A store to the test device, as Linux's syscon-poweroff and syscon-reboot do it. */
static void write_syscon(void *fdt, const char *name, const char *compatible, uint32_t value)
{
    fdt_begin_node(fdt, name);
    fdt_property_string(fdt, "compatible", compatible);
    CELLS(fdt, "regmap", TEST_PHANDLE);
    CELLS(fdt, "offset", 0);
    CELLS(fdt, "value", value);
    fdt_end_node(fdt);
}

static void write_chosen(void *fdt, const struct device_tree_config *config)
{
    fdt_begin_node(fdt, "chosen");
    fdt_property_string(fdt, "bootargs", config->append ? config->append : "");
    fdt_property_string(fdt, "stdout-path", "/soc/serial@10000000");
    fdt_property(fdt, "rng-seed", config->seed, sizeof config->seed);
    if (config->initrd) {
        uint64_t end = config->initrd + config->initrd_bytes;
        fdt_property_u64(fdt, "linux,initrd-start", config->initrd);
        fdt_property_u64(fdt, "linux,initrd-end", end);
    }
    fdt_end_node(fdt);
}

static int write_tree(void *fdt, const struct device_tree_config *config)
{
    fdt_create(fdt, TREE_MAX_BYTES);
    fdt_finish_reservemap(fdt);
    fdt_begin_node(fdt, "");
    CELLS(fdt, "#address-cells", 2);
    CELLS(fdt, "#size-cells", 2);
    fdt_property_string(fdt, "compatible", "riscv-virtio");
    fdt_property_string(fdt, "model", "godwit," RISCV_VIRT_NAME);
    write_chosen(fdt, config);
    begin_at(fdt, "memory", RAM_BASE);
    fdt_property_string(fdt, "device_type", "memory");
    reg(fdt, RAM_BASE, config->memory_bytes);
    fdt_end_node(fdt);
    write_cpus(fdt, config->cpus);
    write_soc(fdt, config);
    write_syscon(fdt, "poweroff", "syscon-poweroff", 0x5555);
    write_syscon(fdt, "reboot", "syscon-reboot", 0x7777);
    fdt_end_node(fdt);
    return fdt_finish(fdt);
}

int device_tree_build(const struct device_tree_config *config, uint8_t **ret_tree,
                      uint64_t *ret_length, struct gw_error *error)
{
    if (config->append && strlen(config->append) >= COMMAND_LINE_MAX)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -E2BIG,
                            "the kernel command line is longer than %d characters",
                            COMMAND_LINE_MAX - 1);
    _cleanup_free_ uint8_t *fdt = calloc(1, TREE_MAX_BYTES);
    if (!fdt)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "out of memory for the device tree");
    int r = write_tree(fdt, config);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INTERNAL, -EINVAL,
                            "the device tree cannot be written: %s", fdt_strerror(r));
    *ret_length = fdt_totalsize(fdt);
    *ret_tree = TAKE_PTR(fdt);
    return 0;
}
