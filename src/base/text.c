/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- Characters ---- */

struct range {
    uint32_t first, last;
};

/* Nothing to see: format, direction, fillers, variation selectors, private use, no characters. */
static const struct range invisible[] = {
    {0x0000, 0x001f},    {0x007f, 0x009f},   {0x00ad, 0x00ad},   {0x034f, 0x034f},
    {0x0600, 0x0605},    {0x061c, 0x061c},   {0x06dd, 0x06dd},   {0x070f, 0x070f},
    {0x0890, 0x0891},    {0x08e2, 0x08e2},   {0x115f, 0x1160},   {0x17b4, 0x17b5},
    {0x180b, 0x180f},    {0x200b, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},
    {0x2800, 0x2800},    {0x3164, 0x3164},   {0xd800, 0xf8ff},   {0xfdd0, 0xfdef},
    {0xfe00, 0xfe0f},    {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},
    {0xfffe, 0xffff},    {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1345f},
    {0x1bca0, 0x1bca3},  {0x1d173, 0x1d17a}, {0x1fffe, 0x1ffff}, {0x2fffe, 0x2ffff},
    {0x3fffe, 0x10ffff},
};

/* Marks over or under the character before. */
static const struct range combining[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x05bf, 0x05bf}, {0x05c1, 0x05c2},
    {0x05c4, 0x05c5}, {0x05c7, 0x05c7}, {0x0610, 0x061a}, {0x064b, 0x065f}, {0x0670, 0x0670},
    {0x06d6, 0x06dc}, {0x06df, 0x06e4}, {0x06e7, 0x06e8}, {0x06ea, 0x06ed}, {0x0900, 0x0902},
    {0x093a, 0x093a}, {0x093c, 0x093c}, {0x0941, 0x0948}, {0x094d, 0x094d}, {0x0e31, 0x0e31},
    {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x20d0, 0x20f0},
    {0x302a, 0x302d}, {0x3099, 0x309a}, {0xfe20, 0xfe2f},
};

static const struct range wide[] = {
    {0x1100, 0x115e},   {0x231a, 0x231b},   {0x23e9, 0x23ec},   {0x25fd, 0x25fe},
    {0x2614, 0x2615},   {0x267f, 0x267f},   {0x2693, 0x2693},   {0x26a1, 0x26a1},
    {0x26d4, 0x26d4},   {0x2705, 0x2705},   {0x274c, 0x274c},   {0x2753, 0x2755},
    {0x2757, 0x2757},   {0x27b0, 0x27b0},   {0x2b50, 0x2b50},   {0x2e80, 0x303e},
    {0x3041, 0x4dbf},   {0x4e00, 0xa4cf},   {0xa960, 0xa97f},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6f},   {0xff01, 0xff60},
    {0xffe0, 0xffe6},   {0x16fe0, 0x18dff}, {0x1aff0, 0x1b2ff}, {0x1f004, 0x1f004},
    {0x1f0cf, 0x1f0cf}, {0x1f18e, 0x1f19a}, {0x1f200, 0x1f2ff}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f7e0, 0x1f7eb}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd},
};

static bool is_in(const struct range *ranges, size_t count, uint32_t character)
{
    for (size_t i = 0; i < count && ranges[i].first <= character; i++)
        if (character <= ranges[i].last)
            return true;
    return false;
}
#define IS_IN(ranges, character) is_in(ranges, ARRAY_COUNT(ranges), character)

/* One character in its shortest form; returns its bytes, 0 for what is no UTF-8. */
static size_t decode(const char *text, size_t bytes, uint32_t *ret_character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    size_t length = at[0] < 0x80             ? 1
                    : (at[0] & 0xe0) == 0xc0 ? 2
                    : (at[0] & 0xf0) == 0xe0 ? 3
                    : (at[0] & 0xf8) == 0xf0 ? 4
                                             : 0;
    if (length == 0 || length > bytes)
        return 0;
    uint32_t character = length == 1 ? at[0] : at[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (at[i] & 0x3f);
    }
    if (character < smallest[length] || character > 0x10ffff || (character & ~0x7ffu) == 0xd800)
        return 0;
    *ret_character = character;
    return length;
}

