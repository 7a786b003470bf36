/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that tell who they are. The content of a page follows from its number and a count of how often it
 * was written, every word of it, so that a page that is old, half old or somebody else's is noticed.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define PAGE_BYTES 4096
#define PAGE_WORDS (PAGE_BYTES / 8)

static inline uint64_t pattern_base(uint64_t page, uint64_t count)
{
    uint64_t x = (page << 32) + count + 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 27);
}

static inline void pattern_write(uint64_t *words, uint64_t page, uint64_t count)
{
    uint64_t value = pattern_base(page, count);
    for (int i = 0; i < PAGE_WORDS; i++, value += 0x94d049bb133111ebu)
        words[i] = value;
}

/* Says on the console what is wrong; `where` names the thing that is made of pages. */
static inline bool pattern_verify(const uint64_t *words, uint64_t page, uint64_t count, const char *where)
{
    uint64_t value = pattern_base(page, count);
    for (int i = 0; i < PAGE_WORDS; i++, value += 0x94d049bb133111ebu) {
        if (words[i] == value)
            continue;
        printf("godwit: BAD %s page %llu word %d is %016llx, not %016llx of its write %llu\n", where,
               (unsigned long long)page, i, (unsigned long long)words[i], (unsigned long long)value,
               (unsigned long long)count);
        fflush(stdout);
        return false;
    }
    return true;
}

static inline uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline void sleep_ms(unsigned ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&span, NULL);
}

/* xorshift64*: which page next. Not zero-seeded. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

#endif
