/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch-vmclock [MILLISECONDS]: prints a line whenever the machine has moved (docs/vmclock.md), looking again and
 * again (default: every 10 ms). The page is mapped through the kernel's driver if it has one, else through
 * /dev/mem at the address that the device tree or ACPI gives; the latter takes root.
 */
#include <endian.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pattern.h"

#define DRIVER "/dev/vmclock0"
#define TREE "/sys/firmware/devicetree/base"
#define COMPATIBLE "amazon,vmclock"
#define ACPI_ID "AMZNC10C"
#define MAGIC 0x4b4c4356u
#define FLAG_NOTIFICATION (UINT64_C(1) << 9)

/* The beginning of struct vmclock_abi, version 1; little-endian. */
struct vmclock {
    uint32_t magic, size;
    uint16_t version;
    uint8_t counter_id, time_type;
    _Atomic uint32_t sequence; /* odd while what follows is written */
    _Atomic uint64_t marker, flags;
};

struct reading {
    uint32_t sequence;
    uint64_t marker, flags;
};

/* ---- Where the page is ---- */

static uint64_t found_at;

static size_t read_property(const char *node, const char *name, void *bytes, size_t capacity)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", node, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    size_t length = fread(bytes, 1, capacity, file);
    fclose(file);
    return length;
}

/* An address of two cells, as in every tree for machines of 64 bits that has this device. */
static int look_at_node(const char *path, const struct stat *status, int type, struct FTW *place)
{
    char compatible[64] = "";
    uint64_t reg[2];
    (void)status;
    (void)place;
    if (type != FTW_D || read_property(path, "compatible", compatible, sizeof(compatible) - 1) == 0 ||
        strcmp(compatible, COMPATIBLE) != 0 || read_property(path, "reg", reg, sizeof(reg)) != sizeof(reg))
        return 0;
    found_at = be64toh(reg[0]);
    return 1;
}

/* A device of ACPI is listed with its memory: "  feffb000-feffbfff : AMZNC10C:00". */
static uint64_t find_by_acpi(void)
{
    char line[256];
    uint64_t address = 0;
    FILE *file = fopen("/proc/iomem", "r");
    while (file && address == 0 && fgets(line, sizeof(line), file))
        if (strstr(line, ACPI_ID))
            address = strtoull(line, NULL, 16);
    if (file)
        fclose(file);
    return address;
}

static uint64_t find_address(void)
{
    if (nftw(TREE, look_at_node, 8, FTW_PHYS) == 1)
        return found_at;
    return find_by_acpi();
}

/* ---- Mapping and reading it ---- */

static const struct vmclock *map_file(const char *path, uint64_t offset)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, (off_t)offset);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

static const struct vmclock *map_page(char *how, size_t bytes)
{
    const struct vmclock *clock = map_file(DRIVER, 0);
    snprintf(how, bytes, "%s", DRIVER);
    if (clock)
        return clock;
    uint64_t address = find_address();
    snprintf(how, bytes, "/dev/mem at 0x%llx", (unsigned long long)address);
    return address ? map_file("/dev/mem", address) : NULL;
}

/* All of one update, never of two. */
static struct reading read_page(const struct vmclock *clock)
{
    struct reading reading;
    do {
        reading.sequence = atomic_load_explicit(&clock->sequence, memory_order_acquire);
        reading.marker = le64toh(atomic_load_explicit(&clock->marker, memory_order_relaxed));
        reading.flags = le64toh(atomic_load_explicit(&clock->flags, memory_order_relaxed));
        atomic_thread_fence(memory_order_acquire);
    } while ((le32toh(reading.sequence) & 1) ||
             atomic_load_explicit(&clock->sequence, memory_order_relaxed) != reading.sequence);
    reading.sequence = le32toh(reading.sequence);
    return reading;
}

int main(int argc, char **argv)
{
    unsigned interval_ms = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10;
    char how[64];
    const struct vmclock *clock = map_page(how, sizeof(how));
    if (!clock || le32toh(clock->magic) != MAGIC || le16toh(clock->version) != 1) {
        printf("vmclock: this machine has none, or it cannot be reached\n");
        return 1;
    }
    struct reading last = read_page(clock);
    printf("vmclock: marker %llu, by %s, counter %u, notification %s\n", (unsigned long long)last.marker, how,
           clock->counter_id, last.flags & FLAG_NOTIFICATION ? "yes" : "no");
    fflush(stdout);
    for (;;) {
        struct reading now = read_page(clock);
        if (now.marker != last.marker)
            printf("vmclock: moved, marker %llu, sequence %u, seen at %llu ms\n", (unsigned long long)now.marker,
                   now.sequence, (unsigned long long)now_ms());
        fflush(stdout);
        last = now;
        sleep_ms(interval_ms);
    }
}
