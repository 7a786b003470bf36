/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/words.h"
#include "cli/cli.h"

enum { BAR_CELLS = 24, LEAST_BAR_CELLS = 10 };

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key)) ?: "?";
}

void progress_init(struct progress *progress, bool enabled, double budget_us)
{
    *progress = (struct progress){
        .enabled = enabled, .terminal = cli_can_rewrite(), .budget_us = budget_us};
}

static void put_bar(struct gw_buf *line, double share, unsigned room)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    unsigned filled = (unsigned)(fmin(fmax(share, 0), 1) * room * 8 + 0.5);
    unsigned cells = filled / 8, rest = filled % 8;
    for (unsigned i = 0; i < cells; i++)
        gw_buf_printf(line, "█");
    gw_buf_printf(line, "%s", eighths[rest]);
    for (unsigned i = cells + (rest > 0); i < room; i++)
        gw_buf_printf(line, "·");
}

/* Adds a figure where it leaves room for a bar; those that matter most come first. */
__attribute__((format(printf, 3, 4))) static void put_figure(struct gw_buf *line, unsigned room,
                                                             const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t columns =
        text_columns((char *)line->data, line->length) + text_columns(text, strlen(text));
    if (columns + 2 <= room)
        gw_buf_printf(line, "%s%s", line->length ? ", " : "", text);
}

/* What the migration waits for while the budget cannot be met, in the policy's words; else NULL. */
static const char *waits_for(const json_t *own)
{
    static const char *const words[] = {"waiting for a quieter moment",
                                        "a longer budget would help"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strstr(text_of(own, "decision"), words[i]))
            return words[i];
    return NULL;
}

/*
 * How it stands: what it waits for; else the pause, once that is a figure to judge the budget by;
 * else the time until all is sent. While much memory is left, what a switch would cost now is no
 * pause that anybody will see.
 */
static void put_outlook(const struct progress *progress, struct gw_buf *line, unsigned room,
                        const json_t *info)
{
    const json_t *ram = json_object_get(info, "ram"), *own = json_object_get(info, "x-godwit");
    double pause_us = number(own, "predicted-pause-us"), speed = number(own, "bandwidth");
    double gain = speed - number(ram, "dirty-pages-rate") * number(ram, "page-size");
    if (waits_for(own))
        put_figure(line, room, "%s", waits_for(own));
    if (pause_us > 0 && pause_us <= 10 * progress->budget_us)
        put_figure(line, room, "pause ≈ %s", time_in_words(pause_us).text);
    else if (!waits_for(own) && gain > speed / 10)
        put_figure(line, room, "about %s to go",
                   time_in_words(number(ram, "remaining") / gain * 1e6).text);
}

static void put_figures(const struct progress *progress, struct gw_buf *line, unsigned room,
                        const json_t *info, json_int_t round)
{
    const json_t *ram = json_object_get(info, "ram");
    const json_t *own = json_object_get(info, "x-godwit");
    const char *status = json_string_value(json_object_get(info, "status"));
    put_figure(line, room, "round %lld", (long long)round);
    put_figure(line, room, "%s left", bytes_in_words(number(ram, "remaining")).text);
    put_outlook(progress, line, room, info);
    put_figure(line, room, "%s/s", bytes_in_words(number(own, "bandwidth")).text);
    if (status && strcmp(status, "active") != 0)
        put_figure(line, room, "(%s)", status);
}

static void rewrite(const struct progress *progress, const json_t *info, json_int_t round,
                    double share)
{
    struct gw_buf figures = {0}, line = {0};
    unsigned room = cli_line_room();
    put_figures(progress, &figures, room - LEAST_BAR_CELLS - 2, info, round);
    size_t columns = text_columns((char *)figures.data, figures.length);
    unsigned cells = room - 2 - (unsigned)columns;
    put_bar(&line, share, cells < BAR_CELLS ? cells : BAR_CELLS);
    gw_buf_printf(&line, "  %.*s", (int)figures.length, (char *)figures.data);
    if (gw_buf_append(&line, "", 1) == 0)
        cli_rewrite((char *)line.data);
    gw_buf_fini(&figures);
    gw_buf_fini(&line);
}

void progress_show(struct progress *progress, const json_t *info)
{
    const json_t *ram = json_object_get(info, "ram");
    json_int_t round = json_integer_value(json_object_get(json_object_get(info, "x-godwit"), "round"));
    double total = number(ram, "total");
    if (!progress->enabled || total <= 0)
        return;
    if (progress->terminal) {
        rewrite(progress, info, round, 1 - number(ram, "remaining") / total);
        progress->drawn = true;
    } else if (round != progress->last_round) {
        struct gw_buf line = {0};
        put_figures(progress, &line, UINT_MAX, info, round);
        cli_print("%.*s", (int)line.length, (char *)line.data);
        gw_buf_fini(&line);
    }
    progress->last_round = round;
    fflush(stdout);
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        cli_rewrite("");
}

/* " (stop 0.1 ms, ...)", or nothing. */
static void put_pause_parts(struct gw_buf *text, const json_t *own)
{
    static const char *const parts[] = {"stop",   "ram",   "save",   "send", "load",
                                        "verify", "ready", "commit", "start"};
    const json_t *pause = json_object_get(own, "pause");
    const char *separator = " (";
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        double us = number(pause, parts[i]);
        if (us <= 0)
            continue;
        gw_buf_printf(text, "%s%s %.1f", separator, parts[i], us / 1000);
        separator = ", ";
    }
    if (*separator == ',')
        gw_buf_printf(text, ")");
}

void progress_networks(const json_t *info, const char *what)
{
    const json_t *own = json_object_get(info, "x-godwit");
    size_t index;
    json_t *network;
    json_array_foreach(json_object_get(own, "broken-networks"), index, network) cli_print(
        "network '%s': %s, because %s", text_of(network, "name"), what, text_of(network, "why"));
}

void progress_summary(const json_t *info, const char *name, const char *uri)
{
    const json_t *own = json_object_get(info, "x-godwit");
    cli_print("'%s' moved to %s in %.2f s: %.0f rounds, %s sent, %s/s", name, uri,
              number(info, "total-time") / 1000, number(own, "round"),
              bytes_in_words(number(own, "bytes-sent")).text,
              bytes_in_words(number(own, "bandwidth")).text);
    if (number(own, "pause-us") > 0) {
        struct gw_buf parts = {0};
        put_pause_parts(&parts, own);
        cli_print("the guest was paused for %.1f ms%.*s", number(own, "pause-us") / 1000,
                  (int)parts.length, parts.length ? (char *)parts.data : "");
        gw_buf_fini(&parts);
    } else {
        cli_print("the guest was not running and arrived so");
    }
    progress_networks(info, "connections that were open have ended (new ones work)");
}
