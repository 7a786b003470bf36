/* SPDX-License-Identifier: Apache-2.0 */
#include "device/uart16550.h"

#include <string.h>

/* Registers (data sheet, table II). RBR/THR and IER become the divisor latch while LCR.DLAB is set.
 */
enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

enum { IER_RECEIVE = 1, IER_TRANSMIT = 2, IER_LINE = 4, IER_MODEM = 8 };
enum {
    IIR_NONE = 1,
    IIR_MODEM = 0,
    IIR_TRANSMIT = 2,
    IIR_RECEIVE = 4,
    IIR_LINE = 6,
    IIR_TIMEOUT = 12
};
enum { IIR_FIFOS_ON = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RECEIVE = 2, FCR_KEPT = 0xc9 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOPBACK = 0x10, MCR_KEPT = 0x1f };
enum { LSR_READY = 1, LSR_OVERRUN = 2, LSR_TRANSMIT_EMPTY = 0x60 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_RI_FELL = 4 };

static bool fifo_on(const struct uart16550 *uart)
{
    return uart->fifo_control & FCR_ENABLE;
}

static unsigned trigger_level(const struct uart16550 *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    return fifo_on(uart) ? levels[uart->fifo_control >> 6] : 1;
}

/* The interrupt that IIR shows, by the data sheet's priorities (table III). */
static uint8_t interrupt_id(const struct uart16550 *uart)
{
    if (uart->interrupt_enable & IER_LINE && uart->overrun)
        return IIR_LINE;
    if (uart->interrupt_enable & IER_RECEIVE && uart->received_count)
        return uart->received_count >= trigger_level(uart) ? IIR_RECEIVE : IIR_TIMEOUT;
    if (uart->interrupt_enable & IER_TRANSMIT && uart->transmit_interrupt)
        return IIR_TRANSMIT;
    if (uart->interrupt_enable & IER_MODEM && uart->modem_delta)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart16550 *uart)
{
    uart->irq_raised = interrupt_id(uart) != IIR_NONE;
    irq_line_set(&uart->irq, uart->irq_raised);
}

static void put_received(struct uart16550 *uart, uint8_t byte)
{
    unsigned capacity = fifo_on(uart) ? UART_FIFO_BYTES : 1;
    if (uart->received_count < capacity)
        uart->received[uart->received_count++] = byte;
    else
        uart->overrun = true;
}

static void clear_received(struct uart16550 *uart)
{
    memset(uart->received, 0, sizeof uart->received);
    uart->received_count = 0;
}

static void offer_room(struct uart16550 *uart)
{
    if (!uart->room_wanted)
        return;
    uart->room_wanted = false;
    if (uart->peer.room)
        uart->peer.room(uart->peer.opaque);
}

static uint8_t take_received(struct uart16550 *uart)
{
    if (!uart->received_count)
        return 0;
    uint8_t byte = uart->received[0];
    uart->received_count--;
    memmove(uart->received, uart->received + 1, uart->received_count);
    uart->received[uart->received_count] = 0;
    update_irq(uart);
    offer_room(uart);
    return byte;
}

