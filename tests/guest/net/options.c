/* SPDX-License-Identifier: Apache-2.0 */
#include "net.h"

struct options options;

static size_t read_mode(const char *text, void *to)
{
    static const char *const modes[] = {"echo", "send", "sink"};
    for (uint64_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        size_t length = word_length(text, modes[i]);
        *(uint64_t *)to = i;
        if (length > 0)
            return length;
    }
    return 0;
}

static uint32_t digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0');
    if (c >= 'a' && c <= 'f')
        return (uint32_t)(c - 'a' + 10);
    return 16;
}

/* Up to a character that is no digit of the base. */
static size_t read_digits(const char *text, uint32_t base, uint32_t *ret_value)
{
    size_t n = 0;
    *ret_value = 0;
    for (; n < 5 && digit_of(text[n]) < base; n++)
        *ret_value = *ret_value * base + digit_of(text[n]);
    return n;
}

/* "1.2.3.4", "52:55:0a:00:02:02": so many bytes. */
static size_t read_bytes(const char *text, uint8_t *to, size_t count, uint32_t base, char between)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t value;
        size_t n = read_digits(text + at, base, &value);
        if (n == 0 || value > 255)
            return 0;
        to[i] = (uint8_t)value;
        at += n;
        if (i + 1 < count && text[at++] != between)
            return 0;
    }
    return word_ends(text[at]) ? at : 0;
}

static size_t read_ip(const char *text, void *to)
{
    return read_bytes(text, to, 4, 10, '.');
}

static size_t read_mac(const char *text, void *to)
{
    return read_bytes(text, to, MAC_BYTES, 16, ':');
}

/* Groups to the left of "::" from the front, the rest from the end. */
static size_t read_ip6(const char *text, void *to)
{
    uint16_t groups[8];
    uint32_t count = 0, gap = 8, value;
    size_t at = 0;
    while (!word_ends(text[at])) {
        if (text[at] == ':' && text[at + 1] == ':') {
            gap = count;
            at += 2;
            continue;
        }
        at += text[at] == ':';
        size_t n = read_digits(text + at, 16, &value);
        if (n == 0 || n > 4 || count == 8)
            return 0;
        groups[count++] = (uint16_t)value;
        at += n;
    }
    if (count < 8 && gap == 8)
        return 0;
    for (uint32_t i = 0; i < 16; i++)
        ((uint8_t *)to)[i] = 0;
    for (uint32_t i = 0; i < count; i++)
        put16((uint8_t *)to + 2 * (i < gap ? i : 8 - count + i), groups[i]);
    return at;
}

static const struct word words[] = {
    {"mode", &options.mode, read_mode},
    {"ip", options.ip, read_ip},
    {"ip6", options.ip6, read_ip6},
    {"peer", options.peer, read_ip},
    {"peer_mac", options.peer_mac, read_mac},
    {"port", &options.port, read_number},
    {"bytes", &options.bytes, read_number},
    {"rate", &options.rate, read_number},
    {"tso", &options.tso, read_number},
    {"offloads", &options.offloads, read_number},
    {"card", &options.card, read_number},
    {"report", &options.report_ms, read_number},
    {"tsc_khz", &options.tsc_khz, read_number},
};

bool options_read(const char *line, const char **ret_word)
{
    options = (struct options){
        .peer = {255, 255, 255, 255},
        .peer_mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
        .port = 9,
        .bytes = 60,
        .report_ms = 1000,
    };
    if (!words_read(words, sizeof words / sizeof words[0], line, ret_word))
        return false;
    if (options.tso)
        options.offloads = 1;
    return true;
}
