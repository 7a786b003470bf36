/* SPDX-License-Identifier: Apache-2.0 */
#include "bare.h"

/* Xen's public headers, arch-x86/hvm/start_info.h, describe this block and its map of the memory. */
#define MAP_RAM 1
struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp, map;
    uint32_t map_entries, reserved;
};
struct map_entry {
    uint64_t address, size;
    uint32_t type, reserved;
};

/* The ACPI generic event device of microvm: sleep control and reset registers. */
#define SLEEP_CONTROL ((volatile uint8_t *)0xfea00200)
#define RESET ((volatile uint8_t *)0xfea00202)
#define SLEEP_S5 0x34
#define RESET_NOW 0x42

struct memory_range ram[MAX_RAM];
uint32_t ram_count;
char command_line[512];
uint32_t start_info, wants_ymm; /* for entry.S */
volatile uint32_t cpu_to_start;

void clock_prepare(void);

static void copy_map(const struct start_info *start)
{
    const struct map_entry *map = (const struct map_entry *)start->map;
    for (uint32_t i = 0; start->version >= 1 && i < start->map_entries; i++)
        if (map[i].type == MAP_RAM && ram_count < MAX_RAM)
            ram[ram_count++] = (struct memory_range){map[i].address, map[i].size};
}

void prepare(const struct start_info *start);
void prepare(const struct start_info *start)
{
    copy_map(start);
    const char *from = (const char *)start->command_line;
    for (size_t i = 0; from != NULL && i < sizeof command_line - 1 && from[i] != 0; i++)
        command_line[i] = from[i];
    clock_prepare();
    guest_prepare();
}

void power_off(void)
{
    *SLEEP_CONTROL = SLEEP_S5;
}

void reset(void)
{
    *RESET = RESET_NOW;
}
