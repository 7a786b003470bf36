/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vector-keeper: on each CPU a thread keeps known values in every floating point and vector register, set after
 * set, and compares them again and again. A wrong one is told on the console and ends the program. SIGTERM:
 * tells how often each thread looked, and ends.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pattern.h"
#include "registers.h"

#define TURNS 200000
#define REST_MS 3
#define CPUS_MAX 256

static volatile sig_atomic_t finish;
static atomic_uint_fast64_t looks;
static atomic_bool bad;

static void ask_to_finish(int signal)
{
    (void)signal;
    finish = 1;
}

static bool same(const struct register_set *set, const uint64_t *kept, const uint64_t *seen, long cpu)
{
    for (unsigned i = 0; i < set->count * set->bytes / 8; i++) {
        if (seen[i] == kept[i])
            continue;
        printf("godwit: BAD register %s%u on CPU %ld: word %u is %016llx, not %016llx\n", set->name,
               i * 8 / set->bytes, cpu, i % (set->bytes / 8), (unsigned long long)seen[i],
               (unsigned long long)kept[i]);
        fflush(stdout);
        return false;
    }
    return true;
}

static void fill(uint64_t *words, unsigned count, uint64_t *random)
{
    for (unsigned i = 0; i < count; i++)
        words[i] = random_next(random);
}

static void *keep(void *argument)
{
    long cpu = (long)argument;
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    sched_setaffinity(0, sizeof(only), &only);
    uint64_t random = 88172645463325252u + (uint64_t)cpu;
    uint64_t kept[REGISTER_BYTES_MAX / 8], seen[REGISTER_BYTES_MAX / 8];
    const struct timespec rest = {.tv_nsec = REST_MS * 1000000};
    for (size_t i = 0; !finish && !bad; i = (i + 1) % REGISTER_SETS) {
        const struct register_set *set = &register_sets[i];
        if (!set->available())
            continue;
        fill(kept, set->count * set->bytes / 8, &random);
        memset(seen, 0, sizeof(seen));
        set->hold(kept, seen, TURNS, &rest);
        if (!same(set, kept, seen, cpu))
            bad = true;
        looks++;
    }
    return NULL;
}

static void announce(long cpus)
{
    printf("vectors: %ld CPUs keep", cpus);
    for (size_t i = 0; i < REGISTER_SETS; i++)
        if (register_sets[i].available())
            printf(" %u %s", register_sets[i].count, register_sets[i].name);
    printf("\n");
    fflush(stdout);
}

int main(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[CPUS_MAX];
    signal(SIGTERM, ask_to_finish);
    announce(cpus);
    for (long cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++)
        if (pthread_create(&threads[cpu], NULL, keep, (void *)cpu) != 0) {
            printf("godwit: BAD no thread for vector-keeper\n");
            return 1;
        }
    for (long cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++)
        pthread_join(threads[cpu], NULL);
    if (!bad)
        printf("vectors: compared %llu times, all good\n", (unsigned long long)looks);
    return bad ? 1 : 0;
}
