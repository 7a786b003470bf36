/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff-qemu GUEST [SEED [SEQUENCES]]: runs random sequences on the software CPU and under
 * qemu-riscv64 and compares every register, fcsr and the scratch memory. Exit code 77: qemu-riscv64
 * is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpu/riscv/hart.h"
#include "generate.h"

struct run {
    uint64_t count;
    uint8_t (*code)[DIFF_CODE_BYTES];
    struct diff_state *states;
    struct diff_result *ours, *theirs;
};

static int write_input(const struct run *run, FILE *to)
{
    if (fwrite(&run->count, sizeof run->count, 1, to) != 1 ||
        fwrite(run->code, sizeof *run->code, run->count, to) != run->count ||
        fwrite(run->states, sizeof *run->states, run->count, to) != run->count || fflush(to) != 0)
        return -EIO;
    rewind(to);
    return 0;
}

/* 0, -ENOENT when there is no qemu-riscv64, or another error. */
static int run_qemu(const struct run *run, const char *guest)
{
    FILE *in = tmpfile(), *out = tmpfile();
    int status, result = in && out ? write_input(run, in) : -errno;
    pid_t child = result ? -1 : fork();
    if (child == 0) {
        dup2(fileno(in), STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        execlp("qemu-riscv64", "qemu-riscv64", "-cpu", "rv64", guest, (char *)NULL);
        _exit(errno == ENOENT ? 127 : 126);
    }
    if (result == 0 && (child < 0 || waitpid(child, &status, 0) != child))
        result = -ECHILD;
    else if (result == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127)
        result = -ENOENT;
    else if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        result = -EPROTO;
    if (result == 0) {
        rewind(out);
        if (fread(run->theirs, sizeof *run->theirs, run->count, out) != run->count)
            result = -EIO;
    }
    if (in)
        fclose(in);
    if (out)
        fclose(out);
    return result;
}

static uint64_t no_time(void *opaque, uint64_t retired)
{
    return 0;
}

static void set_state(struct rv_hart *hart, uint64_t pc, const struct diff_state *from)
{
    rv_hart_reset(hart, pc, 0, 0, 0);
    memcpy(hart->state.x, from->x, sizeof from->x);
    memcpy(hart->state.f, from->f, sizeof from->f);
    hart->state.mstatus = RV_MSTATUS_FS;
    hart->state.frm = from->fcsr >> 5 & 7;
    hart->state.fflags = from->fcsr & 31;
    rv_context_update(hart);
}

static bool run_ours(const struct run *run)
{
    struct gw_memory *memory = gw_memory_new();
    struct rv_platform platform = {.time = no_time};
    uint32_t wait = 0x10500073, length = DIFF_CODE_BYTES;
    bool good = memory && gw_memory_add_region(memory, "code", DIFF_CODE, 0x2000000, NULL) == 0 &&
                gw_memory_add_region(memory, "done", DIFF_DONE, 4096, NULL) == 0 &&
                gw_memory_add_region(memory, "scratch", DIFF_SCRATCH, 4096, NULL) == 0;
    struct rv_hart *hart = good ? rv_hart_new(memory, &platform, 0) : NULL;
    if (hart) {
        gw_memory_write(memory, DIFF_DONE, &wait, 4);
        gw_memory_write(memory, DIFF_CODE, run->code, run->count * length);
    }
    for (uint64_t i = 0; hart && i < run->count; i++) {
        uint64_t retired;
        struct diff_result *result = &run->ours[i];
        set_state(hart, DIFF_CODE + i * length, &run->states[i]);
        if (rv_hart_run(hart, 1000, &retired) != RV_EXIT_WFI) {
            fprintf(stderr, "sequence %lu stops at %lx, cause %lu, value %lx\n", i,
                    hart->state.mepc, hart->state.mcause, hart->state.mtval);
            good = false;
            break;
        }
        memcpy(result->state.x, hart->state.x, sizeof result->state.x);
        memcpy(result->state.f, hart->state.f, sizeof result->state.f);
        result->state.fcsr = (uint64_t)hart->state.frm << 5 | hart->state.fflags;
        gw_memory_read(memory, DIFF_SCRATCH, result->scratch, DIFF_SCRATCH_BYTES);
    }
    rv_hart_free(hart);
    gw_memory_free(memory);
    return good && hart;
}

static bool differs(const char *name, unsigned index, uint64_t ours, uint64_t theirs)
{
    if (ours == theirs)
        return false;
    fprintf(stderr, "  %s%u: here %016lx, qemu %016lx\n", name, index, ours, theirs);
    return true;
}

static bool compare(const struct run *run, uint64_t i)
{
    const struct diff_result *a = &run->ours[i], *b = &run->theirs[i];
    bool different = false;
    for (unsigned n = 1; n < 31; n++)
        different |= differs("x", n, a->state.x[n], b->state.x[n]);
    for (unsigned n = 0; n < 32; n++)
        different |= differs("f", n, a->state.f[n], b->state.f[n]);
    different |= differs("fcsr", 0, a->state.fcsr, b->state.fcsr);
    for (unsigned n = 0; n < DIFF_SCRATCH_BYTES / 8; n++)
        different |= differs("memory", n * 8, a->scratch[n], b->scratch[n]);
    if (!different)
        return true;
    fprintf(stderr, "sequence %lu differs; its code:", i);
    for (unsigned n = 0; n < DIFF_CODE_BYTES; n += 2)
        fprintf(stderr, " %04x", get_le16(run->code[i] + n));
    fprintf(stderr, "\n");
    for (unsigned n = 0; n < 32; n++)
        fprintf(stderr, "  begins with x%u %016lx f%u %016lx\n", n, run->states[i].x[n], n,
                run->states[i].f[n]);
    fprintf(stderr, "  begins with fcsr %02lx\n", run->states[i].fcsr);
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: diff-qemu GUEST [SEED [SEQUENCES]]\n");
        return 2;
    }
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    struct run run = {.count = argc > 3 ? strtoull(argv[3], NULL, 0) : 500};
    if (run.count > DIFF_MOST)
        run.count = DIFF_MOST;
    run.code = calloc(run.count, sizeof *run.code);
    run.states = calloc(run.count, sizeof *run.states);
    run.ours = calloc(run.count, sizeof *run.ours);
    run.theirs = calloc(run.count, sizeof *run.theirs);
    for (uint64_t i = 0; i < run.count; i++) {
        diff_generate(seed + i, (enum diff_kind)(i % 3), run.code[i], &run.states[i]);
        run.states[i].x[31] = DIFF_CODE + i * DIFF_CODE_BYTES;
    }
    printf("seed %lu, %lu sequences\n", seed, run.count);
    fflush(stdout);
    int result = run_qemu(&run, argv[1]);
    if (result == -ENOENT) {
        printf("skipped: there is no qemu-riscv64\n");
        return 77;
    }
    if (result) {
        fprintf(stderr, "qemu-riscv64: %s\n", strerror(-result));
        return 1;
    }
    unsigned bad = !run_ours(&run);
    for (uint64_t i = 0; !bad && i < run.count; i++)
        bad += !compare(&run, i);
    printf(bad ? "differs\n" : "all equal\n");
    free(run.code);
    free(run.states);
    free(run.ours);
    free(run.theirs);
    return bad != 0;
}
