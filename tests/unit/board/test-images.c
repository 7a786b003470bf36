/* SPDX-License-Identifier: Apache-2.0 */
/* Boot images: what is placed where, and that every file that cannot be booted gets a sentence. */
#include "images-test.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/boot-images.h"
#include "board/riscv-virt.h"

/* A riscv Image of `length` bytes that says it needs `memory_bytes`. */
static uint8_t *make_image(uint8_t *bytes, size_t length, uint64_t memory_bytes)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7);
    put_le64(bytes + 16, memory_bytes);
    put_le64(bytes + 24, 0);
    memcpy(bytes + 0x30, "RISCV\0\0\0RSC\x05", 12);
    return bytes;
}

static size_t gzip(const uint8_t *from, size_t length, uint8_t *to, size_t capacity)
{
    z_stream stream = {.next_in = (Bytef *)from, .avail_in = (uInt)length};
    stream.next_out = to;
    stream.avail_out = (uInt)capacity;
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return capacity - stream.avail_out;
}

static struct board_config base_config(void)
{
    struct board_config config = {.memory_bytes = 16 * MIB, .cpus = 1};
    config.firmware = make_file("firmware", "firmware!", 9);
    return config;
}

static void raw_firmware_alone_starts_at_the_start_of_ram(void **state)
{
    struct board_config config = base_config();
    struct boot_images images;
    assert_int_equal(riscv_images_read(&config, &images, NULL), 0);
    assert_int_equal(images.count, 2); /* and the device tree */
    assert_int_equal(images.entry.pc, RAM_BASE);
    assert_memory_equal(segment_at(&images, RAM_BASE)->bytes, "firmware!", 9);
    boot_images_fini(&images);
}

static void check_kernel(const char *path, const uint8_t *image, size_t length)
{
    struct board_config config = base_config();
    struct boot_images images;
    struct gw_error error = {0};
    config.kernel = (char *)path;
    if (riscv_images_read(&config, &images, &error) < 0)
        fail_msg("%s", error.message);
    const struct boot_segment *kernel = segment_at(&images, RAM_BASE + KERNEL_OFFSET);
    assert_int_equal(kernel->length, length);
    assert_memory_equal(kernel->bytes, image, length);
    const uint8_t *dynamic = segment_at(&images, images.entry.argument[1])->bytes;
    assert_int_equal(get_le64(dynamic), 0x4942534f);
    assert_int_equal(get_le64(dynamic + 16), RAM_BASE + KERNEL_OFFSET);
    boot_images_fini(&images);
}

static void kernel_is_read_plain_gzipped_and_as_zboot(void **state)
{
    static uint8_t image[100000], packed[110000] = "MZ";
    make_image(image, sizeof image, 200000);
    check_kernel(make_file("Image", image, sizeof image), image, sizeof image);
    size_t length = gzip(image, sizeof image, packed + 64, sizeof packed - 64);
    check_kernel(make_file("Image.gz", packed + 64, length), image, sizeof image);
    memcpy(packed + 4, "zimg", 4);
    put_le32(packed + 8, 64);
    put_le32(packed + 12, (uint32_t)length);
    memcpy(packed + 24, "gzip", 5);
    check_kernel(make_file("vmlinuz.efi", packed, length + 64), image, sizeof image);
}

