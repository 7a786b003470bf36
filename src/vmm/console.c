/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hart's thread that writes to the serial port appends to the scrollback ring (and, when there is
 * a sink, to `pending`) and wakes the loop; it waits for nothing but the short lock. On the loop
 * each viewer is a position in the ring, so a viewer costs no memory, and a slow one skips.
 *
 * Typed bytes gather in `typed` until the board takes them. While it holds more than a little,
 * nobody who types is read.
 */
#include "vmm/console.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <godwit/buf.h>
#include "base/cleanup.h"
#include "vmm/serial-sink.h"

#define PIECE_BYTES 4096
#define TYPED_HIGH_WATER_BYTES 4096
#define TYPED_LIMIT_BYTES 65536

struct viewer {
    struct console *console;
    struct viewer *next;
    int fd;
    uint64_t position;
    bool gone; /* freed when the loop comes round */
    sd_event_source *io;
};

struct console {
    /* set once */
    sd_event *loop;
    int wake_fd;
    sd_event_source *wake;
    /* under lock */
    pthread_mutex_t lock;
    struct scrollback scrollback;
    struct gw_buf pending; /* for the sink */
    uint64_t dropped;      /* that did not fit into pending */
    bool has_sink;
    bool woken; /* wake_fd is signalled already */
    /* loop thread */
    struct serial_sink *sink;
    struct viewer *viewers;
    unsigned viewer_count;
    console_input_function *input;
    void *input_opaque;
    struct gw_buf typed;
    bool reading; /* those who type are read */
};

