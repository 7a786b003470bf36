/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "wire/wire.h"

#define MAX_CONNECTIONS 64

struct connection {
    int source, destination;
    bool cut, frozen; /* under the lock */
};

struct proxy {
    struct proxy_rule rule;
    char target[108], record[128];
    int listener;
    pthread_t acceptor;
    pthread_t threads[2 * MAX_CONNECTIONS];
    unsigned thread_count; /* acceptor, or proxy_join() before it */
    struct connection connections[MAX_CONNECTIONS];
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned connection_count, seen;
    bool happened, down, quit;
};

struct direction {
    struct proxy *proxy;
    unsigned index;
    bool from_source;
    int from, to, record;
    uint64_t moved;
};

static void cut_connection(struct connection *connection)
{
    connection->cut = true;
    shutdown(connection->source, SHUT_RDWR);
    shutdown(connection->destination, SHUT_RDWR);
}

/* Under the lock. */
static void act(struct proxy *proxy, bool cut)
{
    proxy->happened = true;
    proxy->down = proxy->rule.stay_down;
    for (unsigned i = 0; i < proxy->connection_count; i++) {
        if (cut)
            cut_connection(&proxy->connections[i]);
        else
            proxy->connections[i].frozen = true;
    }
    pthread_cond_broadcast(&proxy->changed);
}

static void hold_while_frozen(struct direction *direction)
{
    struct proxy *proxy = direction->proxy;
    pthread_mutex_lock(&proxy->lock);
    while (proxy->connections[direction->index].frozen &&
           !proxy->connections[direction->index].cut && !proxy->quit)
        pthread_cond_wait(&proxy->changed, &proxy->lock);
    pthread_mutex_unlock(&proxy->lock);
}

