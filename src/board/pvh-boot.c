/* SPDX-License-Identifier: Apache-2.0 */
#include "board/pvh-boot.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define NOTE_GUEST_OS 6      /* XEN_ELFNOTE_GUEST_OS */
#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define LOWEST_ADDRESS UINT64_C(0x100000)
#define START_MAGIC 0x336ec578u

#define refuse(code, number, ...) gw_error_set(error, GW_LAYER_BOARD, code, number, __VA_ARGS__)

static int refuse_damaged(const struct board_config *config, struct gw_error *error)
{
    return refuse(GW_CODE_CORRUPT, -ENOEXEC, "kernel '%s' is a damaged ELF file", config->kernel);
}

/* That `length` bytes at `offset` are in the file. */
static int check_inside(const struct board_config *config, const struct image *image,
                        uint64_t offset, uint64_t length, struct gw_error *error)
{
    uint64_t end;
    if (__builtin_add_overflow(offset, length, &end))
        return refuse_damaged(config, error);
    if (end > image->length)
        return refuse(GW_CODE_CORRUPT, -ENOEXEC,
                      "kernel '%s' is truncated: it has %zu of at least %llu bytes", config->kernel,
                      image->length, (unsigned long long)end);
    return 0;
}

/* ---- Notes ---- */

static void take_note(const uint8_t *description, uint32_t length, uint32_t type,
                      struct pvh_kernel *kernel)
{
    if (type == NOTE_PHYS32_ENTRY && length >= 4)
        kernel->entry = get_le32(description);
    if (type == NOTE_GUEST_OS && length >= 5 && memcmp(description, "linux", 5) == 0)
        kernel->is_linux = true;
}

/* Notes are three words, a name and a description, each padded to a word. */
static void take_notes(const uint8_t *notes, uint64_t length, struct pvh_kernel *kernel)
{
    while (length >= 12) {
        uint64_t name = get_le32(notes), description = get_le32(notes + 4);
        uint64_t name_end = 12 + align_up(name, 4), end = name_end + align_up(description, 4);
        if (name_end > length || name_end + description > length)
            return;
        if (name == 4 && memcmp(notes + 12, "Xen", 4) == 0)
            take_note(notes + name_end, (uint32_t)description, get_le32(notes + 8), kernel);
        if (end >= length)
            return;
        notes += end;
        length -= end;
    }
}

/* ---- Segments ---- */

static int place_segment(const struct board_config *config, const struct image *image,
                         const Elf64_Phdr *header, struct boot_images *images,
                         struct gw_error *error)
{
    uint64_t end;
    if (header->p_filesz > header->p_memsz)
        return refuse_damaged(config, error);
    if (header->p_paddr < LOWEST_ADDRESS ||
        __builtin_add_overflow(header->p_paddr, header->p_memsz, &end))
        return refuse(GW_CODE_INVALID, -ENOEXEC,
                      "kernel '%s' wants to be at 0x%llx, where the machine has no room for it",
                      config->kernel, (unsigned long long)header->p_paddr);
    if (end > images->top)
        return boot_images_refuse_size(config, "kernel", config->kernel, error);
    if (images->count >= BOOT_MAX_SEGMENTS / 2)
        return refuse(GW_CODE_INVALID, -ENOEXEC, "kernel '%s' has more than %d segments to load",
                      config->kernel, BOOT_MAX_SEGMENTS / 2);
    uint8_t *bytes = calloc(1, header->p_memsz);
    if (!bytes)
        return refuse(GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory for kernel '%s'",
                      config->kernel);
    memcpy(bytes, image->bytes + header->p_offset, header->p_filesz);
    boot_images_add_low(images, header->p_paddr, bytes, header->p_memsz, header->p_memsz);
    return 0;
}

static int read_notes(const struct board_config *config, const struct image *image,
                      const Elf64_Phdr *header, struct pvh_kernel *kernel, struct gw_error *error)
{
    if (header->p_type != PT_LOAD && header->p_type != PT_NOTE)
        return 0;
    int r = check_inside(config, image, header->p_offset, header->p_filesz, error);
    if (r == 0 && header->p_type == PT_NOTE)
        take_notes(image->bytes + header->p_offset, header->p_filesz, kernel);
    return r;
}

/* ---- Both kinds of ELF ---- */

static Elf64_Phdr widen(const Elf32_Phdr *narrow)
{
    return (Elf64_Phdr){
        .p_type = narrow->p_type,
        .p_offset = narrow->p_offset,
        .p_paddr = narrow->p_paddr,
        .p_filesz = narrow->p_filesz,
        .p_memsz = narrow->p_memsz,
    };
}

