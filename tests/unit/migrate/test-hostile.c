/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that are not what they should be. Whatever they send: a sentence, no hang, no growth, and
 * the guest runs on where it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../patience.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "pair.h"
#include "proxy.h"
#include "wire/wire.h"

#define PAGES 256u

/* ---- A peer made by hand ---- */

struct peer {
    int fd;
    uint32_t sequence;
    uint8_t id[WIRE_SESSION_BYTES];
};

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 8};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.107s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static void send_bytes(struct peer *peer, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    while (length > 0) { /* a peer that hangs up in the middle is fine */
        ssize_t put = send(peer->fd, at, length, MSG_NOSIGNAL);
        if (put <= 0)
            return;
        at += put;
        length -= (size_t)put;
    }
}

static void send_preamble(struct peer *peer, uint16_t role, uint16_t min, uint16_t max)
{
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    struct wire_preamble preamble = {.version_min = min, .version_max = max, .role = role};
    memcpy(preamble.session, peer->id, sizeof peer->id);
    wire_preamble_encode(&preamble, bytes);
    send_bytes(peer, bytes, sizeof bytes);
}

static bool receive_bytes(struct peer *peer, void *to, size_t length)
{
    return recv(peer->fd, to, length, MSG_WAITALL) == (ssize_t)length;
}

static struct peer open_peer(struct pair *pair)
{
    struct peer peer = {.fd = connect_to(pair->listen + 5), .id = "hostile"};
    uint8_t answer[WIRE_PREAMBLE_BYTES];
    send_preamble(&peer, WIRE_ROLE_CONTROL, 1, 1);
    assert_true(receive_bytes(&peer, answer, sizeof answer));
    return peer;
}

static void send_record(struct peer *peer, uint32_t type, const union wire_body *body,
                        const void *tail, size_t tail_bytes)
{
    struct gw_buf out = {0};
    assert_int_equal(wire_record_append(&out, type, peer->sequence++, body, tail, tail_bytes), 0);
    send_bytes(peer, out.data, out.length);
    gw_buf_fini(&out);
}

static void send_offer(struct peer *peer, const char *description, uint64_t ram_bytes)
{
    struct wire_offer offer = {
        .features = WIRE_FEATURES_KNOWN,
        .epoch = 1,
        .running = true,
        .machine = "hostile",
        .region_count = 2,
        .regions = {{"ram", 0x80000000, ram_bytes}, {"ram-high", 0x200000000, 16 * 4096}},
        .description = description,
        .description_bytes = (uint32_t)strlen(description),
    };
    struct gw_buf body = {0}, out = {0};
    assert_int_equal(wire_offer_encode(&offer, &body, NULL), 0);
    assert_int_equal(wire_raw_append(&out, WIRE_OFFER, peer->sequence++, body.data, body.length),
                     0);
    send_bytes(peer, out.data, out.length);
    gw_buf_fini(&body);
    gw_buf_fini(&out);
}

/* Reads until a record of this type; its text if it has one. false when the peer hangs up first. */
static bool await_record(struct peer *peer, uint32_t wanted, char *text, size_t bytes)
{
    uint8_t head[WIRE_HEADER_BYTES], body[4096];
    struct wire_header header;
    while (receive_bytes(peer, head, sizeof head)) {
        if (wire_header_decode(head, &header, NULL) < 0 || header.length > sizeof body ||
            !receive_bytes(peer, body, header.length))
            return false;
        union wire_body decoded = {0};
        const uint8_t *tail = NULL;
        wire_body_decode(header.type, body, header.length, &decoded, &tail, NULL);
        if (text && (header.type == WIRE_ERROR || header.type == WIRE_REFUSE))
            snprintf(text, bytes, "%.*s", (int)decoded.error.text_bytes, (const char *)tail);
        if (header.type == wanted)
            return true;
    }
    return false;
}

static const char *const description =
    "{\"fake\": 1, \"pages\": 256, \"writers\": 1, \"hot\": 10, \"nap\": 100}";

