/* SPDX-License-Identifier: Apache-2.0 */
#include "net/announce.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/link.h"

struct net_announcer {
    struct net *net;
    sd_event_source *timer;
    struct net_station stations[ANNOUNCE_STATIONS];
    unsigned count, done, sent;
};

/* A reverse request of the guest for itself, padded to the least that Ethernet has, which a tag
 * makes longer (IEEE 802.1Q, 9.6: its two bytes of type, and the VLAN). How long it is. */
static size_t fill_frame(uint8_t frame[ANNOUNCE_TAGGED_BYTES], const struct net_station *station)
{
    static const uint8_t fixed[] = {
        0x80, 0x35, /* RARP */
        0x00, 0x01, /* Ethernet */
        0x08, 0x00, /* IPv4 */
        6,    4,    /* bytes of addresses */
        0x00, 0x03, /* request reverse */
    };
    const uint8_t tag[] = {0x81, 0x00, (uint8_t)(station->vlan >> 8), (uint8_t)station->vlan};
    size_t tag_bytes = station->vlan ? sizeof tag : 0;
    uint8_t *packet = frame + 12 + tag_bytes;
    memset(frame, 0, ANNOUNCE_TAGGED_BYTES);
    memset(frame, 0xff, NET_MAC_BYTES);
    memcpy(frame + 6, station->mac, NET_MAC_BYTES);
    memcpy(frame + 12, tag, tag_bytes);
    memcpy(packet, fixed, sizeof fixed);
    memcpy(packet + 10, station->mac, NET_MAC_BYTES); /* sender */
    memcpy(packet + 20, station->mac, NET_MAC_BYTES); /* target */
    return ANNOUNCE_FRAME_BYTES + tag_bytes;
}

static bool announce_one(struct net_announcer *announcer, const struct net_station *station)
{
    uint8_t frame[ANNOUNCE_TAGGED_BYTES], header[NET_HEADER_BYTES];
    size_t bytes = fill_frame(frame, station);
    const struct iovec iov[] = {{header, sizeof header}, {frame, bytes}};
    memcpy(header, net_plain_header, sizeof header);
    return net_send(announcer->net, 0, iov, ARRAY_COUNT(iov)) == 0;
}

static void announce(struct net_announcer *announcer)
{
    for (unsigned i = 0; i < announcer->count; i++)
        announcer->sent += announce_one(announcer, &announcer->stations[i]);
    uint64_t wait_ms = ANNOUNCE_STEP_MS + ANNOUNCE_GROWTH_MS * (uint64_t)announcer->done;
    if (++announcer->done == ANNOUNCE_TIMES)
        return;
    sd_event_source_set_time(announcer->timer, host_monotonic_ns() / 1000 + wait_ms * 1000);
    sd_event_source_set_enabled(announcer->timer, SD_EVENT_ONESHOT);
}

static int on_time(sd_event_source *source, uint64_t now_us, void *opaque)
{
    announce(opaque);
    return 0;
}

int net_announcer_new(struct net *net, sd_event *loop, struct net_announcer **ret_announcer,
                      struct gw_error *error)
{
    struct net_announcer *announcer = calloc(1, sizeof *announcer);
    int r = announcer ? sd_event_add_time_relative(loop, &announcer->timer, CLOCK_MONOTONIC, 0,
                                                   1000, on_time, announcer)
                      : -ENOMEM;
    if (r >= 0)
        r = sd_event_source_set_enabled(announcer->timer, SD_EVENT_OFF);
    if (r < 0) {
        net_announcer_free(announcer);
        return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(r), r,
                            "%s cannot be announced: %s", net->what, strerror(-r));
    }
    announcer->net = net;
    *ret_announcer = announcer;
    return 0;
}

void net_announcer_free(struct net_announcer *announcer)
{
    if (!announcer)
        return;
    sd_event_source_disable_unref(announcer->timer);
    free(announcer);
}

void net_announcer_start(struct net_announcer *announcer, const struct net_station *stations,
                         unsigned count)
{
    announcer->count = count < ANNOUNCE_STATIONS ? count : ANNOUNCE_STATIONS;
    memcpy(announcer->stations, stations, announcer->count * sizeof *stations);
    announcer->done = announcer->sent = 0;
    announce(announcer);
}

void net_announcer_stop(struct net_announcer *announcer)
{
    sd_event_source_set_enabled(announcer->timer, SD_EVENT_OFF);
}

unsigned net_announcer_sent(const struct net_announcer *announcer)
{
    return announcer->sent;
}
