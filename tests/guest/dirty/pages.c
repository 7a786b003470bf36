/* SPDX-License-Identifier: Apache-2.0 */
#include "dirty.h"

#define LOW_BASE (UINT64_C(16) << 20)
#define HIGH_BASE (UINT64_C(4) << 30)
#define HEADER_WORDS 3
#define GROUP_WORDS 8
#define GROUPS (PAGE_WORDS / GROUP_WORDS)
#define STEP 0x9e3779b97f4a7c15u

struct page_place place;
uint32_t *const page_counts = (uint32_t *)(UINT64_C(3) << 20);

static uint64_t *page_words(uint64_t page)
{
    uint64_t at = page * options.stride;
    return (uint64_t *)(at < place.low_pages ? LOW_BASE + at * PAGE_BYTES
                                             : HIGH_BASE + (at - place.low_pages) * PAGE_BYTES);
}

static uint64_t base_of(uint64_t page, uint64_t count)
{
    return mix(mix(options.seed + page) + count * STEP);
}

static void random_words(uint64_t *words, size_t n, uint64_t value)
{
    for (size_t i = 0; i < n; i++, value += STEP)
        words[i] = value;
}

/* Words out of a small dictionary: like text to who compresses it. */
static void text_words(uint64_t *words, size_t n, uint64_t value)
{
    static const char dictionary[16][8] = {
        {"migrate "}, {"between "}, {"machine "}, {"memory, "}, {"written "}, {"without "}, {"pausing "}, {"program "},
        {"another "}, {"nothing "}, {"goes on\n"}, {"through "}, {"network "}, {"waiting "}, {"quietly "}, {"arrives "},
    };
    for (size_t i = 0; i < n; i++, value = value * 0xd1342543de82ef95u + STEP)
        words[i] = *(const uint64_t *)dictionary[value >> 60];
}

/* Of each write only the header and one group of words differ from the write before. */
static void delta_words(uint64_t *words, uint64_t page, uint64_t count)
{
    for (uint64_t group = 0; group < GROUPS; group++) {
        uint64_t changed = count - (count - group) % GROUPS;
        random_words(words + group * GROUP_WORDS, GROUP_WORDS,
                     base_of(page, count < group ? 0 : changed) + group * GROUP_WORDS * STEP);
    }
}

/* What the page must hold after that many writes. */
static void compose(uint64_t *words, uint64_t page, uint64_t count)
{
    uint64_t base = base_of(page, count);
    if (options.pattern == PATTERN_ZERO && base % 16 != 0) {
        for (size_t i = 0; i < PAGE_WORDS; i++)
            words[i] = 0;
        return;
    }
    if (options.pattern == PATTERN_DELTA)
        delta_words(words, page, count);
    else if (options.pattern == PATTERN_TEXT)
        text_words(words, PAGE_WORDS, base);
    else
        random_words(words, PAGE_WORDS, base);
    words[0] = page;
    words[1] = count;
    words[2] = base;
}

bool page_check(uint64_t page, uint32_t count, uint64_t *ret_found)
{
    uint64_t expected[PAGE_WORDS];
    compose(expected, page, count);
    const volatile uint64_t *words = page_words(page);
    for (size_t i = 0; i < PAGE_WORDS; i++)
        if (words[i] != expected[i]) {
            *ret_found = words[1];
            return false;
        }
    return true;
}

void page_write(uint64_t page, uint32_t count)
{
    uint64_t *words = page_words(page);
    if (options.pattern != PATTERN_DELTA) {
        compose(words, page, count);
        return;
    }
    uint64_t wanted[PAGE_WORDS];
    compose(wanted, page, count);
    for (size_t i = 0; i < PAGE_WORDS; i++)
        if (words[i] != wanted[i])
            words[i] = wanted[i];
}