static struct peer open_accepted(struct pair *pair)
{
    struct peer peer = open_peer(pair);
    send_offer(&peer, description, PAGES * 4096);
    assert_true(await_record(&peer, WIRE_ACCEPT, NULL, 0));
    return peer;
}

static void listen_for(struct pair *pair)
{
    pair_init(pair, PAGES, PAGES);
    pair->destination_config.parameters.peer_timeout_ms = 1000;
    pair_listen(pair, "unix:");
}

/* One that is not heard is waited for longer than any test does. */
static void listen_for_patiently(struct pair *pair)
{
    pair_init(pair, PAGES, PAGES);
    pair->destination_config.parameters.peer_timeout_ms = 10 * (uint64_t)patience_ms();
    pair->source_config.parameters.peer_timeout_ms = 10 * (uint64_t)patience_ms();
    pair_listen(pair, "unix:");
}

/* The destination has given up with a sentence that holds `words`, and told the peer. */
static void assert_given_up(struct pair *pair, struct peer *peer, const char *words)
{
    char text[600] = "";
    bool told = await_record(peer, WIRE_ERROR, text, sizeof text);
    close(peer->fd);
    pair_wait_destination(pair);
    struct gw_migrate_info info = pair_destination_info(pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    if (!strstr(info.error.message, words))
        fail_msg("'%s' does not hold '%s'", info.error.message, words);
    assert_true(told);
    assert_string_equal(text, info.error.message);
    assert_int_equal(pair->to->starts, 0);
    assert_int_equal(pair->to->discards, 1);
    pair_fini(pair);
}

/* Hangs up; the destination soon waits for the next one. */
static void close_peer(struct pair *pair, struct peer *peer)
{
    close(peer->fd);
    uint64_t end_ns = patience_end_ns();
    while (pair_destination_info(pair).status != GW_MIGRATE_NONE && host_monotonic_ns() < end_ns)
        usleep(1000);
    assert_int_equal(pair_destination_info(pair).status, GW_MIGRATE_NONE);
    usleep(10000);
}

/* After all that, an honest source comes. */
static void assert_still_receives(struct pair *pair)
{
    pair_send(pair, NULL);
    pair_wait(pair);
    pair_assert_moved(pair);
    pair_fini(pair);
}

/* ---- Before the conversation ---- */

static void foreign_connections_do_not_end_the_wait(void **state)
{
    static const char *const greetings[] = {
        "",           "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02", "g",
        "godwit\r\n", "SSH-2.0-OpenSSH_9.2\r\n"};
    struct pair pair;
    listen_for(&pair);
    for (size_t i = 0; i < ARRAY_COUNT(greetings); i++) {
        struct peer peer = {.fd = connect_to(pair.listen + 5)};
        send_bytes(&peer, greetings[i], strlen(greetings[i]));
        shutdown(peer.fd, SHUT_WR);
        char byte;
        assert_true(recv(peer.fd, &byte, 1, 0) <= 0);
        close(peer.fd);
    }
    assert_still_receives(&pair);
}

static void silent_connections_do_not_keep_the_source_out(void **state)
{
    struct pair pair;
    int fds[40];
    listen_for_patiently(&pair);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        fds[i] = connect_to(pair.listen + 5);
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
    pair_fini(&pair);
}

static void another_version_is_told_which_one_is_spoken(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = {.fd = connect_to(pair.listen + 5)};
    send_preamble(&peer, WIRE_ROLE_CONTROL, 7, 9);
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    struct wire_preamble answer;
    assert_true(receive_bytes(&peer, bytes, sizeof bytes));
    assert_int_equal(wire_preamble_decode(bytes, &answer, NULL), 0);
    assert_int_equal(answer.version_max, WIRE_VERSION_MAX);
    close(peer.fd);
    assert_still_receives(&pair);
}

static void data_and_questions_of_unknown_sessions_are_turned_away(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer data = {.fd = connect_to(pair.listen + 5)};
    send_preamble(&data, WIRE_ROLE_DATA, 1, 1);
    char byte;
    assert_true(recv(data.fd, &byte, 1, 0) <= 0);
    close(data.fd);

    struct peer query = {.fd = connect_to(pair.listen + 5), .id = "nobody knows it"};
    uint8_t answer[WIRE_PREAMBLE_BYTES];
    char text[600] = "";
    union wire_body body = {.epoch = {.epoch = 2}};
    send_preamble(&query, WIRE_ROLE_QUERY, 1, 1);
    assert_true(receive_bytes(&query, answer, sizeof answer));
    send_record(&query, WIRE_QUERY_OWNER, &body, NULL, 0);
    assert_true(await_record(&query, WIRE_ERROR, text, sizeof text));
    assert_non_null(strstr(text, "nothing is known"));
    close(query.fd);
    assert_still_receives(&pair);
}

/* ---- Offers ---- */

static void a_bad_offer_is_refused_and_the_next_source_is_taken(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_peer(&pair);
    char text[600] = "";
    send_offer(&peer, "{\"not\": \"a machine\"}", PAGES * 4096);
    assert_true(await_record(&peer, WIRE_REFUSE, text, sizeof text));
    assert_non_null(strstr(text, "no fake machine"));
    close_peer(&pair, &peer);

    peer = open_peer(&pair);
    send_offer(&peer, description, (PAGES + 1) * 4096);
    assert_true(await_record(&peer, WIRE_REFUSE, text, sizeof text));
    assert_non_null(strstr(text, "memory region 0"));
    close_peer(&pair, &peer);

    peer = open_peer(&pair);
    union wire_body body = {.commit = {.epoch = 1}};
    send_record(&peer, WIRE_COMMIT, &body, NULL, 0);
    assert_true(await_record(&peer, WIRE_REFUSE, text, sizeof text));
    assert_non_null(strstr(text, "instead of OFFER"));
    close_peer(&pair, &peer);
    assert_int_equal(pair.to->discards, pair.to->prepares);
    pair.to->discards = 0;
    assert_still_receives(&pair);
}

static void a_source_that_says_nothing_is_given_up_and_the_next_is_taken(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_peer(&pair);
    uint64_t began = host_monotonic_ns();
    char byte;
    while (recv(peer.fd, &byte, 1, 0) > 0)
        ;
    assert_true(host_monotonic_ns() - began >= 1000000000ull);
    close_peer(&pair, &peer);
    assert_still_receives(&pair);
}

/* ---- Records ---- */

/* A record of which only the header exists. */
static void send_header(struct peer *peer, uint32_t type, uint32_t length, uint32_t sequence)
{
    uint8_t bytes[WIRE_HEADER_BYTES];
    struct wire_header header = {.type = type, .length = length, .sequence = sequence};
    wire_header_encode(&header, bytes);
    send_bytes(peer, bytes, sizeof bytes);
}

static void an_unknown_record_ends_it_and_one_that_may_be_skipped_does_not(void **state)
{
    struct pair pair;
    uint8_t junk[64] = {0};
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    send_header(&peer, 0x7777 | WIRE_SKIPPABLE, sizeof junk, peer.sequence++);
    send_bytes(&peer, junk, sizeof junk);
    union wire_body ping = {.ping = {.id = 77}};
    send_record(&peer, WIRE_PING, &ping, NULL, 0);
    assert_true(await_record(&peer, WIRE_PONG, NULL, 0));
    send_header(&peer, 0x7777, 8, peer.sequence++);
    assert_given_up(&pair, &peer, "unknown type 0x7777");
}

static void a_length_beyond_the_limit_ends_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    send_header(&peer, WIRE_STATE, 0x7ffffff8, peer.sequence++);
    assert_given_up(&pair, &peer, "2147483640 bytes");
}

