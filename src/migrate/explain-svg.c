/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration log as one SVG picture without scripts, fonts or references. From top to bottom: what
 * happened in words; the memory left to send over time (logarithmic, because rounds shrink by
 * factors), with the rounds as bands; what the link carried and what the guest wrote in each round;
 * the pause by its parts. Bands and captions that would not fit beside each other stay without
 * caption.
 */
#include <godwit/flight-log.h>

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/words.h"
#include "migrate/flight-model.h"

#define WIDTH 960.0
#define LEFT 84.0
#define RIGHT 928.0
#define MEMORY_TOP 150.0
#define MEMORY_BOTTOM 370.0
#define RATES_TOP 440.0
#define RATES_BOTTOM 580.0
#define PAUSE_TOP 676.0
#define HEIGHT 800.0
#define LINE_COLUMNS 118
#define BAND_CAPTION_WIDTH 22.0

#define INK "#1f2933"
#define MUTED "#66727f"
#define GRID "#e4e8ec"
#define BAND "#f3f6f9"
#define BLUE "#2563a8"
#define LIGHT_BLUE "#a9c6e3"
#define ORANGE "#d9822b"
#define RED "#b83a3a"

struct canvas {
    struct gw_buf *out;
    int result;    /* the first failure to append */
    double end_us; /* right edge of the time axis */
    const struct gw_round *rounds;
    size_t count;
};

__attribute__((format(printf, 2, 3))) static void draw(struct canvas *canvas, const char *format,
                                                       ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text)
        canvas->result = -EINVAL;
    else if (canvas->result == 0)
        canvas->result = gw_buf_append(canvas->out, text, (size_t)length);
}

/* Text that has been made harmless, between tags: markup characters become entities. */
static void draw_escaped(struct canvas *canvas, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        switch (text[i]) {
        case '<':
            draw(canvas, "&lt;");
            break;
        case '>':
            draw(canvas, "&gt;");
            break;
        case '&':
            draw(canvas, "&amp;");
            break;
        default:
            if (canvas->result == 0)
                canvas->result = gw_buf_append(canvas->out, &text[i], 1);
        }
    }
}

static void draw_text(struct canvas *canvas, double x, double y, const char *style,
                      const char *text)
{
    struct gw_buf escaped = {0};
    draw(canvas, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, style);
    if (canvas->result == 0)
        canvas->result = text_escape(&escaped, text, strlen(text));
    draw_escaped(canvas, (char *)escaped.data, escaped.length);
    draw(canvas, "</text>\n");
    gw_buf_fini(&escaped);
}

static void draw_line(struct canvas *canvas, double x1, double y1, double x2, double y2,
                      const char *colour)
{
    draw(canvas, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1,
         x2, y2, colour);
}

static void draw_box(struct canvas *canvas, double x, double y, double width, double height,
                     const char *colour)
{
    draw(canvas, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y,
         width, height, colour);
}

/* ---- Words on top ---- */

/* The text in lines of LINE_COLUMNS, broken at spaces; at most `lines` of them. */
static void draw_paragraph(struct canvas *canvas, double y, const char *text, unsigned lines)
{
    struct gw_buf wrapped = {0};
    if (canvas->result == 0)
        canvas->result = text_wrap(&wrapped, text, LINE_COLUMNS, 0, 0);
    const char *at = (char *)wrapped.data;
    for (unsigned line = 0; canvas->result == 0 && line < lines; line++) {
        const char *end = memchr(at, '\n', (size_t)((char *)wrapped.data + wrapped.length - at));
        if (!end)
            break;
        draw(canvas, "<text x=\"%.1f\" y=\"%.1f\" class=\"plain\">", 32.0, y + 19 * line);
        draw_escaped(canvas, at, (size_t)(end - at));
        draw(canvas, "</text>\n");
        at = end + 1;
    }
    gw_buf_fini(&wrapped);
}

static const char *or_else(const char *text, const char *otherwise)
{
    return text[0] ? text : otherwise;
}

static void format_outcome(const struct gw_flight_log *log, char *text, size_t bytes)
{
    const struct flight_verdict *verdict = &log->verdict;
    const struct gw_flight_log *teller = flight_teller(log);
    const struct flight_verdict *told = &teller->verdict;
    struct words took = time_in_words((double)(told->present ? told : verdict)->at_ns / 1e3);
    if (!verdict->present)
        snprintf(text, bytes, "No end is recorded.");
    else if (strcmp(verdict->status, "completed") == 0)
        snprintf(text, bytes, "Completed in %s; the guest stood still for %s; %s over the wire.",
                 took.text, time_in_words((double)teller->pause.pause_us).text,
                 bytes_in_words((double)teller->totals.bytes_sent).text);
    else
        snprintf(text, bytes, "%s after %s in phase %s%s%s: %s",
                 strcmp(verdict->status, "cancelled") == 0 ? "Cancelled" : "Failed", took.text,
                 or_else(verdict->phase, "unknown"), verdict->side[0] ? " on the " : "",
                 verdict->side, or_else(verdict->sentence, "no reason was given"));
}

