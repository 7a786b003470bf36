/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a verb, and what a wrong one may have been meant to be. */
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

enum { LONGEST_GUESS = 32, FURTHEST_GUESS = 2 };

/* The number of single-letter edits between two short words. */
static size_t edit_distance(const char *one, const char *other)
{
    size_t row[LONGEST_GUESS + 1], length = strlen(other);
    if (length > LONGEST_GUESS)
        return LONGEST_GUESS;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; one[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t best = diagonal + (one[i - 1] != other[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[length];
}

const char *cli_nearest(const char *word, const char *const *first, size_t count, size_t next)
{
    const char *nearest = NULL;
    size_t best = FURTHEST_GUESS + 1;
    for (size_t i = 0; i < count; i++) {
        const char *candidate = *(const char *const *)((const char *)first + i * next);
        size_t distance = edit_distance(word, candidate);
        if (distance < best && distance < strlen(candidate)) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}

static void say_unknown(const char *verb, const char *argument, const struct option *options)
{
    _cleanup_free_ char *name = strndup(argument + 2, strcspn(argument + 2, "="));
    size_t count = 0, begin_so = 0;
    if (!name)
        return;
    for (; options[count].name; count++)
        begin_so += strncmp(options[count].name, name, strlen(name)) == 0;
    const char *nearest = cli_nearest(name, &options[0].name, count, sizeof *options);
    if (begin_so > 1)
        cli_usage(verb, "more than one option begins with '--%s'", name);
    else if (nearest)
        cli_usage(verb, "there is no option '--%s'; did you mean '--%s'?", name, nearest);
    else
        cli_usage(verb, "there is no option '--%s'", name);
}

int cli_option(int argc, char **argv, const struct option *options)
{
    int option = getopt_long(argc, argv, ":", options, NULL);
    if (option != ':' && option != '?')
        return option;
    const char *argument = argv[optind - 1];
    bool is_long = strncmp(argument, "--", 2) == 0;
    if (option == ':')
        cli_usage(argv[0], "'%s' needs a value", argument);
    else if (is_long && optopt == 0)
        say_unknown(argv[0], argument, options);
    else if (is_long && strchr(argument, '='))
        cli_usage(argv[0], "'%.*s' takes no value", (int)strcspn(argument, "="), argument);
    else
        cli_usage(argv[0], "there is no option '-%c'", optopt);
    return '?';
}
