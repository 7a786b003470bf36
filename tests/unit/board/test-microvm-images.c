/* SPDX-License-Identifier: Apache-2.0 */
/* What microvm-1 puts into its memory for a bzImage and for a PVH ELF file, and that every file
 * that it cannot start gets a sentence. */
#include "images-test.h"

#include <elf.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/acpi.h"
#include "board/microvm.h"

#define GIB ((uint64_t)1 << 30)
#define PREFERRED UINT64_C(0x1000000)
#define SETUP_BYTES ((4 + 1) * 512)
#define SYSTEM_BYTES 8192
#define BZIMAGE_BYTES (SETUP_BYTES + SYSTEM_BYTES)
#define ENTRY 0x1000100u

static struct board_config base_config(void)
{
    return (struct board_config){.memory_bytes = 128 * MIB, .cpus = 2};
}

/* A bzImage of protocol 2.15 whose protected-mode part is 0x5a. */
static uint8_t *make_bzimage(void)
{
    static uint8_t bytes[BZIMAGE_BYTES];
    memset(bytes, 0x11, 0x1f1); /* what does not belong into boot_params */
    memset(bytes + 0x1f1, 0, SETUP_BYTES - 0x1f1);
    memset(bytes + SETUP_BYTES, 0x5a, SYSTEM_BYTES);
    bytes[0x1f1] = 4;
    put_le32(bytes + 0x1f4, SYSTEM_BYTES / 16);
    put_le16(bytes + 0x1fe, 0xaa55);
    bytes[0x201] = 0x6a; /* the header ends at 0x26c */
    memcpy(bytes + 0x202, "HdrS", 4);
    put_le16(bytes + 0x206, 0x020f);
    bytes[0x211] = 1;
    put_le32(bytes + 0x22c, 0x7fffffff);
    put_le32(bytes + 0x230, 0x200000);
    bytes[0x234] = 1;
    put_le16(bytes + 0x236, 0x7f);
    put_le32(bytes + 0x238, 2047);
    put_le64(bytes + 0x258, PREFERRED);
    put_le32(bytes + 0x260, 0x100000);
    bytes[0x270] = 0x22; /* code behind the header */
    return bytes;
}

/* An ELF file with a note and one segment at ENTRY's page. */
#define ELF_BYTES 768
static uint8_t *make_elf(void)
{
    static uint8_t bytes[ELF_BYTES];
    Elf64_Ehdr elf = {.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_phoff = sizeof elf};
    Elf64_Phdr header[2] = {
        {.p_type = PT_LOAD,
         .p_offset = 512,
         .p_paddr = 0x1000000,
         .p_filesz = 256,
         .p_memsz = 9000},
        {.p_type = PT_NOTE, .p_offset = 256, .p_filesz = 20 + 24},
    };
    memset(bytes, 0, sizeof bytes);
    memcpy(elf.e_ident, ELFMAG "\x02\x01\x01", 7);
    elf.e_phnum = 2;
    elf.e_phentsize = sizeof header[0];
    memcpy(bytes, &elf, sizeof elf);
    memcpy(bytes + sizeof elf, header, sizeof header);
    memcpy(bytes + 256, "\4\0\0\0\4\0\0\0\x12\0\0\0Xen", 16);
    put_le32(bytes + 256 + 16, ENTRY);
    memcpy(bytes + 256 + 20, "\4\0\0\0\6\0\0\0\6\0\0\0Xen\0linux\0", 22);
    memset(bytes + 512, 0x5a, 256);
    return bytes;
}

/* The same with the headers of a 32-bit file. */
static uint8_t *make_elf32(void)
{
    uint8_t *bytes = make_elf();
    Elf32_Ehdr elf = {.e_type = ET_EXEC, .e_machine = EM_386, .e_phoff = sizeof elf};
    Elf32_Phdr header[2] = {
        {.p_type = PT_LOAD,
         .p_offset = 512,
         .p_paddr = 0x1000000,
         .p_filesz = 256,
         .p_memsz = 9000},
        {.p_type = PT_NOTE, .p_offset = 256, .p_filesz = 20},
    };
    memset(bytes, 0, 256);
    memcpy(elf.e_ident, ELFMAG "\x01\x01\x01", 7);
    elf.e_phnum = 2;
    elf.e_phentsize = sizeof header[0];
    memcpy(bytes, &elf, sizeof elf);
    memcpy(bytes + sizeof elf, header, sizeof header);
    return bytes;
}

