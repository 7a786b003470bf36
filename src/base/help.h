/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Help texts. They are wrapped when they are printed, so a text says what is what: a line that
 * begins with "usage: " or seven spaces is one form of the command; one that begins with two spaces
 * is an item, with a tab between the term and its description; any other is a paragraph.
 */
#ifndef BASE_HELP_H
#define BASE_HELP_H

#include <stdbool.h>
#include <stdio.h>

#include <godwit/buf.h>

/* How wide prose on `stream` is: COLUMNS, else the terminal's width, else 80; 20 to 200. */
unsigned help_width(FILE *stream);

/* Appends the lines of `text`, or only those of its usage. */
void help_put(struct gw_buf *lines, const char *text, unsigned width, bool usage_only);

#endif
