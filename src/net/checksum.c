/* SPDX-License-Identifier: Apache-2.0 */
#include "net/checksum.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#define ETHERNET_BYTES 14u
#define IP4_BYTES 20u
#define IP6_BYTES 40u

enum { ETHERTYPE_IP4 = 0x0800, ETHERTYPE_IP6 = 0x86dd };

static uint16_t get16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

/* Sums are of 16-bit words as they lie in memory: RFC 1071 §2(B). */
static uint64_t add(uint64_t sum, const uint8_t *bytes, size_t length)
{
    uint32_t word;
    for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        sum += word;
    }
    word = 0;
    memcpy(&word, bytes, length);
    return sum + word;
}

static uint16_t finish(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* `from` is the segment's, `field` the place of its checksum; `sum` that of the pseudo header's
 * addresses. */
static void fill(uint8_t *from, size_t bytes, size_t field, uint8_t protocol, uint64_t sum)
{
    uint16_t value;
    memset(from + field, 0, sizeof value);
    sum += htons(protocol);
    sum += htonl((uint32_t)bytes);
    value = finish(add(sum, from, bytes));
    if (value == 0 && protocol == IPPROTO_UDP)
        value = 0xffff;
    memcpy(from + field, &value, sizeof value);
}

static void fill_segment(uint8_t *segment, size_t bytes, uint8_t protocol, uint64_t sum,
                         bool may_lack)
{
    if (protocol == IPPROTO_TCP && bytes >= 20)
        fill(segment, bytes, 16, protocol, sum);
    else if (protocol == IPPROTO_UDP && bytes >= 8 && !(may_lack && get16(segment + 6) == 0))
        fill(segment, bytes, 6, protocol, sum);
}

static void fill_ip4(uint8_t *packet, size_t bytes)
{
    if (bytes < IP4_BYTES)
        return;
    size_t header = (packet[0] & 15u) * 4u, total = get16(packet + 2);
    bool fragment = get16(packet + 6) & 0x3fff;
    if (packet[0] >> 4 != 4 || header < IP4_BYTES || total < header || total > bytes || fragment)
        return;
    fill_segment(packet + header, total - header, packet[9], add(0, packet + 12, 8), true);
}

static void fill_ip6(uint8_t *packet, size_t bytes)
{
    if (bytes < IP6_BYTES || packet[0] >> 4 != 6)
        return;
    size_t length = get16(packet + 4);
    if (length > bytes - IP6_BYTES)
        return;
    fill_segment(packet + IP6_BYTES, length, packet[6], add(0, packet + 8, 32), false);
}

void frame_fill_checksum(uint8_t *frame, size_t bytes)
{
    if (bytes < ETHERNET_BYTES)
        return;
    switch (get16(frame + 12)) {
    case ETHERTYPE_IP4:
        fill_ip4(frame + ETHERNET_BYTES, bytes - ETHERNET_BYTES);
        break;
    case ETHERTYPE_IP6:
        fill_ip6(frame + ETHERNET_BYTES, bytes - ETHERNET_BYTES);
        break;
    default:
        break;
    }
}