static void a_record_out_of_sequence_ends_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    peer.sequence++;
    union wire_body ping = {.ping = {.id = 1}};
    send_record(&peer, WIRE_PING, &ping, NULL, 0);
    assert_given_up(&pair, &peer, "record 2 came where 1 was due");
}

static void records_that_belong_to_the_other_side_end_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    union wire_body ready = {.ready = {.attempt = 1}};
    send_record(&peer, WIRE_READY, &ready, NULL, 0);
    assert_given_up(&pair, &peer, "READY where it has no place");
}

struct early {
    uint32_t type;
    union wire_body body;
};

static void records_out_of_order_end_it(void **state)
{
    static const struct early early[] = {
        {WIRE_COMMIT, {.commit = {.epoch = 2, .attempt = 1, .run = 1}}},
        {WIRE_VERIFY, {.verify = {.attempt = 1}}},
        {WIRE_CANCEL_SWITCH, {.cancel_switch = {.attempt = 1}}},
        {WIRE_SWITCH, {.switch_ = {.attempt = 5}}},
        {WIRE_CONFIRM, {.epoch = {.epoch = 2}}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(early); i++) {
        struct pair pair;
        listen_for(&pair);
        struct peer peer = open_accepted(&pair);
        send_record(&peer, early[i].type, &early[i].body, NULL, 0);
        assert_given_up(&pair, &peer, "out of order");
    }
}

static void send_extent(struct peer *peer, struct wire_extent extent)
{
    uint8_t head[WIRE_HEADER_BYTES + WIRE_EXTENT_HEAD_MAX_BYTES];
    uint32_t crcs[WIRE_EXTENT_MAX_RAW_PAGES] = {0};
    size_t length = wire_extent_encode(&extent, crcs, peer->sequence++, head);
    send_bytes(peer, head, length);
}

static void extents_outside_memory_end_it(void **state)
{
    static const struct wire_extent outside[] = {
        {0, WIRE_EXTENT_RAW, PAGES - 1, 2, 8192},         {7, WIRE_EXTENT_ZERO, 0, 1, 0},
        {0, WIRE_EXTENT_ZERO, 1ull << 62, 1, 0},          {1, WIRE_EXTENT_ZERO, 0, 0xffffffff, 0},
        {0, WIRE_EXTENT_RAW, UINT64_MAX / 4096, 1, 4096},
    };
    for (size_t i = 0; i < ARRAY_COUNT(outside); i++) {
        struct pair pair;
        listen_for(&pair);
        struct peer peer = open_accepted(&pair);
        send_extent(&peer, outside[i]);
        assert_given_up(&pair, &peer, "outside the machine's memory");
    }
}

static void memory_before_the_offer_is_accepted_ends_that_session_only(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_peer(&pair);
    send_extent(&peer, (struct wire_extent){0, WIRE_EXTENT_ZERO, 0, 1, 0});
    char byte;
    while (recv(peer.fd, &byte, 1, 0) > 0)
        ;
    close_peer(&pair, &peer);
    assert_still_receives(&pair);
}

static void a_barrier_of_a_round_that_is_not_due_ends_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    union wire_body body = {.barrier = {.round = 2}};
    send_record(&peer, WIRE_BARRIER, &body, NULL, 0);
    assert_given_up(&pair, &peer, "barrier of round 2");
}

