/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "bare.h"

#define SERIAL 0x3f8
#define LINE_STATUS (SERIAL + 5)
#define DATA_READY 0x01
#define CAN_SEND 0x20

static void say_char(char c)
{
    while ((in8(LINE_STATUS) & CAN_SEND) == 0)
        while_saying();
    out8(SERIAL, (uint8_t)c);
    while_saying();
}

static void say_text(const char *text)
{
    for (; *text != 0; text++)
        say_char(*text);
}

static void say_byte(uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    say_char(digits[value >> 4 & 15]);
    say_char(digits[value & 15]);
}

static void say_number(uint64_t value)
{
    char digits[21];
    size_t i = sizeof digits - 1;
    digits[i] = 0;
    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    say_text(digits + i);
}

void say(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    for (; *format != 0; format++) {
        if (*format == '\n') {
            say_char('\r');
            say_char('\n');
        } else if (*format != '%') {
            say_char(*format);
        } else if (*++format == 's') {
            say_text(va_arg(values, const char *));
        } else if (*format == 'x') {
            say_byte(va_arg(values, uint64_t));
        } else {
            say_number(va_arg(values, uint64_t));
        }
    }
    va_end(values);
}

int serial_read(void)
{
    return in8(LINE_STATUS) & DATA_READY ? in8(SERIAL) : -1;
}
