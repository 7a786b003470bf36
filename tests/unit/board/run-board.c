/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a board on this terminal, without any process around it: for work on the CPU and the
 * devices, and for measuring them. No test.
 *
 *     run-board [-k kernel] [-f firmware] [-i initrd] [-a append] [-d disk]... [-m MiB] [-c cpus]
 *               [-I (instruction clock)] [-u instructions] [-p (print state at the end)]
 *
 * Exits with 0 when the guest powers off, 1 when it fails.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "board/board.h"

static struct board *board;
static sd_event *loop;
static uint64_t started_ns;

static void output(void *opaque, const uint8_t *bytes, size_t length)
{
    if (write(STDOUT_FILENO, bytes, length) < 0)
        perror("stdout");
}

static void ended(void *opaque, enum board_event event, const char *failure)
{
    static const char *const names[] = {"shutdown", "reset", "panic"};
    fprintf(stderr, "\r\n[%s, %s]\r\n", names[event], failure ? failure : "well");
    if (event != BOARD_EVENT_RESET)
        sd_event_exit(loop, failure != NULL);
}

static void reached(void *opaque, uint64_t instructions)
{
    fprintf(stderr, "\r\n[stopped at %llu, state %016llx]\r\n", (unsigned long long)instructions,
            (unsigned long long)board_state_hash(board));
    sd_event_exit(loop, 0);
}

static int typed(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
    uint8_t byte;
    ssize_t n = read(fd, &byte, 1);
    if (n == 0)
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    if (n < 0 || byte == 0x1d)
        return sd_event_exit(loop, 3);
    while (board_running(board) && board_serial_input(board, &byte, 1) == 0)
        usleep(1000);
    return 0;
}

static struct termios saved;

static void restore_terminal(void)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

static void attach_terminal(void)
{
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &saved) == 0) {
        struct termios raw = saved;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        atexit(restore_terminal);
    }
    sd_event_add_io(loop, NULL, STDIN_FILENO, EPOLLIN, typed, NULL);
}

static void die(const struct gw_error *error)
{
    fprintf(stderr, "run-board: %s\n", error->message);
    exit(2);
}

int main(int argc, char **argv)
{
    struct board_config config = {.memory_bytes = 512u << 20, .cpus = 1};
    struct board_callbacks callbacks = {.event = ended, .serial_output = output};
    struct gw_error error = {0};
    uint64_t until = 0;
    bool print = false;
    for (int c; (c = getopt(argc, argv, "k:f:i:a:d:m:c:Iu:p")) != -1;) {
        switch (c) {
        case 'k':
            config.kernel = optarg;
            break;
        case 'f':
            config.firmware = optarg;
            break;
        case 'i':
            config.initrd = optarg;
            break;
        case 'a':
            config.append = optarg;
            break;
        case 'd':
            config.disks[config.disk_count++].path = optarg;
            break;
        case 'm':
            config.memory_bytes = strtoull(optarg, NULL, 0) << 20;
            break;
        case 'c':
            config.cpus = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'I':
            config.clock = GW_CLOCK_INSTRUCTIONS;
            break;
        case 'u':
            until = strtoull(optarg, NULL, 0);
            break;
        case 'p':
            print = true;
            break;
        default:
            return 2;
        }
    }
    if (sd_event_new(&loop) < 0)
        return 2;
    if (board_new(&config, loop, &callbacks, false, &board, &error) < 0 ||
        board_boot(board, &error) < 0 ||
        (until && board_run_until(board, until, reached, NULL, &error) < 0))
        die(&error);
    attach_terminal();
    started_ns = host_monotonic_ns();
    if (board_start(board, &error) < 0)
        die(&error);
    int r = sd_event_loop(loop);
    board_stop(board);
    double seconds = (double)(host_monotonic_ns() - started_ns) / 1e9;
    double millions = (double)board_instructions(board) / 1e6;
    fprintf(stderr, "\r\n[%.1f M instructions on hart 0 in %.2f s: %.1f MIPS]\r\n", millions,
            seconds, millions / seconds);
    struct gw_buf text = {0};
    if (print && board_print(board, &text, &error) == 0)
        fwrite(text.data, 1, text.length, stderr);
    gw_buf_fini(&text);
    board_free(board);
    sd_event_unref(loop);
    return r;
}
