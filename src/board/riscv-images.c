/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things go: firmware at the start of RAM (an ELF file where it says), the kernel 2 MiB
 * above; initrd, OpenSBI's information block and device tree downwards from the end of RAM, a page
 * boundary each.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/device-tree.h"
#include "board/image-file.h"
#include "board/riscv-machine.h"

/* OpenSBI, in the order of preference; from Debian's opensbi and qemu packages. */
static const char *const default_firmware[] = {
    "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin",
    "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.elf",
    "/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin",
};

/* ---- Firmware ---- */

static bool is_elf(const struct image *image)
{
    return image->length >= SELFMAG && memcmp(image->bytes, ELFMAG, SELFMAG) == 0;
}

/* One PT_LOAD of an ELF file, copied into a segment. */
static int add_program_header(const struct board_config *config, const struct image *image,
                              const Elf64_Phdr *header, struct boot_images *images,
                              struct gw_error *error)
{
    uint64_t end;
    if (header->p_filesz > header->p_memsz || header->p_offset > image->length ||
        header->p_filesz > image->length - header->p_offset ||
        images->count >= BOOT_MAX_SEGMENTS - 4)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -ENOEXEC,
                            "firmware '%s' is damaged, truncated, or has too many segments",
                            config->firmware);
    if (header->p_paddr < RAM_BASE ||
        __builtin_add_overflow(header->p_paddr, header->p_memsz, &end) ||
        end > RAM_BASE + config->memory_bytes)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                            "firmware '%s' wants to be at 0x%llx, outside the machine's memory",
                            config->firmware, (unsigned long long)header->p_paddr);
    uint8_t *bytes = calloc(1, header->p_memsz);
    if (!bytes)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "out of memory for firmware '%s'", config->firmware);
    memcpy(bytes, image->bytes + header->p_offset, header->p_filesz);
    boot_images_add_low(images, header->p_paddr, bytes, header->p_memsz, header->p_memsz);
    return 0;
}

static int place_elf(const struct board_config *config, const struct image *image,
                     struct boot_images *images, struct gw_error *error)
{
    Elf64_Ehdr elf;
    if (image->length < sizeof elf || image->bytes[EI_CLASS] != ELFCLASS64 ||
        get_le16(image->bytes + offsetof(Elf64_Ehdr, e_machine)) != EM_RISCV)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                            "firmware '%s' is %s; riscv-virt-1 needs a riscv64 one",
                            config->firmware, image_describe(image));
    memcpy(&elf, image->bytes, sizeof elf);
    if (elf.e_phentsize != sizeof(Elf64_Phdr) || elf.e_phoff > image->length ||
        elf.e_phnum > (image->length - elf.e_phoff) / sizeof(Elf64_Phdr))
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_CORRUPT, -ENOEXEC,
                            "firmware '%s' is damaged or truncated", config->firmware);
    for (unsigned i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr header;
        memcpy(&header, image->bytes + elf.e_phoff + i * sizeof header, sizeof header);
        if (header.p_type != PT_LOAD || header.p_memsz == 0)
            continue;
        int r = add_program_header(config, image, &header, images, error);
        if (r < 0)
            return r;
    }
    if (images->count == 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                            "firmware '%s' has nothing to load", config->firmware);
    images->entry.pc = elf.e_entry;
    return 0;
}

static int read_firmware(const struct board_config *config, struct boot_images *images,
                         struct gw_error *error)
{
    _cleanup_(image_fini) struct image image = {0};
    int r = image_read("firmware", config->firmware, &image, error);
    if (r < 0)
        return r;
    if (is_elf(&image))
        return place_elf(config, &image, images, error);
    if (image.length > config->memory_bytes)
        return boot_images_refuse_size(config, "firmware", config->firmware, error);
    boot_images_add_low(images, RAM_BASE, TAKE_PTR(image.bytes), image.length, image.length);
    images->entry.pc = RAM_BASE;
    return 0;
}

static const char *find_firmware(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(default_firmware); i++)
        if (access(default_firmware[i], R_OK) == 0)
            return default_firmware[i];
    return NULL;
}

/* ---- Kernel and initrd ---- */

static int read_kernel(const struct board_config *config, struct boot_images *images,
                       struct gw_error *error)
{
    _cleanup_(image_fini) struct image image = {0};
    uint64_t memory_bytes;
    int r = image_read("kernel", config->kernel, &image, error);
    if (r == 0)
        r = image_unpack_kernel(config->kernel, &image, &memory_bytes, error);
    if (r < 0)
        return r;
    if (config->memory_bytes < KERNEL_OFFSET || memory_bytes > config->memory_bytes - KERNEL_OFFSET)
        return boot_images_refuse_size(config, "kernel", config->kernel, error);
    images->kernel = RAM_BASE + KERNEL_OFFSET;
    boot_images_add_low(images, images->kernel, TAKE_PTR(image.bytes), image.length, memory_bytes);
    return 0;
}

