/* SPDX-License-Identifier: Apache-2.0 */
#include "board/image-file.h"

#include <fcntl.h>
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

/* The first `most_bytes` of a file, or all of it. */
static int read_file(const char *what, const char *path, uint64_t most_bytes,
                     struct image *ret_image, struct gw_error *error)
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
    uint64_t length = (uint64_t)status.st_size < most_bytes ? (uint64_t)status.st_size : most_bytes;
    if (length > IMAGE_MAX_BYTES)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EFBIG,
                            "%s '%s' is larger than the limit of %zu MiB", what, path,
                            IMAGE_MAX_BYTES >> 20);
    struct image image = {.bytes = malloc(length), .length = length};
    int r = image.bytes ? read_whole(fd, &image) : ENOMEM;
    if (r) {
        image_fini(&image);
        return refuse_errno(what, path, r, error);
    }
    *ret_image = image;
    return 0;
}

int image_read(const char *what, const char *path, struct image *ret_image, struct gw_error *error)
{
    return read_file(what, path, UINT64_MAX, ret_image, error);
}

int image_read_head(const char *what, const char *path, size_t bytes, struct image *ret_image,
                    struct gw_error *error)
{
    return read_file(what, path, bytes, ret_image, error);
}

/* ---- Kernels ---- */

static int grow(struct image *image, size_t *capacity, size_t first_bytes)
{
    size_t wanted = *capacity ? *capacity * 2 : first_bytes;
    if (wanted > IMAGE_MAX_BYTES)
        return -EFBIG;
    uint8_t *grown = realloc(image->bytes, wanted);
    if (!grown)
        return -ENOMEM;
    image->bytes = grown;
    *capacity = wanted;
    return 0;
}

static int inflate_all(z_stream *stream, struct image *image)
{
    size_t capacity = 0, first_bytes = stream->avail_in * (size_t)4 + 64;
    for (;;) {
        int r = image->length == capacity ? grow(image, &capacity, first_bytes) : 0;
        if (r < 0)
            return r;
        stream->next_out = image->bytes + image->length;
        stream->avail_out = (uInt)(capacity - image->length);
        int z = inflate(stream, Z_NO_FLUSH);
        image->length = capacity - stream->avail_out;
        if (z == Z_STREAM_END)
            return 0;
        if (z != Z_OK && z != Z_BUF_ERROR)
            return -EINVAL;
        if (stream->avail_in == 0 && stream->avail_out > 0)
            return -ENODATA;
    }
}

/* Inflates a gzip member into a new buffer. -ENODATA: it ends early; -EFBIG: it is larger than we
 * take; -EINVAL: it is damaged. */
static int inflate_gzip(const uint8_t *from, size_t length, struct image *ret_image)
{
    z_stream stream = {.next_in = (Bytef *)from, .avail_in = (uInt)length};
    struct image image = {0};
    if (inflateInit2(&stream, 15 + 16) != Z_OK) /* 16: a gzip header */
        return -ENOMEM;
    int r = inflate_all(&stream, &image);
    inflateEnd(&stream);
    if (r < 0) {
        image_fini(&image);
        return r;
    }
    *ret_image = image;
    return 0;
}

static int refuse_packed(const char *path, int r, struct gw_error *error)
{
    if (r == -ENODATA)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, r,
                            "kernel '%s' is truncated: what is compressed in it ends early", path);
    if (r == -EFBIG)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, r,
                            "kernel '%s' unpacks to more than the limit of %zu MiB", path,
                            IMAGE_MAX_BYTES >> 20);
    if (r == -ENOMEM)
        return refuse_errno("kernel", path, ENOMEM, error);
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, r,
                        "kernel '%s' is damaged: it does not unpack", path);
}

static int refuse_truncated(const char *path, const struct image *image, uint64_t wanted,
                            struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -ENOEXEC,
                        "kernel '%s' is truncated: it has %zu of %llu bytes", path, image->length,
                        (unsigned long long)wanted);
}

/* The header of an EFI zboot image (Linux drivers/firmware/efi/libstub/zboot-header.S). */
enum { ZBOOT_OFFSET = 8, ZBOOT_SIZE = 12, ZBOOT_METHOD = 24, ZBOOT_BYTES = 56 };

/* Where the compressed kernel lies in the file, if it is compressed: *ret_packed is NULL when it is
 * not. */
static int find_compressed(const char *path, const struct image *image, const uint8_t **ret_packed,
                           size_t *ret_length, struct gw_error *error)
{
    const uint8_t *bytes = image->bytes;
    *ret_packed = NULL;
    if (image->length > 2 && memcmp(bytes, "\x1f\x8b", 2) == 0) {
        *ret_packed = bytes;
        *ret_length = image->length;
        return 0;
    }
    if (image->length < ZBOOT_BYTES || memcmp(bytes + 4, "zimg", 4) != 0)
        return 0;
    if (memcmp(bytes + ZBOOT_METHOD, "gzip", 5) != 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -ENOEXEC,
                            "kernel '%s' is %s packed with %.*s; " MACHINE
                            " unpacks gzip: give the Image that is in it",
                            path, image_describe(image), 8, (const char *)bytes + ZBOOT_METHOD);
    uint64_t offset = get_le32(bytes + ZBOOT_OFFSET);
    uint64_t length = get_le32(bytes + ZBOOT_SIZE);
    if (offset + length > image->length)
        return refuse_truncated(path, image, offset + length, error);
    *ret_packed = bytes + offset;
    *ret_length = length;
    return 0;
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
        return refuse_truncated(path, image, wanted, error);
    return 0;
}

int image_unpack_kernel(const char *path, struct image *image, uint64_t *ret_memory_bytes,
                        struct gw_error *error)
{
    const uint8_t *packed;
    size_t length = 0;
    int r = find_compressed(path, image, &packed, &length, error);
    if (r < 0)
        return r;
    if (packed) {
        struct image unpacked;
        r = inflate_gzip(packed, length, &unpacked);
        if (r < 0)
            return refuse_packed(path, r, error);
        image_fini(image);
        *image = unpacked;
    }
    r = check_header(path, image, error);
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