static struct boot_images read_images(const struct board_config *config)
{
    struct boot_images images;
    struct gw_error error = {0};
    if (microvm_images_read(config, &images, &error) < 0)
        fail_msg("%s", error.message);
    return images;
}

static struct boot_images read_bzimage(struct board_config *config)
{
    config->kernel = make_file("vmlinuz", make_bzimage(), BZIMAGE_BYTES);
    return read_images(config);
}

static struct boot_images read_elf(struct board_config *config)
{
    config->kernel = make_file("elf", make_elf(), ELF_BYTES);
    return read_images(config);
}

static const char *text_at(const struct boot_images *images, uint64_t guest)
{
    return (const char *)segment_at(images, guest)->bytes;
}

/* ---- bzImage ---- */

static void bzimage_begins_at_its_64_bit_entry(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_bzimage(&config);
    const struct boot_segment *kernel = segment_at(&images, PREFERRED);
    assert_int_equal(kernel->length, SYSTEM_BYTES);
    assert_int_equal(kernel->bytes[0], 0x5a);
    assert_int_equal(images.entry.pc, PREFERRED + 0x200);
    assert_int_equal(images.entry.argument[1], MICROVM_ENTRY_LONG);
    assert_true(images.is_linux);
    boot_images_fini(&images);
}

static void boot_params_hold_the_setup_header_and_nothing_else_of_the_file(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_bzimage(&config);
    const struct boot_segment *params = segment_at(&images, images.entry.argument[0]);
    assert_int_equal(params->length, 4096);
    assert_int_equal(params->bytes[0x1f1], 4);
    assert_int_equal(get_le16(params->bytes + 0x206), 0x020f);
    assert_int_equal(get_le64(params->bytes + 0x258), PREFERRED);
    assert_int_equal(params->bytes[0], 0);
    assert_int_equal(params->bytes[0x1ef], 0); /* the sentinel */
    assert_int_equal(params->bytes[0x270], 0);
    boot_images_fini(&images);
}

static void boot_params_tell_what_the_loader_did(void **state)
{
    static uint8_t initrd[5000];
    struct board_config config = base_config();
    config.append = "console=ttyS0";
    config.initrd = make_file("initrd", initrd, sizeof initrd);
    struct boot_images images = read_bzimage(&config);
    const uint8_t *params = segment_at(&images, images.entry.argument[0])->bytes;
    assert_int_equal(params[0x210], 0xff);
    assert_int_equal(params[0x211] & 1, 1);
    assert_int_equal(get_le64(params + 0x70), ACPI_TABLES_BASE);
    assert_int_equal(get_le32(params + 0x218), 128 * MIB - 8192);
    assert_int_equal(get_le32(params + 0x21c), sizeof initrd);
    assert_string_equal(text_at(&images, get_le32(params + 0x228)), "console=ttyS0");
    assert_memory_equal(segment_at(&images, 128 * MIB - 8192)->bytes, initrd, sizeof initrd);
    boot_images_fini(&images);
}

static void initrd_stays_below_what_the_kernel_can_reach(void **state)
{
    static uint8_t initrd[5000];
    struct board_config config = base_config();
    config.memory_bytes = 3 * GIB;
    config.initrd = make_file("initrd", initrd, sizeof initrd);
    struct boot_images images = read_bzimage(&config);
    assert_int_equal(images.initrd, 2 * GIB - 8192);
    boot_images_fini(&images);
    uint8_t *bytes = make_bzimage();
    struct gw_error error = {0};
    put_le32(bytes + 0x22c, 0); /* nowhere */
    config.kernel = make_file("k", bytes, BZIMAGE_BYTES);
    assert_int_equal(microvm_images_read(&config, &images, &error), -EFBIG);
    assert_non_null(strstr(error.message, "initrd '"));
}

