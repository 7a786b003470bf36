/* SPDX-License-Identifier: Apache-2.0 */
/* A migration log in plain sentences. Whatever does not fit into the width is wrapped or left out,
 * never cut. A log is foreign text: all of it goes through base/text.h, which makes it harmless. */
#include <godwit/flight-log.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/words.h"
#include "migrate/flight-model.h"

#define FIRST_ROUNDS 4
#define LAST_ROUNDS 16
#define SHOWN_DECISIONS 12
#define ITEM_INDENT 10
#define BAR_INDENT 21

struct page {
    struct gw_buf *out;
    unsigned width;
    int result; /* the first failure to append */
};

static void put(struct page *page, const char *text, size_t bytes)
{
    if (page->result == 0)
        page->result = gw_buf_append(page->out, text, bytes);
}

static void put_line(struct page *page, unsigned start, unsigned indent, const char *label,
                     const char *format, va_list arguments)
{
    _cleanup_free_ char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0) {
        text = NULL;
        page->result = -ENOMEM;
    }
    if (page->result == 0 && indent > 0)
        page->result = text_item(page->out, label, text, page->width, start, indent);
    else if (page->result == 0)
        page->result = text_wrap(page->out, text, page->width, 0, 0);
}

__attribute__((format(printf, 2, 3))) static void say(struct page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_line(page, 0, 0, "", format, arguments);
    va_end(arguments);
}

/* A line of a list that has no label of its own. */
__attribute__((format(printf, 2, 3))) static void say_indented(struct page *page,
                                                               const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_line(page, 0, 2, "", format, arguments);
    va_end(arguments);
}

/* A line of a list: a label on the right of its column, and what. */
static void put_item(struct page *page, const char *label, const char *format, va_list arguments)
{
    size_t columns = text_columns(label, strlen(label));
    unsigned start = columns < ITEM_INDENT - 2 ? (unsigned)(ITEM_INDENT - 2 - columns) : 2;
    put_line(page, start, ITEM_INDENT, label, format, arguments);
}

__attribute__((format(printf, 3, 4))) static void say_item(struct page *page, uint64_t at_ns,
                                                           const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_item(page, time_in_words((double)at_ns / 1e3).text, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 3, 4))) static void say_of(struct page *page, const char *name,
                                                         const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put_item(page, name, format, arguments);
    va_end(arguments);
}

static void heading(struct page *page, const char *text)
{
    put(page, "\n", 1);
    put(page, text, strlen(text));
    put(page, "\n", 1);
}

/* ---- Who and how ---- */

static const char *or_else(const char *text, const char *otherwise)
{
    return text[0] ? text : otherwise;
}

static void say_title(struct page *page, const struct gw_flight_log *log)
{
    bool is_source = strcmp(log->role, "source") == 0;
    const char *from = is_source ? log->host : log->peer_host;
    const char *to = is_source ? log->peer_host : log->host;
    time_t seconds = (time_t)(log->started_ms / 1000);
    struct tm utc;
    char when[64] = "";
    if (gmtime_r(&seconds, &utc))
        strftime(when, sizeof when, "%-d %B %Y %H:%M:%S UTC", &utc);
    say(page, "Migration %llu of %s, %s", (unsigned long long)log->number,
        or_else(log->machine, "an unnamed machine"), when);
    if (log->same_host)
        say(page, "from one process to another on %s (%s), told by the %s; session %s", log->host,
            or_else(log->uri, "address unknown"), log->role, log->session);
    else if (!to[0] && is_source)
        say(page, "from %s to %s, told by the source; session %s", or_else(from, "an unknown host"),
            or_else(log->uri, "an unknown address"), log->session);
    else
        say(page, "%s%s%sto %s (%s), told by the %s; session %s", from[0] ? "from " : "", from,
            from[0] ? " " : "", or_else(to, "an unknown host"),
            or_else(log->uri, "address unknown"), log->role, log->session);
}

