/* SPDX-License-Identifier: Apache-2.0 */
/* The network device: configuration, frames out and in, state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "net-driver.h"

#define HEADER NET_HEADER_BYTES

static struct net_guest guest;
static uint8_t frame[NET_FRAME_BYTES], got[HEADER + NET_FRAME_BYTES];

static int setup(void **state)
{
    net_guest_init(&guest, &(struct net_guest_config){.offloads = FAKE_OFFLOADS, .mtu = 1400});
    return 0;
}

static int setup_bare(void **state)
{
    net_guest_init(&guest, &(struct net_guest_config){0});
    return 0;
}

static int teardown(void **state)
{
    net_guest_fini(&guest);
    return 0;
}

static bool is_broken(void)
{
    return net_guest_get(&guest, R_STATUS) & VIRTIO_NEEDS_RESET;
}

/* ---- Configuration ---- */

static void the_configuration_tells_mac_link_queues_and_mtu(void **state)
{
    assert_int_equal(net_guest_get(&guest, R_ID), VIRTIO_ID_NET);
    for (unsigned i = 0; i < NET_MAC_BYTES; i++)
        assert_int_equal(virtio_mmio_ops.read(&guest.net, R_CONFIG + i, 1), net_guest_mac[i]);
    assert_int_equal(net_guest_config_status(&guest), 1);
    assert_int_equal(virtio_mmio_ops.read(&guest.net, R_CONFIG + 8, 2), 1);
    assert_int_equal(virtio_mmio_ops.read(&guest.net, R_CONFIG + 10, 2), 1400);
}

static void features_are_offered_by_what_the_network_can(void **state)
{
    uint64_t offered = driver_offered(&guest.driver);
    assert_true(offered & BIT(N_CSUM) && offered & BIT(N_GUEST_TSO4) && offered & BIT(N_MTU));
    assert_false(offered & BIT(N_MQ));
    guest.fake->net.offloads = NET_TSO4; /* means nothing without checksums */
    assert_int_equal(virtio_net_acquired(&guest.net, NULL), 0);
    offered = driver_offered(&guest.driver);
    assert_false(offered & (BIT(N_CSUM) | BIT(N_HOST_TSO4) | BIT(N_CTRL_GUEST_OFFLOADS)));
    assert_true(offered & BIT(N_MRG_RXBUF) && offered & BIT(N_CTRL_VQ));
}

static void the_driver_is_told_when_the_link_goes_and_comes(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    uint32_t generation = net_guest_get(&guest, 0xfc);
    net_guest_link(&guest, false);
    assert_int_equal(net_guest_config_status(&guest), 0);
    assert_int_equal(net_guest_get(&guest, R_ISR), 2);
    assert_int_not_equal(net_guest_get(&guest, 0xfc), generation);
    net_guest_link(&guest, true);
    assert_int_equal(net_guest_config_status(&guest), 1);
}

static void a_link_that_changes_while_stopped_is_told_at_resume(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_guest_drain(&guest);
    net_guest_link(&guest, false);
    assert_int_equal(net_guest_config_status(&guest), 1);
    assert_int_equal(net_guest_get(&guest, R_ISR), 0);
    net_guest_resume(&guest);
    assert_int_equal(net_guest_config_status(&guest), 0);
    assert_int_equal(net_guest_get(&guest, R_ISR), 2);
}

/* ---- Out ---- */

static void a_frame_goes_out_as_it_is(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_frame(frame, 1000, net_guest_mac);
    driver_put(&guest.driver, net_slot(0) + HEADER, frame, 1000);
    net_guest_send(&guest, 0, NULL, 1000);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 1));
    assert_int_equal(fake_net_take(guest.fake, 0, got, sizeof got), HEADER + 1000);
    assert_memory_equal(got + HEADER, frame, 1000);
    assert_true(eventually(net_guest_get(&guest, R_ISR) == 1));
    assert_int_equal(net_guest_look(&guest).counters.frames_out, 1);
    assert_int_equal(net_guest_look(&guest).counters.bytes_out, 1000);
    assert_true(net_guest_look(&guest).counters.first_out_ns > 0);
}

