/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include "dirty.h"

#define SERIAL 0x3f8
#define LINE_STATUS (SERIAL + 5)
#define DATA_READY 0x01
#define CAN_SEND 0x20

static void say_char(char c)
{
    while ((in8(LINE_STATUS) & CAN_SEND) == 0)
        tick(&cpus[0]);
    out8(SERIAL, (uint8_t)c);
    tick(&cpus[0]);
}

static void say_text(const char *text)
{
    for (; *text != 0; text++)
        say_char(*text);
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