static bool read_all(struct direction *direction, uint8_t *to, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = read(direction->from, to + done, length - done);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static bool write_all(struct direction *direction, const uint8_t *from, size_t length)
{
    if (direction->record >= 0 && write(direction->record, from, length) < 0)
        return false;
    for (size_t done = 0; done < length;) {
        ssize_t put = send(direction->to, from + done, length - done, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        done += (size_t)put;
    }
    return true;
}

/* The rules about a place in the stream. Counts the bytes of all connections of a direction together. */
static bool forward(struct direction *direction, uint8_t *bytes, size_t length)
{
    struct proxy *proxy = direction->proxy;
    const struct proxy_rule *rule = &proxy->rule;
    hold_while_frozen(direction);
    pthread_mutex_lock(&proxy->lock);
    bool here = direction->from_source == rule->from_source && !proxy->happened &&
                rule->at >= direction->moved && rule->at < direction->moved + length;
    if (here && rule->action == PROXY_FLIP_BYTE) {
        bytes[rule->at - direction->moved] ^= (uint8_t)(1u << rule->bit % 8);
        proxy->happened = true;
    }
    bool cut = here && rule->action == PROXY_CUT_BYTE;
    pthread_mutex_unlock(&proxy->lock);
    size_t allowed = cut ? (size_t)(rule->at - direction->moved) : length;
    direction->moved += length;
    bool moved = write_all(direction, bytes, allowed);
    if (cut) {
        pthread_mutex_lock(&proxy->lock);
        act(proxy, true);
        pthread_mutex_unlock(&proxy->lock);
    }
    return moved && !cut;
}

/* Whether the rule is about this record; counts those that it could be about. */
static bool matches(struct direction *direction, uint32_t type)
{
    struct proxy *proxy = direction->proxy;
    const struct proxy_rule *rule = &proxy->rule;
    pthread_mutex_lock(&proxy->lock);
    bool match = !proxy->happened && direction->from_source == rule->from_source &&
                 rule->type == type && ++proxy->seen >= (rule->nth ? rule->nth : 1);
    pthread_mutex_unlock(&proxy->lock);
    return match;
}

static bool act_before(struct direction *direction, bool match)
{
    struct proxy *proxy = direction->proxy;
    enum proxy_action action = proxy->rule.action;
    if (!match || (action != PROXY_CUT_BEFORE && action != PROXY_FREEZE_BEFORE))
        return true;
    pthread_mutex_lock(&proxy->lock);
    act(proxy, action == PROXY_CUT_BEFORE);
    pthread_mutex_unlock(&proxy->lock);
    return action != PROXY_CUT_BEFORE;
}

static bool act_after(struct direction *direction, bool match)
{
    struct proxy *proxy = direction->proxy;
    enum proxy_action action = proxy->rule.action;
    if (!match || (action != PROXY_CUT_AFTER && action != PROXY_FREEZE_AFTER))
        return true;
    if (action == PROXY_CUT_AFTER) /* let it be read before the end comes */
        usleep(20000);
    pthread_mutex_lock(&proxy->lock);
    act(proxy, action == PROXY_CUT_AFTER);
    pthread_mutex_unlock(&proxy->lock);
    return action != PROXY_CUT_AFTER;
}

static bool forward_record(struct direction *direction, uint8_t *bytes)
{
    uint8_t head[WIRE_HEADER_BYTES];
    if (!read_all(direction, head, sizeof head))
        return false;
    uint32_t length = get_le32(head + 8);
    bool match = matches(direction, get_le32(head));
    if (!act_before(direction, match) || !forward(direction, head, sizeof head))
        return false;
    while (length > 0) {
        size_t part = length < 65536 ? length : 65536;
        if (!read_all(direction, bytes, part))
            return false;
        length -= (uint32_t)part;
        if (match && length == 0 && direction->proxy->rule.action == PROXY_FLIP_DATA) {
            bytes[part - 1] ^= 0x10;
            direction->proxy->happened = true;
        }
        if (!forward(direction, bytes, part))
            return false;
    }
    return act_after(direction, match);
}

static int open_record(const struct direction *direction)
{
    char path[256];
    if (!direction->proxy->record[0])
        return -1;
    snprintf(path, sizeof path, "%s/%u.%s", direction->proxy->record, direction->index,
             direction->from_source ? "source" : "destination");
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void *direction_main(void *opaque)
{
    struct direction *direction = opaque;
    uint8_t *bytes = malloc(65536);
    direction->record = open_record(direction);
    bool go_on = read_all(direction, bytes, WIRE_PREAMBLE_BYTES) &&
                 forward(direction, bytes, WIRE_PREAMBLE_BYTES);
    while (go_on)
        go_on = forward_record(direction, bytes);
    hold_while_frozen(direction);
    shutdown(direction->to, SHUT_WR);
    if (direction->record >= 0)
        close(direction->record);
    free(bytes);
    free(direction);
    return NULL;
}

static void start_direction(struct proxy *proxy, unsigned index, bool from_source)
{
    struct direction *direction = calloc(1, sizeof *direction);
    struct connection *connection = &proxy->connections[index];
    *direction = (struct direction){
        .proxy = proxy,
        .index = index,
        .from_source = from_source,
        .from = from_source ? connection->source : connection->destination,
        .to = from_source ? connection->destination : connection->source,
    };
    pthread_create(&proxy->threads[proxy->thread_count++], NULL, direction_main, direction);
}

void proxy_join(struct proxy *proxy, int source, int destination)
{
    pthread_mutex_lock(&proxy->lock);
    unsigned index = proxy->connection_count;
    bool refused = proxy->down || index == MAX_CONNECTIONS;
    if (!refused)
        proxy->connections[proxy->connection_count++] =
            (struct connection){.source = source, .destination = destination};
    pthread_mutex_unlock(&proxy->lock);
    if (refused) {
        close(source);
        close(destination);
        return;
    }
    start_direction(proxy, index, true);
    start_direction(proxy, index, false);
}

static void *acceptor_main(void *opaque)
{
    struct proxy *proxy = opaque;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", proxy->target);
    for (;;) {
        int source = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
        if (source < 0)
            return NULL;
        int destination = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(destination, (struct sockaddr *)&address, sizeof address) < 0) {
            close(source);
            close(destination);
            continue;
        }
        proxy_join(proxy, source, destination);
    }
}

struct proxy *proxy_new(const char *listen_path, const char *target, struct proxy_rule rule,
                        const char *record)
{
    struct proxy *proxy = calloc(1, sizeof *proxy);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    proxy->rule = rule;
    snprintf(proxy->target, sizeof proxy->target, "%s", target);
    snprintf(proxy->record, sizeof proxy->record, "%s", record ? record : "");
    snprintf(address.sun_path, sizeof address.sun_path, "%s", listen_path);
    pthread_mutex_init(&proxy->lock, NULL);
    pthread_cond_init(&proxy->changed, NULL);
    proxy->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(proxy->listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(proxy->listener, 16) < 0 ||
        pthread_create(&proxy->acceptor, NULL, acceptor_main, proxy) != 0)
        abort();
    return proxy;
}

bool proxy_happened(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    bool happened = proxy->happened;
    pthread_mutex_unlock(&proxy->lock);
    return happened;
}

void proxy_heal(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->down = false;
    pthread_mutex_unlock(&proxy->lock);
}

void proxy_free(struct proxy *proxy)
{
    if (!proxy)
        return;
    shutdown(proxy->listener, SHUT_RDWR);
    pthread_join(proxy->acceptor, NULL);
    pthread_mutex_lock(&proxy->lock);
    proxy->quit = true;
    for (unsigned i = 0; i < proxy->connection_count; i++)
        cut_connection(&proxy->connections[i]);
    pthread_cond_broadcast(&proxy->changed);
    pthread_mutex_unlock(&proxy->lock);
    for (unsigned i = 0; i < proxy->thread_count; i++)
        pthread_join(proxy->threads[i], NULL);
    for (unsigned i = 0; i < proxy->connection_count; i++) {
        close(proxy->connections[i].source);
        close(proxy->connections[i].destination);
    }
    close(proxy->listener);
    pthread_cond_destroy(&proxy->changed);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}