static int read_initrd(const struct board_config *config, struct boot_images *images,
                       struct gw_error *error)
{
    _cleanup_(image_fini) struct image image = {0};
    int r = image_read("initrd", config->initrd, &image, error);
    if (r < 0)
        return r;
    images->initrd = boot_images_take_top(images, image.length);
    if (!images->initrd)
        return boot_images_refuse_size(config, "initrd", config->initrd, error);
    images->initrd_bytes = image.length;
    boot_images_add(images, images->initrd, TAKE_PTR(image.bytes), image.length);
    return 0;
}

/* What OpenSBI's fw_dynamic finds at a2 (include/sbi/fw_dynamic.h, version 2): six words. */
static int add_dynamic_information(const struct board_config *config, struct boot_images *images,
                                   struct gw_error *error)
{
    const uint64_t words[6] = {0x4942534f, 2, images->kernel, 1 /* S-mode */, 0, 0 /* boot hart */};
    images->entry.argument[1] = boot_images_take_top(images, sizeof words);
    if (!images->entry.argument[1])
        return boot_images_refuse_size(config, "kernel", config->kernel, error);
    uint8_t *bytes = malloc(sizeof words);
    if (!bytes)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        put_le64(bytes + i * 8, words[i]);
    boot_images_add(images, images->entry.argument[1], bytes, sizeof words);
    return 0;
}

/* The kernel's place must be free. */
static int check_firmware_end(const struct board_config *config, const struct boot_images *images,
                              struct gw_error *error)
{
    if (images->floor > RAM_BASE + KERNEL_OFFSET)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EFBIG,
                            "firmware '%s' reaches into the kernel at 0x%llx", config->firmware,
                            (unsigned long long)(RAM_BASE + KERNEL_OFFSET));
    return 0;
}

static int read_all(const struct board_config *config, struct boot_images *images,
                    struct gw_error *error)
{
    int r = read_firmware(config, images, error);
    if (r == 0 && config->kernel)
        r = check_firmware_end(config, images, error);
    if (r == 0 && config->kernel)
        r = read_kernel(config, images, error);
    if (r == 0 && config->initrd)
        r = read_initrd(config, images, error);
    if (r == 0 && config->kernel)
        r = add_dynamic_information(config, images, error);
    return r;
}

/* ---- Device tree ---- */

/* The guest's first entropy: of the host, or with the instruction clock of the configured seed
 * (splitmix64). */
static int fill_seed(const struct board_config *config, uint8_t seed[DEVICE_TREE_SEED_BYTES])
{
    if (config->clock == GW_CLOCK_HOST)
        return getrandom(seed, DEVICE_TREE_SEED_BYTES, 0) == DEVICE_TREE_SEED_BYTES ? 0 : -errno;
    uint64_t state = config->seed;
    for (unsigned i = 0; i < DEVICE_TREE_SEED_BYTES; i += 8) {
        uint64_t word = state += UINT64_C(0x9e3779b97f4a7c15);
        word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
        put_le64(seed + i, word ^ word >> 31);
    }
    return 0;
}

static int add_tree(const struct board_config *config, struct boot_images *images,
                    struct gw_error *error)
{
    struct device_tree_config tree_config = {
        .memory_bytes = config->memory_bytes,
        .cpus = config->cpus,
        .vmclock = config->vmclock,
        .append = config->append,
        .initrd = images->initrd,
        .initrd_bytes = images->initrd_bytes,
    };
    uint8_t *tree;
    uint64_t length;
    int r = fill_seed(config, tree_config.seed);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NO_RESOURCE, r,
                            "cannot get entropy for the guest: %s", strerror(-r));
    r = device_tree_build(&tree_config, &tree, &length, error);
    if (r < 0)
        return r;
    images->entry.argument[0] = boot_images_take_top(images, length);
    if (!images->entry.argument[0]) {
        free(tree);
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EFBIG,
                            "no room for the device tree; give the machine more memory");
    }
    boot_images_add(images, images->entry.argument[0], tree, length);
    return 0;
}

int riscv_images_read(const struct board_config *config, struct boot_images *ret_images,
                      struct gw_error *error)
{
    struct board_config effective = *config;
    if (!config->firmware)
        effective.firmware = (char *)find_firmware();
    if (!config->kernel && !config->firmware)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "nothing to boot: give --kernel, or --firmware for a bare program");
    if (!effective.firmware)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_NOT_FOUND, -ENOENT,
                            "no OpenSBI found (%s); install the package opensbi or give --firmware",
                            default_firmware[0]);
    if (config->initrd && !config->kernel)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "initrd '%s' needs a kernel: give --kernel", config->initrd);
    struct boot_images images = {.floor = RAM_BASE, .top = RAM_BASE + config->memory_bytes};
    int r = read_all(&effective, &images, error);
    if (r == 0)
        r = add_tree(config, &images, error);
    if (r < 0) {
        boot_images_fini(&images);
        return r;
    }
    *ret_images = images;
    return 0;
}
