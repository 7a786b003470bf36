/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench [ROUNDS]: times loops of four kinds by the guest's clock and prints "bench NAME NANOSECONDS" for each,
 * ROUNDS times over. bench/run compares the lines of two machines.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pattern.h"

#define BUFFER_BYTES (4u << 20)
#define MATRIX 64

static volatile uint64_t sink;

static void integer(void)
{
    uint64_t x = 88172645463325252u, sum = 0;
    for (int i = 0; i < 30000000; i++) {
        uint64_t value = random_next(&x);
        sum += value % 1000 < 500 ? value >> 3 : value * 5;
    }
    sink = sum;
}

static void copy(void)
{
    static char from[BUFFER_BYTES], to[BUFFER_BYTES];
    for (int i = 0; i < 64; i++) {
        from[i] = (char)i;
        memcpy(to, from, sizeof(to));
        __asm__ volatile("" : : "r"(to) : "memory");
        sink += (uint64_t)to[i];
    }
}

static void floating(void)
{
    static double a[MATRIX][MATRIX], b[MATRIX][MATRIX], c[MATRIX][MATRIX];
    for (int i = 0; i < MATRIX; i++)
        for (int j = 0; j < MATRIX; j++)
            a[i][j] = i + 0.5 * j, b[i][j] = i * 0.25 - j;
    for (int round = 0; round < 24; round++)
        for (int i = 0; i < MATRIX; i++)
            for (int j = 0; j < MATRIX; j++)
                for (int k = 0; k < MATRIX; k++)
                    c[i][j] += a[i][k] * b[k][j];
    sink = (uint64_t)c[3][5];
}

static void syscalls(void)
{
    for (int i = 0; i < 200000; i++)
        sink += (uint64_t)syscall(SYS_getppid);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct {
    const char *name;
    void (*run)(void);
} kinds[] = {
    {"integer", integer},
    {"copy", copy},
    {"float", floating},
    {"syscall", syscalls},
};

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 3;
    for (unsigned long round = 0; round < rounds; round++)
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            uint64_t began = now_ns();
            kinds[i].run();
            printf("bench %s %llu\n", kinds[i].name, (unsigned long long)(now_ns() - began));
            fflush(stdout);
        }
    return 0;
}
