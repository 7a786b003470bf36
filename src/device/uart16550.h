/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A UART (National Semiconductor PC16550D data sheet): eight byte registers, 16-byte receive
 * FIFO.
 *
 * Simplified where no driver can tell: a byte written is on its way at once, so the transmitter is
 * always empty; the receive timeout comes at once when bytes below the trigger level wait; there is
 * no line, so there are no parity, framing or break errors. The modem inputs read as a connected
 * peer (CTS, DSR, DCD).
 */
#ifndef DEVICE_UART16550_H
#define DEVICE_UART16550_H

#include <stddef.h>

#include "device/device.h"

#define UART_BYTES 0x100
#define UART_FIFO_BYTES 16
#define UART_CLOCK_HZ 3686400

/* The other end of the line. Called with the I/O lock held; must not block. Both may be NULL. */
struct uart_peer {
    void (*output)(void *opaque, const uint8_t *bytes, size_t length);
    void (*room)(void *opaque); /* after uart16550_receive() took less than it was given */
    void *opaque;
};

struct uart16550 {
    GW_SAVED(1) GW_MASK(0x0f) uint8_t interrupt_enable;
    GW_SAVED(1) GW_MASK(0xc9) uint8_t fifo_control; /* without the self-clearing bits */
    GW_SAVED(1) uint8_t line_control;
    GW_SAVED(1) GW_MASK(0x1f) uint8_t modem_control;
    GW_SAVED(1) GW_MASK(0x0f) uint8_t modem_delta; /* what changed since MSR was last read */
    GW_SAVED(1) uint8_t scratch;
    GW_SAVED(1) uint16_t divisor;
    GW_SAVED(1) bool overrun;
    GW_SAVED(1)
    bool transmit_interrupt; /* THRE interrupt latched: not read from IIR or refilled yet */
    GW_SAVED(1) uint8_t received_count;
    GW_SAVED(1) GW_COUNT(received_count) uint8_t received[UART_FIFO_BYTES]; /* oldest first */
    GW_DERIVED(uart16550_loaded) bool irq_raised;
    GW_HOST struct irq_line irq;
    GW_HOST struct uart_peer peer;
    GW_HOST bool room_wanted;
} GW_DEVICE("16550a", 1, 1);

extern const struct device_ops uart16550_ops;
extern const struct gw_state_type uart16550_state_type;

void uart16550_init(struct uart16550 *uart, struct irq_line irq, struct uart_peer peer);

/* Bytes from the line, I/O lock held. Returns how many fit; the rest is the caller's until room().
 */
size_t uart16550_receive(struct uart16550 *uart, const uint8_t *bytes, size_t length);

/* State hook: drives the interrupt line. */
int uart16550_loaded(struct uart16550 *uart, struct gw_error *error);

#endif