static unsigned columns_of(uint32_t character)
{
    return character < 0x300 ? 1 : IS_IN(combining, character) ? 0 : IS_IN(wide, character) ? 2 : 1;
}

int text_escape(struct gw_buf *out, const char *text, size_t bytes)
{
    int r = 0;
    while (bytes > 0 && r == 0) {
        uint32_t character = 0;
        size_t length = decode(text, bytes, &character);
        if (length == 0)
            r = gw_buf_printf(out, "\\x%02x", (unsigned char)text[0]);
        else if (!IS_IN(invisible, character))
            r = gw_buf_append(out, text, length);
        else if (character < 0x100)
            r = gw_buf_printf(out, "\\x%02x", character);
        else
            r = gw_buf_printf(out, character > 0xffff ? "\\U%08x" : "\\u%04x", character);
        length = length ? length : 1;
        text += length;
        bytes -= length;
    }
    return r;
}

size_t text_columns(const char *text, size_t bytes)
{
    size_t columns = 0;
    while (bytes > 0) {
        uint32_t character = 0;
        size_t length = decode(text, bytes, &character);
        columns += length ? columns_of(character) : 1;
        length = length ? length : 1;
        text += length;
        bytes -= length;
    }
    return columns;
}

static const struct {
    uint32_t character;
    char likeness;
} likenesses[] = {
    {0x2588, '#'}, {0x2589, '#'}, {0x258a, '#'},  {0x258b, '#'},  {0x258c, '#'}, {0x258d, ' '},
    {0x258e, ' '}, {0x258f, ' '}, {0x00b7, '.'},  {0x2026, '.'},  {0x2192, '>'}, {0x2190, '<'},
    {0x2264, '<'}, {0x2265, '>'}, {0x2248, '~'},  {0x00b5, 'u'},  {0x03bc, 'u'}, {0x00d7, 'x'},
    {0x2013, '-'}, {0x2014, '-'}, {0x2018, '\''}, {0x2019, '\''}, {0x201c, '"'}, {0x201d, '"'},
    {0x2500, '-'}, {0x2502, '|'}, {0x00a0, ' '},
};

int text_to_ascii(struct gw_buf *out, const char *text, size_t bytes)
{
    int r = 0;
    while (bytes > 0 && r == 0) {
        uint32_t character = '?';
        size_t length = decode(text, bytes, &character);
        unsigned columns = columns_of(character);
        char likeness = character < 0x80 ? (char)character : '?';
        for (size_t i = 0; i < ARRAY_COUNT(likenesses); i++)
            if (likenesses[i].character == character)
                likeness = likenesses[i].likeness;
        for (unsigned i = 0; i < columns && r == 0; i++)
            r = gw_buf_append(out, &likeness, 1);
        length = length ? length : 1;
        text += length;
        bytes -= length;
    }
    return r;
}

/* ---- Lines ---- */

/* The escaped text, NUL-terminated, in a buffer that the caller frees. */
static int escape_new(const char *text, struct gw_buf *ret_escaped)
{
    *ret_escaped = (struct gw_buf){0};
    int r = text_escape(ret_escaped, text, strlen(text));
    return r < 0 ? r : gw_buf_append(ret_escaped, "", 1);
}

static int put_spaces(struct gw_buf *out, size_t count)
{
    char *to = count ? gw_buf_extend(out, count) : NULL;
    if (count && !to)
        return -ENOMEM;
    if (count)
        memset(to, ' ', count);
    return 0;
}

/* The length of the word at `text`; a number and its unit are one. */
static size_t word_bytes(const char *text)
{
    static const char *const units[] = {"us", "ms", "s",   "min", "B",   "kB",  "MB",
                                        "GB", "TB", "KiB", "MiB", "GiB", "TiB", "MHz"};
    size_t bytes = strcspn(text, " ");
    if (bytes == 0 || !text[bytes] || text[bytes - 1] < '0' || text[bytes - 1] > '9')
        return bytes;
    const char *next = text + bytes + 1;
    size_t letters = 0;
    while ((next[letters] | 0x20) >= 'a' && (next[letters] | 0x20) <= 'z')
        letters++;
    for (size_t i = 0; i < ARRAY_COUNT(units); i++)
        if (strlen(units[i]) == letters && strncmp(units[i], next, letters) == 0)
            return bytes + 1 + strcspn(next, " ");
    return bytes;
}