static void page_tables_map_4_gib_one_to_one(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_bzimage(&config);
    const struct boot_segment *tables = segment_at(&images, MICROVM_PAGE_TABLES);
    for (uint64_t address = 0; address < 4 * GIB; address += 97 * MIB) {
        uint64_t table = MICROVM_PAGE_TABLES;
        const unsigned shifts[] = {39, 30, 21};
        uint64_t entry = 0;
        for (unsigned level = 0; level < 3; level++) {
            uint64_t at = table - MICROVM_PAGE_TABLES + (address >> shifts[level] & 511) * 8;
            assert_true(at + 8 <= tables->length);
            entry = get_le64(tables->bytes + at);
            assert_int_equal(entry & 3, 3);
            table = entry & ~UINT64_C(0xfff);
        }
        assert_int_equal(entry & 0x80, 0x80);
        assert_int_equal(table, address & ~(2 * MIB - 1));
    }
    boot_images_fini(&images);
}

static void gdt_has_the_selectors_of_the_protocol(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_bzimage(&config);
    const uint8_t *gdt = segment_at(&images, MICROVM_GDT)->bytes;
    assert_int_equal(get_le64(gdt), 0);
    assert_int_equal(gdt[0x10 + 5] & 0x98, 0x98); /* present, code */
    assert_int_equal(gdt[0x10 + 6] & 0x60, 0x20); /* 64-bit */
    assert_int_equal(gdt[0x18 + 5] & 0x9a, 0x92); /* present, data, writable */
    boot_images_fini(&images);
}

static void nothing_that_was_placed_overlaps(void **state)
{
    static uint8_t initrd[5000];
    struct board_config config = base_config();
    config.append = "x";
    config.initrd = make_file("initrd", initrd, sizeof initrd);
    for (unsigned round = 0; round < 2; round++) {
        struct boot_images images = round ? read_elf(&config) : read_bzimage(&config);
        for (unsigned i = 0; i < images.count; i++)
            for (unsigned k = 0; k < i; k++) {
                const struct boot_segment *a = &images.segment[i], *b = &images.segment[k];
                assert_true(a->guest + a->length <= b->guest || b->guest + b->length <= a->guest);
            }
        boot_images_fini(&images);
    }
}

/* ---- Memory maps ---- */

struct range {
    uint64_t base, end;
    uint32_t type;
};

static void check_map_of(struct board_config config, const struct range *wanted, unsigned count)
{
    struct boot_images images = read_bzimage(&config);
    const uint8_t *params = segment_at(&images, images.entry.argument[0])->bytes;
    assert_int_equal(params[0x1e8], count);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *entry = params + 0x2d0 + i * 20;
        assert_int_equal(get_le64(entry), wanted[i].base);
        assert_int_equal(get_le64(entry) + get_le64(entry + 8), wanted[i].end);
        assert_int_equal(get_le32(entry + 16), wanted[i].type);
    }
    boot_images_fini(&images);
    images = read_elf(&config);
    const uint8_t *info = segment_at(&images, images.entry.argument[0])->bytes;
    assert_int_equal(get_le32(info + 48), count);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *entry = info + (get_le64(info + 40) - images.entry.argument[0]) + i * 24;
        assert_int_equal(get_le64(entry), wanted[i].base);
        assert_int_equal(get_le64(entry) + get_le64(entry + 8), wanted[i].end);
        assert_int_equal(get_le32(entry + 16), wanted[i].type);
    }
    boot_images_fini(&images);
}

static void check_map(uint64_t memory_bytes, const struct range *wanted, unsigned count)
{
    struct board_config config = base_config();
    config.memory_bytes = memory_bytes;
    check_map_of(config, wanted, count);
}

