/* SPDX-License-Identifier: Apache-2.0 */
#include "board/image-file.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define MACHINE "riscv-virt-1"

void image_fini(struct image *image)
{
    free(image->bytes);
    *image = (struct image){0};
}

static int refuse_errno(const char *what, const char *path, int error_number,
                        struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, gw_code_from_errno(error_number), -error_number,
                        "%s '%s': %s", what, path, strerror(error_number));
}

static int read_whole(int fd, struct image *image)
{
    size_t done = 0;
    while (done < image->length) {
        ssize_t n = pread(fd, image->bytes + done, image->length - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO; /* shorter than it was a moment ago */
        done += (size_t)n;
    }
    return 0;
}

int image_read(const char *what, const char *path, struct image *ret_image, struct gw_error *error)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return refuse_errno(what, path, errno, error);
    if (!S_ISREG(status.st_mode))
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "%s '%s' is not a regular file", what, path);
    if (status.st_size == 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL, "%s '%s' is empty",
                            what, path);
    if ((uint64_t)status.st_size > IMAGE_MAX_BYTES)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EFBIG,
                            "%s '%s' is larger than the limit of %zu MiB", what, path,
                            IMAGE_MAX_BYTES >> 20);
    struct image image = {.bytes = malloc((size_t)status.st_size),
                          .length = (size_t)status.st_size};
    int r = image.bytes ? read_whole(fd, &image) : ENOMEM;
    if (r) {
        image_fini(&image);
        return refuse_errno(what, path, r, error);
    }
    *ret_image = image;
    return 0;
}

/* ---- What a file is ---- */

static const char *describe_elf(const struct image *image)
{
    static const struct {
        uint16_t machine;
        const char *name;
    } machines[] = {
        {EM_X86_64, "an x86-64 ELF file"},      {EM_386, "an i386 ELF file"},
        {EM_AARCH64, "an arm64 ELF file"},      {EM_ARM, "an arm ELF file"},
        {EM_PPC64, "a ppc64 ELF file"},         {EM_S390, "an s390 ELF file"},
        {EM_LOONGARCH, "a loongarch ELF file"},
    };
    if (image->length < sizeof(Elf64_Ehdr))
        return "a truncated ELF file";
    uint16_t machine = get_le16(image->bytes + offsetof(Elf64_Ehdr, e_machine));
    if (machine == EM_RISCV)
        return image->bytes[EI_CLASS] == ELFCLASS64 ? "a riscv64 ELF file" : "a riscv32 ELF file";
    for (size_t i = 0; i < ARRAY_COUNT(machines); i++)
        if (machines[i].machine == machine)
            return machines[i].name;
    return "an ELF file of another architecture";
}

const char *image_describe(const struct image *image)
{
    static const struct {
        size_t offset;
        const char *magic;
        size_t length;
        const char *name;
    } magics[] = {
        {0x202, "HdrS", 4, "an x86-64 kernel"},
        {0x38, "ARM\x64", 4, "an arm64 kernel"},
        {0x24, "\x18\x28\x6f\x01", 4, "an arm kernel"},
        {0x38, "RSC\x05", 4, "a riscv64 kernel"},
        {4, "zimg", 4, "an EFI zboot kernel"},
        {0, "\x1f\x8b", 2, "a gzip file"},
        {0,
         "\xfd"
         "7zXZ",
         5, "an xz file"},
        {0, "\x28\xb5\x2f\xfd", 4, "a zstd file"},
        {0, "070701", 6, "a cpio archive"},
        {0, "#!", 2, "a script"},
        {0, "MZ", 2, "an EFI program"},
        {0, "QFI\xfb", 4, "a qcow2 disk image"},
    };
    if (image->length >= SELFMAG && memcmp(image->bytes, ELFMAG, SELFMAG) == 0)
        return describe_elf(image);
    for (size_t i = 0; i < ARRAY_COUNT(magics); i++)
        if (image->length >= magics[i].offset + magics[i].length &&
            memcmp(image->bytes + magics[i].offset, magics[i].magic, magics[i].length) == 0)
            return magics[i].name;
    return "a file of unknown format";
}

#define HEAD_BYTES 1024

int image_architecture(const char *path, enum image_architecture *ret_architecture,
                       struct gw_error *error)
{
    uint8_t head[HEAD_BYTES] = {0};
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return refuse_errno("kernel", path, errno, error);
    ssize_t length = pread(fd, head, sizeof head, 0);
    if (length < 0)
        return refuse_errno("kernel", path, errno, error);
    uint16_t elf_machine = get_le16(head + offsetof(Elf64_Ehdr, e_machine));
    bool elf = memcmp(head, ELFMAG, SELFMAG) == 0;
    bool x86 = elf ? elf_machine == EM_X86_64 || elf_machine == EM_386
                   : memcmp(head + 0x202, "HdrS", 4) == 0;
    *ret_architecture = x86 ? IMAGE_X86_64 : IMAGE_RISCV64;
    return 0;
}

/* ---- Kernels ---- */

