/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's serial port, between the board and those who watch it: the scrollback, any number of
 * viewers on a socket, and the sink of --serial. None of them can make the guest wait.
 */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include <godwit/error.h>
#include "vmm/scrollback.h"

#define CONSOLE_MAX_VIEWERS 32

struct console;

/* Where typed bytes go; returns how many were taken, and console_room() tells when to try again. */
typedef size_t console_input_function(void *opaque, const uint8_t *bytes, size_t length);

/* Loop thread, as everything here that does not say otherwise. */
int console_new(sd_event *loop, struct console **ret_console, struct gw_error *error);
void console_free(
    struct console *console); /* nobody calls console_output() any more; NULL is fine */

int console_set_sink(struct console *console, const char *where, struct gw_error *error);

/* NULL: typed bytes wait, and beyond a few KiB those who type. */
void console_set_input(struct console *console, console_input_function *input, void *opaque);

/* Takes a connected non-blocking stream socket: it gets the scrollback, then what the guest writes.
 * A viewer that falls behind by more than the scrollback misses bytes. Closes it when there are too
 * many. */
void console_add_viewer(struct console *console, int fd);
unsigned console_viewer_count(const struct console *console);

void console_output(struct console *console, const uint8_t *bytes, size_t length); /* any thread */
void console_room(struct console *console);                                        /* any thread */

/* The saved part; the machine is stopped while it is saved or loaded. */
struct scrollback *console_scrollback(struct console *console);
void console_loaded(struct console *console);

uint64_t console_total_bytes(struct console *console);
uint64_t console_dropped_bytes(struct console *console); /* by the sink */

/* Hands everything on that can be handed on within `timeout_ms`. */
void console_flush(struct console *console, int timeout_ms);

#endif
