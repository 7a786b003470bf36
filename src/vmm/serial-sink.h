/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where --serial sends the guest's serial port: standard input and output, a Unix socket on which
 * somebody else listens, or a file. Bytes wait in a bounded queue while it is slow or absent;
 * beyond that they are dropped and counted. Loop thread only.
 */
#ifndef VMM_SERIAL_SINK_H
#define VMM_SERIAL_SINK_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include <godwit/error.h>

#define SERIAL_SINK_QUEUE_BYTES ((size_t)1 << 20)

struct serial_sink;

struct serial_sink_callbacks {
    void *opaque;
    void (*input)(void *opaque, const uint8_t *bytes, size_t length);
};

/* `where`: "stdio", "unix:PATH" or "file:PATH". A Unix socket is connected in the background, again
 * and again. */
int serial_sink_new(sd_event *loop, const char *where,
                    const struct serial_sink_callbacks *callbacks, struct serial_sink **ret_sink,
                    struct gw_error *error);
void serial_sink_free(struct serial_sink *sink); /* NULL is fine */

void serial_sink_write(struct serial_sink *sink, const uint8_t *bytes, size_t length);
void serial_sink_accept_input(struct serial_sink *sink, bool accept); /* on at first */
uint64_t serial_sink_dropped(const struct serial_sink *sink);

/* Waits up to `timeout_ms` for the queue to drain; for the end of the process. */
void serial_sink_flush(struct serial_sink *sink, int timeout_ms);

#endif
