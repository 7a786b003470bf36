/* SPDX-License-Identifier: Apache-2.0 */
#include "net-driver.h"

#include <assert.h>
#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define RINGS (DRIVER_RAM + 0x50000)
#define PAGE UINT64_C(0x1000)
#define COMMAND_AT (DRIVER_RAM + 0xb0000)
#define COMMAND_BYTES_MAX 0x8000u

const uint8_t net_guest_mac[NET_MAC_BYTES] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

/* ---- Rings ---- */

static uint16_t *cell(const struct net_ring *ring, uint64_t offset)
{
    return gw_memory_map(ring->driver->memory, ring->base + offset, 2);
}

static void store(const struct net_ring *ring, uint64_t offset, uint16_t value)
{
    __atomic_store_n(cell(ring, offset), htole16(value), __ATOMIC_SEQ_CST);
}

void net_ring_init(struct net_ring *ring, struct driver *driver, unsigned index, uint16_t size)
{
    *ring = (struct net_ring){
        .driver = driver, .index = index, .base = RINGS + 4 * PAGE * index, .size = size};
    memset(gw_memory_map(driver->memory, ring->base, 4 * PAGE), 0, 4 * PAGE);
}

void net_ring_publish(struct net_ring *ring, uint16_t head)
{
    store(ring, PAGE + 4 + 2u * (ring->available % ring->size), head);
    store(ring, PAGE + 2, ++ring->available);
}

uint16_t net_ring_add(struct net_ring *ring, const struct piece *pieces, unsigned count)
{
    uint16_t head = ring->next_descriptor;
    for (unsigned i = 0; i < count; i++) {
        unsigned at = (head + i) % ring->size, next = (at + 1) % ring->size;
        uint16_t more = i + 1 < count ? D_NEXT : 0;
        driver_write_descriptor(ring->driver, ring->base, at, pieces[i].address, pieces[i].bytes,
                                pieces[i].flags | more, (uint16_t)next);
    }
    ring->next_descriptor = (uint16_t)((head + count) % ring->size);
    net_ring_publish(ring, head);
    return head;
}

uint16_t net_ring_used(const struct net_ring *ring)
{
    return le16toh(__atomic_load_n(cell(ring, 2 * PAGE + 2), __ATOMIC_SEQ_CST));
}

bool net_ring_collect(struct net_ring *ring, uint32_t *ret_head, uint32_t *ret_bytes)
{
    uint8_t raw[8];
    if (net_ring_used(ring) == ring->used)
        return false;
    driver_fetch(ring->driver, ring->base + 2 * PAGE + 4 + 8u * (ring->used++ % ring->size), raw,
                 sizeof raw);
    store(ring, PAGE + 4 + 2u * ring->size, ring->used); /* interrupt for the next one */
    *ret_head = get_le32(raw);
    *ret_bytes = get_le32(raw + 4);
    return true;
}

void net_ring_kick(struct net_guest *guest, const struct net_ring *ring)
{
    net_guest_set(guest, R_NOTIFY, ring->index);
}

/* ---- The guest ---- */

void net_guest_init(struct net_guest *guest, const struct net_guest_config *config)
{
    unsigned pairs = config->pairs ? config->pairs : 1;
    memset(guest, 0, sizeof *guest);
    driver_init(&guest->driver, GW_CLOCK_HOST);
    pthread_mutex_init(&guest->io_lock, NULL);
    guest->fake = fake_net_new(pairs, config->offloads);
    struct virtio_net_config device = {
        .net = &guest->fake->net, .name = "one", .pairs = pairs, .mtu = config->mtu};
    memcpy(device.mac, net_guest_mac, sizeof device.mac);
    if (virtio_net_init(&guest->net, &guest->driver.host, &device, &guest->io_lock, NULL) < 0)
        abort();
    guest->driver.device = &guest->net;
}

void net_guest_fini(struct net_guest *guest)
{
    virtio_net_fini(&guest->net);
    fake_net_free(guest->fake);
    pthread_mutex_destroy(&guest->io_lock);
    driver_fini(&guest->driver);
}

uint32_t net_guest_get(struct net_guest *guest, uint32_t offset)
{
    pthread_mutex_lock(&guest->io_lock);
    uint32_t value = driver_get(&guest->driver, offset);
    pthread_mutex_unlock(&guest->io_lock);
    return value;
}

void net_guest_set(struct net_guest *guest, uint32_t offset, uint32_t value)
{
    pthread_mutex_lock(&guest->io_lock);
    driver_set(&guest->driver, offset, value);
    pthread_mutex_unlock(&guest->io_lock);
}

uint16_t net_guest_config_status(struct net_guest *guest)
{
    pthread_mutex_lock(&guest->io_lock);
    uint64_t status = virtio_mmio_ops.read(&guest->net, R_CONFIG + 6, 2);
    pthread_mutex_unlock(&guest->io_lock);
    return (uint16_t)status;
}

void net_guest_drain(struct net_guest *guest)
{
    pthread_mutex_lock(&guest->io_lock);
    virtio_mmio_ops.drain(&guest->net);
    pthread_mutex_unlock(&guest->io_lock);
}