static void out_of_any_pieces(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_frame(frame, 500, net_guest_mac);
    memset(got, 0, HEADER);
    driver_put(&guest.driver, net_slot(0), got, HEADER);
    driver_put(&guest.driver, net_slot(0) + HEADER, frame, 500);
    const struct piece pieces[] = {
        {net_slot(0), 5, 0}, {net_slot(0) + 5, 10, 0}, {net_slot(0) + 15, HEADER + 500 - 15, 0}};
    net_ring_add(&guest.ring[1], pieces, 3);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 1));
    assert_int_equal(fake_net_take(guest.fake, 0, got, sizeof got), HEADER + 500);
    assert_memory_equal(got + HEADER, frame, 500);
}

static void a_full_network_holds_the_frames_back_in_their_order(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    fake_net_set_full(guest.fake, true);
    for (unsigned i = 0; i < 3; i++) {
        net_frame(frame, 64 + i, net_guest_mac);
        driver_put(&guest.driver, net_slot(i) + HEADER, frame, 64 + i);
        net_guest_send(&guest, i, NULL, 64 + i);
    }
    net_ring_kick(&guest, &guest.ring[1]);
    usleep(2000);
    assert_int_equal(net_ring_used(&guest.ring[1]), 0);
    fake_net_set_full(guest.fake, false);
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 3));
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(fake_net_take(guest.fake, 0, got, sizeof got), HEADER + 64 + i);
}

static uint64_t dropped_out(void)
{
    return net_guest_look(&guest).counters.dropped_out;
}

static void frames_of_impossible_length_are_dropped(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    const uint32_t lengths[] = {0, 13, NET_FRAME_BYTES + 1, 14};
    for (unsigned i = 0; i < 4; i++)
        net_guest_send(&guest, i, NULL, lengths[i]);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 4));
    assert_int_equal(dropped_out(), 3);
    assert_int_equal(fake_net_take(guest.fake, 0, got, sizeof got), HEADER + 14);
    assert_false(is_broken());
}

static void a_frame_that_the_network_loses_is_done_for_the_driver(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    fake_net_fail(guest.fake, -ENETDOWN, 0);
    net_guest_send(&guest, 0, NULL, 64);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 1));
    assert_int_equal(dropped_out(), 1);
}

static void less_than_a_header_breaks_the_device(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    const struct piece piece = {net_slot(0), HEADER - 1, 0};
    net_ring_add(&guest.ring[1], &piece, 1);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(is_broken()));
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_guest_send(&guest, 0, NULL, 64);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 1));
}

static void a_ring_outside_memory_breaks_the_device(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    const struct piece piece = {0x1000, 64, 0};
    net_ring_add(&guest.ring[1], &piece, 1);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(is_broken()));
    assert_true(net_guest_get(&guest, R_ISR) & 2);
}

static void a_chain_that_is_a_loop_breaks_the_device(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    driver_write_descriptor(&guest.driver, guest.ring[1].base, 0, net_slot(0), 64, D_NEXT, 0);
    net_ring_publish(&guest.ring[1], 0);
    net_ring_kick(&guest, &guest.ring[1]);
    assert_true(eventually(is_broken()));
}

/* ---- Headers ---- */

struct header_case {
    uint64_t features;
    uint8_t flags, gso;
    uint16_t header_bytes, gso_size, start, offset;
    bool passes;
};

#define TSO (BIT(N_CSUM) | BIT(N_HOST_TSO4))
static const struct header_case header_cases[] = {
    {0, 0, 0, 0, 0, 0, 0, true},
    {0, 1, 0, 0, 0, 34, 16, false}, /* not negotiated */
    {BIT(N_CSUM), 1, 0, 0, 0, 34, 16, true},
    {BIT(N_CSUM), 3, 0, 0, 0, 34, 16, true},
    {TSO, 2, 1, 54, 1448, 0, 0, false},      /* "checked" is the device's to say */
    {BIT(N_CSUM), 1, 0, 0, 0, 82, 16, true}, /* the last two bytes of 100 */
    {BIT(N_CSUM), 1, 0, 0, 0, 83, 16, false},
    {BIT(N_CSUM), 1, 0, 0, 0, 0xffff, 0xffff, false},
    {BIT(N_CSUM), 1, 1, 54, 1448, 34, 16, false}, /* TSO not negotiated */
    {TSO, 1, 1, 54, 1448, 34, 16, true},
    {TSO, 0, 1, 54, 1448, 0, 0, false}, /* segmentation without checksum */
    {TSO, 1, 1, 54, 0, 34, 16, false},
    {TSO, 1, 1, 101, 1448, 34, 16, false}, /* headers longer than the frame */
    {TSO, 1, 0x81, 54, 1448, 34, 16, false},
    {TSO | BIT(N_HOST_ECN), 1, 0x81, 54, 1448, 34, 16, true},
    {TSO, 1, 4, 54, 1448, 34, 16, false}, /* IPv6 */
    {TSO, 1, 3, 54, 1448, 34, 16, false}, /* what nobody offers */
    {TSO, 1, 0x80, 54, 1448, 34, 16, false},
    {0, 0xfc, 0, 0xffff, 0xffff, 0xffff, 0xffff, true}, /* nothing that means anything */
};

