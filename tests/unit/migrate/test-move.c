/* SPDX-License-Identifier: Apache-2.0 */
/* What works: over every transport, there and back, two at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pair.h"
#include "proxy.h"
#include "../shell-word.h"

#define MIB_PAGES 256u

static void moves_over(const char *listen)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 3 * MIB_PAGES);
    pair_listen(&pair, listen);
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    assert_true(pair.to->running);
    struct gw_migrate_info info = pair_source_info(&pair);
    assert_true(info.pause_us > 0);
    assert_true(info.pages_normal >= 3 * MIB_PAGES);
    assert_true(info.pages_zero >= 5 * MIB_PAGES);
    assert_int_equal(info.ram_total, (8 * MIB_PAGES + 16) * 4096);
    assert_true(info.bytes_sent > 3 << 20);
    assert_true(info.round >= 2);
    pair_fini(&pair);
}

static void a_running_guest_moves_over_unix(void **state)
{
    moves_over("unix:");
}

static void a_running_guest_moves_over_tcp(void **state)
{
    moves_over("tcp:127.0.0.1:0");
}

static void a_running_guest_moves_over_tcp_with_ipv6(void **state)
{
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    if (probe < 0) {
        print_message("skipped: no IPv6 on this host\n");
        skip();
    }
    close(probe);
    moves_over("tcp:[::1]:0");
}

static void what_the_destination_expects_to_need_is_in_the_prediction(void **state)
{
    struct pair pair;
    pair_init(&pair, 8 * MIB_PAGES, 3 * MIB_PAGES);
    pair.to->expect_acquire_us = 60000;
    pair_listen(&pair, "unix:");
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    assert_true(pair_source_info(&pair).predicted_pause_us > 60000);
    pair_fini(&pair);
}

static void a_running_guest_moves_over_a_passed_descriptor(void **state)
{
    struct pair pair;
    int ends[2];
    char from[16], to[16];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    snprintf(from, sizeof from, "fd:%d", ends[0]);
    snprintf(to, sizeof to, "fd:%d", ends[1]);
    pair_init(&pair, 8 * MIB_PAGES, 3 * MIB_PAGES);
    pair_listen(&pair, to);
    pair_send(&pair, from);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
}

static void a_running_guest_moves_through_a_command(void **state)
{
    const char *relay = getenv("GODWIT_TEST_RELAY");
    struct pair pair;
    char uri[4096], word[2048], listener[256];
    assert_non_null(relay);
    pair_init(&pair, 8 * MIB_PAGES, 3 * MIB_PAGES);
    pair_listen(&pair, "unix:");
    snprintf(uri, sizeof uri, "exec:%s %s", shell_word(word, sizeof word, relay),
             shell_word(listener, sizeof listener, pair.listen + 5));
    pair_send(&pair, uri);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    pair_fini(&pair);
}

static void a_paused_guest_arrives_paused(void **state)
{
    struct pair pair;
    pair_init(&pair, MIB_PAGES, MIB_PAGES);
    fake_vmm_stop(pair.from);
    pair_listen(&pair, "unix:");
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    assert_false(pair.to->running);
    assert_int_equal(pair.from->pauses, 0);
    assert_int_equal(pair_source_info(&pair).pause_us, 0);
    pair_fini(&pair);
}

static void two_migrations_in_one_process_do_not_meet(void **state)
{
    struct pair one, other;
    pair_init(&one, 4 * MIB_PAGES, 2 * MIB_PAGES);
    pair_init(&other, 2 * MIB_PAGES, MIB_PAGES);
    pair_listen(&one, "unix:");
    pair_listen(&other, "tcp:127.0.0.1:0");
    pair_send(&one, NULL);
    pair_send(&other, NULL);
    pair_wait(&one);
    pair_wait(&other);
    pair_assert_moved(&one);
    pair_assert_moved(&other);
    pair_fini(&one);
    pair_fini(&other);
}

/* Sends what came in `pair` back to a new machine; the record of the first destination goes on
 * counting. */
static void a_guest_moves_on_from_its_destination(void **state)
{
    struct pair pair, next;
    pair_init(&pair, 2 * MIB_PAGES, MIB_PAGES);
    pair_listen(&pair, "unix:");
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);

    pair_init(&next, MIB_PAGES, 0);
    next.source_config.vm = pair.to;
    next.source_config.memory = pair.to->memory;
    next.source_config.tracker = gw_bytemap_tracker_interface(pair.to->tracker);
    next.source_config.ownership_path = pair.to_owner;
    next.source_config.log_directory = pair.to_log;
    pair_listen(&next, "unix:");
    pair_send(&next, NULL);
    pair_wait(&next);
    assert_string_equal(pair_source_info(&next).error.message, "");
    assert_int_equal(next.to->starts, 1);
    assert_int_equal(next.to->wrong_pages, 0);
    assert_int_equal(pair_record(next.to_owner).epoch, 3);
    assert_false(pair.to->running);
    pair_fini(&next);
    pair_fini(&pair);
}