static void a_flood_of_control_records_ends_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    for (unsigned i = 0; i < 1200; i++) {
        union wire_body ping = {.ping = {.id = i}};
        send_record(&peer, WIRE_PING, &ping, NULL, 0);
    }
    assert_given_up(&pair, &peer, "control records");
}

static void a_state_beyond_the_limit_ends_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    union wire_body body = {.state = {.part_bytes = 8, .total_bytes = 1ull << 40, .serial = 1}};
    send_record(&peer, WIRE_STATE, &body, "12345678", 8);
    assert_given_up(&pair, &peer, "the limit is");
}

static void parts_of_a_state_that_do_not_join_end_it(void **state)
{
    struct pair pair;
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    union wire_body body = {.state = {.part_bytes = 8, .total_bytes = 64, .serial = 1}};
    send_record(&peer, WIRE_STATE, &body, "12345678", 8);
    body.state.offset = 16;
    send_record(&peer, WIRE_STATE, &body, "12345678", 8);
    assert_given_up(&pair, &peer, "does not follow");
}

static void ranges_outside_memory_end_it(void **state)
{
    struct pair pair;
    uint8_t range[WIRE_RANGE_BYTES];
    struct wire_range outside = {.first_page = PAGES, .region = 0, .page_count = 1};
    wire_range_encode(&outside, range);
    listen_for(&pair);
    struct peer peer = open_accepted(&pair);
    union wire_body body = {.resident = {.count = 1}};
    send_record(&peer, WIRE_RESIDENT, &body, range, sizeof range);
    assert_given_up(&pair, &peer, "outside the machine's memory");
}

