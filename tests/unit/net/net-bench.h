/* SPDX-License-Identifier: Apache-2.0 */
/* A network under test on a loop of its own: what was told of its link, and frames with their
 * plain headers. Failures end the test. */
#ifndef TEST_NET_BENCH_H
#define TEST_NET_BENCH_H

#include <stddef.h>

#include "net/net.h"

struct bench {
    sd_event *loop;
    struct net *net;
    bool up;
    unsigned changes; /* of the link, as told */
    char why[512];    /* of the last one */
};

const char *bench_path(const char *name); /* in a folder of this program; valid for two calls */
void bench_remove_folder(void);

void bench_new(struct bench *bench, const char *text); /* attached, not acquired */
void bench_free(struct bench *bench);
void bench_acquire(struct bench *bench);

/* Runs the loop until `condition` or for two seconds at most; what it came to. */
bool bench_run_until(struct bench *bench, bool (*condition)(struct bench *bench));
void bench_run_for(struct bench *bench, unsigned ms);
void bench_expect_up(struct bench *bench);
void bench_expect_down(struct bench *bench, const char *part); /* of the sentence */

/* A frame of `bytes` that `seed` fills, and whether one is that. */
void bench_fill(uint8_t *frame, size_t bytes, unsigned seed);
int bench_send(struct bench *bench, unsigned queue, size_t bytes, unsigned seed);
/* Waits (with the loop running) for the next frame, which must be this one. */
void bench_expect_frame(struct bench *bench, unsigned queue, size_t bytes, unsigned seed);
ssize_t bench_receive(struct bench *bench, unsigned queue, uint8_t *frame, size_t room);

void bench_expect_refused(const char *text, int expected, const char *part);

#endif
