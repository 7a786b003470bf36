/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against a plain loop of send() and recv(), both over TCP loopback, both from and into
 * memory that is populated already, in turns in one process. Prints a line for each run, then
 * medians and the ratio.
 *
 *     engine-speed [MIB [RUNS]]
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake-vmm.h"

#define MAX_RUNS 31
#define PIECE_BYTES ((size_t)256 << 10)

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "engine-speed: %s\n", what);
    exit(1);
}

/* ---- The plain loop ---- */

struct plain {
    int fd;
    uint8_t *from;
    size_t bytes;
};

static void *plain_sender(void *opaque)
{
    const struct plain *plain = opaque;
    for (size_t done = 0; done < plain->bytes;) {
        size_t left = plain->bytes - done;
        ssize_t put = send(plain->fd, plain->from + done, left < PIECE_BYTES ? left : PIECE_BYTES,
                           MSG_NOSIGNAL);
        require(put > 0, "send() failed");
        done += (size_t)put;
    }
    return NULL;
}

static void connect_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0 &&
                getsockname(listener, (struct sockaddr *)&address, &length) == 0,
            "no TCP on loopback");
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(connect(fds[0], (struct sockaddr *)&address, length) == 0, "cannot connect");
    fds[1] = accept(listener, NULL, NULL);
    close(listener);
}

static double plain_seconds(uint8_t *from, uint8_t *to, size_t bytes)
{
    int fds[2];
    pthread_t thread;
    connect_pair(fds);
    struct plain plain = {fds[0], from, bytes};
    uint64_t began = host_monotonic_ns();
    require(pthread_create(&thread, NULL, plain_sender, &plain) == 0, "no thread");
    for (size_t done = 0; done < bytes;) {
        size_t left = bytes - done;
        ssize_t got = recv(fds[1], to + done, left < PIECE_BYTES ? left : PIECE_BYTES, 0);
        require(got > 0, "recv() failed");
        done += (size_t)got;
    }
    uint64_t ended = host_monotonic_ns();
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
    return (double)(ended - began) / 1e9;
}

/* ---- The engine ---- */

struct moments {
    _Atomic uint64_t active_ns, completed_ns;
};

static void note_moment(void *opaque, const struct gw_migrate_info *info)
{
    struct moments *moments = opaque;
    if (info->status == GW_MIGRATE_ACTIVE && moments->active_ns == 0)
        moments->active_ns = host_monotonic_ns();
    if (info->status == GW_MIGRATE_COMMITTING)
        moments->completed_ns = host_monotonic_ns();
}

/* From the first page to COMMIT: all rounds, the rehearsal and the pause. */
static double engine_seconds(struct fake_vmm *from, uint64_t *ret_pause_us)
{
    struct gw_error error = {0};
    struct moments moments = {0};
    struct fake_vmm *to = fake_vmm_new_empty();
    to->populate = true;
    struct gw_destination_config there = {
        .ops = &fake_destination_ops, .vm = to, .uri = "tcp:127.0.0.1:0"};
    gw_migrate_parameters_default(&there.parameters);
    struct gw_destination *destination = NULL;
    require(gw_destination_start(&there, &destination, &error) == 0, error.message);
    struct gw_source_config here = {
        .ops = &fake_source_ops,
        .vm = from,
        .memory = from->memory,
        .tracker = gw_bytemap_tracker_interface(from->tracker),
        .name = "bench",
        .uri = gw_destination_uri(destination),
        .listener = {&moments, note_moment},
    };
    gw_migrate_parameters_default(&here.parameters);
    struct gw_source *source = NULL;
    require(gw_source_start(&here, &source, &error) == 0, error.message);
    require(gw_source_wait(source, 120000) == 0, "the source hangs");
    struct gw_migrate_info info;
    gw_source_info(source, &info);
    require(info.status == GW_MIGRATE_COMPLETED, info.error.message);
    *ret_pause_us = info.pause_us;
    gw_source_free(source);
    gw_destination_free(destination);
    fake_vmm_free(to);
    return (double)(moments.completed_ns - moments.active_ns) / 1e9;
}

/* ---- Both in turns ---- */

static int by_size(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

static void fill_randomly(uint8_t *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = getrandom(to + done, bytes - done, 0);
        require(got > 0, "no random numbers");
        done += (size_t)got;
    }
}

int main(int count, char **arguments)
{
    size_t bytes = (size_t)(count > 1 ? strtoul(arguments[1], NULL, 10) : 1024) << 20;
    unsigned runs = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 5;
    require(bytes >= 1 << 20 && bytes <= (size_t)4 << 30 && runs >= 1 && runs <= MAX_RUNS,
            "engine-speed [MIB [RUNS]]: 1 to 4096 MiB, 1 to 31 runs");
    double plain[MAX_RUNS], engine[MAX_RUNS], pause_ms[MAX_RUNS];
    struct fake_vmm *from = fake_vmm_new(bytes / GW_PAGE_BYTES, 0);
    uint8_t *memory = gw_memory_region(from->memory, 0)->host;
    uint8_t *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    require(to != MAP_FAILED, "no memory");
    fill_randomly(memory, bytes);
    from->writers = 1;
    from->nap_us = 10000; /* idle but running, so that there is a pause */
    for (unsigned i = 0; i < runs; i++) {
        uint64_t pause_us = 0;
        plain[i] = (double)bytes / plain_seconds(memory, to, bytes) / 1e9;
        fake_vmm_run(from);
        engine[i] = (double)bytes / engine_seconds(from, &pause_us) / 1e9;
        pause_ms[i] = (double)pause_us / 1e3;
        printf("run %u: plain %.2f GB/s, engine %.2f GB/s, pause %.2f ms\n", i + 1, plain[i],
               engine[i], pause_ms[i]);
    }
    double ratio = median(engine, runs) / median(plain, runs);
    printf("median: plain %.2f GB/s, engine %.2f GB/s, ratio %.2f (limit 0.60), pause %.2f ms\n",
           median(plain, runs), median(engine, runs), ratio, median(pause_ms, runs));
    fake_vmm_free(from);
    munmap(to, bytes);
    return 0;
}
