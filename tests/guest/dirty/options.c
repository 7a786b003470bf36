/* SPDX-License-Identifier: Apache-2.0 */
#include "dirty.h"

enum kind { NUMBER, SIZE, RATE, PATTERN };

static const struct {
    const char *name;
    size_t offset;
    enum kind kind;
} words[] = {
    {"memory", offsetof(struct options, memory), SIZE},
    {"fill", offsetof(struct options, fill), SIZE},
    {"rate", offsetof(struct options, rate), RATE},
    {"pattern", offsetof(struct options, pattern), PATTERN},
    {"cpus", offsetof(struct options, cpus), NUMBER},
    {"heartbeat", offsetof(struct options, heartbeat_ms), NUMBER},
    {"report", offsetof(struct options, report_ms), NUMBER},
    {"seed", offsetof(struct options, seed), NUMBER},
    {"tsc_khz", offsetof(struct options, tsc_khz), NUMBER},
    {"ymm", offsetof(struct options, ymm), NUMBER},
    {"stride", offsetof(struct options, stride), NUMBER},
    {"spin", offsetof(struct options, spin), NUMBER},
};

static const char *const patterns[] = {"random", "zero", "text", "delta"};

/* How much of `text` is `word`, up to a character that ends a word; 0 if it is another word. */
static size_t word_length(const char *text, const char *word)
{
    size_t n = 0;
    for (; word[n] != 0; n++)
        if (text[n] != word[n])
            return 0;
    return text[n] == 0 || text[n] == ' ' || text[n] == '=' ? n : 0;
}

static size_t read_number(const char *text, bool suffix, uint64_t *ret_value)
{
    size_t n = 0;
    uint64_t value = 0;
    for (; text[n] >= '0' && text[n] <= '9'; n++)
        value = value * 10 + (uint64_t)(text[n] - '0');
    if (n > 0 && suffix) {
        static const char units[] = "KMG";
        for (int unit = 0; unit < 3; unit++)
            if (text[n] == units[unit]) {
                value <<= 10 * (unit + 1);
                n++;
                break;
            }
    }
    *ret_value = value;
    return text[n] == 0 || text[n] == ' ' ? n : 0;
}

static size_t read_value(const char *text, enum kind kind, uint64_t *ret_value)
{
    if (kind == PATTERN) {
        for (uint64_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
            size_t length = word_length(text, patterns[i]);
            *ret_value = i;
            if (length > 0)
                return length;
        }
        return 0;
    }
    if (kind == RATE && word_length(text, "max") > 0) {
        *ret_value = RATE_MAX;
        return 3;
    }
    return read_number(text, kind != NUMBER, ret_value);
}

/* The length of "name=value", 0 if it is not understood. */
static size_t read_word(const char *text)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t name = word_length(text, words[i].name);
        if (name == 0 || text[name] != '=')
            continue;
        size_t value = read_value(text + name + 1, words[i].kind,
                                  (uint64_t *)((char *)&options + words[i].offset));
        return value > 0 ? name + 1 + value : 0;
    }
    return 0;
}

bool options_read(const char *line, const char **ret_word)
{
    const uint64_t unset = UINT64_MAX;
    options = (struct options){
        .memory = unset, .rate = RATE_MAX, .cpus = 1, .report_ms = 1000, .seed = 1, .stride = 1};
    while (*line != 0) {
        if (*line == ' ') {
            line++;
            continue;
        }
        size_t length = read_word(line);
        *ret_word = line;
        if (length == 0)
            return false;
        line += length;
    }
    if (options.memory == unset)
        options.memory = options.fill > 0 ? 0 : 64 << 20;
    return true;
}
