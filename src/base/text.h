/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for a terminal: made harmless, measured in display columns, wrapped, laid out in tables.
 *
 * All of it takes UTF-8, whatever the locale is. Text that comes in may be anybody's: every
 * function that lays out escapes it first, so a layout holds no control character but its own
 * newlines.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <godwit/buf.h>

#define TEXT_UNLIMITED 0u /* a width: nothing is wrapped */

/*
 * Appends `text` with all that could steer a terminal, mislead a reader or show nothing written
 * out: control characters and bytes that are no UTF-8 as \x1b, format characters (those that turn
 * the direction of writing among them) and private ones as \u202e. Escaping twice changes nothing.
 * 0, or the error of gw_buf_append().
 */
int text_escape(struct gw_buf *out, const char *text, size_t bytes);

/* Display columns of escaped text: 2 for a wide character, 0 for a combining mark. */
size_t text_columns(const char *text, size_t bytes);

/*
 * Appends escaped text in which each character that is not ASCII has given way to ASCII of the same
 * width ('#' for a block of a bar, '?' for what has no likeness), so a layout stays one.
 */
int text_to_ascii(struct gw_buf *out, const char *text, size_t bytes);

/*
 * Appends `text`, wrapped at spaces into lines of at most `width` columns, and a newline. `column`
 * columns of the first line are taken already; the other lines begin at `indent`. A word that is
 * wider than a line is broken. Words stay apart by one space; a number and its unit stay together.
 */
int text_wrap(struct gw_buf *out, const char *text, unsigned width, unsigned column,
              unsigned indent);

/*
 * `label` at `start`, and `text` beside it from column `indent` on, wrapped there; below it where
 * the label reaches that far.
 */
int text_item(struct gw_buf *out, const char *label, const char *text, unsigned width,
              unsigned start, unsigned indent);

struct text_column {
    const char *title; /* NULL in all columns: no title line */
    bool right;        /* numbers */
    bool optional;     /* left out, the last one first, where the page is too narrow */
};

/* Cells from left to right, rows from top to bottom. */
struct text_table {
    const struct text_column *columns;
    unsigned column_count;
    struct text_cell *cells; /* owned */
    size_t count, capacity;
    unsigned next; /* column of the next cell */
    int result;    /* the first failure */
};

void text_table_fini(struct text_table *table);
void text_table_cell(struct text_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Ends the row with a text that has the room of all columns left; the next line where that is
 * little. */
void text_table_rest(struct text_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends the table, each line beginning at `start`. Where it is too wide, columns that are
 * optional are left out, then the widest ones are wrapped at spaces, and only then anywhere. */
int text_table_put(struct text_table *table, struct gw_buf *out, unsigned width, unsigned start);

#endif