static void say_end(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_verdict *verdict = &log->verdict;
    const struct flight_verdict *told = &flight_teller(log)->verdict;
    struct words took = time_in_words((double)(told->present ? told : verdict)->at_ns / 1e3);
    if (!verdict->present) {
        say(page, "No end is recorded: it is still going on, or the process ended without a word.");
        return;
    }
    if (strcmp(verdict->status, "completed") == 0) {
        say(page, "It completed in %s.", took.text);
        return;
    }
    say(page, "It %s after %s in phase %s%s%s: %s%s%s%s",
        strcmp(verdict->status, "cancelled") == 0 ? "was cancelled" : "failed", took.text,
        or_else(verdict->phase, "unknown"), verdict->side[0] ? ", on the " : "", verdict->side,
        or_else(verdict->sentence, "no reason was given"), verdict->code[0] ? " (" : "",
        verdict->code, verdict->code[0] ? ")" : "");
    if (verdict->next[0])
        say(page, "What to do: %s", verdict->next);
}

static void say_pause_in_short(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_pause *pause = &log->pause;
    if (!pause->present || pause->pause_us == 0)
        return;
    char budget[40] = "", predicted[40] = "";
    if (pause->budget_us)
        snprintf(budget, sizeof budget, "; the budget was %s",
                 time_in_words((double)pause->budget_us).text);
    if (pause->predicted_us)
        snprintf(predicted, sizeof predicted, ", predicted were %s",
                 time_in_words((double)pause->predicted_us).text);
    say(page, "The guest stood still for %s%s%s.", time_in_words((double)pause->pause_us).text,
        budget, predicted);
}

static void say_totals(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_totals *totals = &log->totals;
    if (!totals->present || totals->bytes_sent == 0)
        return;
    say(page,
        "%s went over the wire for %s of guest memory: %llu pages as they are, %llu as zeroes, "
        "in %llu rounds.",
        bytes_in_words((double)totals->bytes_sent).text,
        bytes_in_words((double)log->ram_bytes).text, (unsigned long long)totals->pages_normal,
        (unsigned long long)totals->pages_zero,
        (unsigned long long)(log->rounds.count + log->rounds.left_out));
}

static void say_settings(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_parameters *settings = log->parameters.entries;
    if (log->parameters.count == 0)
        return;
    heading(page, "Settings");
    for (size_t i = 0; i < log->parameters.count; i++) {
        char deadline[40] = "no deadline", limit[40] = "no bandwidth limit";
        if (settings[i].deadline_ms)
            snprintf(deadline, sizeof deadline, "deadline %s",
                     time_in_words((double)settings[i].deadline_ms * 1e3).text);
        if (settings[i].max_bandwidth)
            snprintf(limit, sizeof limit, "at most %s/s",
                     bytes_in_words((double)settings[i].max_bandwidth).text);
        say_item(page, settings[i].at_ns, "pause budget %s, %s, %s%s",
                 time_in_words((double)settings[i].downtime_limit_ms * 1e3).text, deadline, limit,
                 settings[i].verify_ram ? ", memory verified" : "");
    }
}

/* ---- Rounds ---- */

static void format_number(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu", (unsigned long long)round->number);
}

static void format_at(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s", time_in_words((double)round->started_ns / 1e3).text);
}

static void format_took(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s", time_in_words((double)round->duration_ns / 1e3).text);
}

static void format_sent(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s", bytes_in_words((double)round->wire_bytes).text);
}

static void format_left(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s", bytes_in_words((double)round->remaining_bytes).text);
}

static void format_speed(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, round->bandwidth ? "%s/s" : "-",
             bytes_in_words((double)round->bandwidth).text);
}

static void format_dirtied(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s/s", bytes_in_words((double)round->dirty_rate * 4096).text);
}

static void format_raw(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu", (unsigned long long)round->raw_pages);
}

static void format_zero(const struct gw_round *round, char *text, size_t bytes)
{
    snprintf(text, bytes, "%llu", (unsigned long long)round->zero_pages);
}

/* In the order of importance: a narrow page shows the first ones. */
static const struct {
    const char *title;
    void (*format)(const struct gw_round *round, char *text, size_t bytes);
} figures[] = {
    {"round", format_number}, {"took", format_took},     {"sent", format_sent},
    {"left", format_left},    {"speed", format_speed},   {"dirtied", format_dirtied},
    {"at", format_at},        {"raw pages", format_raw}, {"zero pages", format_zero},
};

static void add_round(struct text_table *table, const struct gw_round *round)
{
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++) {
        char text[32] = "...";
        if (round)
            figures[i].format(round, text, sizeof text);
        text_table_cell(table, "%s", round || i == 0 ? text : "");
    }
}

