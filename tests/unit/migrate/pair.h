/* SPDX-License-Identifier: Apache-2.0 */
/* Two fake machines, one to be moved to the other, in a directory of their own. */
#ifndef TESTS_PAIR_H
#define TESTS_PAIR_H

#include "fake-vmm.h"

struct pair {
    struct fake_vmm *from, *to;
    struct gw_source_config source_config;
    struct gw_destination_config destination_config;
    struct gw_source *source;
    struct gw_destination *destination;
    char directory[64];
    char from_owner[96], to_owner[96], from_log[96], to_log[96], listen[128], connect[256];
};

/* 64 MiB at most: `pages` of memory of which `filled` hold something; the guest runs. */
void pair_init(struct pair *pair, uint64_t pages, uint64_t filled);
void pair_fini(struct pair *pair);

/* Listens on `listen` ("unix:" alone gets a path in the directory), with fake machine `to`. */
void pair_listen(struct pair *pair, const char *listen);
/* Sends to `uri`, or to where the destination listens when NULL. */
void pair_send(struct pair *pair, const char *uri);

/* Waits until both have ended (20 s at most: a hang fails the test). */
void pair_wait(struct pair *pair);
void pair_wait_source(struct pair *pair);
void pair_wait_destination(struct pair *pair);
void pair_wait_status(struct pair *pair, enum gw_migrate_status status); /* of the source */

struct gw_migrate_info pair_source_info(struct pair *pair);
struct gw_migrate_info pair_destination_info(struct pair *pair);

/* The guest runs on the destination, with all pages right, and both sides and their records say so. */
void pair_assert_moved(struct pair *pair);
/* The guest runs on the source, which owns `epoch`. */
void pair_assert_stayed(struct pair *pair, uint64_t epoch);
struct gw_ownership pair_record(const char *path);
/* The only flight log in `directory` (from_log, to_log) says that the flight ended on `side`. */
void pair_assert_ended_on(const char *directory, const char *side);

#endif
