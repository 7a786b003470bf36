/* SPDX-License-Identifier: Apache-2.0 */
#include "dirty.h"

/* Intel SDM volume 3, "Local APIC": INIT and startup messages. */
#define APIC_COMMAND ((volatile uint32_t *)0xfee00300)
#define APIC_TARGET ((volatile uint32_t *)0xfee00310)
#define COMMAND_INIT 0x4500
#define COMMAND_STARTUP 0x4600
#define TRAMPOLINE UINT64_C(0x8000)

struct cpu cpus[MAX_CPUS];

static bool arrives(const struct cpu *cpu, uint64_t ms)
{
    uint64_t end = read_tsc() + ms * ticks_per_ms;
    while (!cpu->online && read_tsc() < end)
        __asm__ volatile("pause");
    return cpu->online;
}

static void send(uint32_t number, uint32_t command)
{
    *APIC_TARGET = number << 24;
    *APIC_COMMAND = command;
}

bool cpus_start(uint32_t count, uint32_t *ret_missing)
{
    volatile char *to = (volatile char *)TRAMPOLINE;
    for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
        to[i] = trampoline[i];
    for (uint32_t number = 1; number < count; number++) {
        cpu_to_start = number;
        send(number, COMMAND_INIT);
        arrives(&cpus[number], 10);
        send(number, COMMAND_STARTUP | TRAMPOLINE / PAGE_BYTES);
        *ret_missing = number;
        if (!arrives(&cpus[number], 2000))
            return false;
    }
    return true;
}