/* The modem inputs: a connected peer, or in loopback the four outputs (data sheet §8.6). */
static uint8_t modem_inputs(uint8_t modem_control)
{
    if (!(modem_control & MCR_LOOPBACK))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((modem_control & MCR_RTS ? MSR_CTS : 0) |
                     (modem_control & MCR_DTR ? MSR_DSR : 0) |
                     (modem_control & MCR_OUT1 ? MSR_RI : 0) |
                     (modem_control & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_modem_control(struct uart16550 *uart, uint8_t value)
{
    uint8_t before = modem_inputs(uart->modem_control);
    uart->modem_control = value & MCR_KEPT;
    uint8_t after = modem_inputs(uart->modem_control);
    uint8_t delta = (uint8_t)((before ^ after) >> 4);
    if (after & MSR_RI)
        delta &= (uint8_t)~MSR_RI_FELL; /* the ring indicator counts only when it falls */
    uart->modem_delta |= delta;
    if (!(uart->modem_control & MCR_LOOPBACK))
        offer_room(uart); /* the line listens (again) */
}

static void write_fifo_control(struct uart16550 *uart, uint8_t value)
{
    bool toggled = (value ^ uart->fifo_control) & FCR_ENABLE;
    uart->fifo_control = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    if (toggled || (value & FCR_ENABLE && value & FCR_CLEAR_RECEIVE)) {
        clear_received(uart);
        offer_room(uart);
    }
}

static void transmit(struct uart16550 *uart, uint8_t byte)
{
    uart->transmit_interrupt = true;
    if (uart->modem_control & MCR_LOOPBACK)
        put_received(uart, byte);
    else if (uart->peer.output)
        uart->peer.output(uart->peer.opaque, &byte, 1);
}

static void write_interrupt_enable(struct uart16550 *uart, uint8_t value)
{
    if (value & ~uart->interrupt_enable & IER_TRANSMIT)
        uart->transmit_interrupt = true;
    uart->interrupt_enable = value & 0x0f;
}

static uint8_t read_interrupt_id(struct uart16550 *uart)
{
    uint8_t id = interrupt_id(uart);
    if (id == IIR_TRANSMIT) {
        uart->transmit_interrupt = false;
        update_irq(uart);
    }
    return fifo_on(uart) ? id | IIR_FIFOS_ON : id;
}

static uint8_t read_line_status(struct uart16550 *uart)
{
    uint8_t status = (uint8_t)(LSR_TRANSMIT_EMPTY | (uart->received_count ? LSR_READY : 0) |
                               (uart->overrun ? LSR_OVERRUN : 0));
    uart->overrun = false;
    update_irq(uart);
    return status;
}

static uint8_t read_modem_status(struct uart16550 *uart)
{
    uint8_t status = modem_inputs(uart->modem_control) | uart->modem_delta;
    uart->modem_delta = 0;
    update_irq(uart);
    return status;
}

static uint64_t uart16550_read(void *device, uint64_t offset, unsigned size)
{
    struct uart16550 *uart = device;
    bool dlab = uart->line_control & LCR_DLAB;
    switch (offset) {
    case RBR_THR:
        return dlab ? uart->divisor & 0xff : take_received(uart);
    case IER:
        return dlab ? uart->divisor >> 8 : uart->interrupt_enable;
    case IIR_FCR:
        return read_interrupt_id(uart);
    case LCR:
        return uart->line_control;
    case MCR:
        return uart->modem_control;
    case LSR:
        return read_line_status(uart);
    case MSR:
        return read_modem_status(uart);
    case SCR:
        return uart->scratch;
    default:
        return 0;
    }
}

static void uart16550_write(void *device, uint64_t offset, uint64_t value, unsigned size)
{
    struct uart16550 *uart = device;
    bool dlab = uart->line_control & LCR_DLAB;
    uint8_t byte = (uint8_t)value;
    switch (offset) {
    case RBR_THR:
        if (dlab)
            uart->divisor = (uint16_t)((uart->divisor & 0xff00) | byte);
        else
            transmit(uart, byte);
        break;
    case IER:
        if (dlab)
            uart->divisor = (uint16_t)((uart->divisor & 0x00ff) | byte << 8);
        else
            write_interrupt_enable(uart, byte);
        break;
    case IIR_FCR:
        write_fifo_control(uart, byte);
        break;
    case LCR:
        uart->line_control = byte;
        break;
    case MCR:
        write_modem_control(uart, byte);
        break;
    case SCR:
        uart->scratch = byte;
        break;
    default:
        break;
    }
    update_irq(uart);
}

static void power_on(struct uart16550 *uart)
{
    struct uart16550 fresh = {
        .irq = uart->irq,
        .peer = uart->peer,
        .divisor = 12,
        .room_wanted = uart->room_wanted,
    };
    *uart = fresh;
}

static void uart16550_reset(void *device)
{
    struct uart16550 *uart = device;
    power_on(uart);
    update_irq(uart);
    offer_room(uart);
}

/* Whoever had bytes refused while the machine stood still may try again. */
static void uart16550_resume(void *device)
{
    offer_room(device);
}

void uart16550_init(struct uart16550 *uart, struct irq_line irq, struct uart_peer peer)
{
    *uart = (struct uart16550){.irq = irq, .peer = peer};
    power_on(uart);
}

size_t uart16550_receive(struct uart16550 *uart, const uint8_t *bytes, size_t length)
{
    size_t taken = 0;
    unsigned capacity = fifo_on(uart) ? UART_FIFO_BYTES : 1;
    bool listening = !(uart->modem_control & MCR_LOOPBACK);
    while (listening && taken < length && uart->received_count < capacity)
        uart->received[uart->received_count++] = bytes[taken++];
    uart->room_wanted = taken < length;
    update_irq(uart);
    return taken;
}

int uart16550_loaded(struct uart16550 *uart, struct gw_error *error)
{
    update_irq(uart);
    return 0;
}

const struct device_ops uart16550_ops = {
    .read = uart16550_read,
    .write = uart16550_write,
    .reset = uart16550_reset,
    .resume = uart16550_resume,
};
