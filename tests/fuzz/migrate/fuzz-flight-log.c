/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a flight log: refused, or told and drawn; as earlier flights, or as the other side's
 * log. */
#include <stdlib.h>
#include <string.h>

#include <godwit/flight-log.h>
#include "base/text.h"
#include "migrate/flightlog.h"

enum { WIDTH = 80 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No line is too wide, and nothing in it would be written otherwise. */
static void check_lines(const char *text, size_t bytes)
{
    for (const char *end = text + bytes, *next; text < end; text = next + 1) {
        struct gw_buf escaped = {0};
        next = memchr(text, '\n', (size_t)(end - text));
        if (!next || text_columns(text, (size_t)(next - text)) > WIDTH ||
            text_escape(&escaped, text, (size_t)(next - text)) < 0 ||
            escaped.length != (size_t)(next - text))
            abort();
        gw_buf_fini(&escaped);
    }
}

static void explain(const struct gw_flight_log *log)
{
    struct gw_flight_log_summary summary;
    struct gw_buf out = {0};
    gw_flight_log_summarise(log, &summary);
    if (gw_flight_log_explain_text(log, WIDTH, &out, NULL) < 0)
        abort();
    check_lines((char *)out.data, out.length);
    if (gw_flight_log_explain_svg(log, &out, NULL) < 0)
        abort();
    gw_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gw_flight_log *log = NULL;
    struct gw_error error;
    if (gw_flight_log_parse(data, size, &log, &error) == 0)
        explain(log);
    gw_flight_log_free(log);

    struct flightlog *writer = flightlog_new(false, NULL, "fuzz", "tcp:x:1");
    struct gw_buf out = {0};
    (void)flightlog_set_earlier(writer, data, size, &error);
    (void)flightlog_set_other_side(writer, data, size, &error);
    if (flightlog_serialise(writer, &out) < 0 || flightlog_format_earlier(writer, &out) < 0)
        abort();
    gw_buf_fini(&out);
    flightlog_free(writer);
    return 0;
}
