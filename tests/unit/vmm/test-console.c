/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/console.h"

struct fixture {
    sd_event *loop;
    struct console *console;
    size_t room; /* what the fake board still takes */
    char typed[200000];
    size_t typed_length;
};

static size_t board_input(void *opaque, const uint8_t *bytes, size_t length)
{
    struct fixture *fixture = opaque;
    size_t n = length < fixture->room ? length : fixture->room;

    memcpy(fixture->typed + fixture->typed_length, bytes, n);
    fixture->typed_length += n;
    fixture->room -= n;
    return n;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    assert_int_equal(sd_event_new(&fixture->loop), 0);
    assert_int_equal(console_new(fixture->loop, &fixture->console, NULL), 0);
    console_set_input(fixture->console, board_input, fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    console_free(fixture->console);
    sd_event_unref(fixture->loop);
    free(fixture);
    return 0;
}

static void turn(struct fixture *fixture)
{
    while (sd_event_run(fixture->loop, 0) > 0)
        continue;
}

static void guest_writes(struct fixture *fixture, const char *text)
{
    console_output(fixture->console, (const uint8_t *)text, strlen(text));
}

static int add_viewer(struct fixture *fixture)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    console_add_viewer(fixture->console, pair[0]);
    return pair[1];
}

static const char *seen(int fd)
{
    static char text[1 << 20];
    size_t used = 0;
    ssize_t n;

    while ((n = recv(fd, text + used, sizeof text - 1 - used, MSG_DONTWAIT)) > 0)
        used += (size_t)n;
    text[used] = 0;
    return text;
}

static void viewer_gets_scrollback_then_live(void **state)
{
    int viewer;

    guest_writes(*state, "before ");
    viewer = add_viewer(*state);
    guest_writes(*state, "after");
    turn(*state);
    assert_string_equal(seen(viewer), "before after");
    close(viewer);
}

static void every_viewer_gets_everything(void **state)
{
    int one = add_viewer(*state), other = add_viewer(*state);

    guest_writes(*state, "hello");
    turn(*state);
    assert_string_equal(seen(one), "hello");
    assert_string_equal(seen(other), "hello");
    close(one);
    close(other);
}

static void slow_viewer_skips_and_others_do_not(void **state)
{
    int slow = add_viewer(*state), other = add_viewer(*state);
    char line[101];
    size_t got = 0, lost;

    for (unsigned i = 0; i < 20000; i++) {
        snprintf(line, sizeof line, "%099u\n", i);
        guest_writes(*state, line);
        if (i % 100 == 99) {
            turn(*state);
            got += strlen(seen(other));
        }
    }
    assert_int_equal(got, 20000 * 100);
    lost = 20000 * 100;
    for (const char *text; turn(*state), (text = seen(slow))[0];) {
        lost -= strlen(text);
        if (strlen(text) >= 100)
            memcpy(line, text + strlen(text) - 100, 100);
    }
    assert_true(lost > 0);
    assert_int_equal(strtoul(line, NULL, 10), 19999);
    close(slow);
    close(other);
}

static void typed_bytes_reach_the_board(void **state)
{
    struct fixture *fixture = *state;
    int viewer = add_viewer(fixture);

    fixture->room = 100;
    assert_int_equal(send(viewer, "ls\n", 3, 0), 3);
    turn(fixture);
    assert_string_equal(fixture->typed, "ls\n");
    close(viewer);
}

static void typing_waits_for_room_and_loses_nothing(void **state)
{
    struct fixture *fixture = *state;
    int viewer = add_viewer(fixture);
    char sent[100000];
    size_t at = 0;

    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (char)('a' + i * 7 % 26);
    for (unsigned i = 0; i < 100000 && fixture->typed_length < sizeof sent; i++) {
        ssize_t n = send(viewer, sent + at, sizeof sent - at, MSG_DONTWAIT);

        at += n > 0 ? (size_t)n : 0;
        turn(fixture);
        fixture->room = 16; /* as a UART with a FIFO */
        console_room(fixture->console);
    }
    assert_int_equal(fixture->typed_length, sizeof sent);
    assert_memory_equal(fixture->typed, sent, sizeof sent);
    close(viewer);
}

static void viewer_that_leaves_is_forgotten(void **state)
{
    struct fixture *fixture = *state;
    int viewer = add_viewer(fixture);

    assert_int_equal(console_viewer_count(fixture->console), 1);
    close(viewer);
    turn(fixture);
    assert_int_equal(console_viewer_count(fixture->console), 0);
}

static void viewers_beyond_the_limit_are_closed(void **state)
{
    struct fixture *fixture = *state;
    int fds[CONSOLE_MAX_VIEWERS + 1];
    char byte;

    for (unsigned i = 0; i <= CONSOLE_MAX_VIEWERS; i++)
        fds[i] = add_viewer(fixture);
    assert_int_equal(recv(fds[CONSOLE_MAX_VIEWERS], &byte, 1, 0), 0);
    assert_int_equal(console_viewer_count(fixture->console), CONSOLE_MAX_VIEWERS);
    for (unsigned i = 0; i <= CONSOLE_MAX_VIEWERS; i++)
        close(fds[i]);
}

