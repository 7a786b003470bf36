/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue (virtio 1.2 §5.1.6.5). A command is checked whole before anything changes; one
 * that is wrong, too short, too long or not negotiated gets VIRTIO_NET_ERR and changes nothing. A
 * chain that has no room for the answer, or no command, breaks the device.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "virtio/net-internal.h"

enum { ANSWER_OK = 0, ANSWER_ERROR = 1 };
enum {
    CLASS_RX = 0,
    CLASS_MAC = 1,
    CLASS_VLAN = 2,
    CLASS_ANNOUNCE = 3,
    CLASS_MQ = 4,
    CLASS_OFFLOADS = 5,
};
enum { MAC_TABLE_SET = 0, MAC_ADDRESS_SET = 1 };
enum { VLAN_ADD = 0, VLAN_REMOVE = 1 };
enum { ANNOUNCE_DONE = 0, MQ_PAIRS_SET = 0, OFFLOADS_SET = 0 };

#define COMMAND_BYTES 2u

/* Data of a command: what follows class and command. */
struct data {
    const struct virtio_chain *chain;
    uint64_t bytes;
};

static bool read_at(const struct data *data, uint64_t offset, void *to, size_t bytes)
{
    return virtio_chain_read(data->chain, COMMAND_BYTES + offset, to, bytes);
}

static bool read_all(const struct data *data, void *to, size_t bytes)
{
    return data->bytes == bytes && read_at(data, 0, to, bytes);
}

static bool has_feature(const struct virtio_net *net, uint64_t feature)
{
    return net->transport.negotiated & feature;
}

/* ---- Receive modes ---- */

static const enum virtio_net_mode modes[] = {
    VIRTIO_NET_PROMISC, VIRTIO_NET_ALLMULTI, VIRTIO_NET_ALLUNI,
    VIRTIO_NET_NOMULTI, VIRTIO_NET_NOUNI,    VIRTIO_NET_NOBCAST,
};
#define MODES_EXTRA 2u /* from here on they need CTRL_RX_EXTRA */

static bool set_mode(struct virtio_net *net, uint8_t command, const struct data *data)
{
    uint8_t on;
    if (command >= ARRAY_COUNT(modes) || !read_all(data, &on, 1) || on > 1)
        return false;
    if (!has_feature(net, command < MODES_EXTRA ? F_CTRL_RX : F_CTRL_RX_EXTRA))
        return false;
    net_enter_path(net);
    net->filter.modes =
        (uint8_t)((net->filter.modes & ~modes[command]) | (on ? modes[command] : 0));
    net_leave_path(net);
    return true;
}

/* ---- Addresses ---- */

/* One table: a count and as many addresses. Those of a table that is too large are not kept, then
 * all of the kind are taken (§5.1.6.5.2). */
struct table {
    struct virtio_net_mac macs[VIRTIO_NET_TABLE_MACS];
    uint8_t count;
    bool overflow;
};

static bool read_table(const struct data *data, uint64_t *offset, struct table *table)
{
    uint8_t raw[4];
    if (!read_at(data, *offset, raw, sizeof raw))
        return false;
    uint64_t count = get_le32(raw), bytes = count * NET_MAC_BYTES;
    *offset += sizeof raw;
    if (bytes > data->bytes - *offset)
        return false;
    table->overflow = count > VIRTIO_NET_TABLE_MACS;
    table->count = table->overflow ? 0 : (uint8_t)count;
    if (!read_at(data, *offset, table->macs, table->count * sizeof table->macs[0]))
        return false;
    *offset += bytes;
    return true;
}

static bool set_mac_tables(struct virtio_net *net, const struct data *data)
{
    struct table unicast = {0}, multicast = {0};
    uint64_t offset = 0;
    if (!has_feature(net, F_CTRL_RX) || !read_table(data, &offset, &unicast) ||
        !read_table(data, &offset, &multicast) || offset != data->bytes)
        return false;
    struct virtio_net_filter *filter = &net->filter;
    net_enter_path(net);
    memcpy(filter->unicast, unicast.macs, sizeof filter->unicast);
    memcpy(filter->multicast, multicast.macs, sizeof filter->multicast);
    filter->unicast_count = unicast.count;
    filter->multicast_count = multicast.count;
    filter->unicast_overflow = unicast.overflow;
    filter->multicast_overflow = multicast.overflow;
    net_leave_path(net);
    return true;
}

