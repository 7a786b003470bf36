/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest finds in its memory when it begins. Below 1 MiB:
 *
 *     0x00500  GDT                         0x09000  page tables: 4 GiB, one to one, 2 MiB pages
 *     0x06000  hvm_start_info (PVH)        0x20000  command line
 *     0x07000  boot_params (64-bit entry)  0x9fc00  reserved, as firmware would
 *     0x08ff0  stack, downwards            0xe0000  ACPI tables
 *                                          0xffff0  what a jump to the reset vector finds
 *
 * The kernel lies where it wants to, the initrd at the end of the low RAM that the kernel can
 * reach.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/acpi.h"
#include "board/image-file.h"
#include "board/linux-boot.h"
#include "board/microvm.h"
#include "board/pvh-boot.h"

#define START_INFO_ADDRESS 0x6000
#define BOOT_PARAMS_ADDRESS 0x7000
#define COMMAND_LINE_ADDRESS 0x20000
#define COMMAND_LINE_MAX 65535
#define LOW_END UINT64_C(0x9fc00)
#define FIRMWARE_BASE UINT64_C(0xf0000) /* where a PC has its BIOS */
#define RESET_VECTOR UINT64_C(0xffff0)
#define HIGH_BEGIN UINT64_C(0x100000)
#define E820_RAM 1
#define E820_RESERVED 2
#define E820_ACPI 3
#define MAP_MAX 7

struct placing {
    const struct board_config *config;
    struct boot_images images;
    struct pvh_range map[MAP_MAX];
    unsigned ranges;
    uint32_t command_line_max;
};

static int refuse_memory(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                        "out of memory for the machine's images");
}

static void add_range(struct placing *placing, uint64_t base, uint64_t end, uint32_t type)
{
    placing->map[placing->ranges++] = (struct pvh_range){base, end - base, type};
}

static void make_map(struct placing *placing)
{
    uint64_t bytes = placing->config->memory_bytes;
    uint64_t low = bytes < MICROVM_LOW_RAM_END ? bytes : MICROVM_LOW_RAM_END;
    add_range(placing, 0, LOW_END, E820_RAM);
    add_range(placing, LOW_END, 0xa0000, E820_RESERVED);
    add_range(placing, ACPI_TABLES_BASE, FIRMWARE_BASE, E820_ACPI);
    add_range(placing, FIRMWARE_BASE, HIGH_BEGIN, E820_RESERVED);
    add_range(placing, HIGH_BEGIN, low, E820_RAM);
    if (placing->config->vmclock)
        add_range(placing, MICROVM_VMCLOCK_BASE, MICROVM_VMCLOCK_BASE + VMCLOCK_BYTES,
                  E820_RESERVED);
    if (bytes > low)
        add_range(placing, MICROVM_HIGH_RAM_BASE, MICROVM_HIGH_RAM_BASE + bytes - low, E820_RAM);
}

/* A copy of `bytes` as a segment. */
static int add_copy(struct placing *placing, uint64_t guest, const void *bytes, size_t length,
                    struct gw_error *error)
{
    uint8_t *copy = malloc(length);
    if (!copy)
        return refuse_memory(error);
    memcpy(copy, bytes, length);
    boot_images_add(&placing->images, guest, copy, length);
    return 0;
}

static int place_initrd(struct placing *placing, uint64_t end, struct gw_error *error)
{
    _cleanup_(image_fini) struct image image = {0};
    struct boot_images *images = &placing->images;
    if (!placing->config->initrd)
        return 0;
    int r = image_read("initrd", placing->config->initrd, &image, error);
    if (r < 0)
        return r;
    images->top = end < images->top ? end : images->top;
    images->initrd = boot_images_take_top(images, image.length);
    if (!images->initrd)
        return boot_images_refuse_size(placing->config, "initrd", placing->config->initrd, error);
    images->initrd_bytes = image.length;
    boot_images_add(images, images->initrd, TAKE_PTR(image.bytes), image.length);
    return 0;
}

static int place_command_line(struct placing *placing, struct gw_error *error)
{
    const char *text = placing->config->append ? placing->config->append : "";
    size_t most =
        placing->command_line_max < COMMAND_LINE_MAX ? placing->command_line_max : COMMAND_LINE_MAX;
    if (strlen(text) > most)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -E2BIG,
                            "the kernel's command line has %zu characters; this kernel takes %zu",
                            strlen(text), most);
    return add_copy(placing, COMMAND_LINE_ADDRESS, text, strlen(text) + 1, error);
}

/* The slots that have a device: disks follow the first device, networks are at the end. */
static unsigned used_slots(const struct board_config *config)
{
    unsigned front = (1u << (config->disk_count + 1)) - 1;
    unsigned back = (1u << config->net_count) - 1;
    return front << MICROVM_RNG_SLOT | back << (MICROVM_SLOTS - config->net_count);
}

static int place_acpi(struct placing *placing, struct gw_error *error)
{
    struct acpi_config config = {
        .cpus = placing->config->cpus,
        .slots = used_slots(placing->config),
        .vmclock = placing->config->vmclock,
    };
    size_t length;
    uint8_t *tables = acpi_tables(&config, &length);
    if (!tables)
        return refuse_memory(error);
    boot_images_add(&placing->images, ACPI_TABLES_BASE, tables, length);
    return 0;
}

/*
 * Kernels that take a machine without ACPI's fixed hardware for one with EFI reboot by going back
 * to real mode and jumping to F000:FFF0 when EFI does not answer. There is no firmware to start
 * over, so a triple fault tells the machine to: an empty interrupt table, and an interrupt.
 */