/* Inflates a gzip member into a new buffer. */
static int inflate_gzip(const uint8_t *from, size_t length, struct image *ret_image)
{
    z_stream stream = {.next_in = (Bytef *)from, .avail_in = (uInt)length};
    struct image image = {0};
    size_t capacity = 0;
    int z = inflateInit2(&stream, 15 + 16); /* 16: a gzip header */
    while (z == Z_OK) {
        if (image.length == capacity) {
            capacity = capacity ? capacity * 2 : length * 4;
            uint8_t *grown = capacity <= IMAGE_MAX_BYTES ? realloc(image.bytes, capacity) : NULL;
            if (!grown)
                break;
            image.bytes = grown;
        }
        stream.next_out = image.bytes + image.length;
        stream.avail_out = (uInt)(capacity - image.length);
        z = inflate(&stream, Z_NO_FLUSH);
        image.length = capacity - stream.avail_out;
    }
    inflateEnd(&stream);
    if (z != Z_STREAM_END) {
        image_fini(&image);
        return -EINVAL;
    }
    *ret_image = image;
    return 0;
}

/* The header of an EFI zboot image (Linux drivers/firmware/efi/libstub/zboot-header.S). */
enum { ZBOOT_OFFSET = 8, ZBOOT_SIZE = 12, ZBOOT_METHOD = 24, ZBOOT_BYTES = 56 };

/* Where the compressed kernel lies in the file, if it is compressed: NULL when it is not. */
static const uint8_t *find_compressed(const struct image *image, size_t *ret_length)
{
    const uint8_t *bytes = image->bytes;
    if (image->length > 2 && memcmp(bytes, "\x1f\x8b", 2) == 0) {
        *ret_length = image->length;
        return bytes;
    }
    if (image->length < ZBOOT_BYTES || memcmp(bytes + 4, "zimg", 4) != 0 ||
        memcmp(bytes + ZBOOT_METHOD, "gzip", 5) != 0)
        return NULL;
    uint64_t offset = get_le32(bytes + ZBOOT_OFFSET);
    uint64_t length = get_le32(bytes + ZBOOT_SIZE);
    if (offset + length > image->length)
        return NULL;
    *ret_length = length;
    return bytes + offset;
}

/* The riscv Image header (Documentation/arch/riscv/boot-image-header.rst). */
enum { IMAGE_SIZE = 16, IMAGE_FLAGS = 24, IMAGE_MAGIC2 = 0x38, IMAGE_HEADER_BYTES = 64 };

/* The PE header that an Image with EFI support has (Microsoft's PE format specification). */
enum { PE_POINTER = 0x3c, PE_SECTIONS = 6, PE_OPTIONAL_BYTES = 20, PE_BYTES = 24 };
enum { SECTION_BYTES = 40, SECTION_RAW_BYTES = 16, SECTION_RAW_POINTER = 20 };

/* How long the file must be by its section table; 0 when it has none. */
static uint64_t find_file_bytes(const struct image *image)
{
    uint64_t header = get_le32(image->bytes + PE_POINTER), wanted = 0;
    if (header == 0 || header + PE_BYTES > image->length ||
        memcmp(image->bytes + header, "PE\0\0", 4) != 0)
        return 0;
    unsigned count = get_le16(image->bytes + header + PE_SECTIONS);
    uint64_t at = header + PE_BYTES + get_le16(image->bytes + header + PE_OPTIONAL_BYTES);
    for (unsigned i = 0; i < count && at + SECTION_BYTES <= image->length; i++) {
        uint64_t end = (uint64_t)get_le32(image->bytes + at + SECTION_RAW_POINTER) +
                       get_le32(image->bytes + at + SECTION_RAW_BYTES);
        wanted = end > wanted ? end : wanted;
        at += SECTION_BYTES;
    }
    return wanted;
}

static int check_header(const char *path, const struct image *image, struct gw_error *error)
{
    if (image->length < IMAGE_HEADER_BYTES ||
        memcmp(image->bytes + IMAGE_MAGIC2, "RSC\x05", 4) != 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                            "kernel '%s' is %s; " MACHINE " needs a riscv64 Image", path,
                            image_describe(image));
    if (get_le64(image->bytes + IMAGE_FLAGS) & 1)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                            "kernel '%s' is big-endian; " MACHINE " is little-endian", path);
    uint64_t wanted = find_file_bytes(image);
    if (wanted > image->length)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -ENOEXEC,
                            "kernel '%s' is truncated: it has %zu of %llu bytes", path,
                            image->length, (unsigned long long)wanted);
    return 0;
}

int image_unpack_kernel(const char *path, struct image *image, uint64_t *ret_memory_bytes,
                        struct gw_error *error)
{
    size_t length;
    const uint8_t *compressed = find_compressed(image, &length);
    if (compressed) {
        struct image unpacked;
        if (inflate_gzip(compressed, length, &unpacked) < 0)
            return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -EINVAL,
                                "kernel '%s' is damaged or larger than %zu MiB: it does not unpack",
                                path, IMAGE_MAX_BYTES >> 20);
        image_fini(image);
        *image = unpacked;
    }
    int r = check_header(path, image, error);
    if (r < 0)
        return r;
    uint64_t memory_bytes = get_le64(image->bytes + IMAGE_SIZE);
    if (memory_bytes > UINT64_C(1) << 32)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -EINVAL,
                            "kernel '%s' is damaged: its header asks for 0x%llx bytes", path,
                            (unsigned long long)memory_bytes);
    *ret_memory_bytes = memory_bytes > image->length ? memory_bytes : image->length;
    return 0;
}
