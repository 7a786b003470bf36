/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums of TCP and UDP, for frames of a back end that leaves them out. */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Puts the checksum of RFC 9293 §3.1 or RFC 768 into an Ethernet frame without a VLAN tag, of TCP
 * or UDP over IPv4 or IPv6. Everything else stays as it is: other protocols, fragments, IPv6 with
 * extension headers, UDP over IPv4 that says that it has none, and what is shorter than it says. */
void frame_fill_checksum(uint8_t *frame, size_t bytes);

#endif
