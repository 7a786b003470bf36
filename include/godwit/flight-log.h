/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight log: what happened in one migration, one JSON document on each side
 * (docs/flight-log.md). A log is foreign input when it is read: sizes, types and ranges are
 * checked, nothing in it is trusted.
 */
#ifndef GODWIT_FLIGHT_LOG_H
#define GODWIT_FLIGHT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GW_FLIGHT_LOG_MAX_BYTES ((size_t)1 << 20)
#define GW_FLIGHT_LOG_EARLIER 24

struct gw_flight_log;

/* -EINVAL with code "corrupt" or "version" and a sentence that names the field. */
int gw_flight_log_parse(const void *text, size_t length, struct gw_flight_log **ret_log,
                        struct gw_error *error);
int gw_flight_log_load(const char *path, struct gw_flight_log **ret_log, struct gw_error *error);
void gw_flight_log_free(struct gw_flight_log *log); /* NULL is fine */

/* The figures that a list shows. Strings hold printable text only. */
struct gw_flight_log_summary {
    char session[33];
    char machine[64];
    bool is_source;      /* this side sent the guest away; false: it came here */
    char peer[128];      /* the other side's host name, or the URI when it is not known */
    uint64_t started_ms; /* CLOCK_REALTIME of this side */
    uint64_t total_ms;
    uint64_t pause_us; /* 0: there was none */
    uint64_t wire_bytes;
    uint64_t rounds;
    char status[16];    /* "completed", "failed", "cancelled", "active" (no end recorded) */
    char sentence[512]; /* of the verdict */
};
void gw_flight_log_summarise(const struct gw_flight_log *log,
                             struct gw_flight_log_summary *ret_summary);

/* All logs in a directory, oldest first; files that are no logs are counted in *ret_bad and left
 * out. A missing directory is an empty list. The caller frees *ret_entries with free(). */
struct gw_flight_log_entry {
    char file[80]; /* name in the directory */
    struct gw_flight_log_summary summary;
};
int gw_flight_log_list(const char *directory, struct gw_flight_log_entry **ret_entries,
                       size_t *ret_count, size_t *ret_bad, struct gw_error *error);

/* The story in plain sentences, lines of at most `width` columns (40 to 200), UTF-8, no colours. */
int gw_flight_log_explain_text(const struct gw_flight_log *log, unsigned width, struct gw_buf *out,
                               struct gw_error *error);
/* A self-contained SVG picture: rounds, remaining memory, bandwidth, dirty rate, the pause by its
 * parts. */
int gw_flight_log_explain_svg(const struct gw_flight_log *log, struct gw_buf *out,
                              struct gw_error *error);

#ifdef __cplusplus
}
#endif
#endif
