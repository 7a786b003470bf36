/* SPDX-License-Identifier: Apache-2.0 */
#include "base/help.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"

enum { PROSE_WIDTH = 80, LEAST_WIDTH = 20, MOST_WIDTH = 200, LONGEST_TERM = 24 };

/* COLUMNS, or 0 when it says nothing. */
static unsigned columns_of_environment(void)
{
    const char *text = getenv("COLUMNS");
    uint64_t columns;
    if (!text || parse_number(text, UINT_MAX, &columns) < 0)
        return 0;
    return (unsigned)columns;
}

static unsigned bounded(unsigned columns)
{
    return columns < LEAST_WIDTH ? LEAST_WIDTH : columns > MOST_WIDTH ? MOST_WIDTH : columns;
}

unsigned help_width(FILE *stream)
{
    struct winsize size;
    unsigned columns = columns_of_environment();
    if (columns == 0 && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0)
        columns = size.ws_col;
    return bounded(columns ? columns : PROSE_WIDTH);
}

/* Where descriptions begin: behind the longest term that leaves them two thirds of the line. */
static unsigned description_indent(const char *text, unsigned width)
{
    unsigned most = width == TEXT_UNLIMITED || width > 3 * LONGEST_TERM ? LONGEST_TERM : width / 3;
    unsigned longest = 0;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t bytes = strcspn(line, "\t\n");
        if (strncmp(line, "  ", 2) == 0 && line[bytes] == '\t' && bytes - 2 <= most &&
            bytes - 2 > longest)
            longest = (unsigned)bytes - 2;
    }
    return longest + 4;
}

static void help_item(struct gw_buf *lines, const char *term, const char *text, unsigned width,
                      unsigned indent)
{
    if (strlen(term) + 4 <= indent) {
        text_item(lines, term, text, width, 2, indent);
        return;
    }
    text_item(lines, term, "", width, 2, indent);
    text_item(lines, "", text, width, 0, indent);
}

static void help_line(struct gw_buf *lines, char *line, unsigned width, unsigned indent)
{
    char *tab = strchr(line, '\t');
    if (tab)
        *tab++ = '\0';
    if (strncmp(line, "usage: ", 7) == 0)
        text_item(lines, "usage:", line + 7, width, 0, 7);
    else if (strncmp(line, "       ", 7) == 0)
        text_item(lines, "", line + 7, width, 0, 7);
    else if (strncmp(line, "  ", 2) == 0)
        help_item(lines, line + 2, tab ? tab : "", width, indent);
    else
        text_wrap(lines, line, width, 0, 0);
}

void help_put(struct gw_buf *lines, const char *text, unsigned width, bool usage_only)
{
    unsigned indent = description_indent(text, width);
    _cleanup_free_ char *copy = strdup(text);
    char *rest = copy;
    for (char *line; rest && *rest && (line = strsep(&rest, "\n"));) {
        if (usage_only && !*line)
            break;
        help_line(lines, line, width, indent);
    }
}
