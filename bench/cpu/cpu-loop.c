/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu-loop [--watch] IMAGE…: runs each bare image (guest.c) to its end on the software CPU and
 * prints instructions, seconds and millions of instructions a second. bench/cpu/compare.py sets the
 * times against qemu-system-riscv64.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cpu/riscv/cpu.h"

#define RAM 0x80000000ul

struct machine {
    struct rv_hart *hart;
    bool finished;
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
    machine->finished = true;
    rv_hart_kick(machine->hart);
    return 0;
}

static uint64_t no_time(void *opaque, uint64_t retired)
{
    return 0;
}

static int load(struct gw_memory *memory, const char *path)
{
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    static uint8_t bytes[1 << 20];
    if (!file)
        return -errno;
    size_t length = fread(bytes, 1, sizeof bytes, file);
    return gw_memory_write(memory, RAM, bytes, length);
}

static int run(const char *path, bool watch)
{
    struct gw_memory *memory = gw_memory_new();
    struct machine machine = {0};
    const struct rv_platform platform = {&machine, read_nothing, write_finisher, no_time};
    int result = memory ? gw_memory_add_region(memory, "ram", RAM, 16u << 20, NULL) : -ENOMEM;
    struct gw_bytemap_tracker *tracker = result ? NULL : gw_bytemap_tracker_new(memory, NULL, NULL);
    if (result == 0)
        result = load(memory, path);
    machine.hart = result ? NULL : rv_hart_new(memory, &platform, 0);
    if (machine.hart) {
        uint64_t retired, begin = host_monotonic_ns();
        rv_hart_reset(machine.hart, RAM, 0, 0, 0);
        rv_hart_set_watching(machine.hart, watch);
        while (!machine.finished)
            rv_hart_run(machine.hart, 1000000, &retired);
        double seconds = (double)(host_monotonic_ns() - begin) / 1e9;
        double instructions = (double)rv_hart_instructions(machine.hart);
        printf("%s %.0f %.4f %.1f\n", path, instructions, seconds, instructions / seconds / 1e6);
    }
    rv_hart_free(machine.hart);
    gw_bytemap_tracker_free(tracker);
    gw_memory_free(memory);
    return result;
}

int main(int argc, char **argv)
{
    bool watch = argc > 1 && strcmp(argv[1], "--watch") == 0;
    for (int i = watch ? 2 : 1; i < argc; i++) {
        int result = run(argv[i], watch);
        if (result) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(-result));
            return 1;
        }
    }
    return 0;
}
