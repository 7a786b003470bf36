/* SPDX-License-Identifier: Apache-2.0 */
/* ARP (RFC 826), neighbour discovery (RFC 4861), ping (RFC 792, RFC 4443) and UDP's echo. Addresses and ports are
 * only swapped, so checksums stay what they are but for what a ping's new type changes. */
#include "net.h"

enum { TYPE_IP4 = 0x0800, TYPE_ARP = 0x0806, TYPE_IP6 = 0x86dd };
enum { PROTOCOL_ICMP = 1, PROTOCOL_UDP = 17, PROTOCOL_FRAGMENT = 44, PROTOCOL_ICMP6 = 58 };
enum { ECHO_REPLY = 0, ECHO = 8, ECHO6 = 128, ECHO_REPLY6 = 129, SOLICITATION = 135, ADVERTISEMENT = 136 };
enum { ARP_FRAME_BYTES = 42, NEIGHBOUR_FRAME_BYTES = 86 };
#define SOLICITED_AND_OVERRIDE 0x60
#define OVERRIDE 0x20

static const uint8_t broadcast[MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void turn_back(uint8_t *frame)
{
    copy(frame, frame + MAC_BYTES, MAC_BYTES);
    copy(frame + MAC_BYTES, card_mac, MAC_BYTES);
}

/* A word of the summed bytes went from `before` to `now`. */
static void amend_checksum(uint8_t *at, uint16_t before, uint16_t now)
{
    uint32_t sum = (uint32_t)(uint16_t)~get16(at) + (uint16_t)~before + now;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(at, (uint16_t)~sum);
}

static bool answer_arp(uint8_t *frame, uint32_t *count)
{
    static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint8_t *arp = frame + AT_PAYLOAD;
    if (*count < ARP_FRAME_BYTES || !same(arp, request, 8) || !same(arp + 24, options.ip, 4) || is_zero(options.ip, 4))
        return false;
    arp[7] = 2;
    copy(arp + 18, arp + 8, 10);
    copy(arp + 8, card_mac, MAC_BYTES);
    copy(arp + 14, options.ip, 4);
    turn_back(frame);
    *count = ARP_FRAME_BYTES;
    return true;
}

/* What has ports or a type is at `at`; false: nobody here answers it. */
static bool answer_protocol(uint8_t protocol, uint8_t *at, uint32_t left)
{
    if (left < 8)
        return false;
    if (protocol == PROTOCOL_UDP && options.mode == MODE_ECHO) {
        swap(at, at + 2, 2);
        return true;
    }
    uint8_t ask = protocol == PROTOCOL_ICMP ? ECHO : ECHO6, reply = protocol == PROTOCOL_ICMP ? ECHO_REPLY : ECHO_REPLY6;
    if ((protocol != PROTOCOL_ICMP && protocol != PROTOCOL_ICMP6) || at[0] != ask || at[1] != 0)
        return false;
    at[0] = reply;
    amend_checksum(at + 2, (uint16_t)(ask << 8), (uint16_t)(reply << 8));
    return true;
}

/* Of later fragments only the addresses are turned: the reply's fragments fit together as those of the request. */
static bool answer_ip4(uint8_t *frame, uint32_t *count)
{
    uint8_t *ip = frame + AT_PAYLOAD;
    uint32_t left = *count - AT_PAYLOAD, head = (ip[0] & 15) * 4u;
    if (left < 20 || ip[0] >> 4 != 4 || head < 20 || left < head || get16(ip + 2) < head || get16(ip + 2) > left ||
        !same(ip + 16, options.ip, 4) || is_zero(options.ip, 4))
        return false;
    bool first = (get16(ip + 6) & 0x1fff) == 0;
    if (first && !answer_protocol(ip[9], ip + head, get16(ip + 2) - head))
        return false;
    swap(ip + 12, ip + 16, 4);
    turn_back(frame);
    *count = AT_PAYLOAD + get16(ip + 2);
    return true;
}

static void put_checksum6(uint8_t *ip)
{
    uint16_t bytes = get16(ip + 4);
    put16(ip + 42, 0);
    put16(ip + 42, (uint16_t)~checksum(ip + 8, 32u + bytes, (uint32_t)bytes + PROTOCOL_ICMP6));
}

/* An advertisement of our address in a frame with room for it. */
static void put_advertisement(uint8_t *frame, const uint8_t *to, uint8_t flags)
{
    static const uint8_t head[8] = {0x60, 0, 0, 0, 0, 32, PROTOCOL_ICMP6, 255};
    uint8_t *ip = frame + AT_PAYLOAD;
    put16(frame + AT_TYPE, TYPE_IP6);
    copy(ip + 24, to, 16);
    copy(ip, head, 8);
    copy(ip + 8, options.ip6, 16);
    for (int i = 40; i < 48; i++)
        ip[i] = 0;
    ip[40] = ADVERTISEMENT;
    ip[44] = flags;
    copy(ip + 48, options.ip6, 16);
    ip[64] = 2; /* the target's link-layer address */
    ip[65] = 1;
    copy(ip + 66, card_mac, MAC_BYTES);
    put_checksum6(ip);
}

static bool answer_solicitation(uint8_t *frame, uint32_t *count)
{
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1};
    uint8_t *ip = frame + AT_PAYLOAD, asker[16];
    if (*count < AT_PAYLOAD + 64 || !same(ip + 48, options.ip6, 16))
        return false;
    copy(asker, ip + 8, 16);
    turn_back(frame);
    put_advertisement(frame, is_zero(asker, 16) ? all_nodes : asker, SOLICITED_AND_OVERRIDE);
    *count = NEIGHBOUR_FRAME_BYTES;
    return true;
}