/* Bytes of the next line of at most `room` columns, without the space at its end; at least one
 * character. */
static size_t fit(const char *text, size_t room)
{
    size_t end = 0, at = 0, columns = 0;
    for (;;) {
        size_t word = word_bytes(text + at);
        columns += text_columns(text + at, word);
        if (columns > room)
            break;
        end = at + word;
        if (!text[end] || !text[end + strspn(text + end, " ")])
            return end;
        at = end + 1;
        columns++;
    }
    if (end > 0)
        return end;
    for (columns = 0; text[end];) { /* a word without room */
        uint32_t character;
        size_t length = decode(text + end, strlen(text + end), &character);
        columns += columns_of(character);
        if (columns > room && end > 0)
            break;
        end += length;
    }
    return end;
}

static void squeeze_spaces(char *text)
{
    char *to = text;
    for (const char *from = text + strspn(text, " "); *from; from++)
        if (*from != ' ' || (from[1] != ' ' && from[1] != '\0'))
            *to++ = *from;
    *to = '\0';
}

/* The lines of one escaped text in a column: what is common to paragraphs, items and cells. */
static int put_wrapped(struct gw_buf *out, const char *text, unsigned width, unsigned column,
                       unsigned indent)
{
    int r = 0;
    size_t rest = width == TEXT_UNLIMITED ? SIZE_MAX : width > column ? width - column : 1;
    size_t room = width == TEXT_UNLIMITED ? SIZE_MAX : width > indent ? width - indent : 1;
    bool first = true;
    while (*text && r == 0) {
        size_t bytes = fit(text, first ? rest : room);
        /* A first word that would have to be broken begins the next line where that has more room.
         */
        bool misfits = first && column > indent && text_columns(text, word_bytes(text)) > rest;
        if (!misfits) {
            r = gw_buf_append(out, text, bytes);
            text += bytes;
            text += strspn(text, " ");
        }
        if (r == 0 && *text)
            r = gw_buf_append(out, "\n", 1);
        if (r == 0 && *text)
            r = put_spaces(out, indent);
        first = false;
    }
    return r < 0 ? r : gw_buf_append(out, "\n", 1);
}

int text_wrap(struct gw_buf *out, const char *text, unsigned width, unsigned column,
              unsigned indent)
{
    struct gw_buf escaped;
    int r = escape_new(text, &escaped);
    if (r == 0) {
        squeeze_spaces((char *)escaped.data);
        r = put_wrapped(out, (char *)escaped.data, width, column, indent);
    }
    gw_buf_fini(&escaped);
    return r;
}

int text_item(struct gw_buf *out, const char *label, const char *text, unsigned width,
              unsigned start, unsigned indent)
{
    struct gw_buf escaped;
    int r = put_spaces(out, start);
    if (r == 0)
        r = escape_new(label, &escaped);
    if (r < 0)
        return r;
    size_t columns = text_columns((char *)escaped.data, escaped.length - 1);
    bool below = start + columns + 1 > indent;
    if (below || !*text) {
        r = put_wrapped(out, (char *)escaped.data, width, start, start + 4);
        if (r == 0 && *text)
            r = put_spaces(out, indent);
    } else {
        r = gw_buf_append(out, escaped.data, escaped.length - 1);
        if (r == 0)
            r = put_spaces(out, indent - start - columns);
    }
    gw_buf_fini(&escaped);
    return r < 0 || !*text ? r : text_wrap(out, text, width, indent, indent);
}

/* ---- Tables ---- */

enum { GAP = 2, NARROW = 24, NARROWEST = 4 };

struct text_cell {
    char *text; /* escaped */
    size_t columns;
    bool rest; /* has the room of all columns from its own on */
};

