/* SPDX-License-Identifier: Apache-2.0 */
#include "bare.h"

bool word_ends(char c)
{
    return c == 0 || c == ' ';
}

size_t word_length(const char *text, const char *word)
{
    size_t n = 0;
    for (; word[n] != 0; n++)
        if (text[n] != word[n])
            return 0;
    return word_ends(text[n]) || text[n] == '=' ? n : 0;
}

static size_t read_digits(const char *text, uint64_t *ret_value)
{
    size_t n = 0;
    *ret_value = 0;
    for (; text[n] >= '0' && text[n] <= '9'; n++)
        *ret_value = *ret_value * 10 + (uint64_t)(text[n] - '0');
    return n;
}

size_t read_number(const char *text, void *to)
{
    size_t n = read_digits(text, to);
    return word_ends(text[n]) ? n : 0;
}

size_t read_size(const char *text, void *to)
{
    static const char units[] = "KMG";
    uint64_t *value = to;
    size_t n = read_digits(text, value);
    for (int unit = 0; n > 0 && unit < 3; unit++)
        if (text[n] == units[unit]) {
            *value <<= 10 * (unit + 1);
            n++;
            break;
        }
    return word_ends(text[n]) ? n : 0;
}

/* The length of "name=value", 0 if it is not understood. */
static size_t read_word(const struct word *words, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        size_t name = word_length(text, words[i].name);
        if (name == 0 || text[name] != '=')
            continue;
        size_t value = words[i].read(text + name + 1, words[i].to);
        return value > 0 ? name + 1 + value : 0;
    }
    return 0;
}

bool words_read(const struct word *words, size_t count, const char *line, const char **ret_word)
{
    while (*line != 0) {
        if (*line == ' ') {
            line++;
            continue;
        }
        size_t length = read_word(words, count, line);
        *ret_word = line;
        if (length == 0)
            return false;
        line += length;
    }
    return true;
}
