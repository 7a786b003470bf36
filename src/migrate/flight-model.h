/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flight log as a struct, and the struct as JSON (docs/flight-log.md). One table of fields
 * serves both directions, so what is written can be read.
 */
#ifndef MIGRATE_FLIGHT_MODEL_H
#define MIGRATE_FLIGHT_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/flight-log.h>
#include <godwit/migrate.h>
#include "migrate/policy.h"

#define FLIGHT_MAX_NUMBER ((uint64_t)1 << 53)

struct flight_parameters {
    uint64_t at_ns, max_bandwidth, downtime_limit_ms, deadline_ms, peer_timeout_ms;
    bool verify_ram;
};

struct flight_phase {
    uint64_t at_ns;
    char name[24];
};

struct flight_event {
    uint64_t at_ns;
    char text[256];
};

struct flight_decision {
    uint64_t at_ns, last_ns, count;
    char action[16];
    char reason[160];
    uint64_t predicted_us, bandwidth, dirty_rate;
};

struct flight_pause {
    bool present;
    uint64_t began_ns, pause_us, budget_us, predicted_us, clock_error_us;
    struct gw_pause_parts parts;
};

struct flight_network {
    char name[64];
    uint64_t last_out_ns, first_out_ns, first_in_ns, waited;
    char stays[192];
};

struct flight_totals {
    bool present;
    uint64_t total_ms, setup_ms, bytes_sent, pages_normal, pages_zero;
};

struct flight_verdict {
    bool present;
    uint64_t at_ns;
    char status[16], phase[24], side[16], layer[16], code[16];
    char sentence[512];
    char next[256];
};

/* A series: entries of one type, owned. */
struct flight_series {
    void *entries;
    size_t count, capacity;
    uint64_t left_out; /* dropped from the middle */
};

struct gw_flight_log {
    char session[33], machine[64], role[12], uri[256];
    char host[128], program[128], peer_host[128], peer_program[128];
    uint64_t started_ms, number, ram_bytes;
    bool same_host; /* both sides are on one: known from the boot ids */
    bool condensed;
    struct flight_series parameters; /* struct flight_parameters */
    struct flight_series phases;     /* struct flight_phase */
    struct flight_series events;     /* struct flight_event */
    struct flight_series rounds;     /* struct gw_round */
    struct flight_series decisions;  /* struct flight_decision */
    struct flight_series networks;   /* struct flight_network */
    struct flight_pause pause;
    struct flight_totals totals;
    struct flight_verdict verdict;
    struct gw_flight_log *other_side; /* owned, or NULL */
};

enum {
    FLIGHT_MAX_PARAMETERS = 100,
    FLIGHT_MAX_PHASES = 64,
    FLIGHT_MAX_EVENTS = 200,
    FLIGHT_MAX_ROUNDS = 1500,
    FLIGHT_MAX_DECISIONS = 500,
};

/* Adds a copy of the entry; a full series loses one from its middle. False without memory. */
bool flight_series_add(struct flight_series *series, const void *entry, size_t entry_bytes,
                       size_t maximum);

/* A new reference, or NULL without memory. */
json_t *flight_encode(const struct gw_flight_log *log);
/* Checks everything; a new log, or -EINVAL / -ENOMEM with a sentence that names the field. */
int flight_decode(const json_t *document, struct gw_flight_log **ret_log, struct gw_error *error);

/* A condensed copy, or NULL without memory. */
struct gw_flight_log *flight_condense(const struct gw_flight_log *log);

/* Whose figures tell the flight: the source's document, where this is the destination's and has it.
 */
const struct gw_flight_log *flight_teller(const struct gw_flight_log *log);

const struct flight_network *flight_find_network(const struct gw_flight_log *log, const char *name);
/* When the guest ran again, on the clock of the side whose figures these are. */
uint64_t flight_pause_ends_ns(const struct flight_pause *pause);

/* Copies text into a field of `bytes` bytes: valid UTF-8 without control characters, cut at a
 * character. */
void flight_set_text(char *field, size_t bytes, const char *text);
#define FLIGHT_SET_TEXT(field, text) flight_set_text((field), sizeof(field), (text))

bool flight_is_session(const char *text); /* 32 lower-case hexadecimal digits */

#endif
