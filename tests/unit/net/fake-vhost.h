/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user network back end on a thread of the test: it gives back each frame that it gets, and
 * says that its checksum is right without having looked. How it misbehaves is chosen by the test.
 */
#ifndef TEST_FAKE_VHOST_H
#define TEST_FAKE_VHOST_H

#include <pthread.h>
#include <stdatomic.h>

#include "net/vhost-net.h"

enum fake_manner {
    FAKE_HONEST,
    /* in its answers */
    FAKE_SILENT,
    FAKE_CLOSES,
    FAKE_ANSWERS_OTHERS, /* as if something else had been asked */
    FAKE_ANSWERS_LONG,
    FAKE_REFUSES,
    FAKE_CANNOT_MIGRATE,
    /* in the ring of what comes in */
    FAKE_INDEX_TOO_FAR,
    FAKE_ID_TOO_BIG,
    FAKE_FRAME_TOO_LONG,
    FAKE_FRAME_TOO_SHORT, /* which is left out */
    /* in the other */
    FAKE_TAKES_NONE,
    FAKE_TAKES_TWICE,
    /* with its state */
    FAKE_SAVE_FAILS,
    FAKE_SAVE_ENDLESS,
    FAKE_SAVE_HANGS,
};

struct fake_queue {
    uint64_t address;
    uint16_t used, available;
    int call_fd, kick_fd;
    bool enabled;
};

struct fake_vhost {
    enum fake_manner manner;
    int fd;
    unsigned from; /* which request it begins to misbehave at */
    pthread_t thread;
    uint8_t *memory;
    uint64_t memory_bytes;
    struct fake_queue queue[2];
    char loaded[64]; /* the state that it was given */
    atomic_uint frames;
};

#define FAKE_STATE "what the back end knows"

/* The front end's descriptor. */
int fake_begin(struct fake_vhost *fake, enum fake_manner manner, unsigned from);
void fake_end(struct fake_vhost *fake); /* after the front end has closed */

#endif
