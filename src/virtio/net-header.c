/* SPDX-License-Identifier: Apache-2.0 */
/* The header before each frame (virtio 1.2 §5.1.6), which a guest or a peer may have written. */
#include "base/bytes.h"
#include "base/cleanup.h"
#include "virtio/net-internal.h"

enum {
    AT_FLAGS = 0,
    AT_GSO_TYPE = 1,
    AT_HEADER_BYTES = 2,
    AT_GSO_SIZE = 4,
    AT_CSUM_START = 6,
    AT_CSUM_OFFSET = 8,
    AT_BUFFERS = 10,
};

enum { FLAG_NEEDS_CSUM = 1, FLAG_DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };

static const struct {
    uint8_t type;
    enum net_offload offload;
} segmentations[] = {
    {GSO_TCPV4, NET_TSO4},
    {GSO_TCPV6, NET_TSO6},
    {GSO_UDP_L4, NET_USO},
};

static bool checksum_fits(const uint8_t *header, uint64_t frame_bytes)
{
    uint32_t start = get_le16(header + AT_CSUM_START), offset = get_le16(header + AT_CSUM_OFFSET);
    return start + offset + 2 <= frame_bytes;
}

static bool segmentation_allowed(uint8_t type, unsigned offloads)
{
    if (type & GSO_ECN && !(offloads & NET_ECN))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(segmentations); i++)
        if (segmentations[i].type == (type & ~GSO_ECN))
            return offloads & segmentations[i].offload;
    return false;
}

/* A driver's frame that is to be cut needs its checksum filled in as well (§5.1.6.2.1). One that
 * the host's kernel has put together of several may have been checked there already. */
bool net_header_clean(uint8_t header[NET_HEADER_BYTES], uint64_t frame_bytes, unsigned offloads,
                      bool received)
{
    bool may_be_valid = received && offloads & NET_CHECKSUM;
    header[AT_FLAGS] &= may_be_valid ? FLAG_NEEDS_CSUM | FLAG_DATA_VALID : FLAG_NEEDS_CSUM;
    put_le16(header + AT_BUFFERS, 1);
    if (header[AT_FLAGS] & FLAG_NEEDS_CSUM) {
        if (!(offloads & NET_CHECKSUM) || !checksum_fits(header, frame_bytes))
            return false;
    } else {
        put_le32(header + AT_CSUM_START, 0);
    }
    if (header[AT_GSO_TYPE] == GSO_NONE) {
        put_le32(header + AT_HEADER_BYTES, 0);
        return true;
    }
    return header[AT_FLAGS] != 0 && get_le16(header + AT_GSO_SIZE) != 0 &&
           get_le16(header + AT_HEADER_BYTES) <= frame_bytes &&
           segmentation_allowed(header[AT_GSO_TYPE], offloads);
}

static const struct {
    enum net_offload offload;
    uint64_t out, in; /* features, all of which are needed */
} meanings[] = {
    {NET_CHECKSUM, F_CSUM, F_GUEST_CSUM},
    {NET_TSO4, F_CSUM | F_HOST_TSO4, F_GUEST_CSUM | F_GUEST_TSO4},
    {NET_TSO6, F_CSUM | F_HOST_TSO6, F_GUEST_CSUM | F_GUEST_TSO6},
    {NET_ECN, F_CSUM | F_HOST_ECN, F_GUEST_CSUM | F_GUEST_ECN},
    {NET_USO, F_CSUM | F_HOST_USO, F_GUEST_CSUM | F_GUEST_USO4 | F_GUEST_USO6},
};

unsigned net_offloads_in(const struct virtio_net *net)
{
    uint64_t features = net->offloads_chosen ? net->guest_offloads : net->features;
    unsigned offloads = 0;
    for (size_t i = 0; i < ARRAY_COUNT(meanings); i++)
        if ((features & meanings[i].in) == meanings[i].in)
            offloads |= meanings[i].offload;
    return offloads;
}

unsigned net_offloads_out(const struct virtio_net *net)
{
    unsigned offloads = 0;
    for (size_t i = 0; i < ARRAY_COUNT(meanings); i++)
        if ((net->features & meanings[i].out) == meanings[i].out)
            offloads |= meanings[i].offload;
    return offloads;
}
