/* SPDX-License-Identifier: Apache-2.0 */
/* UDP datagrams, or with tso=1 large TCP segments, that carry "godwit" and a number. */
#include "net.h"

enum { AT_IP = 14, AT_UDP = 34, AT_NUMBER_UDP = 42, AT_NUMBER_TCP = 54, LEAST_BYTES = 60, MOST_DATAGRAM = 9014 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, SEGMENT_BYTES = 1448, SOURCE_PORT = 40009 };
#define BURST 64 /* frames between looks at what has come in */
static const uint8_t mark[8] = {'g', 'o', 'd', 'w', 'i', 't', '1', '\n'};

struct numbers_seen numbers_seen;
static uint8_t template[128]; /* all of the frame up to the number */
static struct header template_header;
static uint32_t number_at, frame_bytes;
static uint64_t number, due;

static uint32_t limited(uint64_t bytes, uint32_t most)
{
    return bytes < LEAST_BYTES + 16 ? LEAST_BYTES : bytes > most ? most : (uint32_t)bytes;
}

/* The address sum of TCP's and UDP's checksum. */
static uint16_t address_sum(uint8_t protocol, uint16_t bytes)
{
    return checksum(template + AT_IP + 12, 8, (uint32_t)protocol + bytes);
}

static void make_ip(uint8_t protocol)
{
    static const uint8_t head[8] = {0x45, 0, 0, 0, 0, 0, 0x40, 0};
    uint8_t *ip = template + AT_IP;
    copy(template, options.peer_mac, MAC_BYTES);
    copy(template + MAC_BYTES, card_mac, MAC_BYTES);
    put16(template + AT_TYPE, 0x0800);
    copy(ip, head, sizeof head);
    put16(ip + 2, (uint16_t)(frame_bytes - AT_IP));
    ip[8] = 64;
    ip[9] = protocol;
    copy(ip + 12, options.ip, 4);
    copy(ip + 16, options.peer, 4);
    put16(ip + 10, (uint16_t)~checksum(ip, 20, 0));
    put16(template + AT_UDP, SOURCE_PORT);
    put16(template + AT_UDP + 2, (uint16_t)options.port);
}

/* Memory that was never written may be one page for the host again and again. */
static void write_rooms(void)
{
    for (uint32_t i = 0; i < RING_ENTRIES; i++)
        for (uint32_t at = 0; at < frame_bytes; at += 8)
            put64(card_room_bytes(i) + at, at * 0x9e3779b97f4a7c15u + i);
}

static void make_template(void)
{
    if (options.tso) {
        frame_bytes = limited(options.bytes, FRAME_BYTES - AT_IP);
        number_at = AT_NUMBER_TCP;
        make_ip(PROTOCOL_TCP);
        template[AT_UDP + 12] = 0x50; /* five words of header */
        template[AT_UDP + 13] = 0x10; /* ACK */
        put16(template + AT_UDP + 16, address_sum(PROTOCOL_TCP, (uint16_t)(frame_bytes - AT_UDP)));
        template_header = (struct header){.flags = HEADER_NEEDS_CHECKSUM, .gso_type = HEADER_TCPV4,
            .header_bytes = AT_NUMBER_TCP, .gso_bytes = SEGMENT_BYTES, .checksum_start = AT_UDP, .checksum_offset = 16};
    } else {
        frame_bytes = limited(options.bytes, MOST_DATAGRAM);
        number_at = AT_NUMBER_UDP;
        make_ip(PROTOCOL_UDP);
        put16(template + AT_UDP + 4, (uint16_t)(frame_bytes - AT_UDP)); /* and no checksum: 0 */
    }
    copy(template + number_at, mark, sizeof mark);
    write_rooms();
}

static bool send_one(void)
{
    struct frame *frame = card_room();
    if (frame == NULL)
        return false;
    *frame->header = template_header;
    copy(frame->bytes, template, number_at + sizeof mark);
    if (number_at + 16 <= frame_bytes)
        put64(frame->bytes + number_at + 8, number);
    number++;
    frame->count = frame_bytes;
    card_send(frame);
    return true;
}

uint64_t traffic_send(uint64_t now)
{
    if (frame_bytes == 0) {
        make_template();
        due = now;
    }
    uint64_t between = options.rate > 0 ? ticks_per_ms * 1000 / options.rate : 0;
    for (uint32_t i = 0; i < BURST && due <= now; i++) {
        if (!send_one())
            return 0;
        due += between;
    }
    if (options.rate == 0)
        due = now;
    else if (due + 100 * ticks_per_ms < now)
        due = now - 100 * ticks_per_ms;
    return due;
}

void traffic_count(const struct frame *frame)
{
    uint32_t at = frame->count > AT_IP + 9 && frame->bytes[AT_IP + 9] == PROTOCOL_TCP ? AT_NUMBER_TCP : AT_NUMBER_UDP;
    if (frame->count < at + 16 || !same(frame->bytes + at, mark, sizeof mark))
        return;
    uint64_t seen = get64(frame->bytes + at + 8);
    if (seen < numbers_seen.next) {
        numbers_seen.late++;
        return;
    }
    numbers_seen.lost += seen - numbers_seen.next;
    numbers_seen.next = seen + 1;
}
