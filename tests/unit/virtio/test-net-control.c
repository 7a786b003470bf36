/* SPDX-License-Identifier: Apache-2.0 */
/* The network device's control queue, and which frames its filters let in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "net-driver.h"

enum { RX, MAC, VLAN, ANNOUNCE, MQ, OFFLOADS };
enum { OK = 0, ERROR = 1, BROKEN = -1 };

static struct net_guest guest;

static int setup(void **state)
{
    net_guest_init(&guest, &(struct net_guest_config){.pairs = 4, .offloads = FAKE_OFFLOADS});
    net_guest_start(&guest, NET_CONTROL, NET_RING_SIZE);
    return 0;
}

static int setup_all(void **state)
{
    net_guest_init(&guest, &(struct net_guest_config){.pairs = 4, .offloads = FAKE_OFFLOADS});
    net_guest_start(&guest, NET_ALL, NET_RING_SIZE);
    return 0;
}

static int teardown(void **state)
{
    net_guest_fini(&guest);
    return 0;
}

static int command(uint8_t class, uint8_t number, const void *data, size_t bytes)
{
    return net_guest_command(&guest, class, number, data, bytes);
}

static int set_mode(uint8_t mode, uint8_t on)
{
    return command(RX, mode, &on, 1);
}

static bool is_broken(void)
{
    return net_guest_get(&guest, R_STATUS) & VIRTIO_NEEDS_RESET;
}

/* ---- Which frames come in ---- */

static const uint8_t broadcast[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t other[NET_MAC_BYTES] = {0x52, 0x54, 0, 0, 0, 1};
static const uint8_t group[NET_MAC_BYTES] = {0x01, 0, 0x5e, 0, 0, 1};

/* Whether a frame to `mac`, with a VLAN tag unless `vlan` is negative, reaches the guest. */
static bool comes_in(const uint8_t *mac, int vlan)
{
    uint8_t frame[100];
    net_frame(frame, sizeof frame, mac);
    if (vlan >= 0) {
        frame[12] = 0x81;
        frame[13] = 0;
        frame[14] = (uint8_t)(0xa0 | vlan >> 8); /* with a priority */
        frame[15] = (uint8_t)vlan;
    }
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    struct virtio_net_counters before = net_guest_look(&guest).counters;
    fake_net_put(guest.fake, 0, NULL, frame, sizeof frame);
    struct virtio_net_counters now;
    assert_true(eventually((now = net_guest_look(&guest).counters,
                            now.frames_in + now.filtered > before.frames_in + before.filtered)));
    return now.frames_in > before.frames_in;
}

static void all_comes_in_until_the_driver_says_otherwise(void **state)
{
    assert_true(comes_in(other, -1));
    assert_true(comes_in(group, 7));
    assert_int_equal(set_mode(0, 0), OK);
    assert_false(comes_in(other, -1));
}

static void without_promiscuity_only_what_is_addressed_comes_in(void **state)
{
    assert_int_equal(set_mode(0, 0), OK);
    assert_true(comes_in(net_guest_mac, -1));
    assert_true(comes_in(broadcast, -1));
    assert_false(comes_in(other, -1));
    assert_false(comes_in(group, -1));
}

static void modes_let_in_and_keep_out(void **state)
{
    set_mode(0, 0);
    assert_int_equal(set_mode(1, 1), OK); /* allmulti */
    assert_true(comes_in(group, -1));
    assert_false(comes_in(other, -1));
    assert_int_equal(set_mode(2, 1), OK); /* alluni */
    assert_true(comes_in(other, -1));
    assert_int_equal(set_mode(3, 1), OK); /* nomulti */
    assert_false(comes_in(group, -1));
    assert_true(comes_in(broadcast, -1));
    assert_int_equal(set_mode(4, 1), OK); /* nouni */
    assert_false(comes_in(net_guest_mac, -1));
    assert_int_equal(set_mode(5, 1), OK); /* nobcast */
    assert_false(comes_in(broadcast, -1));
    assert_int_equal(set_mode(5, 0), OK);
    assert_true(comes_in(broadcast, -1));
}

static size_t put_macs(uint8_t *at, uint32_t count, const uint8_t *mac)
{
    put_le32(at, count);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(at + 4 + NET_MAC_BYTES * i, mac, NET_MAC_BYTES);
        at[4 + NET_MAC_BYTES * i + 4] = (uint8_t)(i >> 8);
        at[4 + NET_MAC_BYTES * i + 5] = (uint8_t)(i + 1);
    }
    return 4 + NET_MAC_BYTES * (size_t)count;
}

