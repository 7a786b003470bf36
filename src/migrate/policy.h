/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to switch over: a pure function from what was measured and what the user asked for to a
 * decision with its reason. It reads no clock and keeps nothing, so it runs the same on recorded
 * and on simulated series.
 */
#ifndef MIGRATE_POLICY_H
#define MIGRATE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One finished round of RAM. Times are nanoseconds since the migration began. */
struct gw_round {
    uint64_t number; /* 1 is the first */
    uint64_t started_ns, duration_ns;
    uint64_t dirty_pages;     /* to be sent when it began */
    uint64_t raw_pages;       /* sent as they are */
    uint64_t zero_pages;      /* sent as zeroes */
    uint64_t skipped_pages;   /* left for a later round because they were dirtied again meanwhile */
    uint64_t wire_bytes;      /* everything sent, headers included */
    uint64_t bandwidth;       /* wire bytes per second of this round; 0: too short to tell */
    uint64_t dirty_rate;      /* pages per second dirtied during it */
    uint64_t remaining_bytes; /* guest memory that is dirty at its end */
};

/* One look inside a round, every few tens of milliseconds. */
struct policy_sample {
    uint64_t at_ns;
    uint64_t sent_bytes; /* on the wire since the migration began, and received or acknowledged if
                            known */
    uint64_t remaining_bytes; /* rest of this round plus what has been dirtied again */
};

/* The parts of a pause, in order, in microseconds. In inputs, 0 means not measured yet. */
struct gw_pause_parts {
    uint64_t stop_us;   /* vCPUs and I/O stopped */
    uint64_t ram_us;    /* last pages sent and received */
    uint64_t save_us;   /* device state saved */
    uint64_t send_us;   /* device state sent */
    uint64_t load_us;   /* loaded by the destination */
    uint64_t verify_us; /* hash of RAM, where asked for */
    uint64_t ready_us;  /* READY on its way */
    uint64_t commit_us; /* ownership recorded, COMMIT on its way */
    uint64_t start_us;  /* first instruction there */
};
uint64_t gw_pause_parts_sum(const struct gw_pause_parts *parts);

enum policy_action {
    POLICY_GO_ON,
    POLICY_SWITCH,
    POLICY_GIVE_UP,
    POLICY_THROTTLE, /* not decided yet by this policy */
    POLICY_POSTCOPY, /* not decided yet by this policy */
};
const char *policy_action_name(enum policy_action action); /* "go-on", "switch", "give-up", … */

struct policy_input {
    /* what the user asks for */
    uint64_t budget_us;   /* of the whole pause */
    uint64_t deadline_ns; /* since the migration began; 0: none */
    /* what is known */
    uint64_t now_ns;
    uint64_t ram_bytes;     /* size of the guest */
    uint64_t state_bytes;   /* size of the device state as rehearsed; 0: not known */
    uint64_t round_trip_us; /* of a ping; 0: not known */
    struct gw_pause_parts
        measured; /* from the rehearsal and earlier attempts; ram_us is not read */
    const struct gw_round
        *rounds; /* oldest first: the first few and the last POLICY_WINDOW are enough */
    size_t round_count;
    const struct policy_sample *samples; /* oldest first, may reach back over several rounds */
    size_t sample_count;
    bool in_round; /* a round is being sent: remaining_bytes of the last sample counts, not of the
                      last round */
    /* switchovers that were begun and taken back because the pause became too long */
    unsigned failed_switches;
    uint64_t last_failed_ns;
};

#define POLICY_WINDOW 64         /* rounds looked at */
#define POLICY_SAMPLE_WINDOW 256 /* samples looked at */

struct policy_decision {
    enum policy_action action;
    char reason[160]; /* "switch: pause of 43 ms expected (…), limit 60 ms" */
    struct gw_pause_parts predicted; /* of a switch now */
    uint64_t predicted_pause_us;     /* their sum; UINT64_MAX while the bandwidth is unknown */
    uint64_t bandwidth;              /* bytes per second that the prediction used; 0: unknown */
    uint64_t dirty_rate;             /* bytes per second, smoothed */
    uint64_t look_again_ns;          /* GO_ON: the next look is worth while after this long */
    bool stalled;                    /* nothing moves on the wire */
};

void policy_decide(const struct policy_input *input, struct policy_decision *ret_decision);

#endif
