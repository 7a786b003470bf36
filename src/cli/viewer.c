/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/viewer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "base/cleanup.h"
#include "base/unix-socket.h"
#include "cli/machine.h"

enum { LEAVE_KEY = 0x1d }; /* Ctrl-] */

struct viewer {
    int console, signals;
    bool show, input_open;
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

/* Standard input to the machine; true when the person left. */
static bool copy_input(struct viewer *viewer)
{
    uint8_t bytes[4096];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
    if (got <= 0) {
        viewer->input_open = got < 0 && errno == EINTR;
        return false;
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
    if (viewer->show)
        write_all(STDOUT_FILENO, bytes, (size_t)got);
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

int viewer_run(const struct cli *cli, const char *name, bool show_console, enum viewer_end *ret_end,
               struct gw_error *error)
{
    _cleanup_free_ char *path = machine_path(cli, name, "console");
    _cleanup_close_ int console = unix_connect(path, error);
    if (console < 0) {
        gw_error_prefix(error, "machine '%s' has no console to attach to", name);
        return console;
    }
    _cleanup_close_ int signals = viewer_open_signals();
    struct viewer viewer = {
        .console = console, .signals = signals, .show = show_console, .input_open = show_console};
    struct termios before, raw;
    bool is_terminal = show_console && tcgetattr(STDIN_FILENO, &before) == 0;
    if (is_terminal) {
        raw = before;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    *ret_end = loop(&viewer);
    if (is_terminal)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    return 0;
}