static void the_table_lets_in(void **state)
{
    uint8_t data[64], fifth[NET_MAC_BYTES];
    set_mode(0, 0);
    size_t bytes = put_macs(data, 2, other);
    bytes += put_macs(data + bytes, 5, group);
    assert_int_equal(command(MAC, 0, data, bytes), OK);
    memcpy(fifth, group, sizeof fifth);
    fifth[5] = 5;
    assert_true(comes_in(other, -1));
    assert_true(comes_in(fifth, -1));
    fifth[5] = 6;
    assert_false(comes_in(fifth, -1));
}

static void a_table_that_is_too_large_lets_all_of_its_kind_in(void **state)
{
    uint8_t data[2048];
    set_mode(0, 0);
    size_t bytes = put_macs(data, 0, other);
    bytes += put_macs(data + bytes, VIRTIO_NET_TABLE_MACS + 1, group);
    assert_int_equal(command(MAC, 0, data, bytes), OK);
    assert_true(comes_in((uint8_t[]){0x33, 0x33, 9, 9, 9, 9}, -1));
    assert_false(comes_in(other, -1));
    memset(data, 0, 8);
    assert_int_equal(command(MAC, 0, data, 8), OK);
    assert_false(comes_in(group, -1));
}

static void tables_of_a_wrong_length_change_nothing(void **state)
{
    uint8_t data[64];
    set_mode(0, 0);
    size_t bytes = put_macs(data, 1, other);
    bytes += put_macs(data + bytes, 1, group);
    assert_int_equal(command(MAC, 0, data, bytes), OK);
    for (size_t wrong = 0; wrong <= bytes + 1; wrong++)
        if (wrong != bytes)
            assert_int_equal(command(MAC, 0, data, wrong), ERROR);
    put_le32(data, UINT32_MAX);
    assert_int_equal(command(MAC, 0, data, bytes), ERROR);
    assert_true(comes_in(other, -1));
}

static void the_address_can_be_set(void **state)
{
    set_mode(0, 0);
    assert_int_equal(command(MAC, 1, other, sizeof other), OK);
    assert_true(comes_in(other, -1));
    assert_false(comes_in(net_guest_mac, -1));
    assert_int_equal(virtio_mmio_ops.read(&guest.net, R_CONFIG + 5, 1), 1);
    assert_int_equal(command(MAC, 1, other, 5), ERROR);
    assert_int_equal(command(MAC, 1, "1234567", 7), ERROR);
    net_guest_start(&guest, NET_CONTROL, NET_RING_SIZE);
    assert_int_equal(virtio_mmio_ops.read(&guest.net, R_CONFIG + 5, 1), net_guest_mac[5]);
}

static void add_vlan(uint16_t vlan)
{
    uint8_t data[2];
    put_le16(data, vlan);
    assert_int_equal(command(VLAN, 0, data, sizeof data), OK);
}

static void assert_station(const struct net_station *station, const uint8_t *mac, unsigned vlan)
{
    assert_memory_equal(station->mac, mac, NET_MAC_BYTES);
    assert_int_equal(station->vlan, vlan);
}

