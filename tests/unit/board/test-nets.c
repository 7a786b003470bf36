/* SPDX-License-Identifier: Apache-2.0 */
/* A board and its networks: where they stand, what is chosen for them, how they are handed over. */
#include "../patience.h"
#include "board-test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "board/riscv-machine.h"
#include "net/announce.h"

static char folder[] = "/tmp/godwit-nets-XXXXXX";
static char text[2][64]; /* of two networks */

static int set_up(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    for (unsigned i = 0; i < ARRAY_COUNT(text); i++)
        snprintf(text[i], sizeof text[i], "socket:listen:unix:%s/%u", folder, i);
    return 0;
}

static int tear_down(void **state)
{
    return rmdir(folder);
}

static struct board_config net_config(unsigned nets)
{
    struct board_config config = bare_config("count");
    config.net_count = nets;
    for (unsigned i = 0; i < nets; i++)
        config.nets[i].back_end = text[i];
    return config;
}

static int make(const struct board_config *config, bool defer, struct board **ret_board,
                struct gw_error *error)
{
    sd_event *loop;
    assert_int_equal(sd_event_new(&loop), 0);
    int r = board_new(config, loop, NULL, defer, ret_board, error);
    sd_event_unref(loop); /* the board holds it */
    return r;
}

static void networks_stand_in_the_last_slots_in_their_order(void **state)
{
    static const uint32_t ids[RISCV_VIRT_SLOTS] = {4, 0, 0, 0, 0, 1, 1, 18};
    struct machine m;
    struct board_config config = net_config(2);
    config.nets[1].mac[0] = 0x52;
    machine_new(&m, &config);
    for (unsigned slot = 0; slot < RISCV_VIRT_SLOTS; slot++) {
        uint64_t value;
        assert_int_equal(riscv_bus.read(&riscv_virt_of(m.board)->hart[0],
                                        0x10001008 + slot * 0x1000, 4, 0, &value),
                         0);
        assert_int_equal(value, ids[slot]);
    }
    uint64_t first;
    assert_int_equal(riscv_bus.read(&riscv_virt_of(m.board)->hart[0], 0x10007100, 1, 0, &first), 0);
    assert_int_equal(first, 0x52);
    machine_free(&m);
}

static const struct board_net *settled(struct board *board, unsigned index)
{
    return &board_settled_config(board)->nets[index];
}

static void what_was_left_open_is_chosen_once(void **state)
{
    struct machine m;
    struct board_config config = net_config(2), back;
    config.nets[1].name = "lan";
    config.nets[1].mtu = 1400;
    machine_new(&m, &config);
    assert_string_equal(settled(m.board, 0)->name, "net0");
    assert_string_equal(settled(m.board, 1)->name, "lan");
    assert_int_equal(settled(m.board, 0)->queues, 1);
    assert_int_equal(settled(m.board, 0)->mac[0] & 3, 2); /* local, of one card */
    assert_memory_not_equal(settled(m.board, 0)->mac, settled(m.board, 1)->mac, 6);
    json_t *description = board_describe(m.board);
    assert_int_equal(board_config_from_description(description, &back, NULL), 0);
    assert_memory_equal(back.nets[0].mac, settled(m.board, 0)->mac, 6);
    assert_int_equal(back.nets[1].mtu, 1400);
    board_config_fini(&back);
    json_decref(description);
    machine_free(&m);
}

static void a_network_that_another_holds_is_refused(void **state)
{
    struct machine m;
    struct board *other;
    struct board_config config = net_config(1);
    struct gw_error error = {0};
    machine_new(&m, &config);
    assert_int_equal(make(&config, false, &other, &error), -EBUSY);
    machine_free(&m);
}

static void a_deferred_board_runs_only_with_its_networks(void **state)
{
    struct machine m;
    struct board *other;
    struct board_config config = net_config(2);
    struct gw_error error = {0};
    machine_new(&m, &config);
    assert_int_equal(make(&config, true, &other, &error), 0);
    assert_int_equal(board_boot(other, NULL), 0);
    assert_int_equal(board_start(other, &error), -EBUSY);
    assert_non_null(strstr(error.message, "network 'net0' is not open"));
    assert_int_equal(board_acquire_nets(other, &error), -EBUSY);
    board_release_nets(m.board);
    assert_int_equal(board_acquire_nets(other, &error), 0);
    assert_int_equal(board_start(other, &error), 0);
    assert_int_equal(board_acquire_nets(m.board, &error), -EBUSY);
    board_free(other);
    assert_int_equal(board_acquire_nets(m.board, &error), 0);
    machine_free(&m);
}

static void a_network_that_is_not_given_is_asked_for_by_name(void **state)
{
    struct board *board;
    struct board_config config = net_config(2);
    struct gw_error error = {0};
    config.nets[1].back_end = NULL;
    config.nets[1].name = "lan";
    assert_int_equal(make(&config, true, &board, &error), -EINVAL);
    assert_string_equal(
        error.message,
        "the machine has a network 'lan' and none is given for it here; use --net …,name=lan");
}

