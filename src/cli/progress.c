/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BAR_CELLS = 24 };

const char *format_bytes(double bytes, char text[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < ARRAY_COUNT(units)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 16, unit && bytes < 9.95 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

void progress_init(struct progress *progress, bool enabled)
{
    *progress = (struct progress){.enabled = enabled, .terminal = isatty(STDOUT_FILENO) == 1};
}

static void print_bar(double share)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int filled = (int)(share * BAR_CELLS * 8 + 0.5);
    int cells = filled / 8, rest = filled % 8;
    for (int i = 0; i < cells; i++)
        fputs("█", stdout);
    fputs(eighths[rest], stdout);
    for (int i = cells + (rest > 0); i < BAR_CELLS; i++)
        fputs("·", stdout);
}

static void print_figures(const json_t *info, json_int_t round)
{
    const json_t *ram = json_object_get(info, "ram");
    const json_t *own = json_object_get(info, "x-godwit");
    const char *status = json_string_value(json_object_get(info, "status"));
    char left[16], speed[16];
    printf("round %lld  left %s  %s/s  ", (long long)round, format_bytes(number(ram, "remaining"), left),
           format_bytes(number(own, "bandwidth"), speed));
    if (number(own, "predicted-pause-us") > 0)
        printf("pause ≈ %.1f ms  ", number(own, "predicted-pause-us") / 1000);
    printf("(%s)", status ? status : "?");
}

void progress_show(struct progress *progress, const json_t *info)
{
    const json_t *ram = json_object_get(info, "ram");
    json_int_t round = json_integer_value(json_object_get(json_object_get(info, "x-godwit"), "round"));
    double total = number(ram, "total");
    if (!progress->enabled || total <= 0)
        return;
    if (progress->terminal) {
        fputs("\r\033[K", stdout);
        print_bar(1 - number(ram, "remaining") / total);
        fputs("  ", stdout);
        print_figures(info, round);
        progress->drawn = true;
    } else if (round != progress->last_round) {
        print_figures(info, round);
        putchar('\n');
    }
    progress->last_round = round;
    fflush(stdout);
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stdout);
    fflush(stdout);
}

static void print_pause_parts(const json_t *own)
{
    static const char *const parts[] = {"stop",   "ram",   "save",   "send", "load",
                                        "verify", "ready", "commit", "start"};
    const json_t *pause = json_object_get(own, "pause");
    const char *separator = " (";
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        double us = number(pause, parts[i]);
        if (us <= 0)
            continue;
        printf("%s%s %.1f", separator, parts[i], us / 1000);
        separator = ", ";
    }
    puts(*separator == ',' ? ")" : "");
}

void progress_networks(const json_t *info, const char *what)
{
    const json_t *own = json_object_get(info, "x-godwit");
    size_t index;
    json_t *network;
    json_array_foreach(json_object_get(own, "broken-networks"), index, network)
        printf("network '%s': %s, because %s\n",
               json_string_value(json_object_get(network, "name")), what,
               json_string_value(json_object_get(network, "why")));
}

void progress_summary(const json_t *info, const char *name, const char *uri)
{
    const json_t *own = json_object_get(info, "x-godwit");
    char sent[16], speed[16];
    printf("'%s' moved to %s in %.2f s: %.0f rounds, %s sent, %s/s\n", name, uri,
           number(info, "total-time") / 1000, number(own, "round"),
           format_bytes(number(own, "bytes-sent"), sent), format_bytes(number(own, "bandwidth"), speed));
    if (number(own, "pause-us") > 0) {
        printf("the guest was paused for %.1f ms", number(own, "pause-us") / 1000);
        print_pause_parts(own);
    } else {
        puts("the guest was not running and arrived so");
    }
    progress_networks(info, "connections that were open have ended (new ones work)");
}