static void say_rounds(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_series *series = &log->rounds;
    const struct gw_round *rounds = series->entries;
    struct text_column columns[ARRAY_COUNT(figures)];
    struct text_table table = {.columns = columns, .column_count = ARRAY_COUNT(figures)};
    if (series->count == 0)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(figures); i++)
        columns[i] =
            (struct text_column){.title = figures[i].title, .right = true, .optional = i >= 4};
    heading(page, "Rounds");
    for (size_t i = 0; i < series->count; i++) {
        if (i == FIRST_ROUNDS && series->count > FIRST_ROUNDS + LAST_ROUNDS) {
            add_round(&table, NULL);
            i = series->count - LAST_ROUNDS;
        }
        add_round(&table, &rounds[i]);
    }
    if (page->result == 0)
        page->result = text_table_put(&table, page->out, page->width, 2);
    text_table_fini(&table);
    if (series->left_out)
        say_indented(page, "%llu more rounds were not kept.", (unsigned long long)series->left_out);
}

static void say_decisions(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_decision *decisions = log->decisions.entries;
    size_t count = log->decisions.count;
    if (count == 0)
        return;
    heading(page, "Decisions");
    size_t from = count > SHOWN_DECISIONS ? count - SHOWN_DECISIONS : 0;
    if (from + log->decisions.left_out > 0)
        say_indented(page, "(the last %zu of %llu)", count - from,
                     (unsigned long long)(count + log->decisions.left_out));
    for (size_t i = from; i < count; i++) {
        char times[40] = "";
        if (decisions[i].count > 1)
            snprintf(times, sizeof times, " (%llu times)", (unsigned long long)decisions[i].count);
        say_item(page, decisions[i].last_ns, "%s%s", decisions[i].reason, times);
    }
}

/* ---- The pause and the rest ---- */

/* A bar is as long as the page has room for, so that on a wide one short parts can be seen. */
static void put_bar(struct page *page, const char *name, uint64_t part_us, double whole_us)
{
    char line[64];
    int length =
        snprintf(line, sizeof line, "  %-8s %8s", name, time_in_words((double)part_us).text);
    size_t room = page->width - BAR_INDENT;
    size_t blocks = whole_us > 0 ? (size_t)((double)part_us / whole_us * (double)room + 0.5) : 0;
    put(page, line, (size_t)length);
    if (blocks > 0)
        put(page, "  ", 2);
    for (size_t i = 0; i < blocks && i < room; i++)
        put(page, "█", strlen("█"));
    put(page, "\n", 1);
}

static void say_pause(struct page *page, const struct gw_flight_log *log)
{
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
        {"stop", offsetof(struct gw_pause_parts, stop_us)},
        {"memory", offsetof(struct gw_pause_parts, ram_us)},
        {"save", offsetof(struct gw_pause_parts, save_us)},
        {"send", offsetof(struct gw_pause_parts, send_us)},
        {"load", offsetof(struct gw_pause_parts, load_us)},
        {"verify", offsetof(struct gw_pause_parts, verify_us)},
        {"ready", offsetof(struct gw_pause_parts, ready_us)},
        {"commit", offsetof(struct gw_pause_parts, commit_us)},
        {"start", offsetof(struct gw_pause_parts, start_us)},
    };
    const struct flight_pause *pause = &log->pause;
    if (!pause->present)
        return;
    heading(page, "The pause by its parts");
    double whole_us = (double)gw_pause_parts_sum(&pause->parts);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint64_t part_us;
        memcpy(&part_us, (const char *)&pause->parts + rows[i].offset, sizeof part_us);
        if (part_us > 0)
            put_bar(page, rows[i].name, part_us, whole_us);
    }
    if (pause->pause_us)
        say_indented(
            page,
            "From the last instruction on the source to the first on the destination: %s, right "
            "to within %s.",
            time_in_words((double)pause->pause_us).text,
            time_in_words((double)pause->clock_error_us).text);
}

/* ---- Networks ---- */

static struct words span(uint64_t from_ns, uint64_t to_ns)
{
    return time_in_words(to_ns > from_ns ? (double)(to_ns - from_ns) / 1e3 : 0);
}