static bool set_mac_address(struct virtio_net *net, const struct data *data)
{
    struct virtio_net_mac mac;
    if (!has_feature(net, F_CTRL_MAC_ADDR) || !read_all(data, mac.bytes, sizeof mac.bytes))
        return false;
    net_enter_path(net);
    net->mac = mac;
    net_leave_path(net);
    net_fill_config(net);
    return true;
}

static bool set_mac(struct virtio_net *net, uint8_t command, const struct data *data)
{
    if (command == MAC_TABLE_SET)
        return set_mac_tables(net, data);
    return command == MAC_ADDRESS_SET && set_mac_address(net, data);
}

/* ---- The others ---- */

static bool set_vlan(struct virtio_net *net, uint8_t command, const struct data *data)
{
    uint8_t raw[2];
    if (!has_feature(net, F_CTRL_VLAN) || command > VLAN_REMOVE ||
        !read_all(data, raw, sizeof raw) || get_le16(raw) >= VIRTIO_NET_VLANS)
        return false;
    unsigned vlan = get_le16(raw);
    uint8_t *byte = &net->filter.vlans[vlan / 8], bit = (uint8_t)(1u << vlan % 8);
    net_enter_path(net);
    *byte = (uint8_t)(command == VLAN_ADD ? *byte | bit : *byte & ~bit);
    net_leave_path(net);
    return true;
}

static bool end_announcement(struct virtio_net *net, uint8_t command, const struct data *data)
{
    if (!has_feature(net, F_GUEST_ANNOUNCE) || command != ANNOUNCE_DONE || data->bytes != 0 ||
        !(net->status & NET_S_ANNOUNCE))
        return false;
    net->status = (uint16_t)(net->status & ~NET_S_ANNOUNCE);
    net_fill_config(net);
    return true;
}

static bool set_pairs(struct virtio_net *net, uint8_t command, const struct data *data)
{
    uint8_t raw[2];
    if (!has_feature(net, F_MQ) || command != MQ_PAIRS_SET || !read_all(data, raw, sizeof raw) ||
        get_le16(raw) < 1 || get_le16(raw) > net->pairs)
        return false;
    net_enter_path(net);
    net->pairs_in_use = get_le16(raw);
    net_leave_path(net);
    net_update(net, true);
    return true;
}

static bool set_offloads(struct virtio_net *net, uint8_t command, const struct data *data)
{
    uint8_t raw[8];
    if (!has_feature(net, F_CTRL_GUEST_OFFLOADS) || command != OFFLOADS_SET ||
        !read_all(data, raw, sizeof raw) ||
        get_le64(raw) & ~(net->transport.negotiated & GUEST_OFFLOADS))
        return false;
    net_enter_path(net);
    net->offloads_chosen = true;
    net->guest_offloads = get_le64(raw);
    net_leave_path(net);
    net_update(net, true);
    return true;
}

static bool (*const classes[])(struct virtio_net *net, uint8_t command, const struct data *data) = {
    [CLASS_RX] = set_mode,   [CLASS_MAC] = set_mac,
    [CLASS_VLAN] = set_vlan, [CLASS_ANNOUNCE] = end_announcement,
    [CLASS_MQ] = set_pairs,  [CLASS_OFFLOADS] = set_offloads,
};

void net_control(struct virtio_net *net, struct virtio_queue *queue, struct virtio_chain *chain)
{
    uint8_t command[COMMAND_BYTES];
    if (!has_feature(net, F_CTRL_VQ) || chain->writable_bytes == 0 ||
        !virtio_chain_read(chain, 0, command, sizeof command)) {
        virtio_mmio_break(&net->transport);
        return;
    }
    struct data data = {chain, chain->readable_bytes - COMMAND_BYTES};
    bool done = command[0] < ARRAY_COUNT(classes) && classes[command[0]](net, command[1], &data);
    uint8_t answer = done ? ANSWER_OK : ANSWER_ERROR;
    virtio_chain_write(chain, net->transport.host.memory, 0, &answer, 1);
    virtio_mmio_push(&net->transport, queue, chain->head, 1);
}

void net_control_reset(struct virtio_net *net)
{
    net->filter = (struct virtio_net_filter){.modes = VIRTIO_NET_PROMISC};
    memcpy(net->mac.bytes, net->machine_mac, NET_MAC_BYTES);
    net->pairs_in_use = 1;
    net->offloads_chosen = false;
    net->guest_offloads = 0;
}