static void draw_heading(struct canvas *canvas, const struct gw_flight_log *log)
{
    bool is_source = strcmp(log->role, "source") == 0;
    char title[256], route[512], outcome[768];
    snprintf(title, sizeof title, "Migration %llu of %s", (unsigned long long)log->number,
             or_else(log->machine, "an unnamed machine"));
    if (log->same_host)
        snprintf(route, sizeof route, "Between two processes of %s", log->host);
    else
        snprintf(route, sizeof route, "%s → %s",
                 or_else(is_source ? log->host : log->peer_host, "unknown host"),
                 or_else(is_source ? log->peer_host : log->host, "unknown host"));
    format_outcome(log, outcome, sizeof outcome);
    draw_text(canvas, 32, 40, "title", title);
    draw_paragraph(canvas, 64, route, 1);
    draw_paragraph(canvas, 86, outcome, 2);
}

/* ---- Axes ---- */

static double x_of(const struct canvas *canvas, double us)
{
    double share = canvas->end_us > 0 ? us / canvas->end_us : 0;
    return LEFT + (RIGHT - LEFT) * fmin(fmax(share, 0), 1);
}

static double end_of_round_us(const struct gw_round *round)
{
    return ((double)round->started_ns + (double)round->duration_ns) / 1e3;
}

static double find_end_us(const struct gw_flight_log *log, const struct canvas *canvas)
{
    double end_us = 0;
    for (size_t i = 0; i < canvas->count; i++)
        end_us = fmax(end_us, end_of_round_us(&canvas->rounds[i]));
    if (log->pause.present)
        end_us = fmax(end_us, (double)log->pause.began_ns / 1e3 + (double)log->pause.pause_us);
    return fmax(end_us, 1);
}