static void ring_keeps_the_last_bytes(void **state)
{
    struct scrollback *ring = calloc(1, sizeof *ring);
    uint8_t *all = malloc(3 * SCROLLBACK_BYTES), *got = malloc(SCROLLBACK_BYTES + 1);
    uint64_t position = 0;

    for (size_t i = 0; i < 3 * SCROLLBACK_BYTES; i++)
        all[i] = (uint8_t)(i * 31 >> 3);
    for (size_t at = 0, piece = 1; at < 3 * SCROLLBACK_BYTES;
         at += piece, piece = piece * 5 % 9973) {
        if (piece > 3 * SCROLLBACK_BYTES - at)
            piece = 3 * SCROLLBACK_BYTES - at;
        scrollback_append(ring, all + at, piece);
    }
    assert_int_equal(ring->count, SCROLLBACK_BYTES);
    assert_int_equal(scrollback_read(ring, &position, got, SCROLLBACK_BYTES + 1), SCROLLBACK_BYTES);
    assert_memory_equal(got, all + 2 * SCROLLBACK_BYTES, SCROLLBACK_BYTES);
    assert_int_equal(position, 3 * SCROLLBACK_BYTES);
    free(ring);
    free(all);
    free(got);
}

static void loaded_scrollback_is_shown(void **state)
{
    struct fixture *fixture = *state;
    struct scrollback *ring = console_scrollback(fixture->console);
    int viewer;

    memcpy(ring->bytes, "moved here", 10);
    ring->count = 10;
    ring->total = 70010;
    assert_int_equal(scrollback_loaded(ring, NULL), 0);
    console_loaded(fixture->console);
    viewer = add_viewer(fixture);
    guest_writes(fixture, " and on");
    turn(fixture);
    assert_string_equal(seen(viewer), "moved here and on");
    close(viewer);
}

static void impossible_scrollback_is_refused(void **state)
{
    struct scrollback *ring = calloc(1, sizeof *ring);
    struct gw_error error;

    ring->count = 11;
    ring->total = 10;
    assert_true(scrollback_loaded(ring, &error) < 0);
    assert_string_equal(error.message, "the console holds 11 bytes of 10 that were written");
    free(ring);
}

static void file_sink_appends(void **state)
{
    struct fixture *fixture = *state;
    char path[] = "/tmp/godwit-test-XXXXXX", where[64], text[64] = "";
    int fd = mkstemp(path);

    assert_int_equal(write(fd, "old ", 4), 4);
    snprintf(where, sizeof where, "file:%s", path);
    assert_int_equal(console_set_sink(fixture->console, where, NULL), 0);
    guest_writes(fixture, "new");
    turn(fixture);
    assert_int_equal(pread(fd, text, sizeof text, 0), 7);
    assert_string_equal(text, "old new");
    close(fd);
    unlink(path);
}

static void unix_sink_stays_with_its_first_connection(void **state)
{
    struct fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/godwit-test-XXXXXX", where[128];
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), peer;

    assert_non_null(mkdtemp(directory));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/serial", directory);
    snprintf(where, sizeof where, "unix:%s", address.sun_path);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(console_set_sink(fixture->console, where, NULL), 0);
    peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(peer >= 0);
    usleep(300000); /* longer than it waits between attempts */
    turn(fixture);
    guest_writes(fixture, "here");
    turn(fixture);
    assert_string_equal(seen(peer), "here");
    assert_int_equal(accept(listener, NULL, NULL), -1);
    close(peer);
    close(listener);
    unlink(address.sun_path);
    rmdir(directory);
}

static void bad_sink_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct gw_error error;

    assert_true(console_set_sink(fixture->console, "tty:1", &error) < 0);
    assert_string_equal(error.message, "--serial 'tty:1' is not stdio, unix:PATH or file:PATH");
    assert_true(console_set_sink(fixture->console, "file:/nowhere/x", &error) < 0);
    assert_non_null(strstr(error.message, "'/nowhere/x': No such file"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(viewer_gets_scrollback_then_live),
        TEST(every_viewer_gets_everything),
        TEST(slow_viewer_skips_and_others_do_not),
        TEST(typed_bytes_reach_the_board),
        TEST(typing_waits_for_room_and_loses_nothing),
        TEST(viewer_that_leaves_is_forgotten),
        TEST(viewers_beyond_the_limit_are_closed),
        cmocka_unit_test(ring_keeps_the_last_bytes),
        TEST(loaded_scrollback_is_shown),
        cmocka_unit_test(impossible_scrollback_is_refused),
        TEST(file_sink_appends),
        TEST(unix_sink_stays_with_its_first_connection),
        TEST(bad_sink_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
