/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/flights.h"

static const struct option options[] = {{"svg", required_argument, NULL, 's'}, {0}};

static int write_file(const char *path, const struct gw_buf *text, struct gw_error *error)
{
    _cleanup_fclose_ FILE *file = fopen(path, "we");
    if (!file || fwrite(text->data, 1, text->length, file) != text->length || fflush(file) != 0)
        return gw_error_set(error, GW_LAYER_BASE, gw_code_from_errno(errno), -errno,
                            "cannot write '%s': %s", path, strerror(errno));
    return 0;
}

static int explain(const struct gw_flight_log *log, const char *svg, struct gw_buf *out,
                   struct gw_error *error)
{
    int r = svg ? gw_flight_log_explain_svg(log, out, error)
                : gw_flight_log_explain_text(log, cli_prose_width(), out, error);
    if (r < 0)
        return r;
    if (svg)
        return write_file(svg, out, error);
    cli_prose(out);
    return 0;
}

int cmd_explain(const struct cli *cli, int argc, char **argv)
{
    const char *svg = NULL;
    int option;
    while ((option = cli_option(argc, argv, options)) != -1) {
        if (option == '?')
            return EXIT_USAGE;
        svg = optarg;
    }
    if (optind == argc || optind + 2 < argc)
        return cli_usage("explain", "a machine name is needed, and at most one session");
    struct gw_error error;
    struct gw_flight_log *log = NULL;
    struct gw_buf out = {0};
    int r = flights_load(cli, argv[optind], optind + 1 < argc ? argv[optind + 1] : NULL, &log, &error);
    if (r == 0)
        r = explain(log, svg, &out, &error);
    gw_buf_fini(&out);
    gw_flight_log_free(log);
    if (r < 0)
        return cli_fail(&error);
    if (svg)
        cli_say("the picture is in '%s'", svg);
    else
        cli_hint("'godwit explain %s --svg FILE' draws it, 'godwit log %s' lists all migrations",
                 argv[optind], argv[optind]);
    return EXIT_DONE;
}