static void initrd_and_tree_stay_clear_of_the_kernels_zeroed_data(void **state)
{
    static uint8_t image[4096], initrd[5000];
    struct board_config config = base_config();
    struct boot_images images;
    uint64_t memory_bytes = 16 * MIB - KERNEL_OFFSET - 5 * 4096;
    config.kernel = make_file("k", make_image(image, sizeof image, memory_bytes), sizeof image);
    config.initrd = make_file("i", initrd, sizeof initrd);
    assert_int_equal(riscv_images_read(&config, &images, NULL), 0);
    uint64_t kernel_end = RAM_BASE + KERNEL_OFFSET + memory_bytes;
    assert_true(images.initrd >= kernel_end && images.entry.argument[1] >= kernel_end);
    assert_true(images.initrd + sizeof initrd <= RAM_BASE + 16 * MIB);
    uint64_t tree = images.entry.argument[0];
    assert_true(tree >= kernel_end);
    assert_true(tree + segment_at(&images, tree)->length <= images.entry.argument[1]);
    boot_images_fini(&images);
    memory_bytes = 16 * MIB - KERNEL_OFFSET - 3 * 4096; /* initrd and information block fit */
    config.kernel = make_file("k", make_image(image, sizeof image, memory_bytes), sizeof image);
    assert_int_equal(riscv_images_read(&config, &images, NULL), -EFBIG);
}

static void region_brings_the_images_back(void **state)
{
    static uint8_t image[9000], ram[9000];
    struct board_config config = base_config();
    struct boot_images images;
    struct boot_entry entry;
    uint64_t offset;
    config.kernel = make_file("k", make_image(image, sizeof image, 9000), sizeof image);
    assert_int_equal(riscv_images_read(&config, &images, NULL), 0);
    struct gw_memory *memory = gw_memory_new();
    gw_memory_add_region(memory, "ram", RAM_BASE, 16 * MIB, NULL);
    gw_memory_add_region(memory, BOOT_REGION_NAME, BOOT_REGION_BASE, boot_region_bytes(&images),
                         NULL);
    boot_region_fill(gw_memory_find(memory, BOOT_REGION_BASE, 1, &offset), &images);
    uint64_t dynamic = images.entry.argument[1];
    boot_images_fini(&images);
    assert_int_equal(boot_region_apply(memory, &entry, NULL), 0);
    assert_int_equal(entry.pc, RAM_BASE);
    assert_int_equal(entry.argument[1], dynamic);
    gw_memory_read(memory, RAM_BASE + KERNEL_OFFSET, ram, sizeof ram);
    assert_memory_equal(ram, image, sizeof image);
    gw_memory_free(memory);
}

/* ---- Refusals ---- */

static void refused(const struct board_config *config, const char *sentence)
{
    check_refused(riscv_images_read, config, sentence);
}

static void refused_kernel(const void *bytes, size_t length, const char *sentence)
{
    struct board_config config = base_config();
    config.kernel = make_file("kernel", bytes, length);
    refused(&config, sentence);
    refused(&config, config.kernel);
}

static void nothing_to_boot_is_said(void **state)
{
    struct board_config config = {.memory_bytes = 16 * MIB, .cpus = 1};
    refused(&config, "give --kernel");
}

static void missing_and_odd_files_are_named(void **state)
{
    struct board_config config = base_config();
    config.kernel = "/nonexistent/Image";
    refused(&config, "kernel '/nonexistent/Image': No such file or directory");
    config.kernel = directory;
    refused(&config, "is not a regular file");
    config.kernel = NULL;
    config.firmware = make_file("empty", "", 0);
    refused(&config, "is empty");
    config.firmware = "/nonexistent/fw";
    refused(&config, "firmware '/nonexistent/fw': No such file");
}

static void initrd_needs_a_kernel(void **state)
{
    struct board_config config = base_config();
    config.initrd = make_file("initrd", "x", 1);
    refused(&config, "needs a kernel");
}

static void foreign_kernels_are_called_by_name(void **state)
{
    static uint8_t bytes[4096];
    memcpy(bytes + 0x202, "HdrS", 4);
    refused_kernel(bytes, sizeof bytes, "is an x86 kernel; riscv-virt-1 needs a riscv64 Image");
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + 0x38, "ARM\x64", 4);
    refused_kernel(bytes, sizeof bytes, "is an arm64 kernel");
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes,
           "\x7f"
           "ELF\x02\x01\x01",
           7);
    put_le16(bytes + 18, EM_RISCV);
    refused_kernel(bytes, sizeof bytes, "is a riscv64 ELF file");
    put_le16(bytes + 18, EM_AARCH64);
    refused_kernel(bytes, sizeof bytes, "is an arm64 ELF file");
    refused_kernel("#!/bin/sh\n", 10, "is a script");
    refused_kernel("x", 1, "is a file of unknown format");
}

