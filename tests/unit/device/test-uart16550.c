/* SPDX-License-Identifier: Apache-2.0 */
#include "device-test.h"

#include "device/uart16550.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = 2 };

struct fixture {
    struct uart16550 uart;
    struct lines lines;
    uint8_t sent[64];
    size_t sent_length;
    unsigned room_calls;
};

static void sent(void *opaque, const uint8_t *bytes, size_t length)
{
    struct fixture *f = opaque;
    memcpy(f->sent + f->sent_length, bytes, length);
    f->sent_length += length;
}

static void room(void *opaque)
{
    ((struct fixture *)opaque)->room_calls++;
}

static void make(struct fixture *f)
{
    *f = (struct fixture){0};
    uart16550_init(&f->uart, line_of(&f->lines, 0), (struct uart_peer){sent, room, f});
}

static int set_up(void **state)
{
    static struct fixture fixture;
    make(&fixture);
    *state = &fixture;
    return 0;
}

static void put(struct fixture *f, unsigned offset, uint8_t value)
{
    uart16550_ops.write(&f->uart, offset, value, 1);
}

static uint8_t get(struct fixture *f, unsigned offset)
{
    return (uint8_t)uart16550_ops.read(&f->uart, offset, 1);
}

static size_t feed(struct fixture *f, const char *text)
{
    return uart16550_receive(&f->uart, (const uint8_t *)text, strlen(text));
}

static void written_bytes_reach_the_peer(void **state)
{
    struct fixture *f = *state;
    put(f, DATA, 'h');
    put(f, DATA, 'i');
    assert_int_equal(f->sent_length, 2);
    assert_memory_equal(f->sent, "hi", 2);
    assert_int_equal(get(f, LSR), 0x60);
}

static void divisor_latch_hides_data_and_ier(void **state)
{
    struct fixture *f = *state;
    put(f, IER, 0x05);
    put(f, LCR, 0x83);
    put(f, DATA, 0x34);
    put(f, IER, 0x12);
    assert_int_equal(get(f, DATA), 0x34);
    assert_int_equal(get(f, IER), 0x12);
    put(f, LCR, 0x03);
    assert_int_equal(get(f, IER), 0x05);
    assert_int_equal(f->sent_length, 0);
}

static void scratch_holds_a_byte(void **state)
{
    struct fixture *f = *state;
    put(f, SCR, 0xa5);
    assert_int_equal(get(f, SCR), 0xa5);
}

static void fifo_on_shows_in_iir(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, IIR), 0x01);
    put(f, FCR, 0x01);
    assert_int_equal(get(f, IIR), 0xc1);
}

static void without_fifo_one_byte_fits(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(feed(f, "ab"), 1);
    assert_int_equal(get(f, LSR) & 1, 1);
    assert_int_equal(get(f, DATA), 'a');
    assert_int_equal(get(f, LSR) & 1, 0);
}

static void fifo_takes_16_and_asks_for_more_when_read(void **state)
{
    struct fixture *f = *state;
    put(f, FCR, 0x01);
    assert_int_equal(feed(f, "0123456789abcdefghij"), 16);
    assert_int_equal(f->room_calls, 0);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(get(f, DATA), "0123456789abcdef"[i]);
    assert_int_equal(f->room_calls, 1); /* told once, after the first byte was read */
}

static void receive_interrupt_comes_at_the_trigger_level(void **state)
{
    struct fixture *f = *state;
    put(f, FCR, 0x41); /* 4 bytes */
    put(f, IER, 0x01);
    feed(f, "abc");
    assert_int_equal(get(f, IIR), 0xcc); /* timeout: below the level */
    feed(f, "d");
    assert_int_equal(get(f, IIR), 0xc4);
    assert_true(f->lines.level[0]);
    for (unsigned i = 0; i < 4; i++)
        get(f, DATA);
    assert_false(f->lines.level[0]);
}

static void enabling_transmit_interrupt_raises_it_until_iir_is_read(void **state)
{
    struct fixture *f = *state;
    put(f, IER, 0x02);
    assert_true(f->lines.level[0]);
    assert_int_equal(get(f, IIR), 0x02);
    assert_false(f->lines.level[0]);
    assert_int_equal(get(f, IIR), 0x01);
    put(f, DATA, 'x');
    assert_true(f->lines.level[0]);
}

static void interrupts_show_by_priority(void **state)
{
    struct fixture *f = *state;
    put(f, FCR, 0x01);
    put(f, MCR, 0x10); /* loopback: the modem inputs fall */
    put(f, IER, 0x0f);
    for (unsigned i = 0; i < 17; i++)
        put(f, DATA, 'x'); /* one too many */
    assert_int_equal(get(f, IIR), 0xc6);
    assert_int_equal(get(f, LSR) & 0x02, 0x02);
    assert_int_equal(get(f, IIR), 0xc4);
    for (unsigned i = 0; i < 16; i++)
        get(f, DATA);
    assert_int_equal(get(f, IIR), 0xc2);
    assert_int_equal(get(f, IIR), 0xc0);
    get(f, MSR);
    assert_int_equal(get(f, IIR), 0xc1);
    assert_false(f->lines.level[0]);
}

