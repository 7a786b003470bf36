/* SPDX-License-Identifier: Apache-2.0 */
#include "board/aml.h"

#include <string.h>

#include "base/bytes.h"

enum {
    ZERO_OP = 0x00,
    NAME_OP = 0x08,
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    STRING_PREFIX = 0x0d,
    SCOPE_OP = 0x10,
    BUFFER_OP = 0x11,
    PACKAGE_OP = 0x12,
    METHOD_OP = 0x14,
    EXTENDED = 0x5b,
    REGION_OP = 0x80,
    FIELD_OP = 0x81,
    DEVICE_OP = 0x82,
    LOCAL0_OP = 0x60,
    STORE_OP = 0x70,
    AND_OP = 0x7b,
    NOTIFY_OP = 0x86,
    IF_OP = 0xa0,
};

static void bytes(struct aml *out, const void *from, size_t length)
{
    if (length > sizeof out->bytes - out->length) {
        out->full = true;
        return;
    }
    memcpy(out->bytes + out->length, from, length);
    out->length += length;
}

static void byte(struct aml *out, unsigned value)
{
    uint8_t one = (uint8_t)value;
    bytes(out, &one, 1);
}

static void word(struct aml *out, uint16_t value)
{
    uint8_t two[2];
    put_le16(two, value);
    bytes(out, two, sizeof two);
}

static void dword(struct aml *out, uint32_t value)
{
    uint8_t four[4];
    put_le32(four, value);
    bytes(out, four, sizeof four);
}

static void all(struct aml *out, const struct aml *body)
{
    bytes(out, body->bytes, body->length);
    out->full |= body->full;
}

/* PkgLength (§20.2.4) of `rest` bytes, its own included in the count. */
static void package_length(struct aml *out, size_t rest)
{
    unsigned more = rest + 1 < 0x40 ? 0 : rest + 2 < 0x1000 ? 1 : rest + 3 < 0x100000 ? 2 : 3;
    size_t length = rest + 1 + more;
    if (more == 0) {
        byte(out, (unsigned)length);
        return;
    }
    byte(out, more << 6 | (length & 0xf));
    for (unsigned i = 0; i < more; i++)
        byte(out, length >> (4 + 8 * i) & 0xff);
}

static size_t name_bytes(const char *name)
{
    return strlen(name);
}

static void integer(struct aml *out, uint32_t value)
{
    if (value < 2) {
        byte(out, value);
    } else if (value <= UINT8_MAX) {
        byte(out, BYTE_PREFIX);
        byte(out, value);
    } else if (value <= UINT16_MAX) {
        byte(out, WORD_PREFIX);
        word(out, (uint16_t)value);
    } else {
        byte(out, DWORD_PREFIX);
        dword(out, value);
    }
}

static void begin_name(struct aml *out, const char *name)
{
    byte(out, NAME_OP);
    bytes(out, name, name_bytes(name));
}

/* ---- Terms ---- */

void aml_scope(struct aml *out, const char *name, const struct aml *body)
{
    byte(out, SCOPE_OP);
    package_length(out, name_bytes(name) + body->length);
    bytes(out, name, name_bytes(name));
    all(out, body);
}

void aml_device(struct aml *out, const char *name, const struct aml *body)
{
    byte(out, EXTENDED);
    byte(out, DEVICE_OP);
    package_length(out, name_bytes(name) + body->length);
    bytes(out, name, name_bytes(name));
    all(out, body);
}

/* Serialized, at sync level 0. */
void aml_method(struct aml *out, const char *name, unsigned arguments, const struct aml *body)
{
    byte(out, METHOD_OP);
    package_length(out, name_bytes(name) + 1 + body->length);
    bytes(out, name, name_bytes(name));
    byte(out, arguments | 1 << 3);
    all(out, body);
}

void aml_name_integer(struct aml *out, const char *name, uint32_t value)
{
    begin_name(out, name);
    integer(out, value);
}