static void headers_pass_only_with_what_was_negotiated(void **state)
{
    for (size_t i = 0; i < sizeof header_cases / sizeof header_cases[0]; i++) {
        const struct header_case *test = &header_cases[i];
        uint8_t header[HEADER] = {test->flags, test->gso};
        put_le16(header + 2, test->header_bytes);
        put_le16(header + 4, test->gso_size);
        put_le16(header + 6, test->start);
        put_le16(header + 8, test->offset);
        net_guest_start(&guest, NET_PLAIN | test->features, NET_RING_SIZE);
        uint64_t before = dropped_out();
        net_guest_send(&guest, 0, header, 100);
        net_ring_kick(&guest, &guest.ring[1]);
        assert_true(eventually(net_ring_used(&guest.ring[1]) == 1));
        size_t sent = fake_net_take(guest.fake, 0, got, sizeof got);
        if ((sent != 0) != test->passes)
            fail_msg("case %zu: %s", i, sent ? "passed" : "was dropped");
        assert_int_equal(dropped_out() - before, !test->passes);
        if (!sent)
            continue;
        assert_int_equal(got[0], test->flags & 1);
        assert_int_equal(got[1], test->gso);
        assert_int_equal(get_le16(got + 4), test->gso ? test->gso_size : 0);
        assert_int_equal(get_le16(got + 6), test->flags & 1 ? test->start : 0);
    }
}

/* ---- In ---- */

static void put_frame(size_t bytes)
{
    net_frame(frame, bytes, net_guest_mac);
    fake_net_put(guest.fake, 0, NULL, frame, bytes);
}

static void a_frame_comes_in(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_guest_offer(&guest, 3, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(1514);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_int_equal(bytes, HEADER + 1514);
    driver_fetch(&guest.driver, net_slot(3), got, HEADER + 1514);
    assert_memory_equal(got + HEADER, frame, 1514);
    assert_int_equal(get_le16(got + 10), 1);
    assert_true(eventually(net_guest_get(&guest, R_ISR) == 1));
    assert_int_equal(net_guest_look(&guest).counters.frames_in, 1);
}

static void without_buffers_frames_wait_in_the_network(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    put_frame(100);
    put_frame(200);
    usleep(2000);
    assert_int_equal(fake_net_waiting(guest.fake, 0), 2);
    for (uint32_t expected = 100; expected <= 200; expected += 100) {
        net_guest_offer(&guest, 0, 2000);
        net_ring_kick(&guest, &guest.ring[0]);
        assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
        assert_int_equal(bytes, HEADER + expected);
    }
}

/* A frame of 4000 bytes comes in three buffers of 1500. */
static void assert_merged(struct net_guest *into)
{
    uint32_t head, bytes, total = 0;
    assert_true(eventually(net_ring_used(&into->ring[0]) == 3));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(net_ring_collect(&into->ring[0], &head, &bytes));
        assert_int_equal(bytes, i < 2 ? 1500 : HEADER + 4000 - 3000);
        driver_fetch(&into->driver, net_slot(i), got + total, bytes);
        total += bytes;
    }
    assert_int_equal(get_le16(got + 10), 3);
    assert_memory_equal(got + HEADER, frame, 4000);
}

static void a_large_frame_is_merged_out_of_several_buffers(void **state)
{
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    for (unsigned i = 0; i < 8; i++)
        net_guest_offer(&guest, i, 1500);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(4000);
    assert_merged(&guest);
}

