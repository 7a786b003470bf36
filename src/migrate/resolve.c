/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host names. getaddrinfo() has neither timeout nor cancel and can hang for a minute on a dead name
 * server, so a name (not a numeric address) is looked up in a thread of its own. The thread and the
 * caller share a counted record: whoever is last frees it, so a caller that gives up leaves at once
 * and the thread ends whenever the resolver lets it.
 */
#include "migrate/socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct lookup {
    /* set once */
    char host[256];
    char port[8];
    struct addrinfo hints;
    int done_fd; /* eventfd; becomes readable after the results below are written */
    /* by the thread, before done_fd */
    int result;
    struct addrinfo *list;
    /* any thread */
    _Atomic unsigned users;
};

static void lookup_unref(struct lookup *lookup)
{
    if (atomic_fetch_sub_explicit(&lookup->users, 1, memory_order_acq_rel) > 1)
        return;
    if (lookup->list)
        freeaddrinfo(lookup->list);
    close(lookup->done_fd);
    free(lookup);
}

static struct lookup *lookup_new(const struct gw_uri *uri, int flags)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return NULL;
    lookup->done_fd = eventfd(0, EFD_CLOEXEC);
    if (lookup->done_fd < 0) {
        free(lookup);
        return NULL;
    }
    snprintf(lookup->host, sizeof lookup->host, "%.255s", uri->text);
    snprintf(lookup->port, sizeof lookup->port, "%u", uri->port);
    lookup->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    atomic_init(&lookup->users, 1);
    return lookup;
}

static void look_up(struct lookup *lookup)
{
    const char *host = lookup->host[0] ? lookup->host : NULL;
    lookup->result = getaddrinfo(host, lookup->port, &lookup->hints, &lookup->list);
}

static void *lookup_thread(void *argument)
{
    struct lookup *lookup = argument;
    look_up(lookup);
    eventfd_write(lookup->done_fd, 1);
    lookup_unref(lookup);
    return NULL;
}

/* Numeric addresses and the empty host need no name server. */
static bool look_up_numeric(struct lookup *lookup)
{
    int flags = lookup->hints.ai_flags;
    lookup->hints.ai_flags |= AI_NUMERICHOST;
    look_up(lookup);
    lookup->hints.ai_flags = flags;
    return lookup->result == 0;
}

static int look_up_in_thread(struct lookup *lookup, struct transport_wait wait)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add_explicit(&lookup->users, 1, memory_order_relaxed);
    int r = -pthread_create(&thread, &attributes, lookup_thread, lookup);
    pthread_attr_destroy(&attributes);
    if (r < 0) {
        lookup_unref(lookup);
        return r;
    }
    r = socket_wait(lookup->done_fd, POLLIN, wait);
    eventfd_t value;
    return r < 0 ? r : eventfd_read(lookup->done_fd, &value);
}

static int explain(const struct lookup *lookup, int r, struct gw_error *error)
{
    if (r < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r,
                            "looking up host '%s': %s", lookup->host, strerror(-r));
    const char *why = lookup->result == EAI_SYSTEM ? strerror(errno) : gai_strerror(lookup->result);
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NOT_FOUND, -ENOENT,
                        "host '%s' has no address: %s", lookup->host, why);
}

int resolve_host(const struct gw_uri *uri, int flags, struct transport_wait wait,
                 struct addrinfo **ret_list, struct gw_error *error)
{
    struct lookup *lookup = lookup_new(uri, flags);
    if (!lookup)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory to look up host '%s'", uri->text);
    int r = look_up_numeric(lookup) ? 0 : look_up_in_thread(lookup, wait);
    if (r < 0 || lookup->result != 0) {
        r = explain(lookup, r, error);
    } else {
        *ret_list = lookup->list;
        lookup->list = NULL;
    }
    lookup_unref(lookup);
    return r;
}