static void say_arrival(struct page *page, const struct flight_network *network, uint64_t ran_ns)
{
    char out[64] = "none left in the first second", in[64] = "none came in";
    if (network->first_out_ns)
        snprintf(out, sizeof out, "the first left after %s",
                 span(ran_ns, network->first_out_ns).text);
    if (network->first_in_ns)
        snprintf(in, sizeof in, "the first came in after %s",
                 span(ran_ns, network->first_in_ns).text);
    say_of(page, network->name, "when the guest ran again, %s and %s; %llu had waited", out, in,
           (unsigned long long)network->waited);
}

/* `last` and `began_ns` are of the source's clock, `first` and `ran_ns` of the destination's. A
 * frame that the guest had ready leaves a little before its first instruction. */
static void say_silence(struct page *page, const struct flight_network *last, uint64_t began_ns,
                        const struct flight_network *first, uint64_t ran_ns, uint64_t pause_ns)
{
    if (last->last_out_ns == 0 || last->last_out_ns > began_ns + pause_ns ||
        first->first_out_ns == 0)
        return;
    uint64_t after_ns = first->first_out_ns > ran_ns ? first->first_out_ns - ran_ns : 0;
    uint64_t silent_ns = began_ns + pause_ns - last->last_out_ns + after_ns;
    say_of(page, first->name, "so nothing was heard of the guest for %s",
           time_in_words((double)silent_ns / 1e3).text);
}

/* The pause begins before all of the guest has stopped. */
static void say_last(struct page *page, const struct flight_network *last, uint64_t began_ns)
{
    if (last->last_out_ns > began_ns)
        say_of(page, last->name, "the guest's last frame left %s into the pause, while it stopped",
               span(began_ns, last->last_out_ns).text);
    else if (last->last_out_ns)
        say_of(page, last->name, "the guest's last frame left %s before the pause",
               span(last->last_out_ns, began_ns).text);
}

static void say_network(struct page *page, const struct gw_flight_log *log,
                        const struct flight_network *network)
{
    const struct gw_flight_log *source = flight_teller(log);
    const struct flight_network *last = flight_find_network(source, network->name);
    uint64_t began_ns = source->pause.began_ns, ran_ns = flight_pause_ends_ns(&log->pause);
    if (last)
        say_last(page, last, began_ns);
    if (last && last->stays[0])
        say_of(page, network->name, "connections that were open ended with this move, because %s",
               last->stays);
    if (strcmp(log->role, "destination") != 0)
        return;
    say_arrival(page, network, ran_ns);
    if (last)
        say_silence(page, last, began_ns, network, ran_ns, log->pause.pause_us * 1000);
}

static void say_networks(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_network *networks = log->networks.entries;
    if (log->networks.count == 0 || log->pause.pause_us == 0)
        return;
    heading(page, "Networks");
    for (size_t i = 0; i < log->networks.count; i++)
        say_network(page, log, &networks[i]);
}

/* ---- The whole ---- */

static void say_timeline(struct page *page, const struct gw_flight_log *log)
{
    const struct flight_phase *phases = log->phases.entries;
    const struct flight_event *events = log->events.entries;
    size_t phase = 0, event = 0;
    if (log->phases.count + log->events.count == 0)
        return;
    heading(page, "Timeline");
    while (phase < log->phases.count || event < log->events.count) {
        bool phase_next = event == log->events.count ||
                          (phase < log->phases.count && phases[phase].at_ns <= events[event].at_ns);
        if (phase_next)
            say_item(page, phases[phase].at_ns, "phase %s", phases[phase].name);
        else
            say_item(page, events[event].at_ns, "%s", events[event].text);
        phase += phase_next;
        event += !phase_next;
    }
}

int gw_flight_log_explain_text(const struct gw_flight_log *log, unsigned width, struct gw_buf *out,
                               struct gw_error *error)
{
    struct page page = {.out = out, .width = width < 40 ? 40 : width > 200 ? 200 : width};
    say_title(&page, log);
    put(&page, "\n", 1);
    const struct gw_flight_log *teller = flight_teller(log);
    say_end(&page, log);
    say_pause_in_short(&page, teller);
    say_totals(&page, teller);
    say_settings(&page, teller);
    say_timeline(&page, teller);
    say_rounds(&page, teller);
    say_decisions(&page, teller);
    say_pause(&page, teller);
    say_networks(&page, log);
    if (page.result < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, page.result,
                            "no memory to explain migration %s", log->session);
    return 0;
}