static void more_queues_than_the_network_has_are_refused_before_anything_is_open(void **state)
{
    struct board *board;
    struct board_config config = net_config(1);
    struct gw_error error = {0};
    config.nets[0].queues = 2;
    assert_int_equal(make(&config, true, &board, &error), -EOPNOTSUPP);
    assert_non_null(strstr(error.message, "network 'net0' has 2 queues"));
}

static void what_the_driver_uses_and_the_network_lacks_is_refused_before_it_comes(void **state)
{
    struct board *board;
    struct board_config config = net_config(1);
    struct gw_error error = {0};
    config.nets[0].features = 1 << 11; /* HOST_TSO4 */
    assert_int_equal(make(&config, true, &board, &error), -EOPNOTSUPP);
    assert_non_null(
        strstr(error.message, "network 'net0': the guest uses TCP segmentation offload"));
    config.nets[0].features = 1 << 5; /* MAC */
    assert_int_equal(make(&config, true, &board, &error), 0);
    board_free(board);
}

static void a_network_that_does_not_exist_is_refused(void **state)
{
    struct board *board;
    struct board_config config = net_config(1);
    struct gw_error error = {0};
    config.nets[0].back_end = "carrier pigeons";
    assert_int_equal(make(&config, true, &board, &error), -EINVAL);
    assert_non_null(strstr(error.message, "carrier pigeons"));
}

static void a_machine_moves_with_its_networks(void **state)
{
    struct machine m;
    struct board *other;
    struct board_config config = net_config(2), arrived;
    struct gw_buf stream = {0};
    struct gw_error error = {0};
    machine_new(&m, &config);
    assert_int_equal(board_boot(m.board, NULL), 0);
    assert_int_equal(board_start(m.board, &error), 0);
    board_stop(m.board);
    json_t *description = board_describe(m.board);
    assert_int_equal(board_config_from_description(description, &arrived, &error), 0);
    for (unsigned i = 0; i < arrived.net_count; i++)
        arrived.nets[i].back_end = strdup(text[i]);
    assert_int_equal(make(&arrived, true, &other, &error), 0);
    assert_int_equal(board_save(m.board, &stream, &error), 0);
    board_release_nets(m.board);
    if (board_load(other, stream.data, stream.length, &error) < 0 ||
        board_acquire_nets(other, &error) < 0)
        fail_msg("%s", error.message);
    json_t *again = board_describe(other);
    assert_true(json_equal(description, again));
    assert_int_equal(board_announce_nets(other), 0); /* no driver has started */
    json_decref(again);
    json_decref(description);
    board_config_fini(&arrived);
    gw_buf_fini(&stream);
    board_free(other);
    machine_free(&m);
}

/* As QEMU's `-netdev stream` does: a length in front of each frame. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static size_t read_for(struct machine *m, int fd, uint8_t *bytes, size_t room, uint64_t wait_ns)
{
    uint64_t until_ns = host_monotonic_ns() + wait_ns;
    size_t length = 0;
    while (length < room && host_monotonic_ns() < until_ns) {
        ssize_t n = read(fd, bytes + length, room - length);
        length += n > 0 ? (size_t)n : 0;
        sd_event_run(m->loop, 5000);
    }
    return length;
}

static void the_network_is_told_where_the_card_is(void **state)
{
    enum { FRAME = 4 + ANNOUNCE_FRAME_BYTES };
    struct machine m;
    struct board_config config = net_config(1);
    uint8_t bytes[(ANNOUNCE_TIMES + 1) * FRAME];
    machine_new(&m, &config);
    int fd = connect_to(strchr(text[0], '/'));
    while (sd_event_run(m.loop, 100000) > 0)
        ; /* whoever connects is there already, so nothing is left to do once it was let in */
    board_announce_nets(m.board);
    size_t length = read_for(&m, fd, bytes, ANNOUNCE_TIMES * FRAME, patience_ns());
    assert_int_equal(length, ANNOUNCE_TIMES * FRAME);
    assert_int_equal(read_for(&m, fd, bytes + length, FRAME, 300000000), 0); /* no more */
    assert_memory_equal(bytes + 4 + 6, settled(m.board, 0)->mac, 6);
    assert_memory_equal(bytes + 4 + 12, "\x80\x35", 2); /* RARP */
    board_announce_nets(m.board);
    board_release_nets(m.board); /* nothing is said of it from here any more */
    assert_true(read_for(&m, fd, bytes, sizeof bytes, 300000000) <= FRAME);
    close(fd);
    machine_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_stand_in_the_last_slots_in_their_order),
        cmocka_unit_test(what_was_left_open_is_chosen_once),
        cmocka_unit_test(a_network_that_another_holds_is_refused),
        cmocka_unit_test(a_deferred_board_runs_only_with_its_networks),
        cmocka_unit_test(a_network_that_is_not_given_is_asked_for_by_name),
        cmocka_unit_test(more_queues_than_the_network_has_are_refused_before_anything_is_open),
        cmocka_unit_test(what_the_driver_uses_and_the_network_lacks_is_refused_before_it_comes),
        cmocka_unit_test(a_network_that_does_not_exist_is_refused),
        cmocka_unit_test(a_machine_moves_with_its_networks),
        cmocka_unit_test(the_network_is_told_where_the_card_is),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
