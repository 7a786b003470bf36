/* SPDX-License-Identifier: Apache-2.0 */
#include "dirty.h"

static size_t read_rate(const char *text, void *to)
{
    if (word_length(text, "max") == 0)
        return read_size(text, to);
    *(uint64_t *)to = RATE_MAX;
    return 3;
}

static size_t read_pattern(const char *text, void *to)
{
    static const char *const patterns[] = {"random", "zero", "text", "delta"};
    for (uint64_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        size_t length = word_length(text, patterns[i]);
        *(uint64_t *)to = i;
        if (length > 0)
            return length;
    }
    return 0;
}

static const struct word words[] = {
    {"memory", &options.memory, read_size},
    {"fill", &options.fill, read_size},
    {"rate", &options.rate, read_rate},
    {"pattern", &options.pattern, read_pattern},
    {"cpus", &options.cpus, read_number},
    {"heartbeat", &options.heartbeat_ms, read_number},
    {"report", &options.report_ms, read_number},
    {"seed", &options.seed, read_number},
    {"tsc_khz", &options.tsc_khz, read_number},
    {"ymm", &options.ymm, read_number},
    {"stride", &options.stride, read_number},
    {"spin", &options.spin, read_number},
};

bool options_read(const char *line, const char **ret_word)
{
    const uint64_t unset = UINT64_MAX;
    options = (struct options){
        .memory = unset, .rate = RATE_MAX, .cpus = 1, .report_ms = 1000, .seed = 1, .stride = 1};
    if (!words_read(words, sizeof words / sizeof words[0], line, ret_word))
        return false;
    if (options.memory == unset)
        options.memory = options.fill > 0 ? 0 : 64 << 20;
    return true;
}