static void damaged_kernels_are_refused(void **state)
{
    static uint8_t image[20000], packed[30000];
    make_image(image, sizeof image, 20000);
    size_t length = gzip(image, sizeof image, packed, sizeof packed);
    refused_kernel(packed, length / 2, "is truncated");
    refused_kernel(packed, 3, "is truncated");
    packed[length / 2] ^= 0xff;
    packed[length - 6] ^= 0xff;
    refused_kernel(packed, length, "is damaged: it does not unpack");
    make_image(image, sizeof image, UINT64_MAX);
    refused_kernel(image, sizeof image, "is damaged");
    make_image(image, sizeof image, 20000);
    image[24] = 1;
    refused_kernel(image, sizeof image, "big-endian");
}

/* An Image with EFI support tells in its PE sections how long it is. */
static void truncated_kernels_are_refused(void **state)
{
    static uint8_t image[20000];
    make_image(image, sizeof image, 20000);
    put_le32(image + 0x3c, 0x40);
    memset(image + 0x40, 0, 64);
    memcpy(image + 0x40, "PE\0\0", 4);
    put_le16(image + 0x46, 1);               /* sections */
    put_le32(image + 0x40 + 24 + 16, 16000); /* raw bytes */
    put_le32(image + 0x40 + 24 + 20, 4000);  /* raw pointer */
    check_kernel(make_file("k", image, sizeof image), image, sizeof image);
    refused_kernel(image, sizeof image - 1, "is truncated: it has 19999 of 20000 bytes");
    for (size_t length = 0x40 + 24 + 40; length < 300; length++)
        refused_kernel(image, length, "kernel '");
}

static void images_too_big_for_memory_are_refused(void **state)
{
    static uint8_t image[20000], big[3 * 1024 * 1024];
    struct board_config config = base_config();
    config.kernel = make_file("k", make_image(image, sizeof image, 15 * MIB), sizeof image);
    refused(&config, "does not fit into 16 MiB of memory; give the machine more");
    config.kernel = make_file("k", make_image(image, sizeof image, 12 * MIB), sizeof image);
    config.initrd = make_file("i", big, sizeof big);
    refused(&config, "initrd '");
    config.initrd = NULL;
    config.firmware = make_file("f", big, sizeof big);
    refused(&config, "reaches into the kernel");
    config.memory_bytes = MIB;
    config.kernel = NULL;
    refused(&config, "does not fit into 1 MiB");
}

/* An ELF file with one segment. */
static size_t make_elf(uint8_t *bytes, uint64_t address, uint64_t file_bytes, uint64_t memory_bytes)
{
    Elf64_Ehdr elf = {.e_type = ET_EXEC, .e_machine = EM_RISCV, .e_entry = address + 4};
    Elf64_Phdr segment = {.p_type = PT_LOAD, .p_offset = 256, .p_paddr = address};
    memcpy(elf.e_ident,
           "\x7f"
           "ELF\x02\x01\x01",
           7);
    elf.e_phoff = sizeof elf;
    elf.e_phentsize = sizeof segment;
    elf.e_phnum = 1;
    segment.p_filesz = file_bytes;
    segment.p_memsz = memory_bytes;
    memcpy(bytes, &elf, sizeof elf);
    memcpy(bytes + sizeof elf, &segment, sizeof segment);
    memset(bytes + 256, 0x5a, 256);
    return 512;
}

