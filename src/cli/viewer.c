/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest prints reaches the terminal as it is: it is the guest's terminal while this goes
 * on. When it ends the terminal is the person's again, as it was: modes that the guest may have set
 * are set back, and what the terminal has answered to the guest is read and dropped, so that a
 * shell does not take it for typed.
 */
#include "cli/viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unix-socket.h"
#include "cli/machine.h"

enum {
    CANCEL_KEY = 0x03, /* Ctrl-C */
    LEAVE_KEY = 0x1d,  /* Ctrl-] */
    ANSWER_MS = 1000,  /* of a terminal at the far end of a slow line */
};

/* What a guest may leave behind: soft reset of what matters, without moving the cursor or erasing.
 */
static const char reset[] =
    "\030"                                    /* ends a sequence that was cut */
    "\033[0m\033(B\017"                       /* attributes, character set */
    "\033[?1047l"                             /* the other screen */
    "\0337\033[?6l\033[r\0338\033[4l\033[?7h" /* margins, insert, wrap */
    "\033[?1l\033>\033[?25h"                  /* keys, cursor */
    "\033[?9l\033[?1000l\033[?1002l\033[?1003l\033[?1004l\033[?1005l\033[?1006l"
    "\033[?1015l\033[?2004l"; /* mouse, focus, paste */

/* The terminal answers in order, so behind this answer there is none to the guest. */
static const char last_question[] = "\033[5n";
static const char last_answer[] = "\033[0n";

struct viewer {
    const struct cli *cli;
    const char *name;
    int console, signals;
    bool waits; /* for all we know no machine has arrived */
    bool show, input_open;
    bool raw;           /* standard input is a terminal, and raw */
    bool steered;       /* the guest has printed control sequences */
    bool line_is_begun; /* its last line has no end */
};

int viewer_open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t put = write(fd, bytes, length);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        bytes += put;
        length -= (size_t)put;
    }
    return 0;
}

/* Whether no machine has arrived; then the process is told that none is wanted, and ends. One that
 * arrives meanwhile takes no harm from that. */
static bool cancel_wait(const struct viewer *viewer)
{
    _cleanup_qmp_ struct qmp_client *client = NULL;
    struct gw_error error;
    json_t *answer = NULL;
    const char *status = "";
    if (machine_connect(viewer->cli, viewer->name, &client, &error) < 0 ||
        qmp_client_call(client, "query-status", NULL, &answer, &error) < 0)
        return false;
    json_unpack(answer, "{s:s}", "status", &status);
    bool waits = strcmp(status, "inmigrate") == 0;
    json_decref(answer);
    return waits && qmp_client_call(client, "migrate_cancel", NULL, NULL, &error) == 0;
}

/* Standard input to the machine; true when the person left. */
static bool copy_input(struct viewer *viewer)
{
    uint8_t bytes[4096];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
    if (got <= 0) {
        viewer->input_open = got < 0 && errno == EINTR;
        return false;
    }
    if (viewer->waits && viewer->raw && memchr(bytes, CANCEL_KEY, (size_t)got)) {
        if (cancel_wait(viewer))
            return false;
        viewer->waits = false;
    }
    uint8_t *leave = isatty(STDIN_FILENO) ? memchr(bytes, LEAVE_KEY, (size_t)got) : NULL;
    size_t length = leave ? (size_t)(leave - bytes) : (size_t)got;
    if (write_all(viewer->console, bytes, length) < 0)
        viewer->input_open = false; /* the output side will tell why */
    return leave != NULL;
}

/* The machine to standard output; true when it closed the console. */
static bool copy_output(struct viewer *viewer)
{
    uint8_t bytes[16384];
    ssize_t got = read(viewer->console, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR)
        return false;
    if (got <= 0)
        return true;
    if (viewer->show) {
        write_all(STDOUT_FILENO, bytes, (size_t)got);
        viewer->line_is_begun = bytes[got - 1] != '\n';
        for (ssize_t i = 0; i < got && !viewer->steered; i++)
            viewer->steered = bytes[i] == 0x1b || bytes[i] == 0x05 || bytes[i] >= 0x80;
    }
    return false;
}