static void memory_map_leaves_out_the_hole_for_devices(void **state)
{
    struct range map[] = {
        {0, 0x9fc00, 1},        {0x9fc00, 0xa0000, 2}, {0xe0000, 0xf0000, 3},
        {0xf0000, 0x100000, 2}, {0x100000, 0, 1},      {4 * GIB, 0, 1},
    };
    map[4].end = 128 * MIB;
    check_map(128 * MIB, map, 5);
    map[4].end = 3 * GIB;
    check_map(3 * GIB, map, 5);
    map[5].end = 6 * GIB;
    check_map(5 * GIB, map, 6);
}

static void page_of_the_vmclock_is_reserved(void **state)
{
    static const struct range map[] = {
        {0, 0x9fc00, 1},        {0x9fc00, 0xa0000, 2},  {0xe0000, 0xf0000, 3},
        {0xf0000, 0x100000, 2}, {0x100000, 3 * GIB, 1}, {0xfeffb000, 0xfeffc000, 2},
        {4 * GIB, 6 * GIB, 1},
    };
    struct board_config config = base_config();
    config.memory_bytes = 5 * GIB;
    config.vmclock = true;
    check_map_of(config, map, 7);
}

static void the_reset_vector_is_in_reserved_memory(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_elf(&config);
    const struct boot_segment *segment = segment_at(&images, 0xffff0);
    assert_int_equal(segment->length, 16);
    assert_int_equal(segment->bytes[6], 0xcc);
    boot_images_fini(&images);
}

/* ---- PVH ---- */

static void elf_begins_at_its_pvh_entry(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_elf(&config);
    const struct boot_segment *segment = segment_at(&images, 0x1000000);
    assert_int_equal(segment->length, 9000);
    assert_int_equal(segment->bytes[255], 0x5a);
    assert_int_equal(segment->bytes[256], 0);
    assert_int_equal(images.entry.pc, ENTRY);
    assert_int_equal(images.entry.argument[1], MICROVM_ENTRY_PVH);
    assert_true(images.is_linux);
    boot_images_fini(&images);
}

static void elf_of_32_bits_works_too(void **state)
{
    struct board_config config = base_config();
    config.kernel = make_file("elf32", make_elf32(), ELF_BYTES);
    struct boot_images images = read_images(&config);
    assert_int_equal(segment_at(&images, 0x1000000)->length, 9000);
    assert_int_equal(images.entry.pc, ENTRY);
    assert_false(images.is_linux); /* it has no such note */
    boot_images_fini(&images);
}

static void start_info_tells_initrd_command_line_and_tables(void **state)
{
    struct board_config config = base_config();
    config.append = "rate=100";
    config.initrd = make_file("initrd", "module", 6);
    struct boot_images images = read_elf(&config);
    uint64_t address = images.entry.argument[0];
    const uint8_t *info = segment_at(&images, address)->bytes;
    assert_int_equal(get_le32(info), 0x336ec578);
    assert_int_equal(get_le32(info + 4), 1);
    assert_int_equal(get_le32(info + 12), 1);
    const uint8_t *module = info + (get_le64(info + 16) - address);
    assert_memory_equal(segment_at(&images, get_le64(module))->bytes, "module", 6);
    assert_int_equal(get_le64(module + 8), 6);
    assert_string_equal(text_at(&images, get_le64(info + 24)), "rate=100");
    assert_memory_equal(segment_at(&images, get_le64(info + 32))->bytes, "RSD PTR ", 8);
    boot_images_fini(&images);
}

static void start_info_without_an_initrd_has_no_module(void **state)
{
    struct board_config config = base_config();
    struct boot_images images = read_elf(&config);
    const uint8_t *info = segment_at(&images, images.entry.argument[0])->bytes;
    assert_int_equal(get_le32(info + 12), 0);
    boot_images_fini(&images);
}

/* ---- Refusals ---- */

static void refused(const struct board_config *config, const char *sentence)
{
    check_refused(microvm_images_read, config, sentence);
}

