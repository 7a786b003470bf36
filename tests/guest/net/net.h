/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of nothing but a network card: it answers, sends or counts frames, and tells how many. While there is
 * nothing to do it halts, so that notifications and interrupts are as dear as they are.
 *
 * Words of the command line (options.c): mode=echo|send|sink, ip=, ip6=; for send: peer=A.B.C.D, peer_mac=,
 * port=, bytes= (of a frame), rate= (frames a second), tso=1; for all: offloads=1 (checksums and segmentation are
 * negotiated), card=N (which one of several), report=MS, tsc_khz=. Typed keys: r reports, q powers off, R resets.
 */
#ifndef NET_H
#define NET_H

#include "bare.h"

#define MAC_BYTES 6u
#define HEADER_BYTES 12u /* struct virtio_net_hdr_v1 */
#define FRAME_BYTES 65550u /* the longest */
#define TX_BYTES 69632u /* of a transmit buffer */

enum mode { MODE_ECHO, MODE_SEND, MODE_SINK };

struct options {
    uint64_t mode;
    uint8_t ip[4], ip6[16], peer[4], peer_mac[MAC_BYTES];
    uint64_t port, bytes;
    uint64_t rate; /* frames a second; 0: as many as go */
    uint64_t tso, offloads, card;
    uint64_t report_ms; /* 0: only when asked */
    uint64_t tsc_khz;
};
extern struct options options;
bool options_read(const char *line, const char **ret_word);

/* struct virtio_net_hdr_v1 (virtio 1.2 §5.1.6). */
struct header {
    uint8_t flags, gso_type;
    uint16_t header_bytes, gso_bytes, checksum_start, checksum_offset, buffers;
};
enum { HEADER_NEEDS_CHECKSUM = 1, HEADER_TCPV4 = 1 };

/* ---- ring.c: a split virtqueue (virtio 1.2 §2.7), seen from the driver ---- */

#define RING_ENTRIES 256u

struct ring {
    /* shared with the device */
    struct {
        volatile uint64_t address;
        volatile uint32_t bytes;
        volatile uint16_t flags, next;
    } descriptors[RING_ENTRIES];
    struct {
        volatile uint16_t flags, index, heads[RING_ENTRIES], used_event;
    } available __attribute__((aligned(4)));
    struct {
        volatile uint16_t flags, index;
        struct {
            volatile uint32_t head, bytes;
        } entries[RING_ENTRIES];
        volatile uint16_t available_event;
    } used __attribute__((aligned(4096)));
    /* ours */
    uint16_t number; /* of the queue */
    uint16_t filled; /* index behind the last entry that was made available, published or not */
    uint16_t published, taken;
} __attribute__((aligned(4096)));

#define DESCRIPTOR_NEXT 1
#define DESCRIPTOR_WRITE 2

/* Makes a chain available; the device sees it after ring_publish(). */
void ring_fill(struct ring *ring, uint16_t head);
/* True: the device wants to be notified. */
bool ring_publish(struct ring *ring, bool has_events);
bool ring_has_used(const struct ring *ring);
/* The next used chain; only after ring_has_used(). */
uint16_t ring_take(struct ring *ring, uint32_t *ret_bytes);
/* Asks for an interrupt once `more` further chains are used. True: they are already. */
bool ring_arm(struct ring *ring, uint16_t more, bool has_events);
void ring_disarm(struct ring *ring, bool has_events);

/* ---- card.c ---- */

struct frame {
    struct header *header; /* num_buffers means nothing any more */
    uint8_t *bytes;
    uint32_t count;
};

struct counts {
    uint64_t in, in_bytes, out, out_bytes, too_long;
};

extern uint8_t card_mac[MAC_BYTES];
extern struct counts counts;
/* The card works, or a sentence why not. */
const char *card_start(void);
/* The next frame that has come; it is there until the next call. False: none. */
bool card_receive(struct frame *ret_frame);
/* Room for a frame to send, or NULL; the header is zero. */
struct frame *card_room(void);
/* The buffers of all rooms, by number, for who wants to fill them beforehand. */
uint8_t *card_room_bytes(uint32_t number);
/* Sends what card_room() gave; frame->count says how much of it. */
void card_send(struct frame *frame);
/* Tells the device of what was sent and of receive buffers. */
void card_flush(void);
/* Halts unless there is what is waited for: frames that came, room for frames. */
void card_rest(bool for_frames, bool for_room);
/* Acknowledges interrupts. True: the device asks that the guest announces itself. */
bool card_attend(void);
/* The guest has announced itself. */
void card_announced(void);

/* ---- wire.c: fields of frames ---- */

enum { AT_TYPE = 12, AT_PAYLOAD = 14 };
static inline uint16_t get16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}
static inline void put16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}
void put64(uint8_t *to, uint64_t value);
uint64_t get64(const uint8_t *from);
void copy(void *to, const void *from, size_t bytes);
bool same(const void *one, const void *other, size_t bytes);
bool is_zero(const void *bytes, size_t count);
void swap(uint8_t *one, uint8_t *other, size_t bytes);
/* The ones' complement sum of 16-bit words, begun with `sum`; not inverted. */
uint16_t checksum(const uint8_t *bytes, size_t count, uint32_t sum);

/* ---- answer.c ---- */

/* Makes the frame, which came in, into what is to go out. False: there is no answer to it. */
bool answer(uint8_t *frame, uint32_t *count);
/* Tells the network where our addresses are; false: no room for frames, again later. */
bool announce(void);

/* ---- traffic.c: frames with numbers ---- */

struct numbers_seen {
    uint64_t next, lost, late;
};
extern struct numbers_seen numbers_seen;
/* Sends as many as there is room for and as are due. When the next is: 0: when there is room. */
uint64_t traffic_send(uint64_t now);
void traffic_count(const struct frame *frame);

#endif
