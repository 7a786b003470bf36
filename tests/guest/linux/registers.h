/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of floating point and vector registers that can be held: filled from memory, kept while the CPU
 * computes and while the thread sleeps, and stored to memory again, all in one piece of assembly, so that no
 * compiler comes between.
 */
#ifndef GUEST_REGISTERS_H
#define GUEST_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct register_set {
    const char *name;
    unsigned count, bytes; /* registers, and the size of each */
    bool (*available)(void);
    /* `turns` rounds of an empty loop, then a sleep of `rest`. */
    void (*hold)(const void *from, void *to, uint64_t turns, const struct timespec *rest);
};

#define EACH_8(X, a) X(a##0) X(a##1) X(a##2) X(a##3) X(a##4) X(a##5) X(a##6) X(a##7)

#if defined(__x86_64__)

#define EACH_16(X) EACH_8(X, ) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH_32(X)                                                                             \
    EACH_16(X) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28)   \
        X(29) X(30) X(31)

#define X87_LOAD(n) "fildll " #n "*8(%[from])\n\t"
#define XMM_LOAD(n) "movdqu " #n "*16(%[from]), %%xmm" #n "\n\t"
#define XMM_STORE(n) "movdqu %%xmm" #n ", " #n "*16(%[to])\n\t"
#define YMM_LOAD(n) "vmovdqu " #n "*32(%[from]), %%ymm" #n "\n\t"
#define YMM_STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%[to])\n\t"
#define ZMM_LOAD(n) "vmovdqu64 " #n "*64(%[from]), %%zmm" #n "\n\t"
#define ZMM_STORE(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[to])\n\t"

/* `turns` and a nanosleep; the system call leaves all but rax, rcx and r11 alone. */
#define REST                                                                                   \
    "1: dec %[turns]\n\t"                                                                      \
    "jnz 1b\n\t"                                                                               \
    "mov $35, %%eax\n\t"                                                                       \
    "xor %%esi, %%esi\n\t"                                                                     \
    "syscall\n\t"

#define CLOBBERED                                                                              \
    "rax", "rcx", "rsi", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",        \
        "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",   \
        "xmm15"

#define HOLD(name, load, store, after)                                                         \
    static void hold_##name(const void *from, void *to, uint64_t turns,                        \
                            const struct timespec *rest)                                       \
    {                                                                                          \
        __asm__ volatile(load REST store after                                                 \
                         : [turns] "+r"(turns)                                                 \
                         : [from] "r"(from), [to] "r"(to), "D"(rest)                           \
                         : CLOBBERED);                                                         \
    }

HOLD(xmm, EACH_16(XMM_LOAD), EACH_16(XMM_STORE), "")
HOLD(ymm, EACH_16(YMM_LOAD), EACH_16(YMM_STORE), "vzeroupper\n\t")
HOLD(zmm, EACH_32(ZMM_LOAD), EACH_32(ZMM_STORE), "vzeroupper\n\t")

/* Loaded and stored as integers, which have room in them for all 64 bits; the last in comes out first. */
static void hold_x87(const void *from, void *to, uint64_t turns, const struct timespec *rest)
{
    __asm__ volatile("fninit\n\t" EACH_8(X87_LOAD, ) REST
                     "mov $7, %%eax\n"
                     "2: fistpll (%[to], %%rax, 8)\n\t"
                     "dec %%eax\n\t"
                     "jns 2b\n\t"
                     : [turns] "+r"(turns)
                     : [from] "r"(from), [to] "r"(to), "D"(rest)
                     : CLOBBERED);
}

static bool always(void)
{
    return true;
}

static bool has_avx(void)
{
    return __builtin_cpu_supports("avx");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}

static const struct register_set register_sets[] = {
    {"zmm", 32, 64, has_avx512, hold_zmm},
    {"ymm", 16, 32, has_avx, hold_ymm},
    {"xmm", 16, 16, always, hold_xmm},
    {"x87", 8, 8, always, hold_x87},
};

#elif defined(__riscv)

#define EACH_32(X) EACH_8(X, ) X(8) X(9) EACH_10(X, 1) EACH_10(X, 2) X(30) X(31)
#define EACH_10(X, a) EACH_8(X, a) X(a##8) X(a##9)
#define F_LOAD(n) "fld f" #n ", " #n "*8(%[from])\n\t"
#define F_STORE(n) "fsd f" #n ", " #n "*8(%[to])\n\t"

static void hold_f(const void *from, void *to, uint64_t turns, const struct timespec *rest)
{
    register const struct timespec *a0 __asm__("a0") = rest;
    register uint64_t a1 __asm__("a1") = 0, a7 __asm__("a7") = 101; /* nanosleep */
    __asm__ volatile(EACH_32(F_LOAD) "1: addi %[turns], %[turns], -1\n\t"
                                     "bnez %[turns], 1b\n\t"
                                     "ecall\n\t" EACH_32(F_STORE)
                     : [turns] "+r"(turns), "+r"(a0)
                     : [from] "r"(from), [to] "r"(to), "r"(a1), "r"(a7)
                     : "memory", "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "ft8",
                       "ft9", "ft10", "ft11", "fs0", "fs1", "fs2", "fs3", "fs4", "fs5", "fs6",
                       "fs7", "fs8", "fs9", "fs10", "fs11", "fa0", "fa1", "fa2", "fa3", "fa4",
                       "fa5", "fa6", "fa7");
}

static bool always(void)
{
    return true;
}

static const struct register_set register_sets[] = {
    {"f", 32, 8, always, hold_f},
};

#endif

#define REGISTER_SETS (sizeof(register_sets) / sizeof(register_sets[0]))
#define REGISTER_BYTES_MAX (32 * 64)

#endif
