/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file is: by its magic numbers, and for the formats that many architectures share (ELF, PE,
 * gzip) by what they say about, or have in, themselves.
 */
#include <elf.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/image-file.h"

/* How much is read of a file, and unpacked of what it holds, to tell what it is. */
#define HEAD_BYTES 65536
#define PEEK_BYTES 4096

struct identity {
    const char *name;
    enum image_architecture architecture;
};

static const struct identity unknown = {"a file of unknown format", IMAGE_OTHER};

static bool begins(const struct image *image, size_t offset, const char *magic, size_t length)
{
    return image->length >= offset + length && memcmp(image->bytes + offset, magic, length) == 0;
}

/* ---- ELF ---- */

static struct identity identify_elf(const struct image *image)
{
    static const struct {
        uint16_t machine;
        uint8_t class;
        struct identity is;
    } machines[] = {
        {EM_X86_64, ELFCLASS64, {"an x86-64 ELF file", IMAGE_X86_64}},
        {EM_386, ELFCLASS32, {"an i386 ELF file", IMAGE_X86_64}}, /* may have a PVH entry */
        {EM_RISCV, ELFCLASS64, {"a riscv64 ELF file", IMAGE_RISCV64}},
        {EM_RISCV, ELFCLASS32, {"a riscv32 ELF file", IMAGE_OTHER}},
        {EM_AARCH64, ELFCLASS64, {"an arm64 ELF file", IMAGE_OTHER}},
        {EM_ARM, ELFCLASS32, {"an arm ELF file", IMAGE_OTHER}},
        {EM_PPC64, ELFCLASS64, {"a ppc64 ELF file", IMAGE_OTHER}},
        {EM_S390, ELFCLASS64, {"an s390x ELF file", IMAGE_OTHER}},
        {EM_LOONGARCH, ELFCLASS64, {"a loongarch ELF file", IMAGE_OTHER}},
    };
    if (image->length < sizeof(Elf64_Ehdr))
        return (struct identity){"a truncated ELF file", IMAGE_OTHER};
    uint16_t machine = get_le16(image->bytes + offsetof(Elf64_Ehdr, e_machine));
    for (size_t i = 0; i < ARRAY_COUNT(machines); i++)
        if (machines[i].machine == machine && machines[i].class == image->bytes[EI_CLASS])
            return machines[i].is;
    return (struct identity){"an ELF file of another architecture", IMAGE_OTHER};
}

/* ---- PE: EFI programs, some of which hold a compressed kernel ---- */

enum { PE_POINTER = 0x3c, PE_MACHINE = 4, PE_MACHINE_END = 6 }; /* Microsoft's PE format */

/* The machine of a PE header; 0 when there is none. */
static uint16_t pe_machine(const struct image *image)
{
    if (image->length < PE_POINTER + 4)
        return 0;
    uint64_t header = get_le32(image->bytes + PE_POINTER);
    return header + PE_MACHINE_END <= image->length && begins(image, header, "PE\0\0", 4)
               ? get_le16(image->bytes + header + PE_MACHINE)
               : 0;
}

/* A kernel that unpacks itself when EFI starts it; where there is no header to tell, what it
 * unpacks to will be looked at when it is used. */
static struct identity identify_zboot(const struct image *image)
{
    static const struct {
        uint16_t machine;
        struct identity is;
    } machines[] = {
        {0, {"an EFI zboot kernel", IMAGE_RISCV64}},
        {0x5064, {"a riscv64 EFI zboot kernel", IMAGE_RISCV64}},
        {0xaa64, {"an arm64 EFI zboot kernel", IMAGE_OTHER}},
        {0x6264, {"a loongarch EFI zboot kernel", IMAGE_OTHER}},
    };
    uint16_t machine = pe_machine(image);
    for (size_t i = 0; i < ARRAY_COUNT(machines); i++)
        if (machines[i].machine == machine)
            return machines[i].is;
    return (struct identity){"an EFI zboot kernel of another architecture", IMAGE_OTHER};
}

/* ---- The rest ---- */

static struct identity identify_plain(const struct image *image)
{
    static const struct {
        size_t offset;
        const char *magic;
        size_t length;
        struct identity is;
    } magics[] = {
        {0x202, "HdrS", 4, {"an x86 kernel", IMAGE_X86_64}},
        {0x38, "ARM\x64", 4, {"an arm64 kernel", IMAGE_OTHER}},
        {0x24, "\x18\x28\x6f\x01", 4, {"an arm kernel", IMAGE_OTHER}},
        {0x38, "RSC\x05", 4, {"a riscv64 kernel", IMAGE_RISCV64}},
        {0, "\x1f\x8b", 2, {"a gzip file", IMAGE_OTHER}},
        {0,
         "\xfd"
         "7zXZ",
         5,
         {"an xz file", IMAGE_OTHER}},
        {0, "BZh", 3, {"a bzip2 file", IMAGE_OTHER}},
        {0, "\x28\xb5\x2f\xfd", 4, {"a zstd file", IMAGE_OTHER}},
        {0, "070701", 6, {"a cpio archive", IMAGE_OTHER}},
        {0, "#!", 2, {"a script", IMAGE_OTHER}},
        {0, "MZ", 2, {"an EFI program", IMAGE_OTHER}},
        {0, "QFI\xfb", 4, {"a qcow2 disk image", IMAGE_OTHER}},
        {0x1fe, "\x55\xaa", 2, {"a boot sector or disk image", IMAGE_OTHER}},
    };
    if (begins(image, 0, ELFMAG, SELFMAG))
        return identify_elf(image);
    if (begins(image, 4, "zimg", 4))
        return identify_zboot(image);
    for (size_t i = 0; i < ARRAY_COUNT(magics); i++)
        if (begins(image, magics[i].offset, magics[i].magic, magics[i].length))
            return magics[i].is;
    return unknown;
}

/* The first bytes of what a gzip file holds; their number, 0 when it is damaged at once. */
static size_t peek(const struct image *image, uint8_t to[PEEK_BYTES])
{
    z_stream stream = {.next_in = image->bytes, .avail_in = (uInt)image->length};
    stream.next_out = to;
    stream.avail_out = PEEK_BYTES;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) /* 16: a gzip header */
        return 0;
    (void)inflate(&stream, Z_SYNC_FLUSH);
    inflateEnd(&stream);
    return PEEK_BYTES - stream.avail_out;
}

static struct identity identify(const struct image *image)
{
    uint8_t bytes[PEEK_BYTES];
    struct image inside = {.bytes = bytes};
    if (begins(image, 0, "\x1f\x8b", 2))
        inside.length = peek(image, bytes);
    struct identity is = inside.length ? identify_plain(&inside) : unknown;
    return is.name != unknown.name ? is : identify_plain(image);
}

const char *image_describe(const struct image *image)
{
    return identify(image).name;
}

int image_architecture(const char *path, enum image_architecture *ret_architecture,
                       const char **ret_name, struct gw_error *error)
{
    _cleanup_(image_fini) struct image head = {0};
    int r = image_read_head("kernel", path, HEAD_BYTES, &head, error);
    if (r < 0)
        return r;
    struct identity is = identify(&head);
    *ret_architecture = is.architecture;
    *ret_name = is.name;
    return 0;
}