static bool answer_ip6(uint8_t *frame, uint32_t *count)
{
    uint8_t *ip = frame + AT_PAYLOAD;
    uint32_t left = *count - AT_PAYLOAD;
    if (left < 48 || ip[0] >> 4 != 6 || get16(ip + 4) > left - 40 || is_zero(options.ip6, 16))
        return false;
    if (ip[6] == PROTOCOL_ICMP6 && ip[40] == SOLICITATION)
        return answer_solicitation(frame, count);
    bool fragment = ip[6] == PROTOCOL_FRAGMENT;
    uint32_t head = fragment ? 8 : 0, bytes = get16(ip + 4);
    uint8_t protocol = fragment ? ip[40] : ip[6];
    bool first = !fragment || (get16(ip + 42) & 0xfff8) == 0;
    if (bytes < head || !same(ip + 24, options.ip6, 16) ||
        (first && !answer_protocol(protocol, ip + 40 + head, bytes - head)))
        return false;
    swap(ip + 8, ip + 24, 16);
    turn_back(frame);
    *count = AT_PAYLOAD + 40u + get16(ip + 4);
    return true;
}

bool answer(uint8_t *frame, uint32_t *count)
{
    if (*count < AT_PAYLOAD)
        return false;
    switch (get16(frame + AT_TYPE)) {
    case TYPE_ARP:
        return answer_arp(frame, count);
    case TYPE_IP4:
        return answer_ip4(frame, count);
    case TYPE_IP6:
        return answer_ip6(frame, count);
    }
    return false;
}

/* ---- Unasked ---- */

static bool announce_ip4(void)
{
    static const uint8_t head[10] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
    struct frame *frame = card_room();
    if (frame == NULL)
        return false;
    uint8_t *arp = frame->bytes + AT_PAYLOAD;
    copy(frame->bytes, broadcast, MAC_BYTES);
    copy(frame->bytes + MAC_BYTES, card_mac, MAC_BYTES);
    copy(frame->bytes + AT_TYPE, head, sizeof head);
    copy(arp + 8, card_mac, MAC_BYTES);
    copy(arp + 14, options.ip, 4);
    for (int i = 18; i < 24; i++)
        arp[i] = 0;
    copy(arp + 24, options.ip, 4);
    frame->count = ARP_FRAME_BYTES;
    card_send(frame);
    return true;
}

static bool announce_ip6(void)
{
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1}, group[MAC_BYTES] = {0x33, 0x33, 0, 0, 0, 1};
    struct frame *frame = card_room();
    if (frame == NULL)
        return false;
    copy(frame->bytes, group, MAC_BYTES);
    copy(frame->bytes + MAC_BYTES, card_mac, MAC_BYTES);
    put_advertisement(frame->bytes, all_nodes, OVERRIDE);
    frame->count = NEIGHBOUR_FRAME_BYTES;
    card_send(frame);
    return true;
}

bool announce(void)
{
    return (is_zero(options.ip, 4) || announce_ip4()) && (is_zero(options.ip6, 16) || announce_ip6());
}