/* 1, 2 or 5 times a power of ten, so that about `parts` of them make up `whole`. */
static double nice_step(double whole, double parts)
{
    double raw = whole / parts, power = pow(10, floor(log10(raw)));
    double lead = raw / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

static void draw_time_axis(struct canvas *canvas, double bottom)
{
    double step_us = nice_step(canvas->end_us, 8);
    for (double us = 0; us <= canvas->end_us * 1.0001; us += step_us) {
        double x = x_of(canvas, us);
        draw_line(canvas, x, bottom, x, bottom + 4, MUTED);
        draw_text(canvas, x, bottom + 18, "tick middle", us > 0 ? time_in_words(us).text : "0");
    }
}

static void draw_bands(struct canvas *canvas, double top, double bottom, bool captions)
{
    for (size_t i = 0; i < canvas->count; i++) {
        double x = x_of(canvas, (double)canvas->rounds[i].started_ns / 1e3);
        double width = x_of(canvas, end_of_round_us(&canvas->rounds[i])) - x;
        if (i % 2 == 0)
            draw_box(canvas, x, top, width, bottom - top, BAND);
        if (captions && width >= BAND_CAPTION_WIDTH) {
            char number[24];
            snprintf(number, sizeof number, "%llu", (unsigned long long)canvas->rounds[i].number);
            draw_text(canvas, x + width / 2, top - 6, "tick middle", number);
        }
    }
}

/* A legend entry; its place is fixed, so that entries cannot meet. */
static void draw_key(struct canvas *canvas, double x, double y, const char *colour,
                     const char *text)
{
    draw_box(canvas, x, y - 9, 10, 10, colour);
    draw_text(canvas, x + 16, y, "plain", text);
}

/* ---- Memory ---- */

struct powers {
    double low, high; /* of 16, so that each is a round number of its unit */
};

static double remaining_at_start(const struct canvas *canvas)
{
    return (double)canvas->rounds[0].dirty_pages * 4096;
}

static struct powers find_powers(const struct canvas *canvas)
{
    double smallest = remaining_at_start(canvas), largest = smallest;
    for (size_t i = 0; i < canvas->count; i++) {
        double bytes = (double)canvas->rounds[i].remaining_bytes;
        largest = fmax(largest, bytes);
        if (bytes > 0)
            smallest = fmin(smallest, bytes);
    }
    struct powers powers = {floor(log2(fmax(smallest, 4096)) / 4),
                            ceil(log2(fmax(largest, 8192)) / 4)};
    if (powers.high <= powers.low)
        powers.high = powers.low + 1;
    return powers;
}

static double memory_y(const struct powers *powers, double bytes)
{
    double share = (log2(fmax(bytes, 1)) / 4 - powers->low) / (powers->high - powers->low);
    return MEMORY_BOTTOM - (MEMORY_BOTTOM - MEMORY_TOP) * fmin(fmax(share, 0), 1);
}

static void draw_memory(struct canvas *canvas, const struct gw_flight_log *log)
{
    struct powers powers = find_powers(canvas);
    draw_text(canvas, 32, MEMORY_TOP - 22, "section", "Memory left to send, by rounds");
    draw_bands(canvas, MEMORY_TOP, MEMORY_BOTTOM, true);
    for (double power = powers.low; power <= powers.high; power++) {
        double y = memory_y(&powers, pow(16, power));
        draw_line(canvas, LEFT, y, RIGHT, y, GRID);
        draw_text(canvas, LEFT - 8, y + 4, "tick end", bytes_in_words(pow(16, power)).text);
    }
    draw(canvas,
         "<polyline fill=\"none\" stroke=\"" BLUE "\" stroke-width=\"2\" points=\"%.1f,%.1f",
         x_of(canvas, (double)canvas->rounds[0].started_ns / 1e3),
         memory_y(&powers, remaining_at_start(canvas)));
    for (size_t i = 0; i < canvas->count; i++)
        draw(canvas, " %.1f,%.1f", x_of(canvas, end_of_round_us(&canvas->rounds[i])),
             memory_y(&powers, (double)canvas->rounds[i].remaining_bytes));
    draw(canvas, "\"/>\n");
    if (log->pause.present) {
        double x = x_of(canvas, (double)log->pause.began_ns / 1e3);
        double end = x_of(canvas, (double)log->pause.began_ns / 1e3 + (double)log->pause.pause_us);
        draw_box(canvas, x, MEMORY_TOP, fmax(end - x, 2), MEMORY_BOTTOM - MEMORY_TOP, RED);
        draw_key(canvas, 848, MEMORY_TOP - 22, RED, "pause");
    }
    draw_key(canvas, 700, MEMORY_TOP - 22, BLUE, "memory left");
    draw_time_axis(canvas, MEMORY_BOTTOM);
}

/* ---- Rates ---- */

static double dirty_bytes(const struct gw_round *round)
{
    return (double)round->dirty_rate * 4096;
}

static double rate_y(double whole, double rate)
{
    return RATES_BOTTOM - (RATES_BOTTOM - RATES_TOP) * fmin(rate / whole, 1);
}

static void draw_rate_grid(struct canvas *canvas, double whole)
{
    double unit = whole >= 0x1p30   ? 0x1p30
                  : whole >= 0x1p20 ? 0x1p20
                  : whole >= 0x1p10 ? 0x1p10
                                    : 1;
    double step = nice_step(whole / unit, 4) * unit;
    for (double rate = 0; rate <= whole * 1.0001; rate += step) {
        char text[32];
        snprintf(text, sizeof text, rate > 0 ? "%s/s" : "0", bytes_in_words(rate).text);
        draw_line(canvas, LEFT, rate_y(whole, rate), RIGHT, rate_y(whole, rate), GRID);
        draw_text(canvas, LEFT - 8, rate_y(whole, rate) + 4, "tick end", text);
    }
}

/* Both rates are averages of a round, so both are drawn as level as it was long. */
static void draw_rates(struct canvas *canvas)
{
    double whole = 1;
    for (size_t i = 0; i < canvas->count; i++)
        whole =
            fmax(whole, fmax((double)canvas->rounds[i].bandwidth, dirty_bytes(&canvas->rounds[i])));
    draw_text(canvas, 32, RATES_TOP - 22, "section",
              "What the link carried and what the guest wrote");
    draw_key(canvas, 700, RATES_TOP - 22, LIGHT_BLUE, "link");
    draw_key(canvas, 848, RATES_TOP - 22, ORANGE, "guest");
    for (size_t i = 0; i < canvas->count; i++) {
        const struct gw_round *round = &canvas->rounds[i];
        double x = x_of(canvas, (double)round->started_ns / 1e3);
        double width = fmax(x_of(canvas, end_of_round_us(round)) - x - 1, 1);
        double y = rate_y(whole, (double)round->bandwidth);
        draw_box(canvas, x, y, width, RATES_BOTTOM - y, LIGHT_BLUE);
    }
    draw_rate_grid(canvas, whole);
    for (size_t i = 0; i < canvas->count; i++) {
        const struct gw_round *round = &canvas->rounds[i];
        double y = rate_y(whole, dirty_bytes(round));
        double x = x_of(canvas, (double)round->started_ns / 1e3);
        draw_box(canvas, x, y - 1, fmax(x_of(canvas, end_of_round_us(round)) - x, 2), 2, ORANGE);
    }
    draw_time_axis(canvas, RATES_BOTTOM);
}

/* ---- The pause ---- */

static const struct {
    const char *name;
    const char *colour;
    size_t offset;
} pause_parts[] = {
    {"stop", "#7a869a", offsetof(struct gw_pause_parts, stop_us)},
    {"memory", "#2563a8", offsetof(struct gw_pause_parts, ram_us)},
    {"save", "#5b9bd5", offsetof(struct gw_pause_parts, save_us)},
    {"send", "#9cc3e6", offsetof(struct gw_pause_parts, send_us)},
    {"load", "#d9822b", offsetof(struct gw_pause_parts, load_us)},
    {"verify", "#e8b27a", offsetof(struct gw_pause_parts, verify_us)},
    {"ready", "#6a9c5b", offsetof(struct gw_pause_parts, ready_us)},
    {"commit", "#3f6b33", offsetof(struct gw_pause_parts, commit_us)},
    {"start", "#8e5aa8", offsetof(struct gw_pause_parts, start_us)},
};

static double part_of(const struct gw_pause_parts *parts, size_t index)
{
    uint64_t us;
    memcpy(&us, (const char *)parts + pause_parts[index].offset, sizeof us);
    return (double)us;
}

/* The bar ends at the budget or at the pause, whichever is longer; a line marks the budget. */
static void draw_pause(struct canvas *canvas, const struct gw_flight_log *log)
{
    const struct flight_pause *pause = &log->pause;
    char title[128];
    if (pause->budget_us)
        snprintf(title, sizeof title, "The pause: %s of a budget of %s",
                 time_in_words((double)pause->pause_us).text,
                 time_in_words((double)pause->budget_us).text);
    else
        snprintf(title, sizeof title, "The pause: %s", time_in_words((double)pause->pause_us).text);
    draw_text(canvas, 32, PAUSE_TOP - 26, "section", title);
    double sum = 0, x = 32, room = RIGHT - 32;
    for (size_t i = 0; i < ARRAY_COUNT(pause_parts); i++)
        sum += part_of(&pause->parts, i);
    double whole = fmax(fmax(sum, (double)pause->budget_us), 1);
    draw_box(canvas, 32, PAUSE_TOP, room, 26, BAND);
    for (size_t i = 0; i < ARRAY_COUNT(pause_parts); i++) {
        double width = part_of(&pause->parts, i) / whole * room;
        draw_box(canvas, x, PAUSE_TOP, width, 26, pause_parts[i].colour);
        x += width;
    }
    double budget_x = 32 + (double)pause->budget_us / whole * room;
    if (pause->budget_us) {
        draw_line(canvas, budget_x, PAUSE_TOP - 6, budget_x, PAUSE_TOP + 32, RED);
        draw_text(canvas, budget_x, PAUSE_TOP - 10, budget_x < 100 ? "tick" : "tick end", "budget");
    }
    for (size_t i = 0; i < ARRAY_COUNT(pause_parts); i++) {
        char text[48];
        snprintf(text, sizeof text, "%s %s", pause_parts[i].name,
                 time_in_words(part_of(&pause->parts, i)).text);
        draw_key(canvas, 32 + 180 * (double)(i % 5), PAUSE_TOP + 60 + 24 * (double)(i / 5),
                 pause_parts[i].colour, text);
    }
}

static void draw_frame(struct canvas *canvas)
{
    draw(canvas,
         "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
         "viewBox=\"0 0 %.0f %.0f\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n"
         "<style>.title{font-size:22px;font-weight:600}.section{font-size:15px;font-weight:600}"
         ".plain{font-size:13px}.tick{font-size:11px;fill:" MUTED "}"
         ".middle{text-anchor:middle}.end{text-anchor:end}text{fill:" INK "}</style>\n",
         WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw_box(canvas, 0, 0, WIDTH, HEIGHT, "#ffffff");
}

int gw_flight_log_explain_svg(const struct gw_flight_log *log, struct gw_buf *out,
                              struct gw_error *error)
{
    const struct gw_flight_log *teller = flight_teller(log);
    struct canvas canvas = {
        .out = out, .rounds = teller->rounds.entries, .count = teller->rounds.count};
    canvas.end_us = find_end_us(teller, &canvas);
    draw_frame(&canvas);
    draw_heading(&canvas, log);
    if (canvas.count > 0) {
        draw_memory(&canvas, teller);
        draw_rates(&canvas);
    } else {
        draw_text(&canvas, 32, MEMORY_TOP, "section", "No rounds of memory are recorded.");
    }
    if (teller->pause.present)
        draw_pause(&canvas, teller);
    else
        draw_text(&canvas, 32, PAUSE_TOP, "section", "There was no pause.");
    draw(&canvas, "</svg>\n");
    if (canvas.result < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, canvas.result,
                            "no memory to draw migration %s", log->session);
    return 0;
}
