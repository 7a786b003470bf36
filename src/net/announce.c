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
    uint8_t mac[NET_MAC_BYTES];
    unsigned done, sent;
};

/* A reverse request of the guest for itself, padded to the least that Ethernet has. */
static void fill_frame(uint8_t frame[ANNOUNCE_FRAME_BYTES], const uint8_t *mac)
{
    static const uint8_t fixed[] = {
        0x80, 0x35, /* RARP */
        0x00, 0x01, /* Ethernet */
        0x08, 0x00, /* IPv4 */
        6,    4,    /* bytes of addresses */
        0x00, 0x03, /* request reverse */
    };
    memset(frame, 0, ANNOUNCE_FRAME_BYTES);
    memset(frame, 0xff, NET_MAC_BYTES);
    memcpy(frame + 6, mac, NET_MAC_BYTES);
    memcpy(frame + 12, fixed, sizeof fixed);
    memcpy(frame + 22, mac, NET_MAC_BYTES); /* sender */
    memcpy(frame + 32, mac, NET_MAC_BYTES); /* target */
}

static void announce(struct net_announcer *announcer)
{
    uint8_t frame[ANNOUNCE_FRAME_BYTES], header[NET_HEADER_BYTES];
    const struct iovec iov[] = {{header, sizeof header}, {frame, sizeof frame}};
    memcpy(header, net_plain_header, sizeof header);
    fill_frame(frame, announcer->mac);
    announcer->sent += net_send(announcer->net, 0, iov, ARRAY_COUNT(iov)) == 0;
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

void net_announcer_start(struct net_announcer *announcer, const uint8_t mac[NET_MAC_BYTES])
{
    memcpy(announcer->mac, mac, NET_MAC_BYTES);
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
