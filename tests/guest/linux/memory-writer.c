/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory-writer MEGABYTES MEGABYTES_PER_SECOND: rewrites random pages of its memory at that rate (0: as fast
 * as it can, "idle" when the rate is "-": fills once and only checks). Every page is verified in full before
 * it is rewritten; a wrong one is told on the console and ends the program. SIGTERM: verifies every page
 * once more, tells the result and ends.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pattern.h"

#define TICK_MS 10

struct writer {
    uint64_t (*pages)[PAGE_WORDS];
    uint32_t *counts; /* how often each page was written */
    uint64_t page_count;
    uint64_t visits;
    uint64_t random;
    bool writes;
};

static volatile sig_atomic_t finish;

static void ask_to_finish(int signal)
{
    (void)signal;
    finish = 1;
}

static bool writer_init(struct writer *writer, uint64_t megabytes, bool writes)
{
    uint64_t page_count = megabytes * 1024 * 1024 / PAGE_BYTES;
    void *pages = mmap(NULL, page_count * PAGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *writer = (struct writer){.pages = pages, .counts = calloc(page_count, sizeof(uint32_t)),
                              .page_count = page_count, .random = 88172645463325252u, .writes = writes};
    if (pages == MAP_FAILED || !writer->counts)
        return false;
    for (uint64_t page = 0; page < page_count; page++)
        pattern_write(writer->pages[page], page, 0);
    return true;
}

static bool visit(struct writer *writer)
{
    uint64_t page = random_next(&writer->random) % writer->page_count;
    if (!pattern_verify(writer->pages[page], page, writer->counts[page], "memory"))
        return false;
    if (writer->writes)
        pattern_write(writer->pages[page], page, ++writer->counts[page]);
    writer->visits++;
    return true;
}

static bool sweep(const struct writer *writer)
{
    for (uint64_t page = 0; page < writer->page_count; page++)
        if (!pattern_verify(writer->pages[page], page, writer->counts[page], "memory"))
            return false;
    printf("memory: swept %llu pages, all good\n", (unsigned long long)writer->page_count);
    fflush(stdout);
    return true;
}

/* Visits pages at the rate until it is asked to finish; one status line a second. */
static bool work(struct writer *writer, uint64_t pages_per_second)
{
    uint64_t began = now_ms(), reported = began, due = 0;
    while (!finish) {
        uint64_t now = now_ms();
        due = pages_per_second ? (now - began) * pages_per_second / 1000 : writer->visits + 64;
        /* What a pause kept from being done is not made up for in one burst. */
        if (pages_per_second && due > writer->visits + pages_per_second / 10) {
            began = now - writer->visits * 1000 / pages_per_second;
            due = writer->visits + 1;
        }
        while (writer->visits < due && !finish)
            if (!visit(writer))
                return false;
        if (now - reported >= 1000) {
            printf("memory: %llu visits, all good\n", (unsigned long long)writer->visits);
            fflush(stdout);
            reported = now;
        }
        if (pages_per_second)
            sleep_ms(TICK_MS);
    }
    return sweep(writer);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: memory-writer MEGABYTES MEGABYTES_PER_SECOND|-\n");
        return 2;
    }
    bool writes = strcmp(argv[2], "-") != 0;
    uint64_t rate = writes ? strtoull(argv[2], NULL, 10) : 4;
    struct writer writer;
    signal(SIGTERM, ask_to_finish);
    if (!writer_init(&writer, strtoull(argv[1], NULL, 10), writes)) {
        printf("godwit: BAD no memory for memory-writer\n");
        return 1;
    }
    printf("memory: %llu pages filled\n", (unsigned long long)writer.page_count);
    fflush(stdout);
    return work(&writer, rate * 1024 * 1024 / PAGE_BYTES) ? 0 : 1;
}
