/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The destination's memory while it arrives: docs/protocol.md section 6 from the receiving side. One thread
 * for each channel that carries memory calls receiver_record(); helper threads populate ahead of them.
 */
#ifndef MIGRATE_RECEIVER_H
#define MIGRATE_RECEIVER_H

#include <stdint.h>

#include <godwit/error.h>
#include <godwit/memory.h>
#include "migrate/session.h"

struct receiver;

/* Borrows all; `channel_count` is how many channels carry memory. */
int receiver_new(struct gw_memory *memory, struct session *session, unsigned channel_count,
                 struct receiver **ret_receiver, struct gw_error *error);
void receiver_free(struct receiver *receiver); /* channels must have been shut down; NULL is fine */

/* An EXTENT or BARRIER whose header has been read. */
int receiver_record(struct receiver *receiver, struct channel *channel,
                    const struct wire_header *header, struct gw_error *error);

/* Ranges that will come soon; `ranges` is the tail of a RESIDENT record. */
int receiver_expect(struct receiver *receiver, const uint8_t *ranges, uint32_t count,
                    struct gw_error *error);

/* Inside the monitor, which is notified of changes: the attempt whose last barrier all channels have met
 * (0: none), and when. */
uint32_t receiver_complete_attempt(struct receiver *receiver, uint64_t *ret_at_ns);
uint32_t receiver_rounds(struct receiver *receiver); /* that all channels have ended */
/* After the last barrier: fails when a page arrived damaged and never came again. */
int receiver_check(struct receiver *receiver, struct gw_error *error);

uint64_t receiver_raw_pages(struct receiver *receiver);
uint64_t receiver_zero_pages(struct receiver *receiver);

#endif
