/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames in both directions while the machine is stopped and goes on again and again: none is lost,
 * none comes twice or out of order, and ThreadSanitizer finds nothing. The guest, the world outside
 * and whoever stops the machine are threads of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../patience.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "net-driver.h"

#define FRAMES 20000u
#define FRAME_BYTES 80u
#define NUMBER_AT 20u

static struct net_guest guest;

struct check {
    uint32_t next;
    unsigned wrong;
};

static void check_frame(struct check *check, const uint8_t *frame)
{
    check->wrong += get_le32(frame + NUMBER_AT) != check->next++;
}

static void make_frame(uint8_t *frame, uint32_t number)
{
    memset(frame, 0x11, FRAME_BYTES);
    frame[0] = 0x52;
    put_le32(frame + NUMBER_AT, number);
}

static bool in_time(uint64_t start_ns)
{
    return host_monotonic_ns() - start_ns < patience_ns();
}

/* The world outside: sends numbered frames, checks those of the guest. */
static void *world(void *opaque)
{
    struct check *check = opaque;
    uint8_t frame[FRAME_BYTES], got[NET_HEADER_BYTES + FRAME_BYTES];
    uint64_t start_ns = host_monotonic_ns();
    uint32_t sent = 0;
    while ((sent < FRAMES || check->next < FRAMES) && in_time(start_ns)) {
        while (sent < FRAMES && fake_net_waiting(guest.fake, 0) < FAKE_FRAMES / 2) {
            make_frame(frame, sent++);
            fake_net_put(guest.fake, 0, NULL, frame, sizeof frame);
        }
        while (fake_net_take(guest.fake, 0, got, sizeof got) > 0)
            check_frame(check, got + NET_HEADER_BYTES);
        usleep(50);
    }
    return NULL;
}

/* ---- The guest's thread ---- */

static uint64_t out_slot(uint32_t number)
{
    return net_slot(0) + 256 * (uint64_t)(number % NET_RING_SIZE);
}

static uint64_t in_slot(uint32_t number)
{
    return net_slot(2) + 256 * (uint64_t)(number % NET_RING_SIZE);
}

static bool send_some(uint32_t *sent)
{
    struct net_ring *ring = &guest.ring[1];
    uint8_t raw[NET_HEADER_BYTES + FRAME_BYTES] = {0};
    uint32_t before = *sent, head, bytes;
    while (net_ring_collect(ring, &head, &bytes))
        ;
    for (; *sent < FRAMES && (uint16_t)(ring->available - ring->used) < NET_RING_SIZE / 2;
         (*sent)++) {
        make_frame(raw + NET_HEADER_BYTES, *sent);
        driver_put(&guest.driver, out_slot(*sent), raw, sizeof raw);
        const struct piece piece = {out_slot(*sent), sizeof raw, 0};
        net_ring_add(ring, &piece, 1);
    }
    return *sent != before;
}

static bool receive_some(struct check *check, uint32_t *offered)
{
    struct net_ring *ring = &guest.ring[0];
    uint8_t raw[NET_HEADER_BYTES + FRAME_BYTES];
    uint32_t before = *offered, head, bytes;
    while (net_ring_collect(ring, &head, &bytes)) {
        check->wrong += bytes != sizeof raw;
        driver_fetch(&guest.driver, in_slot(check->next), raw, sizeof raw);
        check_frame(check, raw + NET_HEADER_BYTES);
    }
    for (; *offered - check->next < NET_RING_SIZE / 2; (*offered)++) {
        const struct piece piece = {in_slot(*offered), 256, D_WRITE};
        net_ring_add(ring, &piece, 1);
    }
    return *offered != before;
}

static void *driver(void *opaque)
{
    struct check *check = opaque;
    uint64_t start_ns = host_monotonic_ns();
    uint32_t sent = 0, offered = 0;
    while ((sent < FRAMES || check->next < FRAMES) && in_time(start_ns)) {
        bool changed = receive_some(check, &offered);
        if (send_some(&sent) || changed)
            net_ring_kick(&guest, &guest.ring[1]);
        usleep(30);
    }
    return NULL;
}

/* A control command now and then, so that filters change under the frames. */
static void command(unsigned round)
{
    uint8_t vlan[2];
    put_le16(vlan, (uint16_t)(round % VIRTIO_NET_VLANS));
    assert_int_equal(net_guest_command(&guest, 2, 0, vlan, sizeof vlan), 0);
}

static void frames_pass_exactly_once_while_the_machine_stops_and_goes_on(void **state)
{
    struct check of_world = {0}, of_guest = {0};
    pthread_t threads[2];
    net_guest_init(&guest, &(struct net_guest_config){0});
    net_guest_start(&guest, NET_CONTROL | BIT(N_MRG_RXBUF), NET_RING_SIZE);
    uint64_t start_ns = host_monotonic_ns();
    assert_int_equal(pthread_create(&threads[0], NULL, world, &of_world), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, driver, &of_guest), 0);
    unsigned rounds = 0;
    struct virtio_net_counters counters;
    do {
        net_guest_drain(&guest);
        uint16_t in = net_ring_used(&guest.ring[0]), out = net_ring_used(&guest.ring[1]);
        usleep(200);
        assert_int_equal(net_ring_used(&guest.ring[0]), in);
        assert_int_equal(net_ring_used(&guest.ring[1]), out);
        net_guest_resume(&guest);
        command(rounds++);
        usleep(300);
        counters = net_guest_look(&guest).counters;
    } while ((counters.frames_in < FRAMES || counters.frames_out < FRAMES) && in_time(start_ns));
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    print_message("%u frames each way while stopped %u times\n", FRAMES, rounds);
    assert_int_equal(of_world.next, FRAMES);
    assert_int_equal(of_guest.next, FRAMES);
    assert_int_equal(of_world.wrong, 0);
    assert_int_equal(of_guest.wrong, 0);
    net_guest_fini(&guest);
}

/* ---- Resets under load ---- */

static atomic_bool over;

static void *flood(void *opaque)
{
    uint8_t frame[FRAME_BYTES], got[NET_HEADER_BYTES + FRAME_BYTES];
    for (uint32_t i = 0; !atomic_load(&over); i++) {
        make_frame(frame, i);
        fake_net_put(guest.fake, 0, NULL, frame, sizeof frame);
        fake_net_take(guest.fake, 0, got, sizeof got);
        usleep(20);
    }
    return NULL;
}

static void a_device_that_is_reset_under_load_works_afterwards(void **state)
{
    pthread_t thread;
    uint32_t head, bytes;
    net_guest_init(&guest, &(struct net_guest_config){0});
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&thread, NULL, flood, NULL), 0);
    for (unsigned round = 0; round < 100; round++) {
        net_guest_start(&guest, NET_CONTROL | BIT(N_MRG_RXBUF), NET_RING_SIZE);
        for (unsigned i = 0; i < 8; i++) {
            net_guest_offer(&guest, i, 256);
            net_guest_send(&guest, 8 + i, NULL, 64);
        }
        net_ring_kick(&guest, &guest.ring[0]);
        if (round % 3 == 0)
            assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
        if (round % 5 == 0)
            net_guest_link(&guest, round % 2);
        net_guest_set(&guest, R_STATUS, 0);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    net_guest_fini(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_pass_exactly_once_while_the_machine_stops_and_goes_on),
        cmocka_unit_test(a_device_that_is_reset_under_load_works_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
