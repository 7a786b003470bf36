/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a flight log: refused, or told and drawn; as earlier flights, or as the other side's
 * log. */
#include <stdlib.h>

#include <godwit/flight-log.h>
#include "migrate/flightlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void explain(const struct gw_flight_log *log)
{
    struct gw_flight_log_summary summary;
    struct gw_buf out = {0};
    gw_flight_log_summarise(log, &summary);
    if (gw_flight_log_explain_text(log, 80, &out, NULL) < 0 ||
        gw_flight_log_explain_svg(log, &out, NULL) < 0)
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
