/* SPDX-License-Identifier: Apache-2.0 */
/* Boot files: reading them whole, unpacking them, and telling what they are. */
#ifndef BOARD_IMAGE_FILE_H
#define BOARD_IMAGE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include <godwit/error.h>

#define IMAGE_MAX_BYTES ((size_t)512 << 20)

struct image {
    uint8_t *bytes; /* owned */
    size_t length;
};
void image_fini(struct image *image);

/* `what` is "kernel", "firmware" or "initrd" and begins the sentence of a refusal. */
int image_read(const char *what, const char *path, struct image *ret_image, struct gw_error *error);
/* The first `bytes`, or as many as there are. */
int image_read_head(const char *what, const char *path, size_t bytes, struct image *ret_image,
                    struct gw_error *error);

/* A kernel as the riscv Image that it holds: plain, gzip, or EFI zboot with gzip
 * (Documentation/arch/riscv/boot-image-header.rst). `image` is replaced by the unpacked bytes.
 * *ret_memory_bytes: what the kernel occupies when it starts, its zeroed data included. */
int image_unpack_kernel(const char *path, struct image *image, uint64_t *ret_memory_bytes,
                        struct gw_error *error);

/* ---- image-kind.c ---- */

/* Which architecture's machine a kernel is for, by the head of its file; compressed ones are looked
 * into. OTHER: nothing that any of our machines starts. *ret_name is its image_describe(). Refuses
 * files that cannot be read. */
enum image_architecture { IMAGE_OTHER, IMAGE_RISCV64, IMAGE_X86_64 };
int image_architecture(const char *path, enum image_architecture *ret_architecture,
                       const char **ret_name, struct gw_error *error);

/* A short name of what the bytes seem to be ("an arm64 kernel", "an xz file"), for sentences; of a
 * gzip file what is in it, where that can be told. Never NULL. */
const char *image_describe(const struct image *image);

#endif