static void refused_kernel(const void *bytes, size_t length, const char *sentence)
{
    struct board_config config = base_config();
    config.kernel = make_file("kernel", bytes, length);
    refused(&config, sentence);
    refused(&config, config.kernel);
}

static void firmware_is_refused(void **state)
{
    struct board_config config = base_config();
    refused(&config, "give --kernel");
    config.kernel = make_file("k", make_bzimage(), BZIMAGE_BYTES);
    config.firmware = "bios";
    refused(&config, "no firmware");
}

static void every_truncation_is_told(void **state)
{
    for (size_t length = 0x206; length < BZIMAGE_BYTES - 15; length += 13)
        refused_kernel(make_bzimage(), length, "is truncated: it has ");
    for (size_t length = 4; length < ELF_BYTES; length += 3)
        refused_kernel(make_elf(), length, "is truncated: it has ");
    for (size_t length = 64; length < ELF_BYTES; length += 3)
        refused_kernel(make_elf32(), length, "is truncated: it has ");
}

static void foreign_kernels_are_called_by_name(void **state)
{
    static uint8_t bytes[4096];
    memcpy(bytes + 0x38, "ARM\x64", 4);
    refused_kernel(bytes, sizeof bytes, "is an arm64 kernel; microvm-1 needs an x86-64 bzImage");
    memcpy(bytes + 0x38, "RSC\x05", 4);
    refused_kernel(bytes, sizeof bytes, "is a riscv64 kernel");
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, ELFMAG "\x02\x01\x01", 7);
    put_le16(bytes + 18, EM_AARCH64);
    refused_kernel(bytes, sizeof bytes, "is an arm64 ELF file");
    refused_kernel("MZ", 2, "is an EFI program");
}

static void kernels_that_do_not_know_the_64_bit_entry_are_refused(void **state)
{
    uint8_t *bytes = make_bzimage();
    put_le16(bytes + 0x206, 0x020a);
    refused_kernel(bytes, BZIMAGE_BYTES, "has boot protocol 2.10; microvm-1 needs 2.12");
    bytes = make_bzimage();
    put_le16(bytes + 0x236, 0);
    refused_kernel(bytes, BZIMAGE_BYTES, "is a 32-bit x86 kernel");
}

static void hostile_bzimages_are_refused(void **state)
{
    uint8_t *bytes = make_bzimage();
    put_le64(bytes + 0x258, UINT64_MAX - 4096);
    refused_kernel(bytes, BZIMAGE_BYTES, "is damaged");
    put_le64(bytes + 0x258, 0x1000);
    refused_kernel(bytes, BZIMAGE_BYTES, "is damaged");
    bytes = make_bzimage();
    put_le32(bytes + 0x260, 120 * MIB);
    refused_kernel(bytes, BZIMAGE_BYTES, "does not fit into 128 MiB of memory; give the machine");
    bytes = make_bzimage();
    put_le32(bytes + 0x1f4, UINT32_MAX);
    refused_kernel(bytes, BZIMAGE_BYTES, "is truncated");
}