/* A frame of 4000 bytes that has two of its three buffers. */
static void hold_a_frame(void)
{
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    net_guest_offer(&guest, 0, 1500);
    net_guest_offer(&guest, 1, 1500);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(4000);
    assert_true(eventually(fake_net_waiting(guest.fake, 0) == 0));
}

static void a_frame_waits_for_the_rest_of_its_buffers(void **state)
{
    hold_a_frame();
    usleep(2000);
    assert_int_equal(net_ring_used(&guest.ring[0]), 0);
    net_guest_offer(&guest, 2, 1500);
    net_ring_kick(&guest, &guest.ring[0]);
    assert_true(eventually(net_ring_used(&guest.ring[0]) == 3));
    assert_int_equal(net_guest_look(&guest).counters.frames_in, 1);
}

/* Else it would wait for ever, and all behind it. */
static void a_frame_that_no_ring_could_hold_is_dropped(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_MERGE, 4);
    for (unsigned i = 0; i < 4; i++)
        net_guest_offer(&guest, i, 100);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(1000);
    put_frame(60);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_int_equal(bytes, HEADER + 60);
    assert_int_equal(net_guest_look(&guest).counters.dropped_in, 1);
}

static void without_merging_a_frame_that_does_not_fit_is_dropped(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_guest_offer(&guest, 0, 1000);
    net_guest_offer(&guest, 1, 1000);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(1000);
    put_frame(900);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_int_equal(bytes, HEADER + 900);
    assert_int_equal(net_guest_look(&guest).counters.dropped_in, 1);
    assert_false(is_broken());
}

static void the_largest_frame_comes_in(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    net_guest_offer(&guest, 0, HEADER + NET_FRAME_BYTES);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(NET_FRAME_BYTES);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_int_equal(bytes, HEADER + NET_FRAME_BYTES);
    driver_fetch(&guest.driver, net_slot(0), got, HEADER + NET_FRAME_BYTES);
    assert_memory_equal(got + HEADER, frame, NET_FRAME_BYTES);
}

static void truncated_frames_are_dropped(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(0);
    put_frame(13);
    put_frame(14);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_int_equal(bytes, HEADER + 14);
    assert_int_equal(net_guest_look(&guest).counters.dropped_in, 2);
}

static void offloads_that_the_guest_does_not_take_do_not_come_in(void **state)
{
    uint32_t head, bytes;
    uint8_t header[HEADER] = {1, 0, 0, 0, 0, 0, 34, 0, 16, 0};
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    assert_int_equal(guest.fake->offloads_in, 0);
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    net_frame(frame, 100, net_guest_mac);
    fake_net_put(guest.fake, 0, header, frame, 100);
    fake_net_put(guest.fake, 0, NULL, frame, 90);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_int_equal(bytes, HEADER + 90);
    net_guest_start(&guest, NET_PLAIN | BIT(N_GUEST_CSUM), NET_RING_SIZE);
    assert_int_equal(guest.fake->offloads_in, NET_CHECKSUM);
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    fake_net_put(guest.fake, 0, header, frame, 100);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    driver_fetch(&guest.driver, net_slot(0), got, HEADER);
    assert_int_equal(got[0], 1);
    assert_int_equal(get_le16(got + 6), 34);
}

/* As the host's kernel gives what it has received in several packets and put together. */
static void a_large_frame_that_was_checked_on_the_host_comes_in(void **state)
{
    uint32_t head, bytes;
    const uint8_t header[HEADER] = {2, 1, 54, 0, 0xa8, 5};
    net_guest_start(&guest, NET_PLAIN | BIT(N_GUEST_CSUM) | BIT(N_GUEST_TSO4), NET_RING_SIZE);
    net_guest_offer(&guest, 0, HEADER + NET_FRAME_BYTES);
    net_ring_kick(&guest, &guest.ring[0]);
    net_frame(frame, 9000, net_guest_mac);
    fake_net_put(guest.fake, 0, header, frame, 9000);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    driver_fetch(&guest.driver, net_slot(0), got, HEADER);
    assert_memory_equal(got, header, 6);
}

static void a_buffer_smaller_than_a_header_breaks_the_device(void **state)
{
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    net_guest_offer(&guest, 0, HEADER - 1);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(100);
    assert_true(eventually(is_broken()));
}

