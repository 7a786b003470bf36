/* SPDX-License-Identifier: Apache-2.0 */
/* run-isa IMAGE: runs a bare instruction test on the software CPU and says whether it passed, or
 * which check failed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cpu/riscv/cpu.h"

#define RAM 0x80000000ul
#define BUDGET 1000000

struct machine {
    struct rv_hart *hart;
    uint64_t verdict;
};

static int read_nothing(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                        uint64_t *ret_value)
{
    return -EFAULT;
}

static int write_finisher(void *opaque, uint64_t address, unsigned size, uint64_t retired,
                          uint64_t value)
{
    struct machine *machine = opaque;
    machine->verdict = value;
    rv_hart_kick(machine->hart);
    return 0;
}

static uint64_t count_time(void *opaque, uint64_t retired)
{
    return retired;
}

static uint64_t run(struct gw_memory *memory)
{
    struct machine machine = {0};
    const struct rv_platform platform = {&machine, read_nothing, write_finisher, count_time};
    uint64_t retired;
    machine.hart = rv_hart_new(memory, &platform, 0);
    if (!machine.hart)
        return 0;
    rv_hart_reset(machine.hart, RAM, 0, 0, 0);
    rv_hart_run(machine.hart, BUDGET, &retired);
    rv_hart_free(machine.hart);
    return machine.verdict;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[1 << 20];
    _cleanup_fclose_ FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
    struct gw_memory *memory = gw_memory_new();
    if (!file || !memory || gw_memory_add_region(memory, "ram", RAM, 4u << 20, NULL) != 0) {
        fprintf(stderr, "usage: run-isa IMAGE\n");
        return 2;
    }
    size_t length = fread(bytes, 1, sizeof bytes, file);
    gw_memory_write(memory, RAM, bytes, length);
    uint64_t verdict = run(memory);
    gw_memory_free(memory);
    if (verdict == 0x5555) {
        printf("pass\n");
        return 0;
    }
    if ((verdict & 0xffff) == 0x3333)
        printf("check %lu failed\n", verdict >> 16);
    else
        printf("no verdict within %d instructions\n", BUDGET);
    return 1;
}