static void a_page_that_becomes_zero_is_cleared_there(void **state)
{
    static const uint8_t zeroes[GW_PAGE_BYTES];
    enum { FIRST = 100, COUNT = 30 }; /* not among the pages that the writers use */
    struct pair pair;
    pair_init(&pair, 4 * MIB_PAGES, 4 * MIB_PAGES);
    pair_listen(&pair, "unix:");
    pair.source_config.parameters.max_bandwidth = 8 << 20;
    pair_send(&pair, NULL);
    pair_wait_status(&pair, GW_MIGRATE_ACTIVE);
    while (pair_source_info(&pair).pages_normal < FIRST + COUNT + 64)
        usleep(1000);
    assert_int_equal(pair_source_info(&pair).round, 1);
    for (uint64_t page = FIRST; page < FIRST + COUNT; page++) {
        pair.from->notes[page] = 0;
        gw_memory_write(pair.from->memory, 0x80000000 + page * GW_PAGE_BYTES, zeroes,
                        sizeof zeroes);
    }
    pair_wait(&pair);
    pair_assert_moved(&pair);
    for (uint64_t page = FIRST; page < FIRST + COUNT; page++) {
        uint8_t bytes[GW_PAGE_BYTES];
        gw_memory_read(pair.to->memory, 0x80000000 + page * GW_PAGE_BYTES, bytes, sizeof bytes);
        assert_memory_equal(bytes, zeroes, sizeof bytes);
    }
    pair_fini(&pair);
}

static uint64_t resident_bytes(const struct gw_memory *memory)
{
    struct stat status;
    assert_int_equal(fstat(gw_memory_region(memory, 0)->fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void untouched_memory_is_allocated_on_neither_side(void **state)
{
    struct pair pair;
    pair_init(&pair, 64 * MIB_PAGES, MIB_PAGES);
    pair.source_config.parameters.verify_ram = false;
    pair_listen(&pair, "unix:");
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    assert_true(resident_bytes(pair.from->memory) <= 2 << 20);
    assert_true(resident_bytes(pair.to->memory) <= 2 << 20);
    pair_fini(&pair);
}

static void the_parts_of_the_pause_add_up(void **state)
{
    struct pair pair;
    pair_init(&pair, 4 * MIB_PAGES, 4 * MIB_PAGES);
    pair.source_config.parameters.verify_ram = false;
    pair_listen(&pair, "tcp:127.0.0.1:0");
    pair_send(&pair, NULL);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    struct gw_migrate_info info = pair_source_info(&pair);
    uint64_t sum = info.pause.stop + info.pause.ram + info.pause.save + info.pause.send +
                   info.pause.load + info.pause.verify + info.pause.ready + info.pause.commit +
                   info.pause.start;
    print_message(
        "pause %llu us: stop %llu, save %llu, ram %llu, send %llu, load %llu, ready %llu, "
        "commit %llu, start %llu\n",
        (unsigned long long)info.pause_us, (unsigned long long)info.pause.stop,
        (unsigned long long)info.pause.save, (unsigned long long)info.pause.ram,
        (unsigned long long)info.pause.send, (unsigned long long)info.pause.load,
        (unsigned long long)info.pause.ready, (unsigned long long)info.pause.commit,
        (unsigned long long)info.pause.start);
    assert_in_range(sum, info.pause_us - 20, info.pause_us + 20);
    uint64_t real_us = (pair.to->start_ns - pair.from->stop_ns) / 1000;
    assert_true(info.pause_us <= real_us + 20000 && real_us <= info.pause_us + 20000);
    assert_true(info.pause_us < 100000);
    pair_fini(&pair);
}

/* A whole session as it was on the wire, read by the reader that knows only docs/protocol.md. */
static void a_recorded_session_keeps_the_rules_of_the_protocol(void **state)
{
    const char *reader = getenv("GODWIT_TEST_READER");
    struct pair pair;
    char path[128], uri[160], record[128], command[4096], reader_word[2048], record_word[256];
    assert_non_null(reader);
    pair_init(&pair, MIB_PAGES, MIB_PAGES / 2);
    pair_listen(&pair, "unix:");
    snprintf(path, sizeof path, "%s/proxy", pair.directory);
    snprintf(record, sizeof record, "%s/record", pair.directory);
    assert_int_equal(mkdir(record, 0700), 0);
    struct proxy_rule nothing = {.action = PROXY_NOTHING};
    struct proxy *proxy = proxy_new(path, pair.listen + 5, nothing, record);
    snprintf(uri, sizeof uri, "unix:%s", path);
    pair_send(&pair, uri);
    pair_wait(&pair);
    pair_assert_moved(&pair);
    gw_source_free(pair.source);
    gw_destination_free(pair.destination);
    pair.source = NULL;
    pair.destination = NULL;
    proxy_free(proxy);
    shell_word(reader_word, sizeof reader_word, reader);
    shell_word(record_word, sizeof record_word, record);
    snprintf(command, sizeof command, "/usr/bin/python3 -B %s %s", reader_word, record_word);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "%s/0.source", record);
    FILE *stream = fopen(command, "r+");
    assert_non_null(stream);
    fseek(stream, 60, SEEK_SET); /* the reader must see a change, or its word means nothing */
    fputc(0x77, stream);
    fclose(stream);
    snprintf(command, sizeof command, "/usr/bin/python3 -B %s %s 2>/dev/null", reader_word,
             record_word);
    assert_int_not_equal(system(command), 0);
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_guest_moves_over_unix),
        cmocka_unit_test(a_running_guest_moves_over_tcp),
        cmocka_unit_test(a_running_guest_moves_over_tcp_with_ipv6),
        cmocka_unit_test(what_the_destination_expects_to_need_is_in_the_prediction),
        cmocka_unit_test(a_running_guest_moves_over_a_passed_descriptor),
        cmocka_unit_test(a_running_guest_moves_through_a_command),
        cmocka_unit_test(a_paused_guest_arrives_paused),
        cmocka_unit_test(two_migrations_in_one_process_do_not_meet),
        cmocka_unit_test(a_guest_moves_on_from_its_destination),
        cmocka_unit_test(a_page_that_becomes_zero_is_cleared_there),
        cmocka_unit_test(untouched_memory_is_allocated_on_neither_side),
        cmocka_unit_test(the_parts_of_the_pause_add_up),
        cmocka_unit_test(a_recorded_session_keeps_the_rules_of_the_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