void aml_name_string(struct aml *out, const char *name, const char *text)
{
    begin_name(out, name);
    byte(out, STRING_PREFIX);
    bytes(out, text, strlen(text) + 1);
}

/* Three letters of five bits and four hexadecimal digits, big-endian (§19.3.4, EISAID). */
void aml_name_eisa_id(struct aml *out, const char *name, const char *id)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | ((uint32_t)id[i] & 0x1f);
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | (uint32_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
    begin_name(out, name);
    byte(out, DWORD_PREFIX);
    dword(out, __builtin_bswap32(value));
}

void aml_name_package(struct aml *out, const char *name, const uint8_t *values, unsigned count)
{
    struct aml body = {.length = 0};
    byte(&body, count);
    for (unsigned i = 0; i < count; i++)
        integer(&body, values[i]);
    begin_name(out, name);
    byte(out, PACKAGE_OP);
    package_length(out, body.length);
    all(out, &body);
}

void aml_name_resources(struct aml *out, const char *name, const struct aml *descriptors)
{
    struct aml body = {.length = 0};
    integer(&body, (uint32_t)descriptors->length + 2);
    all(&body, descriptors);
    word(&body, 0x0079); /* end tag, without a checksum */
    begin_name(out, name);
    byte(out, BUFFER_OP);
    package_length(out, body.length);
    all(out, &body);
}

void aml_region(struct aml *out, const char *name, uint32_t address, uint32_t length,
                const char *field)
{
    struct aml body = {.length = 0};
    byte(out, EXTENDED);
    byte(out, REGION_OP);
    bytes(out, name, name_bytes(name));
    byte(out, 0); /* SystemMemory */
    integer(out, address);
    integer(out, length);
    bytes(&body, name, name_bytes(name));
    byte(&body, 0x43); /* DWordAcc, NoLock, WriteAsZeros */
    bytes(&body, field, name_bytes(field));
    package_length(&body, 31); /* 32 bits: counted like a length that includes itself */
    byte(out, EXTENDED);
    byte(out, FIELD_OP);
    package_length(out, body.length);
    all(out, &body);
}

/* ---- Statements ---- */

void aml_store_local0(struct aml *out, const char *name)
{
    byte(out, STORE_OP);
    bytes(out, name, name_bytes(name));
    byte(out, LOCAL0_OP);
}

void aml_if_local0_and(struct aml *out, uint8_t mask, const struct aml *body)
{
    struct aml test = {.length = 0};
    byte(&test, AND_OP);
    byte(&test, LOCAL0_OP);
    integer(&test, mask);
    byte(&test, ZERO_OP); /* no target */
    byte(out, IF_OP);
    package_length(out, test.length + body->length);
    all(out, &test);
    all(out, body);
}

void aml_notify(struct aml *out, const char *device, uint8_t value)
{
    byte(out, NOTIFY_OP);
    bytes(out, device, name_bytes(device));
    integer(out, value);
}

/* ---- Resource descriptors ---- */

void aml_io(struct aml *out, uint16_t port, uint8_t count)
{
    byte(out, 0x47); /* I/O port */
    byte(out, 1);    /* 16-bit decode */
    word(out, port);
    word(out, port);
    byte(out, 0); /* alignment */
    byte(out, count);
}

void aml_irq(struct aml *out, unsigned irq)
{
    byte(out, 0x22); /* IRQ without flags */
    word(out, (uint16_t)(1u << irq));
}

void aml_memory(struct aml *out, uint32_t base, uint32_t length)
{
    byte(out, 0x86); /* 32-bit fixed memory range */
    word(out, 9);
    byte(out, 1); /* read and write */
    dword(out, base);
    dword(out, length);
}

void aml_interrupt(struct aml *out, uint32_t gsi)
{
    byte(out, 0x89); /* extended interrupt */
    word(out, 6);
    byte(out, 0x03); /* consumer, edge, active high, exclusive */
    byte(out, 1);
    dword(out, gsi);
}
