/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network card on virtio-mmio (virtio 1.2 §4.2.2, §5.1). Interrupts come by an edge on the IOAPIC's pin and
 * only end a halt; what they were for is asked when awake. A transmit buffer belongs to the descriptor of its
 * number, header and frame in one piece, and so does a receive buffer.
 */
#include "net.h"

/* Both machines have their virtio slots there, with pins from 16 on. */
#define SLOTS UINT64_C(0xfeb00000)
#define SLOT_BYTES 0x200
#define SLOT_COUNT 8
#define FIRST_PIN 16
#define IOAPIC_SELECT ((volatile uint32_t *)0xfec00000)
#define IOAPIC_WINDOW ((volatile uint32_t *)0xfec00010)
#define IOAPIC_PINS 0x10 /* two registers for each */

enum {
    REG_MAGIC = 0x00,
    REG_VERSION = 0x04,
    REG_DEVICE_ID = 0x08,
    REG_DEVICE_FEATURES = 0x10,
    REG_DEVICE_FEATURES_SELECT = 0x14,
    REG_DRIVER_FEATURES = 0x20,
    REG_DRIVER_FEATURES_SELECT = 0x24,
    REG_QUEUE_SELECT = 0x30,
    REG_QUEUE_SIZE_MAX = 0x34,
    REG_QUEUE_SIZE = 0x38,
    REG_QUEUE_READY = 0x44,
    REG_QUEUE_NOTIFY = 0x50,
    REG_INTERRUPT_STATUS = 0x60,
    REG_INTERRUPT_ACK = 0x64,
    REG_STATUS = 0x70,
    REG_QUEUE_DESC = 0x80,
    REG_QUEUE_DRIVER = 0x90,
    REG_QUEUE_DEVICE = 0xa0,
    CONFIG = 0x100,
};
#define MAGIC 0x74726976
#define ID_NET 1
enum { STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8 };
enum { INTERRUPT_CONFIG = 2, CONFIG_STATUS = CONFIG + 6, LINK_ANNOUNCE = 2 };

#define BIT(n) (UINT64_C(1) << (n))
#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_MAC BIT(5)
#define F_GUEST_TSO4 BIT(7)
#define F_GUEST_TSO6 BIT(8)
#define F_HOST_TSO4 BIT(11)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_GUEST_ANNOUNCE BIT(21)
#define F_EVENT_IDX BIT(29)
#define F_VERSION_1 BIT(32)
#define FEATURES_NEEDED (F_VERSION_1 | F_MAC | F_MRG_RXBUF)
#define FEATURES_WANTED (FEATURES_NEEDED | F_STATUS | F_EVENT_IDX | F_CTRL_VQ | F_GUEST_ANNOUNCE)
#define FEATURES_OFFLOADS (F_CSUM | F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_HOST_TSO4)

/* Where buffers lie: beyond what a loader need zero. */
#define TX_BUFFERS (16 * MiB)
#define RX_BUFFERS (TX_BUFFERS + RING_ENTRIES * TX_BYTES)
#define RX_BYTES 2048u
#define MEMORY_END (RX_BUFFERS + RING_ENTRIES * RX_BYTES)

enum { RECEIVE, TRANSMIT, CONTROL };
static struct ring rings[3];
static uint64_t slot;
static bool has_events, has_announce;
static struct frame room[RING_ENTRIES]; /* by descriptor */
static uint16_t free_rooms[RING_ENTRIES], free_count;
static uint16_t returned[RING_ENTRIES], returned_count; /* receive buffers of the frame that was received last */
static uint8_t joined[HEADER_BYTES + FRAME_BYTES] __attribute__((aligned(8))); /* a frame that came in several buffers */

uint8_t card_mac[MAC_BYTES];
struct counts counts;

static uint32_t read_register(uint64_t offset)
{
    return *(volatile uint32_t *)(slot + offset);
}

static void write_register(uint64_t offset, uint32_t value)
{
    *(volatile uint32_t *)(slot + offset) = value;
}

static bool find_slot(uint32_t *ret_number)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        slot = SLOTS + i * SLOT_BYTES;
        if (read_register(REG_MAGIC) != MAGIC || read_register(REG_VERSION) != 2 ||
            read_register(REG_DEVICE_ID) != ID_NET || found++ != options.card)
            continue;
        *ret_number = i;
        return true;
    }
    return false;
}