static void a_receive_chain_to_read_from_breaks_the_device(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    const struct piece piece = {net_slot(0), 2000, 0};
    net_ring_add(&guest.ring[0], &piece, 1);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(100);
    assert_true(eventually(is_broken()));
}

static void a_network_that_fails_is_asked_again_a_little_later(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    fake_net_fail(guest.fake, 0, -EIO);
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(100);
    uint64_t began_ns = host_monotonic_ns();
    usleep(20000);
    unsigned receives = guest.fake->receives; /* at the beginning, and one each 100 ms */
    assert_true(receives < 20 + (host_monotonic_ns() - began_ns) / 10000000);
    fake_net_fail(guest.fake, 0, 0);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
}

/* ---- Standing still ---- */

static void nothing_moves_between_drain_and_resume(void **state)
{
    uint32_t head, bytes;
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    net_guest_drain(&guest);
    net_guest_offer(&guest, 0, 2000);
    net_guest_send(&guest, 1, NULL, 64);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(100);
    put_frame(101);
    unsigned receives = guest.fake->receives;
    usleep(5000);
    assert_int_equal(net_ring_used(&guest.ring[0]), 0);
    assert_int_equal(net_ring_used(&guest.ring[1]), 0);
    assert_int_equal(guest.fake->receives, receives);
    net_guest_resume(&guest);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    assert_true(eventually(net_ring_used(&guest.ring[1]) == 1));
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    struct virtio_net_counters counters = net_guest_look(&guest).counters;
    assert_int_equal(counters.waited, 2);
    assert_true(counters.first_in_ns >= counters.resumed_ns && counters.first_out_ns > 0);
}

