/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk-worker PATH MEGABYTES: rewrites random pages of a file or block device past the page cache, each read
 * back and verified before it is rewritten, with a flush now and then. A wrong page is told on the console and
 * ends the program. SIGTERM: verifies every page once more, tells the result and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pattern.h"

#define VISITS_PER_FLUSH 32
#define PAUSE_MS 5

struct worker {
    int fd;
    uint64_t page_count;
    uint32_t *counts;
    uint64_t visits;
    uint64_t random;
    uint64_t *buffer;
};

static volatile sig_atomic_t finish;

static void ask_to_finish(int signal)
{
    (void)signal;
    finish = 1;
}

static bool failed(const char *what, uint64_t page)
{
    printf("godwit: BAD disk page %llu: %s: %s\n", (unsigned long long)page, what, strerror(errno));
    fflush(stdout);
    return false;
}

static bool page_write(struct worker *worker, uint64_t page)
{
    pattern_write(worker->buffer, page, worker->counts[page]);
    return pwrite(worker->fd, worker->buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) == PAGE_BYTES ||
           failed("write", page);
}

static bool page_verify(struct worker *worker, uint64_t page)
{
    memset(worker->buffer, 0, PAGE_BYTES);
    if (pread(worker->fd, worker->buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) != PAGE_BYTES)
        return failed("read", page);
    return pattern_verify(worker->buffer, page, worker->counts[page], "disk");
}

static bool worker_init(struct worker *worker, const char *path, uint64_t megabytes)
{
    uint64_t page_count = megabytes * 1024 * 1024 / PAGE_BYTES;
    *worker = (struct worker){.fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600),
                              .page_count = page_count, .counts = calloc(page_count, sizeof(uint32_t)),
                              .random = 362436069362436069u,
                              .buffer = aligned_alloc(PAGE_BYTES, PAGE_BYTES)};
    if (worker->fd < 0)
        return failed("open", 0);
    for (uint64_t page = 0; page < page_count; page++)
        if (!page_write(worker, page))
            return false;
    return fsync(worker->fd) == 0 || failed("flush", 0);
}

static bool visit(struct worker *worker)
{
    uint64_t page = random_next(&worker->random) % worker->page_count;
    if (!page_verify(worker, page))
        return false;
    worker->counts[page]++;
    if (!page_write(worker, page))
        return false;
    if (++worker->visits % VISITS_PER_FLUSH == 0 && fsync(worker->fd) != 0)
        return failed("flush", page);
    return true;
}

static bool sweep(struct worker *worker)
{
    for (uint64_t page = 0; page < worker->page_count; page++)
        if (!page_verify(worker, page))
            return false;
    printf("disk: swept %llu pages, all good\n", (unsigned long long)worker->page_count);
    fflush(stdout);
    return true;
}

static bool work(struct worker *worker)
{
    uint64_t reported = now_ms();
    while (!finish) {
        if (!visit(worker))
            return false;
        if (now_ms() - reported >= 1000) {
            printf("disk: %llu visits, all good\n", (unsigned long long)worker->visits);
            fflush(stdout);
            reported = now_ms();
        }
        sleep_ms(PAUSE_MS);
    }
    return sweep(worker);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: disk-worker PATH MEGABYTES\n");
        return 2;
    }
    struct worker worker;
    signal(SIGTERM, ask_to_finish);
    if (!worker_init(&worker, argv[1], strtoull(argv[2], NULL, 10)))
        return 1;
    printf("disk: %llu pages filled\n", (unsigned long long)worker.page_count);
    fflush(stdout);
    return work(&worker) ? 0 : 1;
}