static void its_stations_are_its_addresses_in_each_vlan(void **state)
{
    struct net_station all[16];
    uint8_t data[64];
    assert_int_equal(virtio_net_stations(&guest.net, all, ARRAY_COUNT(all)), 1);
    assert_station(&all[0], net_guest_mac, 0);
    size_t bytes = put_macs(data, 1, other);
    bytes += put_macs(data + bytes, 1, group);
    assert_int_equal(command(MAC, 0, data, bytes), OK);
    add_vlan(0); /* as Linux does: frames that have no tag */
    add_vlan(7);
    add_vlan(4095);
    assert_int_equal(virtio_net_stations(&guest.net, all, ARRAY_COUNT(all)), 6);
    for (unsigned i = 0; i < 6; i++)
        assert_station(&all[i], i < 3 ? net_guest_mac : other, (unsigned[]){0, 7, 4095}[i % 3]);
    assert_int_equal(virtio_net_stations(&guest.net, all, 2), 2);
    put_macs(data, 1, group); /* nobody has such an address */
    assert_int_equal(command(MAC, 0, data, bytes), OK);
    assert_int_equal(virtio_net_stations(&guest.net, all, ARRAY_COUNT(all)), 3);
    net_guest_set(&guest, R_STATUS, 0);
    assert_int_equal(virtio_net_stations(&guest.net, all, ARRAY_COUNT(all)), 1);
}

static void vlans_come_in_when_they_are_added(void **state)
{
    uint8_t vlan[3];
    set_mode(0, 0);
    assert_false(comes_in(net_guest_mac, 4095));
    put_le16(vlan, 4095);
    assert_int_equal(command(VLAN, 0, vlan, 2), OK);
    assert_true(comes_in(net_guest_mac, 4095));
    assert_false(comes_in(net_guest_mac, 4094));
    assert_true(comes_in(net_guest_mac, -1));
    assert_int_equal(command(VLAN, 1, vlan, 2), OK);
    assert_false(comes_in(net_guest_mac, 4095));
    put_le16(vlan, 4096);
    assert_int_equal(command(VLAN, 0, vlan, 2), ERROR);
    assert_int_equal(command(VLAN, 0, vlan, 1), ERROR);
    assert_int_equal(command(VLAN, 0, vlan, 3), ERROR);
}

/* ---- Announcing ---- */

static void the_guest_is_asked_to_announce_itself_until_it_has(void **state)
{
    assert_int_equal(command(ANNOUNCE, 0, NULL, 0), ERROR); /* nobody has asked */
    uint32_t generation = net_guest_get(&guest, 0xfc);
    assert_true(net_guest_announce(&guest));
    assert_int_equal(net_guest_config_status(&guest), 3);
    assert_true(net_guest_get(&guest, R_ISR) & 2);
    assert_int_not_equal(net_guest_get(&guest, 0xfc), generation);
    assert_true(net_guest_look(&guest).announcing);
    assert_int_equal(command(ANNOUNCE, 0, "x", 1), ERROR);
    assert_int_equal(command(ANNOUNCE, 0, NULL, 0), OK);
    assert_int_equal(net_guest_config_status(&guest), 1);
}

static void a_guest_that_cannot_announce_is_not_asked(void **state)
{
    net_guest_start(&guest, NET_CONTROL & ~BIT(N_GUEST_ANNOUNCE), NET_RING_SIZE);
    assert_false(net_guest_announce(&guest));
    assert_int_equal(net_guest_config_status(&guest), 1);
}

static void who_is_asked_while_stopped_is_interrupted_at_resume(void **state)
{
    net_guest_drain(&guest);
    assert_true(net_guest_announce(&guest));
    net_guest_set(&guest, R_ACK, 0);
    guest.driver.irq = false;
    net_guest_resume(&guest);
    assert_true(guest.driver.irq);
    assert_int_equal(net_guest_config_status(&guest), 3);
}

/* ---- Queues and offloads ---- */

