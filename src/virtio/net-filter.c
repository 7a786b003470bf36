/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "virtio/net-internal.h"

#define TYPE_AT 12u
#define TAG_AT 14u
#define TAGGED_HEADER_BYTES 18u
#define TYPE_VLAN 0x8100u

static unsigned get_be16(const uint8_t *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static bool is_in(const struct virtio_net_mac *table, unsigned count, const uint8_t *mac)
{
    for (unsigned i = 0; i < count; i++)
        if (memcmp(table[i].bytes, mac, NET_MAC_BYTES) == 0)
            return true;
    return false;
}

static bool wants_vlan(const struct virtio_net *net, const uint8_t *frame, size_t bytes)
{
    if (!(net->features & F_CTRL_VLAN) || get_be16(frame + TYPE_AT) != TYPE_VLAN)
        return true;
    if (bytes < TAGGED_HEADER_BYTES)
        return false;
    unsigned vlan = get_be16(frame + TAG_AT) % VIRTIO_NET_VLANS;
    return net->filter.vlans[vlan / 8] & 1u << vlan % 8;
}

static bool wants_group(const struct virtio_net *net, const uint8_t *mac)
{
    static const uint8_t broadcast[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct virtio_net_filter *filter = &net->filter;
    if (memcmp(mac, broadcast, NET_MAC_BYTES) == 0)
        return !(filter->modes & VIRTIO_NET_NOBCAST);
    if (filter->modes & VIRTIO_NET_NOMULTI)
        return false;
    return filter->modes & VIRTIO_NET_ALLMULTI || filter->multicast_overflow ||
           is_in(filter->multicast, filter->multicast_count, mac);
}

static bool wants_unicast(const struct virtio_net *net, const uint8_t *mac)
{
    const struct virtio_net_filter *filter = &net->filter;
    if (filter->modes & VIRTIO_NET_NOUNI)
        return false;
    return filter->modes & VIRTIO_NET_ALLUNI || filter->unicast_overflow ||
           memcmp(net->mac.bytes, mac, NET_MAC_BYTES) == 0 ||
           is_in(filter->unicast, filter->unicast_count, mac);
}

/* A driver that has no way to set the modes gets everything; so does one that has not yet. */
bool net_wants(const struct virtio_net *net, const uint8_t *frame, size_t bytes)
{
    if (!(net->features & F_CTRL_RX) || net->filter.modes & VIRTIO_NET_PROMISC)
        return true;
    if (!wants_vlan(net, frame, bytes))
        return false;
    return frame[0] & 1 ? wants_group(net, frame) : wants_unicast(net, frame);
}

struct stations {
    struct net_station *all;
    unsigned count, most;
};

static void add_station(struct stations *stations, const uint8_t *mac, unsigned vlan)
{
    if (stations->count == stations->most)
        return;
    struct net_station *station = &stations->all[stations->count++];
    memcpy(station->mac, mac, NET_MAC_BYTES);
    station->vlan = (uint16_t)vlan;
}

/* Without a tag, and with that of each VLAN; 0 is none. A guest waits for this: most bytes are 0.
 */
static void add_stations(struct stations *stations, const struct virtio_net *net,
                         const uint8_t *mac)
{
    bool tags = net->features & F_CTRL_VLAN;
    add_station(stations, mac, 0);
    for (unsigned at = 0; tags && at < sizeof net->filter.vlans; at++)
        for (unsigned bits = net->filter.vlans[at]; bits; bits &= bits - 1)
            if (at > 0 || !(bits & 1))
                add_station(stations, mac, 8 * at + (unsigned)__builtin_ctz(bits));
}

unsigned virtio_net_stations(const struct virtio_net *net, struct net_station *ret_stations,
                             unsigned most)
{
    struct stations stations = {.all = ret_stations, .most = most};
    for (unsigned i = 0; i <= net->filter.unicast_count; i++) {
        const uint8_t *mac = i == 0 ? net->mac.bytes : net->filter.unicast[i - 1].bytes;
        if (!(mac[0] & 1)) /* else nobody's */
            add_stations(&stations, net, mac);
    }
    return stations.count;
}
