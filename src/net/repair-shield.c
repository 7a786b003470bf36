/* SPDX-License-Identifier: Apache-2.0 */
#include "net/repair-shield.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/repair-keep.h"

enum { FAMILY_AT = 0, PORT_AT = 2, ADDRESS_AT = 4 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* ---- Places ---- */

/* A socket of IPv6 that speaks IPv4 is found by its IPv4 address. */
static bool encode(const union address *address, uint8_t place[SHIELD_PLACE_BYTES])
{
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    bool mapped = address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6);
    memset(place, 0, SHIELD_PLACE_BYTES);
    if (address->any.sa_family == AF_INET || mapped) {
        place[FAMILY_AT] = 4;
        memcpy(place + ADDRESS_AT, mapped ? &v6->s6_addr[12] : (const void *)&address->v4.sin_addr,
               4);
    } else if (address->any.sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(v6)) {
        place[FAMILY_AT] = 6;
        memcpy(place + ADDRESS_AT, v6, sizeof *v6);
    }
    memcpy(place + PORT_AT, mapped ? &address->v6.sin6_port : &address->v4.sin_port, 2);
    return place[FAMILY_AT] != 0;
}

bool shield_is_place(const uint8_t place[SHIELD_PLACE_BYTES])
{
    static const uint8_t zeroes[12];
    return place[FAMILY_AT + 1] == 0 &&
           (place[FAMILY_AT] == 6 ||
            (place[FAMILY_AT] == 4 && memcmp(place + ADDRESS_AT + 4, zeroes, sizeof zeroes) == 0));
}

static socklen_t decode(const uint8_t *place, union address *ret_address)
{
    *ret_address = (union address){.any.sa_family = AF_UNSPEC};
    if (place[FAMILY_AT] == 4) {
        ret_address->v4.sin_family = AF_INET;
        memcpy(&ret_address->v4.sin_port, place + PORT_AT, 2);
        memcpy(&ret_address->v4.sin_addr, place + ADDRESS_AT, 4);
        return sizeof ret_address->v4;
    }
    ret_address->v6.sin6_family = AF_INET6;
    memcpy(&ret_address->v6.sin6_port, place + PORT_AT, 2);
    memcpy(&ret_address->v6.sin6_addr, place + ADDRESS_AT, sizeof ret_address->v6.sin6_addr);
    return sizeof ret_address->v6;
}

void shield_note(struct gw_buf *places, int fd)
{
    union address address;
    socklen_t length = sizeof address;
    uint8_t place[SHIELD_PLACE_BYTES];
    if (getsockname(fd, &address.any, &length) < 0 || !encode(&address, place) ||
        places->length == SHIELD_MAX_PLACES * SHIELD_PLACE_BYTES)
        return;
    for (size_t at = 0; at < places->length; at += SHIELD_PLACE_BYTES)
        if (memcmp(places->data + at, place, SHIELD_PLACE_BYTES) == 0)
            return;
    (void)gw_buf_append(places, place, SHIELD_PLACE_BYTES);
}

/* ---- Listeners ---- */

static int open_deaf(const uint8_t *place)
{
    const int only = 1;
    int fd = socket(place[FAMILY_AT] == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if ((place[FAMILY_AT] == 6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0) ||
        repair_deafen(fd) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int listen_at(int fd, const uint8_t *place)
{
    union address address;
    socklen_t length = decode(place, &address);
    return bind(fd, &address.any, length) < 0 ? -1 : listen(fd, 1);
}

/* In repair mode a socket is bound although others, established or listening, have its port. */
static void raise_some(struct shield *shield, struct repair_helper *helper, const uint8_t *places,
                       unsigned count)
{
    int *sockets = shield->sockets + shield->count;
    const uint8_t *place_of[REPAIR_ORDER_SOCKETS];
    unsigned opened = 0, up = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *place = places + i * SHIELD_PLACE_BYTES;
        if ((sockets[opened] = open_deaf(place)) >= 0)
            place_of[opened++] = place;
    }
    bool may = opened > 0 && repair_set(helper, TCP_REPAIR_ON, sockets, opened) == 0;
    for (unsigned i = 0; i < opened; i++) {
        if (may && listen_at(sockets[i], place_of[i]) == 0)
            sockets[up++] = sockets[i];
        else
            close(sockets[i]);
    }
    shield->count += up;
}

void shield_raise(struct shield *shield, struct repair_helper *helper, const uint8_t *places,
                  size_t bytes)
{
    unsigned left = (unsigned)(bytes / SHIELD_PLACE_BYTES);
    while (left > 0 && shield->count < SHIELD_MAX_PLACES) {
        unsigned room = SHIELD_MAX_PLACES - shield->count;
        unsigned count = left < REPAIR_ORDER_SOCKETS ? left : REPAIR_ORDER_SOCKETS;
        if (count > room)
            count = room;
        raise_some(shield, helper, places, count);
        places += (size_t)count * SHIELD_PLACE_BYTES;
        left -= count;
    }
}

void shield_lower(struct shield *shield)
{
    while (shield->count > 0)
        close(shield->sockets[--shield->count]);
}