void text_table_fini(struct text_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i].text);
    free(table->cells);
    table->cells = NULL;
    table->count = table->capacity = 0;
}

static void add_cell(struct text_table *table, char *text, bool rest)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 32;
        struct text_cell *cells = reallocarray(table->cells, capacity, sizeof *cells);
        if (!cells) {
            free(text);
            table->result = -ENOMEM;
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    table->cells[table->count++] =
        (struct text_cell){.text = text, .columns = text_columns(text, strlen(text)), .rest = rest};
    table->next = (table->next + 1) % table->column_count;
}

static void add_text(struct text_table *table, bool rest, const char *format, va_list arguments)
{
    _cleanup_free_ char *text = NULL;
    struct gw_buf escaped = {0};
    if (vasprintf(&text, format, arguments) < 0) {
        text = NULL;
        table->result = -ENOMEM;
        return;
    }
    int r = escape_new(text, &escaped);
    if (r == 0) {
        squeeze_spaces((char *)escaped.data);
        add_cell(table, (char *)escaped.data, rest);
        return;
    }
    table->result = r;
    gw_buf_fini(&escaped);
}

void text_table_cell(struct text_table *table, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_text(table, false, format, arguments);
    va_end(arguments);
}

void text_table_rest(struct text_table *table, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_text(table, true, format, arguments);
    va_end(arguments);
    while (table->next != 0 && table->result == 0) { /* the cells under it stay empty */
        char *empty = strdup("");
        if (empty)
            add_cell(table, empty, false);
        else
            table->result = -ENOMEM;
    }
}

/* What text_table_put() has found out: 0 is the width of a column that is left out. */
struct layout {
    size_t *widths;
    unsigned count;
    size_t page; /* columns for the table; SIZE_MAX: as many as it likes */
};

static size_t layout_width(const struct layout *layout)
{
    size_t sum = 0, shown = 0;
    for (unsigned i = 0; i < layout->count; i++) {
        sum += layout->widths[i];
        shown += layout->widths[i] > 0;
    }
    return sum + (shown > 1 ? (shown - 1) * GAP : 0);
}

/* Takes a column from the widest one that is wider than `least`, until the table fits. */
static void narrow(struct layout *layout, const size_t *least)
{
    while (layout_width(layout) > layout->page) {
        size_t *widest = NULL;
        for (unsigned i = 0; i < layout->count; i++)
            if (layout->widths[i] > least[i] && (!widest || layout->widths[i] > *widest))
                widest = &layout->widths[i];
        if (!widest)
            break;
        --*widest;
    }
}

static size_t longest_word(const char *text)
{
    size_t longest = 0;
    while (*text) {
        size_t bytes = word_bytes(text), columns = text_columns(text, bytes);
        longest = columns > longest ? columns : longest;
        text += bytes;
        text += strspn(text, " ");
    }
    return longest;
}

/* `words` are the widths at which a column breaks no word. */
static void measure(const struct text_table *table, struct layout *layout, size_t *words)
{
    for (unsigned i = 0; i < layout->count; i++) {
        const char *title = table->columns[i].title;
        layout->widths[i] = words[i] = title ? text_columns(title, strlen(title)) : 0;
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct text_cell *cell = &table->cells[i];
        size_t *width = &layout->widths[i % layout->count], *word = &words[i % layout->count];
        size_t longest = cell->rest ? 0 : longest_word(cell->text);
        if (!cell->rest && cell->columns > *width)
            *width = cell->columns;
        if (longest > *word)
            *word = longest;
    }
    for (unsigned i = layout->count; i-- > 0 && layout_width(layout) > layout->page;)
        if (table->columns[i].optional)
            layout->widths[i] = 0;
    narrow(layout, words);
    for (unsigned i = 0; i < layout->count; i++)
        words[i] = NARROWEST;
    narrow(layout, words);
}

