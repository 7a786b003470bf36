/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload DISK ROUNDS: the program of the transparency test. Each round mixes floating point, atomics, work
 * that timer signals interrupt, and reads, writes and flushes of a block device past the page cache; it prints a
 * digest of all that it saw. Its input is fixed: under an instruction clock two runs are equal bit by bit.
 */
#include <fcntl.h>
#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "pattern.h"

#define DISK_PAGES 64
#define ALARMS_PER_ROUND 4
#define ALARM_US 3000

static uint64_t digest = 0xcbf29ce484222325u;
static volatile sig_atomic_t alarms;

static void mix(uint64_t value)
{
    digest = (digest ^ value) * 0x100000001b3u;
}

static void mix_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    mix(bits);
}

static void on_alarm(int signal)
{
    (void)signal;
    alarms++;
}

static void floating_point(unsigned round)
{
    static const int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
    fesetround(modes[round % 4]);
    volatile double x = 1.0 + round, y = 0.1;
    volatile float f = 1.5f;
    for (int i = 1; i < 2000; i++) {
        x = fma(x, 1.0000001, y / i);
        y = sqrt(x * i) - (double)f;
        f = (float)(y / (x + 1.0)) + (float)i;
    }
    mix_double(x);
    mix_double(y);
    mix_double((double)f);
    mix((uint64_t)fetestexcept(FE_ALL_EXCEPT));
    mix_double(0.0 / (y - y));
    feclearexcept(FE_ALL_EXCEPT);
    fesetround(FE_TONEAREST);
}

static void atomics(void)
{
    static uint64_t wide;
    static uint32_t narrow;
    for (uint64_t i = 1; i < 1000; i++) {
        mix(__atomic_fetch_add(&wide, i, __ATOMIC_SEQ_CST));
        mix(__atomic_fetch_xor(&narrow, (uint32_t)(i * 2654435761u), __ATOMIC_ACQ_REL));
        mix(__atomic_exchange_n(&narrow, narrow + 1, __ATOMIC_ACQUIRE));
        uint64_t expected = wide;
        mix(__atomic_compare_exchange_n(&wide, &expected, wide * 3, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
    }
}

/* Counts how far a loop comes between timer signals: any instruction more or less shows. */
static void interrupts(void)
{
    struct itimerval every = {.it_interval.tv_usec = ALARM_US, .it_value.tv_usec = ALARM_US};
    struct itimerval never = {0};
    uint64_t steps = 0;
    alarms = 0;
    setitimer(ITIMER_REAL, &every, NULL);
    while (alarms < ALARMS_PER_ROUND)
        steps++;
    setitimer(ITIMER_REAL, &never, NULL);
    mix(steps);
    mix(now_ms());
}

static bool disk(int fd, unsigned round, uint64_t *buffer)
{
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t page = (round * 8 + i) * 7 % DISK_PAGES;
        pattern_write(buffer, page, round);
        if (pwrite(fd, buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) != PAGE_BYTES)
            return false;
        memset(buffer, 0, PAGE_BYTES);
        if (pread(fd, buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) != PAGE_BYTES ||
            !pattern_verify(buffer, page, round, "disk"))
            return false;
        mix(buffer[i]);
    }
    return fsync(fd) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: workload DISK ROUNDS\n");
        return 2;
    }
    unsigned rounds = (unsigned)strtoul(argv[2], NULL, 10);
    int fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
    uint64_t *buffer = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    if (fd < 0 || !buffer) {
        printf("godwit: BAD workload cannot open %s\n", argv[1]);
        return 1;
    }
    signal(SIGALRM, on_alarm);
    for (unsigned round = 0; round < rounds; round++) {
        floating_point(round);
        atomics();
        interrupts();
        if (!disk(fd, round, buffer)) {
            printf("godwit: BAD workload disk in round %u\n", round);
            return 1;
        }
        printf("workload: round %u digest %016llx\n", round, (unsigned long long)digest);
        fflush(stdout);
    }
    printf("workload: done digest %016llx\n", (unsigned long long)digest);
    return 0;
}
