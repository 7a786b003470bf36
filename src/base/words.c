/* SPDX-License-Identifier: Apache-2.0 */
#include "base/words.h"

#include <stddef.h>
#include <stdio.h>

#include "base/cleanup.h"

/* One decimal below ten, none above; `steps` are the sizes of the units. */
static struct words in_words(double value, const double *steps, const char *const *units,
                             size_t count)
{
    struct words words;
    size_t i = 0;
    while (i + 1 < count && value >= steps[i] * 999.5)
        i++;
    double scaled = value / steps[i];
    snprintf(words.text, sizeof words.text, scaled < 9.95 && i > 0 ? "%.1f %s" : "%.0f %s",
             scaled < 1e6 ? scaled : 999999, units[i]);
    return words;
}

struct words bytes_in_words(double bytes)
{
    static const double steps[] = {1, 0x1p10, 0x1p20, 0x1p30, 0x1p40};
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    return in_words(bytes, steps, units, ARRAY_COUNT(steps));
}

struct words time_in_words(double microseconds)
{
    static const double steps[] = {1, 1e3, 1e6};
    static const char *const units[] = {"us", "ms", "s"};
    return in_words(microseconds, steps, units, ARRAY_COUNT(steps));
}