static Elf64_Phdr read_header(const uint8_t *at, bool wide)
{
    Elf64_Phdr header;
    Elf32_Phdr narrow;
    if (wide) {
        memcpy(&header, at, sizeof header);
        return header;
    }
    memcpy(&narrow, at, sizeof narrow);
    return widen(&narrow);
}

/* What is started was loaded. */
static bool is_loaded(const struct boot_images *images, uint64_t address)
{
    for (unsigned i = 0; i < images->count; i++)
        if (address >= images->segment[i].guest &&
            address - images->segment[i].guest < images->segment[i].length)
            return true;
    return false;
}

int pvh_place_kernel(const struct board_config *config, const struct image *image,
                     struct boot_images *images, struct pvh_kernel *ret_kernel,
                     struct gw_error *error)
{
    Elf64_Ehdr elf;
    Elf32_Ehdr elf32;
    struct pvh_kernel kernel = {0};
    int r = check_inside(config, image, 0, sizeof elf, error);
    if (r < 0)
        return r;
    memcpy(&elf, image->bytes, sizeof elf);
    memcpy(&elf32, image->bytes, sizeof elf32);
    bool wide = elf.e_ident[EI_CLASS] == ELFCLASS64;
    if (elf.e_machine != EM_X86_64 && elf.e_machine != EM_386)
        return refuse(GW_CODE_INVALID, -ENOEXEC, "kernel '%s' is %s; microvm-1 needs an x86-64 one",
                      config->kernel, image_describe(image));
    uint64_t at = wide ? elf.e_phoff : elf32.e_phoff;
    unsigned count = wide ? elf.e_phnum : elf32.e_phnum;
    unsigned each = wide ? elf.e_phentsize : elf32.e_phentsize;
    if (each != (wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return refuse_damaged(config, error);
    r = check_inside(config, image, at, (uint64_t)count * each, error);
    const uint8_t *headers = image->bytes + at;
    for (unsigned i = 0; r == 0 && i < count; i++) {
        Elf64_Phdr header = read_header(headers + (size_t)i * each, wide);
        r = read_notes(config, image, &header, &kernel, error);
    }
    if (r < 0)
        return r;
    if (!kernel.entry)
        return refuse(
            GW_CODE_INVALID, -ENOEXEC,
            "kernel '%s' has no PVH entry (ELF note Xen 18): microvm-1 starts a bzImage or "
            "an ELF file with one, riscv-virt-1 a riscv64 Image",
            config->kernel);
    for (unsigned i = 0; r == 0 && i < count; i++) {
        Elf64_Phdr header = read_header(headers + (size_t)i * each, wide);
        if (header.p_type == PT_LOAD && header.p_memsz > 0)
            r = place_segment(config, image, &header, images, error);
    }
    if (r < 0)
        return r;
    if (!is_loaded(images, kernel.entry))
        return refuse_damaged(config, error);
    *ret_kernel = kernel;
    return 0;
}

/* ---- Start info ---- */

enum { START_BYTES = 56, MODULE_BYTES = 32, RANGE_BYTES = 24 };

size_t pvh_start_info(const struct boot_images *images, uint64_t address, uint64_t command_line,
                      uint64_t rsdp, const struct pvh_range *map, unsigned ranges,
                      uint8_t bytes[PVH_START_INFO_MAX_BYTES])
{
    size_t modules = START_BYTES, ranges_at = modules + MODULE_BYTES;
    memset(bytes, 0, PVH_START_INFO_MAX_BYTES);
    put_le32(bytes, START_MAGIC);
    put_le32(bytes + 4, 1);
    put_le32(bytes + 12, images->initrd ? 1 : 0);
    put_le64(bytes + 16, images->initrd ? address + modules : 0);
    put_le64(bytes + 24, command_line);
    put_le64(bytes + 32, rsdp);
    put_le64(bytes + 40, address + ranges_at);
    put_le32(bytes + 48, ranges);
    put_le64(bytes + modules, images->initrd);
    put_le64(bytes + modules + 8, images->initrd_bytes);
    for (unsigned i = 0; i < ranges; i++) {
        uint8_t *range = bytes + ranges_at + i * RANGE_BYTES;
        put_le64(range, map[i].base);
        put_le64(range + 8, map[i].bytes);
        put_le32(range + 16, map[i].type);
    }
    return ranges_at + ranges * RANGE_BYTES;
}