/* ---- Destinations ---- */

struct false_destination {
    int listener;
    char path[128];
    const void *bytes;
    size_t length;
    bool hang;
    pthread_t thread;
};

static void *false_destination_main(void *opaque)
{
    struct false_destination *self = opaque;
    char scrap[4096];
    int fd = accept(self->listener, NULL, NULL);
    if (fd < 0)
        return NULL;
    if (self->length > 0 && send(fd, self->bytes, self->length, MSG_NOSIGNAL) < 0)
        self->length = 0;
    if (!self->hang)
        shutdown(fd, SHUT_WR);
    while (recv(fd, scrap, sizeof scrap, 0) > 0)
        ;
    close(fd);
    return NULL;
}

/* What the source says when the other end sends just these bytes. */
static struct gw_migrate_info meet(const void *bytes, size_t length, bool hang)
{
    struct pair pair;
    struct false_destination other = {.bytes = bytes, .length = length, .hang = hang};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char uri[160];
    pair_init(&pair, PAGES, PAGES);
    pair.source_config.parameters.peer_timeout_ms = 500;
    snprintf(other.path, sizeof other.path, "%s/other", pair.directory);
    snprintf(address.sun_path, sizeof address.sun_path, "%.107s", other.path);
    snprintf(uri, sizeof uri, "unix:%s", other.path);
    other.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(other.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(other.listener, 4), 0);
    pthread_create(&other.thread, NULL, false_destination_main, &other);
    pair_send(&pair, uri);
    pair_wait_source(&pair);
    struct gw_migrate_info info = pair_source_info(&pair);
    assert_int_equal(info.status, GW_MIGRATE_FAILED);
    assert_true(info.error.message[0] != '\0');
    assert_true(pair.from->running);
    assert_int_equal(pair.from->pauses, 0);
    pthread_join(other.thread, NULL);
    close(other.listener);
    pair_fini(&pair);
    return info;
}

static void a_destination_that_is_something_else_is_recognised(void **state)
{
    struct gw_migrate_info info = meet("HTTP/1.1 400 Bad Request\r\n\r\n", 28, false);
    assert_non_null(strstr(info.error.message, "does not speak the godwit migration protocol"));
}

static void a_destination_that_hangs_up_or_hangs_is_given_up(void **state)
{
    assert_int_equal(meet("", 0, false).error.code, GW_CODE_DISCONNECTED);
    assert_int_equal(meet("", 0, true).error.code, GW_CODE_TIMEOUT);
    assert_int_equal(meet("godwi", 5, true).error.code, GW_CODE_TIMEOUT);
}

static void a_newer_destination_is_told_apart(void **state)
{
    uint8_t bytes[WIRE_PREAMBLE_BYTES];
    struct wire_preamble preamble = {
        .version_min = 5, .version_max = 6, .role = WIRE_ROLE_CONTROL, .answer = true};
    wire_preamble_encode(&preamble, bytes);
    struct gw_migrate_info info = meet(bytes, sizeof bytes, false);
    assert_int_equal(info.error.code, GW_CODE_VERSION);
    assert_non_null(strstr(info.error.message, "5 to 6"));
}

/* ---- Damage anywhere ---- */