static void hostile_elf_files_are_refused(void **state)
{
    static const struct {
        uint64_t address, offset, file_bytes, memory_bytes;
        const char *sentence;
    } cases[] = {
        {0x1000000, UINT64_MAX, 16, 16, "damaged"},
        {0x1000000, 512, UINT64_MAX, UINT64_MAX, "damaged"},
        {0x1000080, 512, 200, 150, "damaged"},
        {0x1000000, 512, 16, 128 * MIB, "does not fit into 128 MiB"},
        {0x1000000, 512, 16, UINT64_MAX - 16, "no room for it"},
        {0xff000, 512, 16, 16, "wants to be at 0xff000"},
        {3 * GIB, 512, 16, 16, "does not fit"},
        {UINT64_MAX - 7, 512, 16, 16, "no room for it"},
        {0x1000000, 512, 16, 16, "damaged"}, /* the entry is not in it */
        {0x1000000, 512, 0, 0, "damaged"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t *bytes = make_elf();
        Elf64_Phdr header = {.p_type = PT_LOAD};
        header.p_paddr = cases[i].address;
        header.p_offset = cases[i].offset;
        header.p_filesz = cases[i].file_bytes;
        header.p_memsz = cases[i].memory_bytes;
        memcpy(bytes + sizeof(Elf64_Ehdr), &header, sizeof header);
        refused_kernel(bytes, ELF_BYTES, cases[i].sentence);
    }
}

static void elf_without_a_pvh_entry_is_refused(void **state)
{
    uint8_t *bytes = make_elf();
    bytes[256 + 8] = 17; /* another note */
    refused_kernel(bytes, ELF_BYTES, "has no PVH entry");
    bytes = make_elf();
    put_le32(bytes + 256, UINT32_MAX); /* a name without end */
    refused_kernel(bytes, ELF_BYTES, "has no PVH entry");
    bytes = make_elf();
    put_le32(bytes + 256 + 4, UINT32_MAX - 2); /* a description without end */
    refused_kernel(bytes, ELF_BYTES, "has no PVH entry");
}

static void command_line_is_as_long_as_the_kernel_takes(void **state)
{
    static char text[2049];
    struct board_config config = base_config();
    memset(text, 'x', 2047);
    config.append = text;
    struct boot_images images = read_bzimage(&config);
    boot_images_fini(&images);
    text[2047] = 'x';
    config.kernel = make_file("k", make_bzimage(), BZIMAGE_BYTES);
    refused(&config, "has 2048 characters; this kernel takes 2047");
}

static void the_guest_is_told_of_disks_in_front_and_networks_at_the_end(void **state)
{
    struct board_config config = base_config();
    const struct acpi_config expected = {.cpus = config.cpus, .slots = 0xc7};
    config.disk_count = 2;
    config.net_count = 2;
    struct boot_images images = read_elf(&config);
    size_t bytes;
    uint8_t *tables = acpi_tables(&expected, &bytes);
    assert_non_null(tables);
    assert_int_equal(segment_at(&images, ACPI_TABLES_BASE)->length, bytes);
    assert_memory_equal(segment_at(&images, ACPI_TABLES_BASE)->bytes, tables, bytes);
    free(tables);
    boot_images_fini(&images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_is_told_of_disks_in_front_and_networks_at_the_end),
        cmocka_unit_test(bzimage_begins_at_its_64_bit_entry),
        cmocka_unit_test(boot_params_hold_the_setup_header_and_nothing_else_of_the_file),
        cmocka_unit_test(boot_params_tell_what_the_loader_did),
        cmocka_unit_test(initrd_stays_below_what_the_kernel_can_reach),
        cmocka_unit_test(page_tables_map_4_gib_one_to_one),
        cmocka_unit_test(gdt_has_the_selectors_of_the_protocol),
        cmocka_unit_test(nothing_that_was_placed_overlaps),
        cmocka_unit_test(memory_map_leaves_out_the_hole_for_devices),
        cmocka_unit_test(page_of_the_vmclock_is_reserved),
        cmocka_unit_test(the_reset_vector_is_in_reserved_memory),
        cmocka_unit_test(elf_begins_at_its_pvh_entry),
        cmocka_unit_test(elf_of_32_bits_works_too),
        cmocka_unit_test(start_info_tells_initrd_command_line_and_tables),
        cmocka_unit_test(start_info_without_an_initrd_has_no_module),
        cmocka_unit_test(firmware_is_refused),
        cmocka_unit_test(every_truncation_is_told),
        cmocka_unit_test(foreign_kernels_are_called_by_name),
        cmocka_unit_test(kernels_that_do_not_know_the_64_bit_entry_are_refused),
        cmocka_unit_test(hostile_bzimages_are_refused),
        cmocka_unit_test(hostile_elf_files_are_refused),
        cmocka_unit_test(elf_without_a_pvh_entry_is_refused),
        cmocka_unit_test(command_line_is_as_long_as_the_kernel_takes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
