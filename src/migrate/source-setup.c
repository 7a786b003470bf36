/* SPDX-License-Identifier: Apache-2.0 */
/* Setup on the source: channels, OFFER, ACCEPT, and which pages the destination need not expect. */
#include "migrate/source.h"

#include <errno.h>
#include <stdio.h>

#include "migrate/peer.h"

/* While it is on, cancelling breaks all connections of the session, so that nothing waits for one
 * that does not come; otherwise the destination is told politely. */
static int set_connecting(struct gw_source *source, bool connecting, struct gw_error *error)
{
    monitor_enter(&source->monitor);
    source->connecting = connecting;
    int r = source_check_limits(source, error);
    monitor_leave(&source->monitor);
    return r;
}

static int try_connect(struct gw_source *source, enum wire_role role, unsigned index,
                       struct channel **ret_channel, struct gw_error *error)
{
    uint64_t timeout_ms = source_parameters(source).peer_timeout_ms;
    struct transport_wait wait = {timeout_ms ? (int)timeout_ms : -1, source->connect_cancel_fd};
    struct transport *transport = NULL;
    int r = transport_connect(&source->uri, wait, &transport, error);
    if (r < 0)
        return r;
    struct channel *channel = channel_new(transport, role, index, WIRE_FROM_DESTINATION);
    if (!channel) {
        transport_free(transport);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for a channel");
    }
    r = channel_open(channel, source->session.id, timeout_ms ? (int)timeout_ms : 5000,
                     source->connect_cancel_fd, error);
    if (r < 0)
        channel_free(channel);
    else
        *ret_channel = channel;
    return r;
}

static int connect_channel(struct gw_source *source, enum wire_role role, unsigned index,
                           struct channel **ret_channel, struct gw_error *error)
{
    struct channel *channel = NULL;
    int r = set_connecting(source, true, error);
    if (r == 0)
        r = try_connect(source, role, index, &channel, error);
    struct gw_error cancelled;
    int late = set_connecting(source, false, &cancelled);
    if (late == 0) {
        if (r == 0)
            *ret_channel = channel;
        return r;
    }
    channel_free(channel);
    *error = cancelled; /* being cancelled explains every other failure */
    return late;
}

static bool many_channels(const struct gw_source *source)
{
    return source->uri.kind == GW_URI_TCP || source->uri.kind == GW_URI_UNIX;
}

static void fill_regions(const struct gw_memory *memory, struct wire_offer *offer)
{
    offer->region_count = gw_memory_region_count(memory);
    for (unsigned i = 0; i < offer->region_count; i++) {
        const struct gw_memory_region *region = gw_memory_region(memory, i);
        offer->regions[i] =
            (struct wire_region){.guest_base = region->guest_base, .bytes = region->bytes};
        snprintf(offer->regions[i].name, sizeof offer->regions[i].name, "%s", region->name);
    }
}

static int post_offer(struct gw_source *source, struct gw_error *error)
{
    struct gw_buf description = {0}, flights = {0}, body = {0};
    struct wire_offer offer = {
        .features = WIRE_FEATURES_KNOWN,
        .epoch = source->owner.epoch,
        .peer_timeout_ms = source_parameters(source).peer_timeout_ms,
        .data_channels = many_channels(source) ? 1 : 0,
        .running = source->config.ops->is_running(source->config.vm),
    };
    if (!many_channels(source))
        offer.features &= ~(uint64_t)WIRE_FEATURE_QUERY;
    fill_regions(source->config.memory, &offer);
    snprintf(offer.machine, sizeof offer.machine, "%.63s", source->config.name);
    int r = source->config.ops->describe(source->config.vm, &description, error);
    if (r == 0 && flightlog_format_earlier(source->log, &flights) < 0)
        gw_buf_clear(&flights);
    if (flights.length > WIRE_FLIGHTS_MAX_BYTES)
        gw_buf_clear(&flights);
    offer.description = (char *)description.data;
    offer.description_bytes = (uint32_t)description.length;
    offer.flights = (char *)flights.data;
    offer.flights_bytes = (uint32_t)flights.length;
    if (r == 0)
        r = wire_offer_encode(&offer, &body, error);
    if (r == 0)
        session_post_raw(&source->session, WIRE_OFFER, body.data, body.length);
    gw_buf_fini(&description);
    gw_buf_fini(&flights);
    gw_buf_fini(&body);
    return r;
}

static int await_accept(struct gw_source *source, unsigned *ret_data_channels,
                        struct gw_error *error)
{
    struct message message = {0};
    int r = source_next(source, UINT64_MAX, &message, error);
    if (r < 0)
        return r;
    unsigned offered = many_channels(source) ? 1 : 0;
    const struct wire_accept *accept = &message.body.accept;
    r = 0;
    if (message.type != WIRE_ACCEPT)
        r = source_out_of_order(&message, error);
    else if ((accept->features & ~(uint64_t)WIRE_FEATURES_KNOWN) || accept->data_channels > offered)
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "the destination accepted what was not offered");
    if (r == 0) {
        source->features = accept->features;
        source->record_ns = accept->record_ns;
        *ret_data_channels = accept->data_channels;
    }
    message_fini(&message);
    return r;
}

/* Which stretches of memory are in use, so that the destination can populate them ahead. */
void source_post_resident(struct gw_source *source)
{
    struct gw_buf ranges = {0};
    uint32_t count = 0;
    for (unsigned i = 0; i < gw_memory_region_count(source->config.memory); i++) {
        const struct gw_memory_region *region = gw_memory_region(source->config.memory, i);
        uint64_t at = gw_memory_next_data(region, 0);
        while (at < region->bytes && count < WIRE_RESIDENT_MAX_RANGES) {
            uint64_t end = gw_memory_next_hole(region, at);
            struct wire_range range = {at >> GW_PAGE_SHIFT, i,
                                       (uint32_t)((end - at) >> GW_PAGE_SHIFT)};
            uint8_t *to = gw_buf_extend(&ranges, WIRE_RANGE_BYTES);
            if (!to)
                break;
            wire_range_encode(&range, to);
            count++;
            at = gw_memory_next_data(region, end);
        }
    }
    union wire_body body = {.resident = {.count = count}};
    session_post(&source->session, WIRE_RESIDENT, &body, ranges.data, ranges.length);
    gw_buf_fini(&ranges);
}

static int open_control(struct gw_source *source, struct gw_error *error)
{
    struct channel *control = NULL;
    int r = connect_channel(source, WIRE_ROLE_CONTROL, 0, &control, error);
    if (r < 0)
        return r;
    r = session_start(&source->session, control, error);
    if (r < 0)
        channel_free(control);
    return r;
}

static int open_data(struct gw_source *source, unsigned count, struct gw_error *error)
{
    for (unsigned i = 0; i < count; i++) {
        struct channel *data = NULL;
        int r = connect_channel(source, WIRE_ROLE_DATA, i, &data, error);
        if (r < 0)
            return r;
        uint64_t timeout_ms = source_parameters(source).peer_timeout_ms;
        transport_set_timeout(data->transport, timeout_ms ? (int)timeout_ms : -1);
        session_attach(&source->session, data);
    }
    return 0;
}

int source_set_up(struct gw_source *source, struct gw_error *error)
{
    source_set_status(source, GW_MIGRATE_SETUP, "setup");
    unsigned data_channels = 0;
    int r = open_control(source, error);
    if (r == 0)
        r = post_offer(source, error);
    if (r == 0)
        r = await_accept(source, &data_channels, error);
    if (r == 0)
        peer_post(&source->session);
    return r < 0 ? r : open_data(source, data_channels, error);
}