static void pairs_are_used_when_they_are_set(void **state)
{
    uint8_t pairs[3] = {0};
    uint32_t head, bytes;
    assert_int_equal(guest.fake->queues_in_use, 1);
    put_le16(pairs, 4);
    assert_int_equal(command(MQ, 0, pairs, 2), OK);
    assert_int_equal(guest.fake->queues_in_use, 4);
    const struct piece out[] = {{net_slot(0), 100, 0}}, in[] = {{net_slot(1), 2000, D_WRITE}};
    uint8_t zeroes[100] = {0};
    driver_put(&guest.driver, net_slot(0), zeroes, sizeof zeroes);
    net_ring_add(&guest.ring[7], out, 1);
    net_ring_add(&guest.ring[6], in, 1);
    net_ring_kick(&guest, &guest.ring[7]);
    fake_net_put(guest.fake, 3, NULL, zeroes, 60);
    assert_true(eventually(net_ring_collect(&guest.ring[7], &head, &bytes)));
    assert_true(eventually(net_ring_collect(&guest.ring[6], &head, &bytes)));
    put_le16(pairs, 5);
    assert_int_equal(command(MQ, 0, pairs, 2), ERROR);
    put_le16(pairs, 0);
    assert_int_equal(command(MQ, 0, pairs, 2), ERROR);
    put_le16(pairs, 1);
    assert_int_equal(command(MQ, 0, pairs, 3), ERROR);
    assert_int_equal(command(MQ, 0, pairs, 1), ERROR);
    assert_int_equal(net_guest_look(&guest).pairs_in_use, 4);
    assert_int_equal(command(MQ, 0, pairs, 2), OK);
    assert_int_equal(guest.fake->queues_in_use, 1);
}

static void offloads_can_be_chosen_from_the_negotiated(void **state)
{
    uint8_t data[9] = {0};
    assert_int_equal(guest.fake->offloads_in, FAKE_OFFLOADS);
    put_le64(data, BIT(N_GUEST_CSUM));
    assert_int_equal(command(OFFLOADS, 0, data, 8), OK);
    assert_int_equal(guest.fake->offloads_in, NET_CHECKSUM);
    put_le64(data, BIT(N_GUEST_CSUM) | BIT(N_HOST_TSO4));
    assert_int_equal(command(OFFLOADS, 0, data, 8), ERROR);
    put_le64(data, 0);
    assert_int_equal(command(OFFLOADS, 0, data, 7), ERROR);
    assert_int_equal(command(OFFLOADS, 0, data, 9), ERROR);
    assert_int_equal(guest.fake->offloads_in, NET_CHECKSUM);
}

static void what_the_control_queue_has_set_moves_along(void **state)
{
    static struct net_guest moved;
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    uint8_t pairs[2] = {3, 0}, offloads[8] = {0}, vlan[2] = {9, 0};
    set_mode(0, 0);
    put_le64(offloads, BIT(N_GUEST_CSUM));
    assert_int_equal(command(MQ, 0, pairs, 2), OK);
    assert_int_equal(command(OFFLOADS, 0, offloads, 8), OK);
    assert_int_equal(command(VLAN, 0, vlan, 2), OK);
    assert_int_equal(command(MAC, 1, other, sizeof other), OK);
    assert_true(net_guest_announce(&guest));
    net_guest_drain(&guest);
    net_guest_init(&moved, &(struct net_guest_config){.pairs = 4, .offloads = FAKE_OFFLOADS});
    const struct gw_state_item out = {&virtio_net_state_type, 0, &guest.net};
    const struct gw_state_item in = {&virtio_net_state_type, 0, &moved.net};
    assert_int_equal(gw_state_save(&out, 1, &stream, &error), 0);
    assert_int_equal(gw_state_load(&in, 1, stream.data, stream.length, &error), 0);
    net_guest_resume(&moved);
    assert_int_equal(moved.fake->queues_in_use, 3);
    assert_int_equal(moved.fake->offloads_in, NET_CHECKSUM);
    assert_int_equal(net_guest_config_status(&moved), 3);
    assert_memory_equal(net_guest_look(&moved).mac, other, sizeof other);
    assert_int_equal(moved.net.filter.modes, 0);
    assert_int_equal(moved.net.filter.vlans[1], 2);
    gw_buf_fini(&stream);
    net_guest_fini(&moved);
}

/* ---- Wrong commands ---- */

static void unknown_commands_are_errors(void **state)
{
    assert_int_equal(command(6, 0, NULL, 0), ERROR);
    assert_int_equal(command(255, 255, "abc", 3), ERROR);
    assert_int_equal(command(RX, 6, "\1", 1), ERROR);
    assert_int_equal(command(MAC, 2, "abcdef", 6), ERROR);
    assert_int_equal(command(VLAN, 2, "\1", 2), ERROR);
    assert_int_equal(command(MQ, 1, "\1", 2), ERROR); /* RSS */
    assert_int_equal(command(ANNOUNCE, 1, NULL, 0), ERROR);
    assert_int_equal(command(OFFLOADS, 1, "\0\0\0\0\0\0\0", 8), ERROR);
    assert_false(is_broken());
}