static void connect_interrupt(uint32_t pin)
{
    *IOAPIC_SELECT = IOAPIC_PINS + 2 * pin + 1;
    *IOAPIC_WINDOW = 0; /* to CPU 0 */
    *IOAPIC_SELECT = IOAPIC_PINS + 2 * pin;
    *IOAPIC_WINDOW = WAKE_VECTOR; /* by edge, not masked */
}

static bool negotiate(void)
{
    uint64_t offered = 0;
    for (uint32_t i = 0; i < 2; i++) {
        write_register(REG_DEVICE_FEATURES_SELECT, i);
        offered |= (uint64_t)read_register(REG_DEVICE_FEATURES) << (32 * i);
    }
    uint64_t features = offered & (FEATURES_WANTED | (options.offloads ? FEATURES_OFFLOADS : 0));
    if (!(features & F_CTRL_VQ))
        features &= ~F_GUEST_ANNOUNCE;
    for (uint32_t i = 0; i < 2; i++) {
        write_register(REG_DRIVER_FEATURES_SELECT, i);
        write_register(REG_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
    }
    has_events = features & F_EVENT_IDX;
    has_announce = features & F_GUEST_ANNOUNCE;
    write_register(REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    return (features & FEATURES_NEEDED) == FEATURES_NEEDED && read_register(REG_STATUS) & STATUS_FEATURES_OK;
}

static void write_address(uint64_t offset, const volatile void *address)
{
    write_register(offset, (uint32_t)(uint64_t)address);
    write_register(offset + 4, (uint32_t)((uint64_t)address >> 32));
}

static bool start_ring(uint16_t number)
{
    struct ring *ring = &rings[number];
    ring->number = number;
    write_register(REG_QUEUE_SELECT, number);
    if (read_register(REG_QUEUE_SIZE_MAX) < RING_ENTRIES)
        return false;
    write_register(REG_QUEUE_SIZE, RING_ENTRIES);
    write_address(REG_QUEUE_DESC, ring->descriptors);
    write_address(REG_QUEUE_DRIVER, &ring->available);
    write_address(REG_QUEUE_DEVICE, &ring->used);
    write_register(REG_QUEUE_READY, 1);
    return true;
}

static void publish(struct ring *ring)
{
    if (ring_publish(ring, has_events))
        write_register(REG_QUEUE_NOTIFY, ring->number);
}

static void fill_receive_ring(void)
{
    for (uint16_t i = 0; i < RING_ENTRIES; i++) {
        rings[RECEIVE].descriptors[i].address = RX_BUFFERS + i * RX_BYTES;
        rings[RECEIVE].descriptors[i].bytes = RX_BYTES;
        rings[RECEIVE].descriptors[i].flags = DESCRIPTOR_WRITE;
        ring_fill(&rings[RECEIVE], i);
    }
}

static void prepare_rooms(void)
{
    for (uint16_t i = 0; i < RING_ENTRIES; i++) {
        uint8_t *buffer = (uint8_t *)(TX_BUFFERS + i * TX_BYTES);
        room[i] = (struct frame){(struct header *)buffer, buffer + HEADER_BYTES, 0};
        free_rooms[free_count++] = i;
    }
}

static bool memory_suffices(void)
{
    for (uint32_t i = 0; i < ram_count; i++)
        if (ram[i].address <= TX_BUFFERS && ram[i].address + ram[i].bytes >= MEMORY_END)
            return true;
    return false;
}

const char *card_start(void)
{
    uint32_t number;
    if (!memory_suffices())
        return "there is too little memory";
    if (!find_slot(&number))
        return "there is no network card with virtio 1";
    connect_interrupt(FIRST_PIN + number);
    write_register(REG_STATUS, 0);
    write_register(REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    if (!negotiate())
        return "the card lacks what this driver needs";
    for (uint16_t i = 0; i < (has_announce ? 3 : 2); i++)
        if (!start_ring(i))
            return "the card lacks a queue";
    for (uint32_t i = 0; i < MAC_BYTES; i++)
        card_mac[i] = *(volatile uint8_t *)(slot + CONFIG + i);
    prepare_rooms();
    fill_receive_ring();
    write_register(REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
    publish(&rings[RECEIVE]);
    return NULL;
}

/* ---- In ---- */

static uint8_t *take_buffer(uint32_t *ret_bytes)
{
    uint16_t head = ring_take(&rings[RECEIVE], ret_bytes);
    returned[returned_count++] = head;
    return (uint8_t *)(RX_BUFFERS + head * RX_BYTES);
}

/* The device publishes all buffers of a frame at once. */
static bool join_buffers(const uint8_t *first, uint32_t bytes, uint16_t buffers, struct frame *ret_frame)
{
    uint32_t total = bytes;
    copy(joined, first, bytes);
    for (uint16_t i = 1; i < buffers; i++) {
        const uint8_t *next = take_buffer(&bytes);
        if (bytes <= sizeof joined - total)
            copy(joined + total, next, bytes);
        total += bytes;
    }
    counts.too_long += total > sizeof joined;
    *ret_frame = (struct frame){(struct header *)joined, joined + HEADER_BYTES, total - HEADER_BYTES};
    return total <= sizeof joined;
}

static void give_buffers_back(void)
{
    for (uint16_t i = 0; i < returned_count; i++)
        ring_fill(&rings[RECEIVE], returned[i]);
    returned_count = 0;
}

bool card_receive(struct frame *ret_frame)
{
    give_buffers_back();
    if (!ring_has_used(&rings[RECEIVE]))
        return false;
    uint32_t bytes;
    uint8_t *buffer = take_buffer(&bytes);
    struct header *header = (struct header *)buffer;
    *ret_frame = (struct frame){header, buffer + HEADER_BYTES, bytes - HEADER_BYTES};
    if (header->buffers > 1 && !join_buffers(buffer, bytes, header->buffers, ret_frame))
        ret_frame->count = 0;
    counts.in++;
    counts.in_bytes += ret_frame->count;
    return true;
}

/* ---- Out ---- */

static void take_rooms_back(void)
{
    uint32_t bytes;
    while (ring_has_used(&rings[TRANSMIT]))
        free_rooms[free_count++] = ring_take(&rings[TRANSMIT], &bytes);
}

struct frame *card_room(void)
{
    if (free_count == 0)
        take_rooms_back();
    if (free_count == 0)
        return NULL;
    struct frame *frame = &room[free_rooms[free_count - 1]];
    *frame->header = (struct header){0};
    return frame;
}

uint8_t *card_room_bytes(uint32_t number)
{
    return room[number].bytes;
}

void card_send(struct frame *frame)
{
    uint16_t number = free_rooms[--free_count];
    rings[TRANSMIT].descriptors[number].address = (uint64_t)frame->header;
    rings[TRANSMIT].descriptors[number].bytes = HEADER_BYTES + frame->count;
    ring_fill(&rings[TRANSMIT], number);
    counts.out++;
    counts.out_bytes += frame->count;
}

void card_flush(void)
{
    publish(&rings[TRANSMIT]);
    publish(&rings[RECEIVE]);
}

void card_rest(bool for_frames, bool for_room)
{
    bool ready = for_frames && ring_arm(&rings[RECEIVE], 1, has_events);
    if (for_room)
        ready |= ring_arm(&rings[TRANSMIT], RING_ENTRIES / 2, has_events);
    if (!ready)
        cpu_halt();
    if (for_frames)
        ring_disarm(&rings[RECEIVE], has_events);
    if (for_room)
        ring_disarm(&rings[TRANSMIT], has_events);
}

/* ---- The card's own news ---- */

bool card_attend(void)
{
    uint32_t causes = read_register(REG_INTERRUPT_STATUS);
    if (causes != 0)
        write_register(REG_INTERRUPT_ACK, causes);
    return has_announce && causes & INTERRUPT_CONFIG && *(volatile uint16_t *)(slot + CONFIG_STATUS) & LINK_ANNOUNCE;
}

/* VIRTIO_NET_CTRL_ANNOUNCE_ACK, §5.1.6.5.4. */
void card_announced(void)
{
    static const uint8_t command[2] = {3, 0};
    static uint8_t result;
    struct ring *ring = &rings[CONTROL];
    uint32_t bytes;
    ring->descriptors[0].address = (uint64_t)command;
    ring->descriptors[0].bytes = sizeof command;
    ring->descriptors[0].flags = DESCRIPTOR_NEXT;
    ring->descriptors[0].next = 1;
    ring->descriptors[1].address = (uint64_t)&result;
    ring->descriptors[1].bytes = sizeof result;
    ring->descriptors[1].flags = DESCRIPTOR_WRITE;
    ring_fill(ring, 0);
    publish(ring);
    while (!ring_has_used(ring))
        __asm__ volatile("pause");
    ring_take(ring, &bytes);
}