void net_guest_resume(struct net_guest *guest)
{
    pthread_mutex_lock(&guest->io_lock);
    virtio_mmio_ops.resume(&guest->net);
    pthread_mutex_unlock(&guest->io_lock);
}

struct virtio_net_view net_guest_look(struct net_guest *guest)
{
    struct virtio_net_view view;
    pthread_mutex_lock(&guest->io_lock);
    virtio_net_look(&guest->net, &view);
    pthread_mutex_unlock(&guest->io_lock);
    return view;
}

bool net_guest_announce(struct net_guest *guest)
{
    pthread_mutex_lock(&guest->io_lock);
    bool asked = virtio_net_announce(&guest->net);
    pthread_mutex_unlock(&guest->io_lock);
    return asked;
}

void net_guest_link(struct net_guest *guest, bool up)
{
    atomic_store(&guest->fake->net.link_up, up);
    pthread_mutex_lock(&guest->io_lock);
    virtio_net_link_changed(&guest->net);
    pthread_mutex_unlock(&guest->io_lock);
}

uint32_t net_guest_negotiate(struct net_guest *guest, uint64_t features)
{
    pthread_mutex_lock(&guest->io_lock);
    uint64_t offered = driver_offered(&guest->driver);
    uint32_t status = driver_negotiate(&guest->driver, features == NET_ALL ? offered : features);
    pthread_mutex_unlock(&guest->io_lock);
    return status;
}

static void setup_ring(struct net_guest *guest, unsigned index, uint16_t size)
{
    struct net_ring *ring = &guest->ring[index];
    net_ring_init(ring, &guest->driver, index, size);
    driver_set(&guest->driver, R_QUEUE_SEL, index);
    driver_set(&guest->driver, R_QUEUE_NUM, size);
    driver_set64(&guest->driver, R_DESC, ring->base);
    driver_set64(&guest->driver, R_AVAIL, ring->base + PAGE);
    driver_set64(&guest->driver, R_USED, ring->base + 2 * PAGE);
    driver_set(&guest->driver, R_QUEUE_READY, 1);
}

void net_guest_start(struct net_guest *guest, uint64_t features, uint16_t ring_size)
{
    uint32_t status = net_guest_negotiate(guest, features);
    pthread_mutex_lock(&guest->io_lock);
    assert(status & VIRTIO_FEATURES_OK);
    for (unsigned i = 0; i < guest->net.transport.queue_count; i++)
        setup_ring(guest, i, ring_size);
    driver_set(&guest->driver, R_STATUS, status | VIRTIO_DRIVER_OK);
    pthread_mutex_unlock(&guest->io_lock);
}

struct net_ring *net_guest_control(struct net_guest *guest)
{
    bool several = guest->net.transport.negotiated & BIT(N_MQ);
    return &guest->ring[several ? 2 * guest->net.pairs : 2];
}

uint64_t net_slot(unsigned slot)
{
    return DRIVER_BUFFERS + 0x11000 * (uint64_t)slot;
}

void net_guest_send(struct net_guest *guest, unsigned slot, const uint8_t *header, uint32_t bytes)
{
    static const uint8_t zeroes[NET_HEADER_BYTES];
    driver_put(&guest->driver, net_slot(slot), header ? header : zeroes, NET_HEADER_BYTES);
    const struct piece pieces[] = {
        {net_slot(slot), NET_HEADER_BYTES, 0},
        {net_slot(slot) + NET_HEADER_BYTES, bytes, 0},
    };
    net_ring_add(&guest->ring[1], pieces, bytes ? 2 : 1);
}

void net_guest_offer(struct net_guest *guest, unsigned slot, uint32_t bytes)
{
    const struct piece piece = {net_slot(slot), bytes, D_WRITE};
    net_ring_add(&guest->ring[0], &piece, 1);
}

int net_guest_command(struct net_guest *guest, uint8_t class, uint8_t command, const void *data,
                      size_t bytes)
{
    struct net_ring *ring = net_guest_control(guest);
    uint8_t head[2] = {class, command}, answer = 0xee;
    uint32_t ignored;
    if (bytes > COMMAND_BYTES_MAX)
        abort();
    driver_put(&guest->driver, COMMAND_AT, head, sizeof head);
    if (bytes)
        driver_put(&guest->driver, COMMAND_AT + 2, data, bytes);
    driver_put(&guest->driver, COMMAND_AT + COMMAND_BYTES_MAX + 16, &answer, 1);
    const struct piece pieces[] = {
        {COMMAND_AT, (uint32_t)(2 + bytes), 0},
        {COMMAND_AT + COMMAND_BYTES_MAX + 16, 1, D_WRITE},
    };
    net_ring_add(ring, pieces, 2);
    net_ring_kick(guest, ring);
    if (!net_ring_collect(ring, &ignored, &ignored))
        return -1;
    driver_fetch(&guest->driver, COMMAND_AT + COMMAND_BYTES_MAX + 16, &answer, 1);
    return answer;
}

void net_frame(uint8_t *frame, size_t bytes, const uint8_t *mac)
{
    for (size_t i = 0; i < bytes; i++)
        frame[i] = (uint8_t)(i * 13 + i / 256);
    memcpy(frame, mac, NET_MAC_BYTES);
    frame[12] = 0x88;
    frame[13] = 0xb5; /* local experimental, IEEE 802 */
}
