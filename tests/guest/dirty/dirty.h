/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of nothing but itself: it writes memory at a chosen rate, knows what every page must hold, and tells
 * the longest pause it saw.
 */
#ifndef DIRTY_H
#define DIRTY_H

#include "bare.h"

#define PAGE_WORDS (PAGE_BYTES / 8)

enum pattern { PATTERN_RANDOM, PATTERN_ZERO, PATTERN_TEXT, PATTERN_DELTA };
#define RATE_MAX UINT64_MAX

/* What the command line asks for; options.c has the words. */
struct options {
    uint64_t memory; /* bytes that are written again and again */
    uint64_t fill; /* bytes behind them that are written once */
    uint64_t rate; /* bytes a second, all CPUs together */
    uint64_t pattern; /* enum pattern */
    uint64_t cpus;
    uint64_t heartbeat_ms; /* 0: none */
    uint64_t report_ms;
    uint64_t seed;
    uint64_t tsc_khz; /* 0: find out */
    uint64_t ymm;
    uint64_t stride; /* only every so many pages one is of the set */
    uint64_t spin; /* never halt */
};
extern struct options options;

/* False with the word that is not understood in ret_word. */
bool options_read(const char *line, const char **ret_word);

/* The pages of the set, by number: from 16 MiB up to the end of that RAM, then from 4 GiB up. */
struct page_place {
    uint64_t low_pages; /* below 4 GiB */
    uint64_t pages; /* that there is room for, strides not counted */
};
extern struct page_place place;

/* False if the page does not hold what its count of writes asks for: `found` says which count it claims. */
bool page_check(uint64_t page, uint32_t count, uint64_t *ret_found);
void page_write(uint64_t page, uint32_t count);
/* How often each page was written; outside the set, so that an old page is noticed. */
extern uint32_t *const page_counts;
#define MAX_PAGES ((13u << 20) / sizeof(uint32_t))

/* Spreads x over all bits. */
static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    x = (x ^ (x >> 29)) * 0xa0761d6478bd642fu;
    return x ^ (x >> 32);
}

/* One CPU's share of the pages and what it saw; only `gap_ticks` is also written by CPU 0. */
struct cpu {
    uint64_t first, end, next;
    uint64_t visits;
    uint64_t last_tick, due_tick, vector_tick;
    uint64_t gap_ticks;
    volatile uint32_t online;
} __attribute__((aligned(128)));
extern struct cpu cpus[MAX_CPUS];

/* Starts CPUs 1 to n-1; they arrive in cpu_main(). False with the first that did not. */
bool cpus_start(uint32_t count, uint32_t *ret_missing);

/* Takes the time, and keeps the longest span since it was last taken by this CPU. */
uint64_t tick(struct cpu *cpu);

/* The first thing that was wrong anywhere; CPU 0 says it and stops. */
struct trouble {
    volatile uint32_t seen;
    const char *what;
    uint64_t cpu, number, value, expected;
};
void trouble_tell(uint64_t cpu, const char *what, uint64_t number, uint64_t value, uint64_t expected);

void vectors_load(const uint64_t *values, bool ymm);
void vectors_store(uint64_t *values, bool ymm);

#endif