static void modes_are_one_byte_that_is_0_or_1(void **state)
{
    assert_int_equal(command(RX, 0, NULL, 0), ERROR);
    assert_int_equal(command(RX, 0, "\0\0", 2), ERROR);
    assert_int_equal(command(RX, 0, "\2", 1), ERROR);
}

static void commands_need_their_feature(void **state)
{
    uint8_t zeroes[8] = {0};
    net_guest_start(&guest, NET_PLAIN | BIT(N_CTRL_VQ), NET_RING_SIZE);
    assert_int_equal(set_mode(0, 0), ERROR);
    assert_int_equal(set_mode(2, 0), ERROR);
    assert_int_equal(command(MAC, 0, zeroes, 8), ERROR);
    assert_int_equal(command(MAC, 1, zeroes, 6), ERROR);
    assert_int_equal(command(VLAN, 0, zeroes, 2), ERROR);
    assert_int_equal(command(ANNOUNCE, 0, NULL, 0), ERROR);
    assert_int_equal(command(MQ, 0, "\1", 2), ERROR);
    assert_int_equal(command(OFFLOADS, 0, zeroes, 8), ERROR);
}

static void add_control(const struct piece *pieces, unsigned count)
{
    struct net_ring *ring = net_guest_control(&guest);
    net_ring_add(ring, pieces, count);
    net_ring_kick(&guest, ring);
}

static void no_room_for_the_answer_breaks_the_device(void **state)
{
    const struct piece piece = {net_slot(0), 3, 0};
    add_control(&piece, 1);
    assert_true(is_broken());
}

static void no_command_breaks_the_device(void **state)
{
    const struct piece pieces[] = {{net_slot(0), 1, 0}, {net_slot(1), 1, D_WRITE}};
    add_control(pieces, 2);
    assert_true(is_broken());
}

static void a_broken_control_queue_stops_the_frames(void **state)
{
    const struct piece piece = {0x1000, 3, 0};
    uint8_t frame[60] = {0};
    net_guest_offer(&guest, 0, 2000);
    net_ring_kick(&guest, &guest.ring[0]);
    add_control(&piece, 1);
    assert_true(is_broken());
    fake_net_put(guest.fake, 0, NULL, frame, sizeof frame);
    usleep(3000);
    assert_int_equal(net_ring_used(&guest.ring[0]), 0);
    net_guest_start(&guest, NET_CONTROL, NET_RING_SIZE);
    assert_int_equal(set_mode(0, 1), OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ALL(name) cmocka_unit_test_setup_teardown(name, setup_all, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(all_comes_in_until_the_driver_says_otherwise),
        T(without_promiscuity_only_what_is_addressed_comes_in),
        T(modes_let_in_and_keep_out),
        T(the_table_lets_in),
        T(a_table_that_is_too_large_lets_all_of_its_kind_in),
        T(tables_of_a_wrong_length_change_nothing),
        T(the_address_can_be_set),
        T(its_stations_are_its_addresses_in_each_vlan),
        T(vlans_come_in_when_they_are_added),
        T(the_guest_is_asked_to_announce_itself_until_it_has),
        T(a_guest_that_cannot_announce_is_not_asked),
        T(who_is_asked_while_stopped_is_interrupted_at_resume),
        ALL(pairs_are_used_when_they_are_set),
        ALL(offloads_can_be_chosen_from_the_negotiated),
        ALL(what_the_control_queue_has_set_moves_along),
        ALL(unknown_commands_are_errors),
        T(modes_are_one_byte_that_is_0_or_1),
        T(commands_need_their_feature),
        T(no_room_for_the_answer_breaks_the_device),
        T(no_command_breaks_the_device),
        T(a_broken_control_queue_stops_the_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
