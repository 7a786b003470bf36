/* SPDX-License-Identifier: Apache-2.0 */
#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"k", (uint64_t)1 << 10},   {"kb", (uint64_t)1 << 10}, {"kib", (uint64_t)1 << 10},
    {"m", (uint64_t)1 << 20},   {"mb", (uint64_t)1 << 20}, {"mib", (uint64_t)1 << 20},
    {"g", (uint64_t)1 << 30},   {"gb", (uint64_t)1 << 30}, {"gib", (uint64_t)1 << 30},
    {"t", (uint64_t)1 << 40},   {"tb", (uint64_t)1 << 40}, {"tib", (uint64_t)1 << 40},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"ns", 1},           {"us", 1000},          {"ms", 1000000},
    {"s", 1000000000},   {"m", 60000000000},    {"h", 3600000000000},
    {NULL, 0},
};

/* Digits at `*at`, which moves behind them. -EINVAL without any, -ERANGE on overflow. */
static int take_digits(const char **at, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (!isdigit((unsigned char)**at))
        return -EINVAL;
    for (; isdigit((unsigned char)**at); (*at)++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**at - '0'), &value))
            return -ERANGE;
    *ret_value = value;
    return 0;
}

int parse_number(const char *text, uint64_t maximum, uint64_t *ret_value)
{
    uint64_t value;
    int r = take_digits(&text, &value);
    if (r < 0)
        return r;
    if (*text)
        return -EINVAL;
    if (value > maximum)
        return -ERANGE;
    *ret_value = value;
    return 0;
}

/* "12.375" in units of `factor`, which is far below 2^54: the thousandths are exact. */
static int scaled(uint64_t whole, const char *decimals, size_t count, uint64_t factor,
                  uint64_t *ret_value)
{
    uint64_t value, thousandths = 0;
    for (size_t i = 0; i < 3; i++)
        thousandths = thousandths * 10 + (i < count ? (uint64_t)(decimals[i] - '0') : 0);
    if (__builtin_mul_overflow(whole, factor, &value) ||
        __builtin_add_overflow(value, factor * thousandths / 1000, &value))
        return -ERANGE;
    *ret_value = value;
    return 0;
}

static int parse_with_units(const char *text, const struct unit *units, uint64_t bare_factor,
                            uint64_t *ret_value)
{
    uint64_t whole;
    int r = take_digits(&text, &whole);
    if (r < 0)
        return r;
    const char *decimals = text;
    size_t count = 0;
    if (*text == '.') {
        decimals = ++text;
        count = strspn(text, "0123456789");
        if (count == 0 || count > 3)
            return -EINVAL;
        text += count;
    }
    if (!*text && bare_factor)
        return scaled(whole, decimals, count, bare_factor, ret_value);
    for (; units->name; units++)
        if (strcasecmp(units->name, text) == 0)
            return scaled(whole, decimals, count, units->factor, ret_value);
    return -EINVAL;
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
    return parse_with_units(text, size_units, 0, ret_bytes);
}

int parse_duration(const char *text, uint64_t default_unit_ns, uint64_t *ret_ns)
{
    return parse_with_units(text, duration_units, default_unit_ns, ret_ns);
}

char *parse_part(const char **at)
{
    char *part = malloc(strlen(*at) + 1);
    size_t length = 0;
    const char *from = *at;

    if (!part)
        return NULL;
    for (; *from && (*from != ',' || from[1] == ','); from++) {
        if (*from == ',')
            from++;
        part[length++] = *from;
    }
    part[length] = 0;
    *at = *from ? from + 1 : NULL;
    return part;
}