/* With the lock held. */
static void wake_locked(struct console *console)
{
    uint64_t one = 1;

    if (console->woken)
        return;
    console->woken = true;
    while (write(console->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

void console_output(struct console *console, const uint8_t *bytes, size_t length)
{
    pthread_mutex_lock(&console->lock);
    scrollback_append(&console->scrollback, bytes, length);
    if (console->has_sink && gw_buf_append(&console->pending, bytes, length) < 0)
        console->dropped += length;
    wake_locked(console);
    pthread_mutex_unlock(&console->lock);
}

void console_room(struct console *console)
{
    pthread_mutex_lock(&console->lock);
    wake_locked(console);
    pthread_mutex_unlock(&console->lock);
}

/* Writes what the ring has for the viewer; false when it takes no more now. */
static bool viewer_write(struct viewer *viewer)
{
    struct console *console = viewer->console;
    uint8_t piece[PIECE_BYTES];
    uint64_t position, first;
    size_t length;
    ssize_t n;

    pthread_mutex_lock(&console->lock);
    position = viewer->position;
    length = scrollback_read(&console->scrollback, &position, piece, sizeof piece);
    pthread_mutex_unlock(&console->lock);
    first = position - length;
    viewer->position = first;
    if (length == 0)
        return false;
    n = send(viewer->fd, piece, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        viewer->gone = errno != EAGAIN && errno != EINTR;
        return false;
    }
    viewer->position = first + (uint64_t)n;
    return (size_t)n == length;
}

static bool viewer_behind(struct viewer *viewer)
{
    bool behind;

    pthread_mutex_lock(&viewer->console->lock);
    behind = viewer->position < viewer->console->scrollback.total;
    pthread_mutex_unlock(&viewer->console->lock);
    return behind;
}

static void viewer_pump(struct viewer *viewer)
{
    while (viewer_write(viewer))
        continue;
    if (!viewer->gone)
        sd_event_source_set_io_events(viewer->io, (viewer->console->reading ? EPOLLIN : 0U) |
                                                      (viewer_behind(viewer) ? EPOLLOUT : 0U));
}

static void viewer_free(struct viewer *viewer)
{
    sd_event_source_disable_unref(viewer->io);
    close(viewer->fd);
    free(viewer);
}

static void remove_gone(struct console *console)
{
    for (struct viewer **link = &console->viewers; *link;) {
        struct viewer *viewer = *link;

        if (viewer->gone) {
            *link = viewer->next;
            console->viewer_count--;
            viewer_free(viewer);
        } else {
            link = &viewer->next;
        }
    }
}

/* Gives typed bytes to the board, and stops or resumes reading those who type. */
static void pump_typed(struct console *console)
{
    bool read;

    while (console->input && console->typed.length > 0) {
        size_t n =
            console->input(console->input_opaque, console->typed.data, console->typed.length);

        if (n == 0)
            break;
        gw_buf_consume(&console->typed, n);
    }
    read = console->typed.length < TYPED_HIGH_WATER_BYTES;
    if (read == console->reading)
        return;
    console->reading = read;
    if (console->sink)
        serial_sink_accept_input(console->sink, read);
    for (struct viewer *viewer = console->viewers; viewer; viewer = viewer->next)
        viewer_pump(viewer);
}

static void take_typed(void *opaque, const uint8_t *bytes, size_t length)
{
    struct console *console = opaque;

    gw_buf_append(&console->typed, bytes, length); /* reading stops long before the limit */
    pump_typed(console);
}

static void pump_sink(struct console *console)
{
    struct gw_buf pending;

    if (!console->sink)
        return;
    pthread_mutex_lock(&console->lock);
    pending = console->pending;
    console->pending = (struct gw_buf){.limit = SERIAL_SINK_QUEUE_BYTES};
    pthread_mutex_unlock(&console->lock);
    if (pending.length > 0)
        serial_sink_write(console->sink, pending.data, pending.length);
    gw_buf_fini(&pending);
}

static void pump_output(struct console *console)
{
    pump_sink(console);
    for (struct viewer *viewer = console->viewers; viewer; viewer = viewer->next)
        viewer_pump(viewer);
    remove_gone(console);
}

static int woken(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct console *console = opaque;
    uint64_t count;

    pthread_mutex_lock(&console->lock);
    if (read(fd, &count, sizeof count) < 0)
        count = 0;
    console->woken = false;
    pthread_mutex_unlock(&console->lock);
    pump_output(console);
    pump_typed(console);
    return 0;
}

static void viewer_read(struct viewer *viewer)
{
    uint8_t bytes[PIECE_BYTES];
    ssize_t n = recv(viewer->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n > 0)
        take_typed(viewer->console, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        viewer->gone = true;
}

static int viewer_io(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
    struct viewer *viewer = opaque;
    struct console *console = viewer->console;

    if ((events & EPOLLIN) && console->reading)
        viewer_read(viewer);
    else if (events & (EPOLLHUP | EPOLLERR))
        viewer->gone = true;
    if (!viewer->gone)
        viewer_pump(viewer);
    remove_gone(console);
    return 0;
}

void console_add_viewer(struct console *console, int fd)
{
    struct viewer *viewer = NULL;

    if (console->viewer_count < CONSOLE_MAX_VIEWERS)
        viewer = calloc(1, sizeof *viewer);
    if (!viewer) {
        close(fd);
        return;
    }
    *viewer = (struct viewer){.console = console, .fd = fd, .next = console->viewers};
    if (sd_event_add_io(console->loop, &viewer->io, fd, 0, viewer_io, viewer) < 0) {
        viewer_free(viewer);
        return;
    }
    console->viewers = viewer;
    console->viewer_count++;
    viewer_pump(viewer);
    remove_gone(console);
}

unsigned console_viewer_count(const struct console *console)
{
    return console->viewer_count;
}

void console_set_input(struct console *console, console_input_function *input, void *opaque)
{
    console->input = input;
    console->input_opaque = opaque;
    pump_typed(console);
}

int console_set_sink(struct console *console, const char *where, struct gw_error *error)
{
    struct serial_sink_callbacks callbacks = {.opaque = console, .input = take_typed};
    int r = serial_sink_new(console->loop, where, &callbacks, &console->sink, error);

    if (r < 0)
        return r;
    pthread_mutex_lock(&console->lock);
    console->has_sink = true;
    pthread_mutex_unlock(&console->lock);
    return 0;
}

struct scrollback *console_scrollback(struct console *console)
{
    return &console->scrollback;
}

void console_loaded(struct console *console)
{
    console_room(console); /* whoever watches is behind now */
}

uint64_t console_total_bytes(struct console *console)
{
    uint64_t total;

    pthread_mutex_lock(&console->lock);
    total = console->scrollback.total;
    pthread_mutex_unlock(&console->lock);
    return total;
}

uint64_t console_dropped_bytes(struct console *console)
{
    uint64_t dropped;

    pthread_mutex_lock(&console->lock);
    dropped = console->dropped;
    pthread_mutex_unlock(&console->lock);
    return dropped + (console->sink ? serial_sink_dropped(console->sink) : 0);
}

void console_flush(struct console *console, int timeout_ms)
{
    pump_output(console);
    if (console->sink)
        serial_sink_flush(console->sink, timeout_ms);
}

int console_new(sd_event *loop, struct console **ret_console, struct gw_error *error)
{
    struct console *console = calloc(1, sizeof *console);

    if (!console)
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    console->loop = sd_event_ref(loop);
    pthread_mutex_init(&console->lock, NULL);
    console->pending.limit = SERIAL_SINK_QUEUE_BYTES;
    console->typed.limit = TYPED_LIMIT_BYTES;
    console->reading = true;
    console->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (console->wake_fd < 0 ||
        sd_event_add_io(loop, &console->wake, console->wake_fd, EPOLLIN, woken, console) < 0) {
        console_free(console);
        return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -EMFILE,
                            "cannot set up the console: no descriptor is left");
    }
    *ret_console = console;
    return 0;
}

void console_free(struct console *console)
{
    if (!console)
        return;
    while (console->viewers) {
        struct viewer *viewer = console->viewers;

        console->viewers = viewer->next;
        viewer_free(viewer);
    }
    serial_sink_free(console->sink);
    sd_event_source_disable_unref(console->wake);
    if (console->wake_fd >= 0)
        close(console->wake_fd);
    gw_buf_fini(&console->pending);
    gw_buf_fini(&console->typed);
    pthread_mutex_destroy(&console->lock);
    sd_event_unref(console->loop);
    free(console);
}
