/* SPDX-License-Identifier: Apache-2.0 */
/* Which machine is taken for which kernel, and what is said of files that no machine starts. */
#include "images-test.h"

#include <elf.h>
#include <errno.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/machine.h"

static uint8_t bytes[8192];

/* A file with these bytes at these places. */
static void begin(size_t offset, const char *magic, size_t length)
{
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + offset, magic, length);
}

static void begin_elf(uint8_t class, uint16_t machine)
{
    begin(0, ELFMAG, SELFMAG);
    bytes[EI_CLASS] = class;
    put_le16(bytes + 18, machine);
}

static void begin_zboot(uint16_t machine)
{
    begin(0, "MZ\0\0zimg", 8);
    put_le32(bytes + 0x3c, 0x40);
    memcpy(bytes + 0x40, "PE\0\0", 4);
    put_le16(bytes + 0x44, machine);
}

static void begin_bzimage(void)
{
    begin(0x202, "HdrS", 4);
}

/* What was begun, in a gzip file. */
static void pack(void)
{
    static uint8_t packed[sizeof bytes];
    z_stream stream = {.next_in = bytes, .avail_in = sizeof bytes};
    stream.next_out = packed;
    stream.avail_out = sizeof packed;
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    memcpy(bytes, packed, sizeof bytes);
}

static struct board_config config_of_file(void)
{
    struct board_config config = {.memory_bytes = 128 * MIB, .cpus = 1};
    config.kernel = make_file("kernel", bytes, sizeof bytes);
    return config;
}

static void chooses(const char *name)
{
    const struct machine_kind *kind = NULL;
    struct board_config config = config_of_file();
    struct gw_error error = {0};
    if (machine_kind_choose(&config, &kind, &error) < 0)
        fail_msg("%s", error.message);
    assert_string_equal(kind->name, name);
}

static void refuses(const struct board_config *config, const char *sentence)
{
    const struct machine_kind *kind;
    struct gw_error error = {0};
    assert_true(machine_kind_choose(config, &kind, &error) < 0);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" does not say \"%s\"", error.message, sentence);
}

static void refuses_file(const char *sentence)
{
    struct board_config config = config_of_file();
    refuses(&config, sentence);
    refuses(&config, config.kernel);
    refuses(&config, "; give a riscv64 Image, an x86-64 bzImage, or an ELF file with a PVH entry");
}

static void riscv64_kernels_choose_the_software_cpu(void **state)
{
    begin(0x38, "RSC\x05", 4);
    chooses("riscv-virt-1");
    pack();
    chooses("riscv-virt-1");
    begin_zboot(0x5064);
    chooses("riscv-virt-1");
    begin_elf(ELFCLASS64, EM_RISCV);
    chooses("riscv-virt-1");
}

static void x86_kernels_choose_kvm(void **state)
{
    begin_bzimage();
#ifdef GW_HAVE_KVM
    chooses("microvm-1");
    begin_elf(ELFCLASS64, EM_X86_64);
    chooses("microvm-1");
    begin_elf(ELFCLASS32, EM_386);
    chooses("microvm-1");
#else
    struct board_config config = config_of_file();
    refuses(&config, "is an x86 kernel, and this build has no machine for it; it has riscv-virt-1");
#endif
}

static void other_kernels_are_called_by_name(void **state)
{
    begin(0x38, "ARM\x64", 4);
    refuses_file("is an arm64 kernel;");
    pack();
    refuses_file("is an arm64 kernel;");
    begin_zboot(0xaa64);
    refuses_file("is an arm64 EFI zboot kernel;");
    begin_elf(ELFCLASS64, EM_AARCH64);
    refuses_file("is an arm64 ELF file;");
    begin_elf(ELFCLASS32, EM_RISCV);
    refuses_file("is a riscv32 ELF file;");
    begin_elf(ELFCLASS32, EM_X86_64);
    refuses_file("is an ELF file of another architecture;");
}

static void files_that_are_no_kernels_are_called_by_name(void **state)
{
    begin(0, "MZ", 2);
    refuses_file("is an EFI program;");
    begin(0,
          "\xfd"
          "7zXZ",
          5);
    refuses_file("is an xz file;");
    begin(0, "\x1f\x8b", 2);
    refuses_file("is a gzip file;");
    begin(0, "QFI\xfb", 4);
    refuses_file("is a qcow2 disk image;");
    begin(0, "", 0);
    refuses_file("is a file of unknown format;");
}

static void files_that_cannot_be_read_are_named(void **state)
{
    struct board_config config = {.kernel = "/nonexistent/vmlinuz"};
    refuses(&config, "kernel '/nonexistent/vmlinuz': No such file");
    config.kernel = directory;
    refuses(&config, "is not a regular file");
}

static void short_files_do_no_harm(void **state)
{
    begin_zboot(0x5064);
    for (size_t length = 1; length < 0x50; length++) {
        const struct machine_kind *kind;
        struct board_config config = {.kernel = make_file("kernel", bytes, length)};
        (void)machine_kind_choose(&config, &kind, NULL);
    }
}

static void name_is_taken_before_the_kernel(void **state)
{
    const struct machine_kind *kind;
    begin(0, "MZ", 2);
    struct board_config config = config_of_file();
    config.machine = "riscv-virt";
    assert_int_equal(machine_kind_choose(&config, &kind, NULL), 0);
    assert_string_equal(kind->name, "riscv-virt-1");
    config.machine = "pc";
    refuses(&config, "this build has no machine 'pc'; it has riscv-virt-1");
}

static void firmware_alone_is_for_the_software_cpu(void **state)
{
    const struct machine_kind *kind;
    struct board_config config = {.firmware = "anything"};
    assert_int_equal(machine_kind_choose(&config, &kind, NULL), 0);
    assert_string_equal(kind->name, "riscv-virt-1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(riscv64_kernels_choose_the_software_cpu),
        cmocka_unit_test(x86_kernels_choose_kvm),
        cmocka_unit_test(other_kernels_are_called_by_name),
        cmocka_unit_test(files_that_are_no_kernels_are_called_by_name),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
        cmocka_unit_test(short_files_do_no_harm),
        cmocka_unit_test(name_is_taken_before_the_kernel),
        cmocka_unit_test(firmware_alone_is_for_the_software_cpu),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
