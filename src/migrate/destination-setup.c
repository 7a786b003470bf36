/* SPDX-License-Identifier: Apache-2.0 */
/* OFFER on the destination: the machine that it describes, and the answer. */
#include "migrate/destination.h"

#include <errno.h>
#include <string.h>
#include <inttypes.h>

#include "migrate/peer.h"

static int check_regions(const struct gw_memory *memory, const struct wire_offer *offer,
                         struct gw_error *error)
{
    unsigned count = gw_memory_region_count(memory);
    for (unsigned i = 0; i < count && i < offer->region_count; i++) {
        const struct gw_memory_region *mine = gw_memory_region(memory, i);
        const struct wire_region *theirs = &offer->regions[i];
        if (strcmp(mine->name, theirs->name) != 0 || mine->guest_base != theirs->guest_base ||
            mine->bytes != theirs->bytes)
            return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_REFUSED, -EINVAL,
                                "memory region %u is '%s' of %" PRIu64 " KiB at 0x%" PRIx64
                                " there and '%s' of %" PRIu64 " KiB at 0x%" PRIx64 " here",
                                i, theirs->name, theirs->bytes >> 10, theirs->guest_base,
                                mine->name, mine->bytes >> 10, mine->guest_base);
    }
    if (count != offer->region_count)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_REFUSED, -EINVAL,
                            "the machine has %u memory regions there and %u here",
                            offer->region_count, count);
    return 0;
}

static int build_machine(struct gw_destination *destination, const struct wire_offer *offer,
                         struct gw_error *error)
{
    struct gw_memory *memory = NULL;
    int r = destination->config.ops->prepare(destination->config.vm, offer->description,
                                             offer->description_bytes, &memory, error);
    if (r < 0)
        return r;
    destination->memory = memory;
    r = check_regions(memory, offer, error);
    if (r < 0)
        return r;
    unsigned memory_channels = destination->data_expected ? destination->data_expected : 1;
    struct receiver *receiver = NULL;
    r = receiver_new(memory, &destination->own_session, memory_channels, &receiver, error);
    monitor_enter(&destination->monitor);
    destination->receiver = receiver;
    destination->info.ram_total = gw_memory_total_bytes(memory);
    monitor_leave(&destination->monitor);
    return r;
}

static void note_offer(struct gw_destination *destination, const struct wire_offer *offer)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < offer->region_count; i++)
        bytes += offer->regions[i].bytes;
    flightlog_set_session(destination->log, destination->own_session.hex);
    flightlog_set_machine(destination->log, offer->machine, bytes);
    struct gw_error error;
    if (offer->flights_bytes > 0 &&
        flightlog_set_earlier(destination->log, offer->flights, offer->flights_bytes, &error) < 0)
        destination_event(destination, "the earlier flight logs that came are not usable: %s",
                          error.message);
}

static int take_offer(struct gw_destination *destination, const struct wire_offer *offer,
                      struct gw_error *error)
{
    note_offer(destination, offer);
    monitor_enter(&destination->monitor);
    destination->data_expected = offer->data_channels > 0 ? 1 : 0;
    uint64_t features = offer->features & WIRE_FEATURES_KNOWN;
    monitor_leave(&destination->monitor);
    uint64_t record_ns = 0;
    int r = build_machine(destination, offer, error);
    if (r == 0)
        r = takeover_open(destination, offer->epoch, &record_ns, error);
    if (r < 0)
        return r;
    monitor_enter(&destination->monitor);
    destination->accepted = true;
    monitor_leave(&destination->monitor);
    destination->tells_progress = features & WIRE_FEATURE_PROGRESS;
    destination->tells_acquire = features & WIRE_FEATURE_ACQUIRE;
    union wire_body body = {.accept = {.features = features,
                                       .record_ns = record_ns,
                                       .data_channels = destination->data_expected}};
    session_post(&destination->own_session, WIRE_ACCEPT, &body, NULL, 0);
    peer_post(&destination->own_session);
    return 0;
}

int destination_await_offer(struct gw_destination *destination, struct gw_error *error)
{
    struct message message = {0};
    int r = destination_next(destination, &message, error);
    if (r < 0)
        return r;
    struct wire_offer offer;
    if (message.type != WIRE_OFFER)
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EBADMSG,
                         "the source began with a record %s instead of OFFER",
                         wire_type_name(message.type));
    else
        r = wire_offer_decode(message.bytes, message.length, &offer, error);
    session_speak(&destination->own_session);
    if (r == 0)
        r = take_offer(destination, &offer, error);
    message_fini(&message);
    return r;
}