/* Whether the migration was completed all the same (the damage hit nothing, or came too late). */
static bool damage_once(enum proxy_action action, uint64_t seed)
{
    struct pair pair;
    char path[128], uri[160];
    pair_init(&pair, PAGES, 40);
    pair.source_config.parameters.peer_timeout_ms = 500;
    pair.destination_config.parameters.peer_timeout_ms = 500;
    pair.destination_config.parameters.handoff_timeout_ms = 1000;
    pair_listen(&pair, "unix:");
    snprintf(path, sizeof path, "%s/proxy", pair.directory);
    snprintf(uri, sizeof uri, "unix:%s", path);
    struct proxy_rule rule = {.action = action,
                              .from_source = seed & 1,
                              .at = (seed >> 8) % (seed & 2   ? 1200
                                                   : seed & 1 ? 180000
                                                              : 2500),
                              .bit = (unsigned)(seed >> 4) % 8};
    struct proxy *proxy = proxy_new(path, pair.listen + 5, rule, NULL);
    pair_send(&pair, uri);
    pair_wait_source(&pair);
    struct gw_migrate_info info = pair_source_info(&pair);
    if (info.status == GW_MIGRATE_COMPLETED) {
        pair_wait_destination(&pair);
        pair_assert_moved(&pair);
    } else {
        assert_true(info.error.message[0] != '\0');
        pair_assert_stayed(&pair, info.epoch);
        assert_true(info.epoch == 1 || info.epoch == 3);
    }
    gw_source_free(TAKE_PTR(pair.source));
    gw_destination_free(TAKE_PTR(pair.destination));
    proxy_free(proxy);
    pair_fini(&pair);
    return info.status == GW_MIGRATE_COMPLETED;
}

static unsigned runs = 100;

static void damaged_or_cut_anywhere_one_side_runs(void **state)
{
    const char *wanted = getenv("GODWIT_TEST_SEED");
    uint64_t seed = wanted ? strtoull(wanted, NULL, 0) : host_realtime_ns();
    print_message("GODWIT_TEST_SEED=%llu\n", (unsigned long long)seed);
    unsigned completed = 0;
    for (unsigned i = 0; i < runs; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        completed += damage_once(i % 4 == 0 ? PROXY_CUT_BYTE : PROXY_FLIP_BYTE, seed >> 16);
    }
    print_message("%u of %u completed all the same\n", completed, runs);
    assert_true(completed < runs);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest damage[] = {
        cmocka_unit_test(damaged_or_cut_anywhere_one_side_runs),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_connections_do_not_end_the_wait),
        cmocka_unit_test(silent_connections_do_not_keep_the_source_out),
        cmocka_unit_test(another_version_is_told_which_one_is_spoken),
        cmocka_unit_test(data_and_questions_of_unknown_sessions_are_turned_away),
        cmocka_unit_test(a_bad_offer_is_refused_and_the_next_source_is_taken),
        cmocka_unit_test(a_source_that_says_nothing_is_given_up_and_the_next_is_taken),
        cmocka_unit_test(an_unknown_record_ends_it_and_one_that_may_be_skipped_does_not),
        cmocka_unit_test(a_length_beyond_the_limit_ends_it),
        cmocka_unit_test(a_record_out_of_sequence_ends_it),
        cmocka_unit_test(records_that_belong_to_the_other_side_end_it),
        cmocka_unit_test(records_out_of_order_end_it),
        cmocka_unit_test(extents_outside_memory_end_it),
        cmocka_unit_test(memory_before_the_offer_is_accepted_ends_that_session_only),
        cmocka_unit_test(a_barrier_of_a_round_that_is_not_due_ends_it),
        cmocka_unit_test(a_flood_of_control_records_ends_it),
        cmocka_unit_test(a_state_beyond_the_limit_ends_it),
        cmocka_unit_test(parts_of_a_state_that_do_not_join_end_it),
        cmocka_unit_test(ranges_outside_memory_end_it),
        cmocka_unit_test(a_destination_that_is_something_else_is_recognised),
        cmocka_unit_test(a_destination_that_hangs_up_or_hangs_is_given_up),
        cmocka_unit_test(a_newer_destination_is_told_apart),
    };
    if (count > 2)
        runs = (unsigned)strtoul(arguments[2], NULL, 10);
    if (count > 1 && strcmp(arguments[1], "damage") == 0)
        return cmocka_run_group_tests(damage, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