static void elf_firmware_is_placed_where_it_says(void **state)
{
    uint8_t bytes[512];
    struct board_config config = base_config();
    struct boot_images images;
    config.firmware = make_file("elf", bytes, make_elf(bytes, RAM_BASE + 0x1000, 256, 1000));
    assert_int_equal(riscv_images_read(&config, &images, NULL), 0);
    assert_int_equal(images.entry.pc, RAM_BASE + 0x1004);
    const struct boot_segment *segment = segment_at(&images, RAM_BASE + 0x1000);
    assert_int_equal(segment->length, 1000);
    assert_int_equal(segment->bytes[255], 0x5a);
    assert_int_equal(segment->bytes[256], 0);
    boot_images_fini(&images);
}

static void hostile_elf_firmware_is_refused(void **state)
{
    static const struct {
        uint64_t address, file_bytes, memory_bytes;
        const char *sentence;
    } cases[] = {
        {RAM_BASE, 257, 257, "damaged"},
        {RAM_BASE, UINT64_MAX, UINT64_MAX, "damaged"},
        {RAM_BASE, 16, 8, "damaged"},
        {RAM_BASE, 16, 17 * MIB, "outside the machine's memory"},
        {RAM_BASE, 16, UINT64_MAX - 16, "outside the machine's memory"},
        {RAM_BASE - 4096, 16, 16, "outside the machine's memory"},
        {UINT64_MAX - 7, 16, 16, "outside the machine's memory"},
        {RAM_BASE, 0, 0, "nothing to load"},
    };
    uint8_t bytes[512];
    struct board_config config = base_config();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        make_elf(bytes, cases[i].address, cases[i].file_bytes, cases[i].memory_bytes);
        config.firmware = make_file("elf", bytes, sizeof bytes);
        refused(&config, cases[i].sentence);
    }
    make_elf(bytes, RAM_BASE, 16, 16);
    put_le16(bytes + offsetof(Elf64_Ehdr, e_phnum), 0xffff);
    config.firmware = make_file("elf", bytes, sizeof bytes);
    refused(&config, "damaged");
    put_le16(bytes + offsetof(Elf64_Ehdr, e_machine), EM_X86_64);
    config.firmware = make_file("elf", bytes, sizeof bytes);
    refused(&config, "is an x86-64 ELF file; riscv-virt-1 needs a riscv64 one");
    config.firmware = make_file("elf", bytes, 8);
    refused(&config, "truncated");
}

/* Every shorter form of a good file is refused or taken, never worse. */
static void truncated_elf_firmware_does_no_harm(void **state)
{
    uint8_t bytes[512];
    struct board_config config = base_config();
    make_elf(bytes, RAM_BASE, 256, 256);
    for (size_t length = 1; length < sizeof bytes; length++) {
        struct boot_images images;
        config.firmware = make_file("elf", bytes, length);
        if (riscv_images_read(&config, &images, NULL) == 0)
            boot_images_fini(&images);
        else
            assert_true(length >= SELFMAG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_firmware_alone_starts_at_the_start_of_ram),
        cmocka_unit_test(kernel_is_read_plain_gzipped_and_as_zboot),
        cmocka_unit_test(initrd_and_tree_stay_clear_of_the_kernels_zeroed_data),
        cmocka_unit_test(region_brings_the_images_back),
        cmocka_unit_test(nothing_to_boot_is_said),
        cmocka_unit_test(missing_and_odd_files_are_named),
        cmocka_unit_test(initrd_needs_a_kernel),
        cmocka_unit_test(foreign_kernels_are_called_by_name),
        cmocka_unit_test(damaged_kernels_are_refused),
        cmocka_unit_test(truncated_kernels_are_refused),
        cmocka_unit_test(images_too_big_for_memory_are_refused),
        cmocka_unit_test(elf_firmware_is_placed_where_it_says),
        cmocka_unit_test(hostile_elf_firmware_is_refused),
        cmocka_unit_test(truncated_elf_firmware_does_no_harm),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