/* One line of one cell from *text on, which moves to what is left. `last`: nothing follows. */
static int put_cell_line(struct gw_buf *out, const char **text, size_t width, bool right, bool last)
{
    size_t bytes = **text ? fit(*text, width) : 0, columns = text_columns(*text, bytes);
    size_t pad = width > columns ? width - columns : 0;
    int r = right ? put_spaces(out, pad) : 0;
    if (r == 0)
        r = gw_buf_append(out, *text, bytes);
    if (r == 0 && !right && !last)
        r = put_spaces(out, pad);
    *text += bytes;
    *text += strspn(*text, " ");
    return r;
}

/* Columns left for a text that begins in `column`. */
static size_t room_for_rest(const struct layout *layout, unsigned column)
{
    size_t used = 0;
    for (unsigned i = 0; i < column; i++)
        used += layout->widths[i] ? layout->widths[i] + GAP : 0;
    return layout->page == SIZE_MAX ? SIZE_MAX : layout->page > used ? layout->page - used : 0;
}

/* The row's texts, line by line until none has anything left. */
static int put_row(struct gw_buf *out, const struct text_table *table, const struct layout *layout,
                   const char **texts, unsigned rest, unsigned start)
{
    int r = 0;
    bool more = true;
    unsigned last = 0; /* trailing spaces are no help */
    while (more && r == 0) {
        more = false;
        for (unsigned i = 0; i < layout->count; i++)
            if (*texts[i] && layout->widths[i])
                last = i;
        if (rest < layout->count && *texts[rest])
            last = rest;
        r = put_spaces(out, start);
        for (unsigned i = 0; i <= last && r == 0; i++) {
            size_t width = i == rest ? room_for_rest(layout, i) : layout->widths[i];
            if (width == 0)
                continue;
            r = put_cell_line(out, &texts[i], width, table->columns[i].right && i != rest,
                              i == last);
            if (r == 0 && i < last)
                r = put_spaces(out, GAP);
            more = more || *texts[i];
        }
        if (r == 0)
            r = gw_buf_append(out, "\n", 1);
        last = 0;
    }
    return r;
}

static int put_cells(struct gw_buf *out, const struct text_table *table,
                     const struct layout *layout, const struct text_cell *cells, const char **texts,
                     unsigned start)
{
    unsigned rest = layout->count;
    const char *below = NULL;
    for (unsigned i = 0; i < layout->count; i++) {
        texts[i] = cells[i].text;
        if (!cells[i].rest)
            continue;
        rest = i;
        size_t room = room_for_rest(layout, i);
        if (room < NARROW && room < cells[i].columns) {
            below = cells[i].text;
            texts[i] = "";
        }
    }
    int r = put_row(out, table, layout, texts, rest, start);
    if (r == 0 && below)
        r = put_spaces(out, start + 4);
    if (r == 0 && below)
        r = put_wrapped(out, below, layout->page == SIZE_MAX ? 0 : (unsigned)layout->page + start,
                        start + 4, start + 4);
    return r;
}

static int put_titles(struct gw_buf *out, const struct text_table *table,
                      const struct layout *layout, const char **texts, unsigned start)
{
    for (unsigned i = 0; i < layout->count; i++) {
        if (!table->columns[i].title)
            return 0;
        texts[i] = table->columns[i].title;
    }
    return put_row(out, table, layout, texts, layout->count, start);
}

int text_table_put(struct text_table *table, struct gw_buf *out, unsigned width, unsigned start)
{
    _cleanup_free_ size_t *widths = calloc(table->column_count, sizeof *widths);
    _cleanup_free_ const char **texts = calloc(table->column_count, sizeof *texts);
    struct layout layout = {.widths = widths, .count = table->column_count, .page = SIZE_MAX};
    _cleanup_free_ size_t *words = calloc(table->column_count, sizeof *words);
    if (!widths || !texts || !words || table->result < 0)
        return table->result < 0 ? table->result : -ENOMEM;
    if (width != TEXT_UNLIMITED)
        layout.page = width > start ? width - start : 1;
    measure(table, &layout, words);
    int r = put_titles(out, table, &layout, texts, start);
    for (size_t i = 0; i + layout.count <= table->count && r == 0; i += layout.count)
        r = put_cells(out, table, &layout, &table->cells[i], texts, start);
    return r;
}
