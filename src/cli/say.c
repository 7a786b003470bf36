/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place where godwit prints. Machine names, a peer's words, paths, migration logs: most of
 * what it prints is not its own, so nothing else of src/cli writes to a stream (but the console,
 * which is the guest's terminal).
 */
#include <errno.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/help.h"
#include "cli/cli.h"

#define DIM "\033[2m"
#define PLAIN "\033[0m"
#define ERASE_LINE "\r\033[K"

/* ---- The terminal ---- */

static bool is_terminal(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

static unsigned width_of(FILE *stream)
{
    return is_terminal(stream) ? help_width(stream) : TEXT_UNLIMITED;
}

unsigned cli_prose_width(void)
{
    return help_width(stdout);
}

static bool knows_escapes(FILE *stream)
{
    const char *term = getenv("TERM");
    return is_terminal(stream) && term && *term && strcmp(term, "dumb") != 0;
}

static bool has_colours(FILE *stream)
{
    const char *no_color = getenv("NO_COLOR");
    return knows_escapes(stream) && !(no_color && *no_color);
}

/* ---- The way out ---- */

static int lost_number; /* why standard output failed first */

/* After a write, whose errno it takes: the stream remembers only that it failed. */
static void keep_failure(FILE *stream)
{
    if (stream == stdout && lost_number == 0 && ferror(stream))
        lost_number = errno;
}

static void flush_output(void)
{
    fflush(stdout);
    keep_failure(stdout);
}

/* One line, without its newline. */
static void emit_line(FILE *stream, const char *text, size_t bytes)
{
    struct gw_buf escaped = {0}, ascii = {0};
    const struct gw_buf *shown = &escaped;
    text_escape(&escaped, text, bytes);
    if (strcasecmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        text_to_ascii(&ascii, (char *)escaped.data, escaped.length);
        shown = &ascii;
    }
    fwrite(shown->data, 1, shown->length, stream);
    keep_failure(stream);
    gw_buf_fini(&escaped);
    gw_buf_fini(&ascii);
}

static void emit_lines(FILE *stream, const struct gw_buf *lines, const char *before,
                       const char *after)
{
    const char *at = (char *)lines->data, *end = at ? at + lines->length : at;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t bytes = newline ? (size_t)(newline - at) : (size_t)(end - at);
        fputs(before, stream);
        emit_line(stream, at, bytes);
        fputs(after, stream);
        fputc('\n', stream);
        keep_failure(stream);
        at += bytes + (newline != NULL);
    }
}

static void emit_and_free(FILE *stream, struct gw_buf *lines)
{
    emit_lines(stream, lines, "", "");
    gw_buf_fini(lines);
}

static char *format_text(const char *format, va_list arguments)
{
    char *text = NULL;
    return vasprintf(&text, format, arguments) < 0 ? NULL : text;
}

/* "LABEL: sentence", which hangs behind the label. */
static void say_labelled(const char *label, const char *format, va_list arguments)
{
    _cleanup_free_ char *text = format_text(format, arguments);
    struct gw_buf lines = {0};
    text_item(&lines, label, text ? text : "out of memory", width_of(stderr), 0,
              (unsigned)strlen(label) + 1);
    flush_output(); /* what was printed before comes before */
    emit_and_free(stderr, &lines);
}

void cli_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_labelled("godwit:", format, arguments);
    va_end(arguments);
}

int cli_fail(const struct gw_error *error)
{
    cli_say("%s", error->message);
    if (error->code == GW_CODE_NOT_FOUND && error->layer == GW_LAYER_CLI)
        return EXIT_NO_MACHINE;
    if (error->code == GW_CODE_DISCONNECTED || error->code == GW_CODE_TIMEOUT)
        return EXIT_NO_ANSWER;
    if (error->code == GW_CODE_CANCELLED)
        return EXIT_CANCELLED;
    return EXIT_FAILED;
}

void cli_hint(const char *format, ...)
{
    if (!is_terminal(stderr))
        return;
    va_list arguments;
    va_start(arguments, format);
    _cleanup_free_ char *text = format_text(format, arguments);
    va_end(arguments);
    struct gw_buf lines = {0};
    bool dim = has_colours(stderr);
    text_wrap(&lines, text ? text : "", width_of(stderr), 0, 2);
    flush_output();
    emit_lines(stderr, &lines, dim ? DIM : "", dim ? PLAIN : "");
    gw_buf_fini(&lines);
}

void cli_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    _cleanup_free_ char *text = format_text(format, arguments);
    va_end(arguments);
    struct gw_buf lines = {0};
    text_wrap(&lines, text ? text : "", width_of(stdout), 0, 0);
    emit_and_free(stdout, &lines);
}

void cli_item(unsigned start, unsigned indent, const char *label, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    _cleanup_free_ char *text = format_text(format, arguments);
    va_end(arguments);
    struct gw_buf lines = {0};
    text_item(&lines, label, text ? text : "", width_of(stdout), start, indent);
    emit_and_free(stdout, &lines);
}

void cli_table(struct text_table *table)
{
    struct gw_buf lines = {0};
    text_table_put(table, &lines, width_of(stdout), 0);
    text_table_fini(table);
    emit_and_free(stdout, &lines);
}

void cli_prose(const struct gw_buf *lines)
{
    emit_lines(stdout, lines, "", "");
}

void cli_json(const json_t *value)
{
    _cleanup_free_ char *text =
        json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    for (const char *at = text; at && *at; at++) {
        keep_failure(stdout);
        if (*at == 0x7f) /* the one control character that JSON has as it is */
            fputs("\\u007f", stdout);
        else
            fputc(*at, stdout);
    }
    fputc('\n', stdout);
}

int cli_end(int code)
{
    errno = 0;
    bool lost = fflush(stdout) != 0;
    int why = lost_number ? lost_number : errno;
    if ((!lost && !ferror(stdout)) || why == EPIPE)
        return code;
    cli_say("cannot write to standard output: %s", strerror(why ? why : EIO));
    return code == EXIT_DONE ? EXIT_FAILED : code;
}

/* ---- Help ---- */

void cli_help(const char *text)
{
    struct gw_buf lines = {0};
    help_put(&lines, text, cli_prose_width(), false);
    emit_and_free(stdout, &lines);
}

static const struct cli_command *find_command(const char *verb)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (strcmp(cli_commands[i].name, verb) == 0)
            return &cli_commands[i];
    return NULL;
}

int cli_usage(const char *verb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_labelled("godwit:", format, arguments);
    va_end(arguments);
    const struct cli_command *command = find_command(verb);
    struct gw_buf lines = {0};
    unsigned width = width_of(stderr);
    if (command)
        help_put(&lines, command->usage, width, true);
    _cleanup_free_ char *more = NULL;
    if (asprintf(&more, "'godwit %s%s--help' tells more", verb, *verb ? " " : "") < 0)
        more = NULL;
    text_item(&lines, "", more ? more : "", width, 0, command ? 7 : 8);
    emit_and_free(stderr, &lines);
    return EXIT_USAGE;
}

/* ---- A line that changes ---- */

bool cli_can_rewrite(void)
{
    return knows_escapes(stdout);
}

unsigned cli_line_room(void)
{
    return help_width(stdout) - 1; /* in the last column some terminals wrap already */
}

void cli_rewrite(const char *text)
{
    fputs(ERASE_LINE, stdout);
    emit_line(stdout, text, strlen(text));
    flush_output();
}