static void overrun_shows_once(void **state)
{
    struct fixture *f = *state;
    put(f, MCR, 0x10);
    put(f, DATA, 'a');
    put(f, DATA, 'b');
    assert_int_equal(get(f, LSR) & 0x02, 0x02);
    assert_int_equal(get(f, LSR) & 0x02, 0);
    assert_int_equal(get(f, DATA), 'a');
}

static void loopback_joins_outputs_to_inputs(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(get(f, MSR), 0xb0);
    put(f, MCR, 0x1a); /* loopback, OUT2, RTS: the test of Linux's 8250 driver */
    assert_int_equal(get(f, MSR) & 0xf0, 0x90);
    put(f, DATA, 'l');
    assert_int_equal(f->sent_length, 0);
    assert_int_equal(get(f, DATA), 'l');
    assert_int_equal(feed(f, "x"), 0);
    put(f, MCR, 0);
    assert_int_equal(f->room_calls, 1);
}

static void modem_deltas_are_read_once(void **state)
{
    struct fixture *f = *state;
    put(f, MCR, 0x10);
    assert_int_equal(get(f, MSR), 0x0b); /* CTS, DSR and DCD fell */
    assert_int_equal(get(f, MSR), 0x00);
    put(f, MCR, 0x14);
    assert_int_equal(get(f, MSR), 0x40); /* a rising ring indicator does not count */
    put(f, MCR, 0x10);
    assert_int_equal(get(f, MSR), 0x04);
}

static void clearing_the_fifo_drops_input(void **state)
{
    struct fixture *f = *state;
    put(f, FCR, 0x01);
    feed(f, "abc");
    put(f, FCR, 0x03);
    assert_int_equal(get(f, LSR) & 1, 0);
    feed(f, "d");
    put(f, FCR, 0x00);
    assert_int_equal(get(f, LSR) & 1, 0);
}

static void reset_is_power_on(void **state)
{
    struct fixture *f = *state;
    put(f, FCR, 0x01);
    put(f, IER, 0x0f);
    feed(f, "abc");
    uart16550_ops.reset(&f->uart);
    assert_false(f->lines.level[0]);
    assert_int_equal(get(f, IIR), 0x01);
    assert_int_equal(get(f, LSR), 0x60);
}

static void loaded_state_keeps_input_and_interrupt(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    make(&other);
    put(f, FCR, 0x81);
    put(f, IER, 0x01);
    feed(f, "hello");
    copy_state(&uart16550_state_type, &f->uart, &other.uart);
    assert_true(other.lines.level[0]);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(get(&other, DATA), "hello"[i]);
}

/* A stream may say that 16 bytes wait although the FIFO is off. */
static void odd_loaded_state_does_no_harm(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    make(&other);
    f->uart.received_count = 16;
    copy_state(&uart16550_state_type, &f->uart, &other.uart);
    assert_int_equal(feed(&other, "x"), 0);
    for (unsigned i = 0; i < 20; i++)
        get(&other, DATA);
    assert_int_equal(feed(&other, "x"), 1);
}

static void registers_past_the_eighth_read_0(void **state)
{
    struct fixture *f = *state;
    put(f, 8, 0xff);
    assert_int_equal(get(f, 8), 0);
    assert_int_equal(get(f, UART_BYTES - 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(written_bytes_reach_the_peer, set_up),
        cmocka_unit_test_setup(divisor_latch_hides_data_and_ier, set_up),
        cmocka_unit_test_setup(scratch_holds_a_byte, set_up),
        cmocka_unit_test_setup(fifo_on_shows_in_iir, set_up),
        cmocka_unit_test_setup(without_fifo_one_byte_fits, set_up),
        cmocka_unit_test_setup(fifo_takes_16_and_asks_for_more_when_read, set_up),
        cmocka_unit_test_setup(receive_interrupt_comes_at_the_trigger_level, set_up),
        cmocka_unit_test_setup(enabling_transmit_interrupt_raises_it_until_iir_is_read, set_up),
        cmocka_unit_test_setup(interrupts_show_by_priority, set_up),
        cmocka_unit_test_setup(overrun_shows_once, set_up),
        cmocka_unit_test_setup(loopback_joins_outputs_to_inputs, set_up),
        cmocka_unit_test_setup(modem_deltas_are_read_once, set_up),
        cmocka_unit_test_setup(clearing_the_fifo_drops_input, set_up),
        cmocka_unit_test_setup(reset_is_power_on, set_up),
        cmocka_unit_test_setup(loaded_state_keeps_input_and_interrupt, set_up),
        cmocka_unit_test_setup(odd_loaded_state_does_no_harm, set_up),
        cmocka_unit_test_setup(registers_past_the_eighth_read_0, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
