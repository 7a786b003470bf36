/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's rounds of RAM: docs/protocol.md section 6 from the sending side. One sender thread for each
 * channel that carries memory; all claim chunks from one cursor.
 */
#ifndef MIGRATE_ROUNDS_H
#define MIGRATE_ROUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include <godwit/error.h>
#include <godwit/memory.h>
#include "migrate/policy.h"
#include "migrate/session.h"

#define ROUNDS_CHUNK_PAGES 256u /* 1 MiB */

struct rounds;

/* Everything is borrowed. `channels`: those that carry memory, in the order of their index. */
struct rounds_config {
    struct gw_memory *memory;
    struct gw_tracker tracker;
    struct session *session;
    struct channel **channels;
    unsigned channel_count;
    struct ratelimit *limiter; /* whose limit the channels keep */
    uint64_t began_ns; /* of the migration: times in gw_round count from here */
};
/* All pages are due for the first round. The tracker must have been started. */
int rounds_new(const struct rounds_config *config, struct rounds **ret_rounds,
               struct gw_error *error);
void rounds_free(struct rounds *rounds); /* the channels must have been shut down; NULL is fine */

/* Begins the next round; the one before must have ended. `attempt` is 0, or that of the switchover whose
 * last pages these are. Fails when the tracker does. */
int rounds_begin(struct rounds *rounds, uint32_t attempt, struct gw_error *error);
/* The senders claim no more chunks; what was not sent stays due. The round then ends soon. */
void rounds_abandon(struct rounds *rounds);
bool rounds_busy(struct rounds *rounds); /* inside the monitor, which is notified at the end */

/* Of the round that has ended. */
struct gw_round rounds_result(struct rounds *rounds);
uint64_t rounds_remaining_bytes(struct rounds *rounds); /* due or dirty now */
uint64_t rounds_sent_bytes(struct rounds *rounds);      /* of memory and its headers, so far */
uint64_t rounds_raw_pages(struct rounds *rounds);       /* so far */
uint64_t rounds_zero_pages(struct rounds *rounds);
uint32_t rounds_number(struct rounds *rounds); /* of the last one begun */

#endif
