/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the flight log of one migration on one side (docs/flight-log.md). Reading, listing and
 * explaining is public: <godwit/flight-log.h>.
 *
 * All functions may be called from any thread. Recording never fails: without memory an entry is
 * left out and counted. The log stays under GW_FLIGHT_LOG_MAX_BYTES however long the migration
 * takes: of a long series the first and the last entries are kept. `at_ns` is nanoseconds since the
 * migration began.
 */
#ifndef MIGRATE_FLIGHTLOG_H
#define MIGRATE_FLIGHTLOG_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>
#include <godwit/flight-log.h>
#include <godwit/migrate.h>
#include "migrate/policy.h"

struct flightlog;

/* Strings are copied. `machine` may be NULL while it is not known (destination before OFFER). */
struct flightlog *flightlog_new(bool is_source, const char *session, const char *machine,
                                const char *uri); /* NULL without memory */
void flightlog_free(struct flightlog *log);

/* The flight begins now rather than when the log was made (destination: when the source has
 * arrived). */
void flightlog_set_started(struct flightlog *log);
void flightlog_set_session(struct flightlog *log,
                           const char *session); /* destination, from OFFER */
void flightlog_set_machine(struct flightlog *log, const char *machine, uint64_t ram_bytes);
/* The other side's host name, and whether it is this host; own ones are filled in by flightlog_new(). */
void flightlog_set_peer(struct flightlog *log, const char *host, bool same_host);
/* The address with what has become known of it: the port that was taken for 0. */
void flightlog_set_uri(struct flightlog *log, const char *uri);

void flightlog_add_parameters(struct flightlog *log, uint64_t at_ns,
                              const struct gw_migrate_parameters *parameters);
/* The beginning of a phase: a status name of the engine or a finer one ("connect", "rehearsal"). */
void flightlog_add_phase(struct flightlog *log, uint64_t at_ns, const char *phase);
/* Something worth telling ("switchover taken back: READY came too late"). */
void flightlog_add_event(struct flightlog *log, uint64_t at_ns, const char *sentence);
void flightlog_add_round(struct flightlog *log, const struct gw_round *round);
/* Consecutive decisions for the same action, with no end of a round between them, are joined into
 * one entry that counts them and has the words of the last. */
void flightlog_add_decision(struct flightlog *log, uint64_t at_ns,
                            const struct policy_decision *decision);

/* Parts of the pause as this side measured them or was told; pause_us is the whole, 0 if unknown.
 */
void flightlog_set_pause(struct flightlog *log, uint64_t began_ns, uint64_t pause_us,
                         const struct gw_pause_parts *parts, uint64_t budget_us,
                         uint64_t predicted_us, uint64_t clock_error_us);
/* What the machine's networks tell now, in the place of what they told before. `at_ns`: now. */
void flightlog_set_networks(struct flightlog *log, uint64_t at_ns,
                            const struct gw_network_times *networks, unsigned count);
/* The end. `error` NULL when completed. `failed_side`: "source", "destination" or "" if unknown. */
void flightlog_set_verdict(struct flightlog *log, uint64_t at_ns, enum gw_migrate_status status,
                           const char *phase, const char *failed_side, const struct gw_error *error,
                           const char *what_next);
void flightlog_set_totals(struct flightlog *log, const struct gw_migrate_info *info);

/* Earlier flights of this guest. Source: from the logs in its directory. Destination: from the JSON
 * array in OFFER (hostile). A bad array is refused and the log stays as it was. */
void flightlog_inherit(struct flightlog *log, const char *directory);
int flightlog_set_earlier(struct flightlog *log, const void *json, size_t length,
                          struct gw_error *error);
/* The array for OFFER: earlier flights of this guest, condensed, oldest first, at most
 * GW_FLIGHT_LOG_EARLIER and FLIGHTLOG_EARLIER_BYTES. */
#define FLIGHTLOG_EARLIER_BYTES ((size_t)512 << 10)
int flightlog_format_earlier(struct flightlog *log, struct gw_buf *out);

/* The other side's document of this flight (hostile), kept condensed. Refused when it is of another
 * session. */
int flightlog_set_other_side(struct flightlog *log, const void *json, size_t length,
                             struct gw_error *error);
/* This side's document, condensed, for the other side. */
int flightlog_format_condensed(struct flightlog *log, struct gw_buf *out);

int flightlog_serialise(struct flightlog *log, struct gw_buf *out);
/* DIRECTORY/SESSION.json, mode 0600, written to a temporary name and renamed; an older file of the
 * session is replaced. The directory is made if it is missing. Where the guest has arrived
 * (destination, completed) the earlier flights are put beside it, unless they are there. */
int flightlog_write(struct flightlog *log, const char *directory, struct gw_error *error);

#endif
