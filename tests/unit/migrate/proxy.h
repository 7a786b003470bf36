/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bad link: sits between source and destination, understands records, and does something to one of them.
 * Every connection of a session passes through it.
 */
#ifndef TESTS_PROXY_H
#define TESTS_PROXY_H

#include <stdbool.h>
#include <stdint.h>

enum proxy_action {
    PROXY_NOTHING,
    PROXY_CUT_BEFORE,    /* all connections break, the record is lost */
    PROXY_CUT_AFTER,     /* ... the record has arrived */
    PROXY_FREEZE_BEFORE, /* nothing more moves on the present connections, which stay open */
    PROXY_FREEZE_AFTER,
    PROXY_FLIP_BYTE, /* one bit changes, `at` bytes after the beginning of that direction's stream */
    PROXY_CUT_BYTE,  /* all connections break there */
    PROXY_FLIP_DATA, /* one bit of the last byte of the record */
};

struct proxy_rule {
    enum proxy_action action;
    bool from_source; /* the direction it is about */
    uint32_t type;    /* of the record */
    unsigned nth;     /* 0 and 1: the first */
    uint64_t at;
    unsigned bit;
    bool stay_down; /* after it happened no connection works before proxy_heal() */
};

struct proxy;

/* Listens on the Unix socket `listen` and connects each connection to the Unix socket `target`. With
 * `record`, a directory, all bytes are kept there as N.source and N.destination. */
struct proxy *proxy_new(const char *listen, const char *target, struct proxy_rule rule,
                        const char *record);
/* Joins two descriptors, which it takes over, as one more connection. */
void proxy_join(struct proxy *proxy, int source, int destination);
bool proxy_happened(struct proxy *proxy);
void proxy_heal(struct proxy *proxy);
void proxy_free(struct proxy *proxy); /* breaks everything */

#endif