static void what_comes_after_the_first_silence_has_not_waited(void **state)
{
    net_guest_start(&guest, NET_PLAIN, NET_RING_SIZE);
    for (unsigned i = 0; i < 4; i++)
        net_guest_offer(&guest, i, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    assert_true(eventually(guest.fake->receives > 0));
    put_frame(100);
    assert_true(eventually(net_ring_used(&guest.ring[0]) == 1));
    assert_int_equal(net_guest_look(&guest).counters.waited, 0);
}

static void reset_drops_what_waits_and_forgets_the_rings(void **state)
{
    hold_a_frame();
    net_guest_set(&guest, R_STATUS, 0);
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    for (unsigned i = 0; i < 4; i++)
        net_guest_offer(&guest, i, 1500);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(60);
    assert_true(eventually(net_ring_used(&guest.ring[0]) == 1));
    assert_int_equal(net_guest_look(&guest).counters.frames_in, 1);
}

/* ---- State ---- */

static struct net_guest other;

static void copy_ram(struct driver *to, struct driver *from)
{
    memcpy(gw_memory_map(to->memory, DRIVER_RAM, DRIVER_RAM_BYTES),
           gw_memory_map(from->memory, DRIVER_RAM, DRIVER_RAM_BYTES), DRIVER_RAM_BYTES);
}

static int move(const struct net_guest_config *config, struct gw_error *error)
{
    struct gw_buf stream = {0};
    net_guest_init(&other, config);
    net_guest_drain(&guest);
    const struct gw_state_item out = {&virtio_net_state_type, 0, &guest.net};
    const struct gw_state_item in = {&virtio_net_state_type, 0, &other.net};
    assert_int_equal(gw_state_save(&out, 1, &stream, error), 0);
    copy_ram(&other.driver, &guest.driver);
    memcpy(other.ring, guest.ring, sizeof other.ring);
    for (unsigned i = 0; i < VIRTIO_NET_QUEUES; i++)
        other.ring[i].driver = &other.driver;
    int r = gw_state_load(&in, 1, stream.data, stream.length, error);
    assert_true(r < 0 || gw_state_hash(&out, 1) == gw_state_hash(&in, 1));
    gw_buf_fini(&stream);
    return r;
}

static void a_moved_device_goes_on(void **state)
{
    struct gw_error error = {0};
    uint32_t head, bytes;
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    for (unsigned i = 0; i < 3; i++)
        net_guest_offer(&guest, i, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(100);
    assert_true(eventually(net_ring_collect(&guest.ring[0], &head, &bytes)));
    net_guest_send(&guest, 3, NULL, 64);
    assert_int_equal(
        move(&(struct net_guest_config){.offloads = FAKE_OFFLOADS, .mtu = 1400}, &error), 0);
    other.ring[0].used = 1;
    net_guest_resume(&other);
    fake_net_put(other.fake, 0, NULL, frame, 100);
    assert_true(eventually(net_ring_collect(&other.ring[0], &head, &bytes)));
    assert_int_equal(head, 1);
    assert_true(eventually(net_ring_used(&other.ring[1]) == 1));
    assert_int_equal(fake_net_take(guest.fake, 0, got, sizeof got), 0);
    net_guest_fini(&other);
}

static void a_frame_that_waits_for_buffers_goes_along(void **state)
{
    struct gw_error error = {0};
    hold_a_frame();
    assert_int_equal(
        move(&(struct net_guest_config){.offloads = FAKE_OFFLOADS, .mtu = 1400}, &error), 0);
    net_guest_resume(&other);
    usleep(2000);
    assert_int_equal(net_ring_used(&other.ring[0]), 0);
    net_guest_offer(&other, 2, 1500);
    net_ring_kick(&other, &other.ring[0]);
    assert_merged(&other);
    assert_int_equal(net_guest_look(&other).counters.frames_in, 1);
    net_guest_fini(&other);
}

/* The state says that of the frames, and nothing else of them comes in. */
static void expect_held(uint32_t first, uint32_t last, uint32_t sum, const char *refused)
{
    struct gw_error error = {0};
    guest.net.held_frame[0] = first;
    guest.net.held_frame[VIRTIO_NET_MAX_PAIRS - 1] = last;
    guest.net.held_bytes = sum;
    assert_int_equal(virtio_net_loaded(&guest.net, &error), refused ? -EBADMSG : 0);
    if (refused)
        assert_non_null(strstr(error.message, refused));
}

static void held_frames_that_cannot_be_are_refused(void **state)
{
    hold_a_frame();
    net_guest_drain(&guest);
    virtio_net_saving(&guest.net);
    uint32_t bytes = guest.net.held_bytes;
    assert_int_equal(bytes, HEADER + 4000);
    expect_held(bytes, 0, bytes, NULL);
    expect_held(bytes, 0, bytes - 1, "not as long as they say");
    expect_held(HEADER + 13, 0, HEADER + 13, "impossible length");
    expect_held(VIRTIO_NET_HELD_MAX + 1, 0, VIRTIO_NET_HELD_MAX + 1, "impossible length");
    expect_held(UINT32_MAX, 0, UINT32_MAX, "impossible length");
    expect_held(0, 100, 100, "a queue that the machine does not have");
    expect_held(0, 0, 0, NULL);
}

static void a_held_frame_with_an_offload_that_the_guest_lacks_is_dropped(void **state)
{
    struct gw_error error = {0};
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    net_guest_drain(&guest);
    guest.net.held = calloc(1, HEADER + 100);
    guest.net.held[0] = 1; /* needs a checksum */
    guest.net.held_frame[0] = guest.net.held_bytes = HEADER + 100;
    assert_int_equal(virtio_net_loaded(&guest.net, &error), 0);
    net_guest_offer(&guest, 0, 1500);
    net_guest_resume(&guest);
    net_ring_kick(&guest, &guest.ring[0]);
    put_frame(60);
    assert_true(eventually(net_ring_used(&guest.ring[0]) == 1));
    assert_int_equal(net_guest_look(&guest).counters.frames_in, 1);
    assert_int_equal(net_guest_look(&guest).counters.bytes_in, 60);
}

static void an_interrupt_that_was_due_is_not_lost_by_a_move(void **state)
{
    struct gw_error error = {0};
    net_guest_start(&guest, NET_MERGE, NET_RING_SIZE);
    pthread_mutex_lock(&guest.io_lock); /* the thread cannot tell */
    net_guest_send(&guest, 0, NULL, 64);
    virtio_mmio_ops.write(&guest.net, R_NOTIFY, 1, 4);
    bool sent = eventually(net_ring_used(&guest.ring[1]) == 1);
    virtio_mmio_ops.drain(&guest.net);
    uint32_t interrupts = driver_get(&guest.driver, R_ISR);
    pthread_mutex_unlock(&guest.io_lock);
    assert_true(sent);
    assert_int_equal(interrupts, 1);
    assert_int_equal(
        move(&(struct net_guest_config){.offloads = FAKE_OFFLOADS, .mtu = 1400}, &error), 0);
    net_guest_resume(&other);
    assert_true(other.driver.irq);
    net_guest_fini(&other);
}

static void a_network_that_lacks_what_the_guest_uses_is_refused_by_name(void **state)
{
    struct gw_error error = {0};
    net_guest_start(&guest, NET_ALL, NET_RING_SIZE);
    assert_int_equal(move(&(struct net_guest_config){.mtu = 1400}, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "network 'one'"));
    assert_non_null(strstr(error.message, "TCP segmentation offload"));
    assert_non_null(strstr(error.message, "fake network"));
    net_guest_fini(&other);
}

static void a_network_found_lacking_when_it_is_acquired_is_refused(void **state)
{
    struct gw_error error = {0};
    net_guest_start(&guest, NET_ALL, NET_RING_SIZE);
    guest.fake->net.offloads = 0;
    assert_int_equal(virtio_net_acquired(&guest.net, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "checksum offload"));
}

static void the_instruction_clock_has_no_network(void **state)
{
    struct gw_error error = {0};
    struct clock clock;
    struct virtio_net net = {0};
    clock_init(&clock, GW_CLOCK_INSTRUCTIONS);
    struct virtio_host host = {.memory = guest.driver.memory, .clock = &clock};
    struct virtio_net_config config = {.net = &guest.fake->net, .name = "one", .pairs = 1};
    assert_int_equal(virtio_net_init(&net, &host, &config, &guest.io_lock, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "instruction clock"));
    virtio_net_fini(&net);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BARE(name) cmocka_unit_test_setup_teardown(name, setup_bare, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_configuration_tells_mac_link_queues_and_mtu),
        T(features_are_offered_by_what_the_network_can),
        T(the_driver_is_told_when_the_link_goes_and_comes),
        T(a_link_that_changes_while_stopped_is_told_at_resume),
        BARE(a_frame_goes_out_as_it_is),
        BARE(out_of_any_pieces),
        BARE(a_full_network_holds_the_frames_back_in_their_order),
        T(frames_of_impossible_length_are_dropped),
        BARE(a_frame_that_the_network_loses_is_done_for_the_driver),
        BARE(less_than_a_header_breaks_the_device),
        BARE(a_ring_outside_memory_breaks_the_device),
        BARE(a_chain_that_is_a_loop_breaks_the_device),
        T(headers_pass_only_with_what_was_negotiated),
        BARE(a_frame_comes_in),
        BARE(without_buffers_frames_wait_in_the_network),
        BARE(a_large_frame_is_merged_out_of_several_buffers),
        BARE(a_frame_waits_for_the_rest_of_its_buffers),
        BARE(a_frame_that_no_ring_could_hold_is_dropped),
        BARE(without_merging_a_frame_that_does_not_fit_is_dropped),
        BARE(the_largest_frame_comes_in),
        BARE(truncated_frames_are_dropped),
        T(offloads_that_the_guest_does_not_take_do_not_come_in),
        T(a_large_frame_that_was_checked_on_the_host_comes_in),
        BARE(a_buffer_smaller_than_a_header_breaks_the_device),
        BARE(a_receive_chain_to_read_from_breaks_the_device),
        BARE(a_network_that_fails_is_asked_again_a_little_later),
        BARE(nothing_moves_between_drain_and_resume),
        BARE(what_comes_after_the_first_silence_has_not_waited),
        BARE(reset_drops_what_waits_and_forgets_the_rings),
        T(a_moved_device_goes_on),
        T(a_frame_that_waits_for_buffers_goes_along),
        T(held_frames_that_cannot_be_are_refused),
        T(a_held_frame_with_an_offload_that_the_guest_lacks_is_dropped),
        T(an_interrupt_that_was_due_is_not_lost_by_a_move),
        T(a_network_that_lacks_what_the_guest_uses_is_refused_by_name),
        T(a_network_found_lacking_when_it_is_acquired_is_refused),
        T(the_instruction_clock_has_no_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
