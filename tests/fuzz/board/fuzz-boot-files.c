/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a user names, and the boot region that a peer sends. The first byte chooses: firmware,
 * a kernel of either machine, or a region.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "board/boot-images.h"
#include "board/image-file.h"
#include "board/microvm.h"
#include "board/riscv-virt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

#define RAM_BYTES (UINT64_C(8) << 20)
#define BOOT_BYTES (UINT64_C(64) << 10)

enum { KIND_FIRMWARE, KIND_KERNEL, KIND_REGION, KIND_MICROVM, KINDS };

/* Everything that was placed lies in RAM. */
static void read_files(const char *firmware, const char *kernel)
{
    struct board_config config = {.memory_bytes = RAM_BYTES, .cpus = 1};
    struct boot_images images;
    struct gw_error error = {0};
    config.firmware = (char *)firmware;
    config.kernel = (char *)kernel;
    if (riscv_images_read(&config, &images, &error) < 0) {
        if (error.message[0] == 0)
            abort();
        return;
    }
    for (unsigned i = 0; i < images.count; i++)
        if (images.segment[i].guest < RAM_BASE || images.segment[i].length > RAM_BYTES ||
            images.segment[i].guest - RAM_BASE > RAM_BYTES - images.segment[i].length)
            abort();
    boot_images_fini(&images);
}

#ifdef GW_HAVE_KVM
/* Everything that was placed lies in RAM, which is all below the hole. */
static void read_x86_kernel(const char *kernel, const char *initrd)
{
    struct board_config config = {.memory_bytes = RAM_BYTES, .cpus = 2};
    struct boot_images images;
    struct gw_error error = {0};
    config.kernel = (char *)kernel;
    config.initrd = (char *)initrd;
    config.append = "quiet";
    if (microvm_images_read(&config, &images, &error) < 0) {
        if (error.message[0] == 0)
            abort();
        return;
    }
    for (unsigned i = 0; i < images.count; i++)
        if (images.segment[i].guest > RAM_BYTES ||
            images.segment[i].length > RAM_BYTES - images.segment[i].guest)
            abort();
    boot_images_fini(&images);
}
#endif

static void identify(const char *path)
{
    enum image_architecture architecture;
    const char *name = NULL;
    if (image_architecture(path, &architecture, &name, NULL) == 0 && !name)
        abort();
}

static void apply_region(const uint8_t *data, size_t length)
{
    struct gw_memory *memory = gw_memory_new();
    struct boot_entry entry;
    uint64_t offset;
    gw_memory_add_region(memory, "ram", RAM_BASE, RAM_BYTES, NULL);
    gw_memory_add_region(memory, BOOT_REGION_NAME, BOOT_REGION_BASE, BOOT_BYTES, NULL);
    struct gw_memory_region *region = gw_memory_find(memory, BOOT_REGION_BASE, 1, &offset);
    memcpy(region->host, data, length < BOOT_BYTES ? length : BOOT_BYTES);
    (void)boot_region_apply(memory, &entry, NULL);
    gw_memory_free(memory);
}

/* A file in memory with these bytes; its path. */
static const char *put_file(unsigned which, const void *bytes, size_t length)
{
    static struct {
        int fd;
        char path[32];
    } files[2];
    if (!files[which].fd) {
        files[which].fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(files[which].path, sizeof files[which].path, "/proc/self/fd/%d", files[which].fd);
    }
    if (ftruncate(files[which].fd, 0) < 0 ||
        pwrite(files[which].fd, bytes, length, 0) != (ssize_t)length)
        abort();
    return files[which].path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (length < 1)
        return 0;
    switch (data[0] % KINDS) {
    case KIND_FIRMWARE:
        read_files(put_file(0, data + 1, length - 1), NULL);
        break;
    case KIND_KERNEL:
        read_files(put_file(1, "raw", 3), put_file(0, data + 1, length - 1));
        break;
    case KIND_MICROVM:
        identify(put_file(0, data + 1, length - 1));
#ifdef GW_HAVE_KVM
        read_x86_kernel(put_file(0, data + 1, length - 1), put_file(1, "initrd", 6));
#endif
        break;
    case KIND_REGION:
        apply_region(data + 1, length - 1);
        break;
    }
    return 0;
}