static int place_reset_vector(struct placing *placing, struct gw_error *error)
{
    static const uint8_t code[16] = {
        0x2e, 0x0f, 0x01, 0x1e, 0xf8, 0xff, /* lidt cs:[0xfff8], all zero */
        0xcc,                               /* int3 */
        0xf4,                               /* hlt */
    };
    return add_copy(placing, RESET_VECTOR, code, sizeof code, error);
}

/* ---- 64-bit entry ---- */

/* One PML4 entry, four page directories of 2 MiB pages. */
static int place_page_tables(struct placing *placing, struct gw_error *error)
{
    enum { TABLES = 6, PRESENT_WRITABLE = 3, LARGE = 0x80 };
    uint8_t *tables = calloc(TABLES, GW_PAGE_BYTES);
    if (!tables)
        return refuse_memory(error);
    uint64_t base = MICROVM_PAGE_TABLES;
    put_le64(tables, (base + GW_PAGE_BYTES) | PRESENT_WRITABLE);
    for (uint64_t i = 0; i < 4; i++)
        put_le64(tables + GW_PAGE_BYTES + i * 8,
                 (base + (2 + i) * GW_PAGE_BYTES) | PRESENT_WRITABLE);
    for (uint64_t i = 0; i < 4 * 512; i++)
        put_le64(tables + 2 * GW_PAGE_BYTES + i * 8, i << 21 | PRESENT_WRITABLE | LARGE);
    boot_images_add(&placing->images, base, tables, TABLES * GW_PAGE_BYTES);
    return 0;
}

/* Selectors 0x10 (code) and 0x18 (data), as the boot protocol names them. */
static int place_gdt(struct placing *placing, struct gw_error *error)
{
    static const uint64_t descriptors[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    uint8_t gdt[sizeof descriptors];
    for (size_t i = 0; i < ARRAY_COUNT(descriptors); i++)
        put_le64(gdt + i * 8, descriptors[i]);
    return add_copy(placing, MICROVM_GDT, gdt, sizeof gdt, error);
}

static int place_linux(struct placing *placing, const struct image *image, struct gw_error *error)
{
    struct linux_kernel kernel;
    uint8_t params[LINUX_BOOT_PARAMS_BYTES];
    int r = linux_place_kernel(placing->config, image, &placing->images, &kernel, error);
    if (r == 0)
        r = place_initrd(placing, kernel.initrd_end, error);
    if (r == 0)
        r = place_page_tables(placing, error);
    if (r == 0)
        r = place_gdt(placing, error);
    if (r < 0)
        return r;
    placing->command_line_max = kernel.command_line_max;
    placing->images.is_linux = true;
    placing->images.entry = (struct boot_entry){
        .pc = kernel.entry, .argument = {BOOT_PARAMS_ADDRESS, MICROVM_ENTRY_LONG}};
    linux_boot_params(&placing->images, &kernel, COMMAND_LINE_ADDRESS, ACPI_TABLES_BASE,
                      placing->map, placing->ranges, params);
    return add_copy(placing, BOOT_PARAMS_ADDRESS, params, sizeof params, error);
}

/* ---- PVH entry ---- */

static int place_pvh(struct placing *placing, const struct image *image, struct gw_error *error)
{
    struct pvh_kernel kernel;
    uint8_t info[PVH_START_INFO_MAX_BYTES];
    int r = pvh_place_kernel(placing->config, image, &placing->images, &kernel, error);
    if (r == 0)
        r = place_initrd(placing, placing->images.top, error);
    if (r < 0)
        return r;
    placing->command_line_max = COMMAND_LINE_MAX;
    placing->images.is_linux = kernel.is_linux;
    placing->images.entry = (struct boot_entry){
        .pc = kernel.entry, .argument = {START_INFO_ADDRESS, MICROVM_ENTRY_PVH}};
    size_t length = pvh_start_info(&placing->images, START_INFO_ADDRESS, COMMAND_LINE_ADDRESS,
                                   ACPI_TABLES_BASE, placing->map, placing->ranges, info);
    return add_copy(placing, START_INFO_ADDRESS, info, length, error);
}

/* ---- All ---- */

static int place_all(struct placing *placing, struct gw_error *error)
{
    _cleanup_(image_fini) struct image image = {0};
    const char *path = placing->config->kernel;
    int r = image_read("kernel", path, &image, error);
    if (r < 0)
        return r;
    if (linux_is_bzimage(&image))
        r = place_linux(placing, &image, error);
    else if (image.length >= 4 && memcmp(image.bytes,
                                         "\x7f"
                                         "ELF",
                                         4) == 0)
        r = place_pvh(placing, &image, error);
    else
        r = gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                         "kernel '%s' is %s; microvm-1 needs an x86-64 bzImage, or an ELF file "
                         "with a PVH entry",
                         path, image_describe(&image));
    if (r == 0)
        r = place_command_line(placing, error);
    if (r == 0)
        r = place_reset_vector(placing, error);
    return r < 0 ? r : place_acpi(placing, error);
}

int microvm_images_read(const struct board_config *config, struct boot_images *ret_images,
                        struct gw_error *error)
{
    uint64_t low =
        config->memory_bytes < MICROVM_LOW_RAM_END ? config->memory_bytes : MICROVM_LOW_RAM_END;
    struct placing placing = {.config = config, .images = {.floor = HIGH_BEGIN, .top = low}};
    if (!config->kernel || config->firmware)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "microvm-1 starts a kernel, no firmware: give --kernel alone");
    make_map(&placing);
    int r = place_all(&placing, error);
    if (r < 0) {
        boot_images_fini(&placing.images);
        return r;
    }
    *ret_images = placing.images;
    return 0;
}