static enum viewer_end loop(struct viewer *viewer)
{
    for (;;) {
        struct pollfd wait[] = {
            {.fd = viewer->console, .events = POLLIN},
            {.fd = viewer->signals, .events = POLLIN},
            {.fd = viewer->input_open ? STDIN_FILENO : -1, .events = POLLIN},
        };
        if (poll(wait, ARRAY_COUNT(wait), -1) < 0 && errno != EINTR)
            return VIEWER_CLOSED;
        if (wait[0].revents && copy_output(viewer))
            return VIEWER_CLOSED;
        if (wait[1].revents)
            return VIEWER_INTERRUPTED;
        if (wait[2].revents && copy_input(viewer))
            return VIEWER_LEFT;
    }
}

/* Reads until the answer to last_question has come; what is typed meanwhile is lost. */
static void drain_answers(void)
{
    uint64_t deadline_ns = host_monotonic_ns() + ANSWER_MS * 1000000ull;
    size_t matched = 0;
    write_all(STDOUT_FILENO, (const uint8_t *)last_question, sizeof last_question - 1);
    while (last_answer[matched]) {
        uint64_t now_ns = host_monotonic_ns();
        struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
        uint8_t byte;
        if (now_ns >= deadline_ns ||
            poll(&wait, 1, (int)((deadline_ns - now_ns) / 1000000) + 1) <= 0 ||
            read(STDIN_FILENO, &byte, 1) != 1)
            break;
        if (byte == (uint8_t)last_answer[matched])
            matched++;
        else
            matched = byte == (uint8_t)last_answer[0];
    }
    tcflush(STDIN_FILENO, TCIFLUSH);
}

/* The terminal as it was before the guest had it. */
static void give_back_terminal(const struct viewer *viewer)
{
    if (!viewer->show || !isatty(STDOUT_FILENO))
        return;
    if (viewer->steered && cli_can_rewrite()) {
        write_all(STDOUT_FILENO, (const uint8_t *)reset, sizeof reset - 1);
        if (viewer->raw)
            drain_answers();
    }
    if (viewer->line_is_begun) /* the next words begin a line */
        write_all(STDOUT_FILENO, (const uint8_t *)"\r\n", 2);
}

static void say_how_to_leave(const char *name, enum viewer_kind kind)
{
    if (kind == VIEWER_RECEIVER)
        cli_say("console of '%s'; Ctrl-] leaves it; Ctrl-C ends the wait for a machine", name);
    else
        cli_say("console of '%s'; Ctrl-] leaves it", name);
}

int viewer_run(const struct cli *cli, const char *name, enum viewer_kind kind,
               enum viewer_end *ret_end, struct gw_error *error)
{
    bool show_console = kind != VIEWER_SILENT;
    _cleanup_free_ char *path = machine_path(cli, name, "console");
    _cleanup_close_ int console = unix_connect(path, error);
    if (console < 0) {
        gw_error_prefix(error, "machine '%s' has no console to attach to", name);
        return console;
    }
    _cleanup_close_ int signals = viewer_open_signals();
    struct viewer viewer = {.cli = cli,
                            .name = name,
                            .console = console,
                            .signals = signals,
                            .waits = kind == VIEWER_RECEIVER,
                            .show = show_console,
                            .input_open = show_console};
    struct termios before, raw;
    bool is_terminal = show_console && tcgetattr(STDIN_FILENO, &before) == 0;
    if (is_terminal) {
        say_how_to_leave(name, kind);
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        viewer.raw = true;
    }
    *ret_end = loop(&viewer);
    give_back_terminal(&viewer);
    if (is_terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    return 0;
}
