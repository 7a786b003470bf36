/* SPDX-License-Identifier: Apache-2.0 */
/* A flight that looks real, for the tests of the flight log and for looking at its picture. */
#ifndef TEST_FLIGHT_SAMPLE_H
#define TEST_FLIGHT_SAMPLE_H

#include "migrate/flightlog.h"

#define MS 1000000ull
#define SAMPLE_SESSION "0123456789abcdef0123456789abcdef"

/* When the last round ends. */
static inline uint64_t sample_rounds(struct flightlog *log, unsigned count)
{
    uint64_t at_ns = 40 * MS, dirty_pages = 131072;
    for (unsigned i = 1; i <= count; i++) {
        uint64_t duration_ns = dirty_pages * 4096 / 700 * 1000 + 3 * MS;
        uint64_t next = dirty_pages / 4 + (i % 3) * 500 + 40;
        struct gw_round round = {
            .number = i,
            .started_ns = at_ns,
            .duration_ns = duration_ns,
            .dirty_pages = dirty_pages,
            .raw_pages = i == 1 ? dirty_pages / 2 : dirty_pages,
            .zero_pages = i == 1 ? dirty_pages / 2 : 0,
            .wire_bytes = (i == 1 ? dirty_pages / 2 : dirty_pages) * 4096 + 500,
            .bandwidth = 650000000 + (i * 37 % 11) * 10000000,
            .dirty_rate = next * 1000000000 / duration_ns,
            .remaining_bytes = next * 4096,
        };
        struct policy_decision decision = {
            .action = i == count ? POLICY_SWITCH : POLICY_GO_ON,
            .predicted_pause_us = next * 4096 / 700 + 9000,
            .bandwidth = round.bandwidth,
            .dirty_rate = round.dirty_rate * 4096,
        };
        snprintf(decision.reason, sizeof decision.reason,
                 i == count
                     ? "switch: pause of 13 ms expected (4.4 ms for 3.1 MB of memory, 8.2 ms for "
                       "state and handoff), limit 100 ms; least memory so far"
                     : "go on: 90 MB left at 700 MB/s, 120 MB/s dirtied; round %u",
                 i);
        flightlog_add_round(log, &round);
        at_ns += duration_ns;
        flightlog_add_decision(log, at_ns, &decision);
        dirty_pages = next;
    }
    return at_ns;
}

static inline struct flightlog *sample_flight(bool is_source, unsigned rounds)
{
    struct flightlog *log =
        flightlog_new(is_source, SAMPLE_SESSION, "web", "tcp:beta.example:4444");
    struct gw_migrate_parameters parameters = {.downtime_limit_ms = 100, .peer_timeout_ms = 5000};
    struct gw_pause_parts parts = {.stop_us = 400,
                                   .ram_us = 4700,
                                   .save_us = 1300,
                                   .send_us = 600,
                                   .load_us = 2300,
                                   .ready_us = 200,
                                   .commit_us = 5200,
                                   .start_us = 900};
    flightlog_set_machine(log, "web", 512ull << 20);
    flightlog_set_peer(log, "beta", false);
    flightlog_add_parameters(log, 0, &parameters);
    parameters.max_bandwidth = 700000000;
    flightlog_add_parameters(log, 300 * MS, &parameters);
    flightlog_add_phase(log, 0, "setup");
    flightlog_add_phase(log, 40 * MS, "active");
    uint64_t end_ns = sample_rounds(log, rounds);
    flightlog_add_phase(log, end_ns, "device");
    flightlog_add_event(log, 900 * MS, "rehearsal: the destination loaded the state in 2.3 ms");
    flightlog_set_pause(log, end_ns, 15600, &parts, 100000, 17000, 80);
    flightlog_set_totals(log, &(struct gw_migrate_info){.total_ms = 1080,
                                                        .setup_ms = 40,
                                                        .bytes_sent = 451000000,
                                                        .pages_normal = 110000,
                                                        .pages_zero = 65536});
    flightlog_set_verdict(log, end_ns + 20 * MS, GW_MIGRATE_COMPLETED, "completed", "", NULL, "");
    return log;
}

#endif
