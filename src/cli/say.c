/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"

void cli_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("godwit: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
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

int cli_usage(const char *verb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("godwit: ", stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "; try 'godwit %s --help'\n", verb);
    va_end(arguments);
    return EXIT_USAGE;
}

unsigned cli_terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 40)
        return 80;
    return size.ws_col > 100 ? 100 : size.ws_col;
}
