/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock-keeper: on each CPU a thread reads the monotonic clock, the real-time clock and the raw counter behind
 * them (TSC, or RISC-V's time CSR) and compares each with the latest that any CPU has seen: none may step back.
 * Between the reads it sleeps, by nanosleep or by a timerfd, which may be late but never early. Once a second it
 * tells how late the latest was since the last line. A wrong clock or timer is told on the console and ends the
 * program, as SIGTERM does.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pattern.h"

#define READS_PER_TURN 200
#define SLEEP_NS 5000000u
#define CPUS_MAX 256

struct clock {
    const char *name;
    uint64_t (*read)(void);
    atomic_uint_fast64_t latest;
};

static volatile sig_atomic_t finish;
static atomic_bool bad;
static atomic_uint_fast64_t reads, latest_lateness_ns;

static void ask_to_finish(int signal)
{
    (void)signal;
    finish = 1;
}

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t read_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t read_realtime(void)
{
    return read_clock(CLOCK_REALTIME);
}

/* Not before earlier loads are done: what another CPU has published is in the past of this read. */
static uint64_t read_counter(void)
{
#if defined(__x86_64__)
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
#else
    uint64_t value;
    __asm__ volatile("fence\n\trdtime %0\n\tfence" : "=r"(value) : : "memory");
    return value;
#endif
}

static struct clock clocks[] = {
    {.name = "monotonic", .read = read_monotonic},
    {.name = "realtime", .read = read_realtime},
    {.name = "counter", .read = read_counter},
};

#define CLOCKS (sizeof(clocks) / sizeof(clocks[0]))

static bool check(struct clock *clock, long cpu)
{
    uint64_t latest = clock->latest;
    uint64_t now = clock->read();
    if (now < latest) {
        printf("godwit: BAD clock %s on CPU %ld stepped back by %llu, to %llu\n", clock->name, cpu,
               (unsigned long long)(latest - now), (unsigned long long)now);
        fflush(stdout);
        return false;
    }
    while (latest < now && !atomic_compare_exchange_weak(&clock->latest, &latest, now))
        ;
    return true;
}

static void sleep_by_timerfd(int timer)
{
    struct itimerspec once = {.it_value.tv_nsec = SLEEP_NS};
    uint64_t expirations;
    timerfd_settime(timer, 0, &once, NULL);
    if (read(timer, &expirations, sizeof(expirations)) != sizeof(expirations))
        bad = true;
}

static bool check_sleep(int timer, bool by_timerfd, long cpu)
{
    uint64_t began = read_monotonic();
    if (by_timerfd)
        sleep_by_timerfd(timer);
    else
        nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    uint64_t slept = read_monotonic() - began;
    if (slept < SLEEP_NS && !finish) {
        printf("godwit: BAD timer on CPU %ld fired after %llu ns of %u\n", cpu,
               (unsigned long long)slept, SLEEP_NS);
        fflush(stdout);
        return false;
    }
    uint64_t late = slept > SLEEP_NS ? slept - SLEEP_NS : 0, latest = latest_lateness_ns;
    while (latest < late && !atomic_compare_exchange_weak(&latest_lateness_ns, &latest, late))
        ;
    return true;
}

static void *keep(void *argument)
{
    long cpu = (long)argument;
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    sched_setaffinity(0, sizeof(only), &only);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    for (unsigned turn = 0; !finish && !bad; turn++) {
        for (unsigned i = 0; i < READS_PER_TURN * CLOCKS && !bad; i++)
            if (!check(&clocks[i % CLOCKS], cpu))
                bad = true;
        reads += READS_PER_TURN;
        if (!check_sleep(timer, turn % 2, cpu))
            bad = true;
    }
    close(timer);
    return NULL;
}

static void report_until_the_end(void)
{
    while (!finish && !bad) {
        sleep_ms(1000);
        printf("clock: %llu reads, timers at most %.1f ms late\n", (unsigned long long)reads,
               (double)atomic_exchange(&latest_lateness_ns, 0) / 1e6);
        fflush(stdout);
    }
}

int main(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[CPUS_MAX];
    signal(SIGTERM, ask_to_finish);
    for (long cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++)
        if (pthread_create(&threads[cpu], NULL, keep, (void *)cpu) != 0) {
            printf("godwit: BAD no thread for clock-keeper\n");
            return 1;
        }
    report_until_the_end();
    for (long cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++)
        pthread_join(threads[cpu], NULL);
    if (!bad)
        printf("clock: %llu reads, none stepped back\n", (unsigned long long)reads);
    return bad ? 1 : 0;
}
