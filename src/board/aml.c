/* SPDX-License-Identifier: Apache-2.0 */
#include "board/aml.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

/* §20.3 */
enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_EXTENDED = 0x5b,
    OP_LOCAL0 = 0x60,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_NOTIFY = 0x86,
    OP_IF = 0xa0,
    EXTENDED_REGION = 0x80,
    EXTENDED_FIELD = 0x81,
    EXTENDED_DEVICE = 0x82,
};

void aml_bytes(struct aml *aml, const void *bytes, size_t length)
{
    assert(length <= AML_MAX_BYTES - aml->length);
    memcpy(aml->bytes + aml->length, bytes, length);
    aml->length += length;
}

void aml_byte(struct aml *aml, uint8_t byte)
{
    aml_bytes(aml, &byte, 1);
}

static void extended(struct aml *aml, uint8_t opcode)
{
    aml_byte(aml, OP_EXTENDED);
    aml_byte(aml, opcode);
}

/* ---- Names and values ---- */

void aml_name(struct aml *aml, const char *name)
{
    assert(strlen(name) == 4 || (name[0] == '\\' && strlen(name) == 5));
    aml_bytes(aml, name, strlen(name));
}

void aml_integer(struct aml *aml, uint64_t value)
{
    static const struct {
        uint64_t max;
        uint8_t opcode, bytes;
    } forms[] = {
        {UINT8_MAX, OP_BYTE, 1},
        {UINT16_MAX, OP_WORD, 2},
        {UINT32_MAX, OP_DWORD, 4},
        {UINT64_MAX, OP_QWORD, 8},
    };
    uint8_t bytes[8];
    unsigned form = 0;
    if (value <= 1) {
        aml_byte(aml, value ? OP_ONE : OP_ZERO);
        return;
    }
    while (value > forms[form].max)
        form++;
    put_le64(bytes, value);
    aml_byte(aml, forms[form].opcode);
    aml_bytes(aml, bytes, forms[form].bytes);
}

void aml_string(struct aml *aml, const char *text)
{
    aml_byte(aml, OP_STRING);
    aml_bytes(aml, text, strlen(text) + 1);
}

/* Three letters of five bits and four hexadecimal digits, most significant byte first. */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t packed = 0;
    assert(strlen(id) == 7);
    for (unsigned i = 0; i < 3; i++)
        packed = packed << 5 | (uint32_t)(id[i] - 'A' + 1);
    for (unsigned i = 3; i < 7; i++)
        packed = packed << 4 | (uint32_t)(id[i] >= 'A' ? id[i] - 'A' + 10 : id[i] - '0');
    aml_integer(aml, __builtin_bswap32(packed));
}

void aml_define(struct aml *aml, const char *name)
{
    aml_byte(aml, OP_NAME);
    aml_name(aml, name);
}

void aml_define_integer(struct aml *aml, const char *name, uint64_t value)
{
    aml_define(aml, name);
    aml_integer(aml, value);
}

/* ---- What has a length ---- */

/* Moves what was written since `begun` up by the length's own bytes (§20.2.4: the length counts
 * itself; the first byte tells how many follow, and has six bits alone, four with others). */
void aml_end(struct aml *aml, size_t begun)
{
    static const uint32_t most[4] = {0x3f, 0xfff, 0xfffff, 0xfffffff};
    size_t content = aml->length - begun;
    unsigned more = 0;
    while (content + 1 + more > most[more])
        more++;
    uint32_t length = (uint32_t)(content + 1 + more);
    uint8_t encoded[4] = {(uint8_t)(more ? more << 6 | (length & 0xf) : length)};
    for (unsigned i = 1; i <= more; i++)
        encoded[i] = (uint8_t)(length >> (8 * i - 4));
    aml_bytes(aml, encoded, 1 + more); /* makes room */
    memmove(aml->bytes + begun + 1 + more, aml->bytes + begun, content);
    memcpy(aml->bytes + begun, encoded, 1 + more);
}

size_t aml_begin_scope(struct aml *aml, const char *name)
{
    aml_byte(aml, OP_SCOPE);
    size_t begun = aml->length;
    aml_name(aml, name);
    return begun;
}

size_t aml_begin_device(struct aml *aml, const char *name)
{
    extended(aml, EXTENDED_DEVICE);
    size_t begun = aml->length;
    aml_name(aml, name);
    return begun;
}

size_t aml_begin_method(struct aml *aml, const char *name, unsigned arguments)
{
    const uint8_t serialized = 0x08;
    aml_byte(aml, OP_METHOD);
    size_t begun = aml->length;
    aml_name(aml, name);
    aml_byte(aml, (uint8_t)(arguments | serialized));
    return begun;
}

size_t aml_begin_package(struct aml *aml, uint8_t elements)
{
    aml_byte(aml, OP_PACKAGE);
    size_t begun = aml->length;
    aml_byte(aml, elements);
    return begun;
}

size_t aml_begin_dword_field(struct aml *aml, const char *region)
{
    const uint8_t dword_access = 3, write_as_zeros = 2 << 5;
    extended(aml, EXTENDED_FIELD);
    size_t begun = aml->length;
    aml_name(aml, region);
    aml_byte(aml, dword_access | write_as_zeros);
    return begun;
}

void aml_field_element(struct aml *aml, const char *name, uint8_t bits)
{
    assert(bits < 0x40); /* a length of one byte */
    aml_name(aml, name);
    aml_byte(aml, bits);
}

size_t aml_begin_if_bits(struct aml *aml, unsigned local, uint64_t mask)
{
    aml_byte(aml, OP_IF);
    size_t begun = aml->length;
    aml_byte(aml, OP_AND);
    aml_byte(aml, (uint8_t)(OP_LOCAL0 + local));
    aml_integer(aml, mask);
    aml_byte(aml, OP_ZERO); /* the result is stored nowhere */
    return begun;
}

/* ---- Statements ---- */

void aml_memory_region(struct aml *aml, const char *name, uint64_t base, uint64_t bytes)
{
    const uint8_t system_memory = 0;
    extended(aml, EXTENDED_REGION);
    aml_name(aml, name);
    aml_byte(aml, system_memory);
    aml_integer(aml, base);
    aml_integer(aml, bytes);
}

void aml_store_to_local(struct aml *aml, const char *name, unsigned local)
{
    aml_byte(aml, OP_STORE);
    aml_name(aml, name);
    aml_byte(aml, (uint8_t)(OP_LOCAL0 + local));
}

void aml_notify(struct aml *aml, const char *object, uint64_t value)
{
    aml_byte(aml, OP_NOTIFY);
    aml_name(aml, object);
    aml_integer(aml, value);
}

/* ---- Resources ---- */

struct aml_resources aml_begin_resources(struct aml *aml)
{
    aml_define(aml, "_CRS");
    aml_byte(aml, OP_BUFFER);
    struct aml_resources begun = {.buffer = aml->length};
    aml_byte(aml, OP_BYTE);
    aml_byte(aml, 0); /* the length, when it is known */
    begun.template = aml->length;
    return begun;
}

void aml_resource_ports(struct aml *aml, uint16_t base, uint8_t count)
{
    uint8_t port[8] = {0x47, 1 /* all 16 bits are decoded */};
    put_le16(port + 2, base);
    put_le16(port + 4, base);
    port[6] = 1; /* alignment */
    port[7] = count;
    aml_bytes(aml, port, sizeof port);
}

void aml_resource_isa_irq(struct aml *aml, unsigned irq)
{
    uint8_t mask[3] = {0x22};
    put_le16(mask + 1, (uint16_t)(1u << irq));
    aml_bytes(aml, mask, sizeof mask);
}

void aml_resource_memory32(struct aml *aml, uint32_t base, uint32_t bytes)
{
    uint8_t memory[12] = {0x86, sizeof memory - 3, 0, 1 /* writable */};
    put_le32(memory + 4, base);
    put_le32(memory + 8, bytes);
    aml_bytes(aml, memory, sizeof memory);
}

void aml_resource_interrupt(struct aml *aml, uint32_t gsi, enum aml_trigger trigger)
{
    uint8_t interrupt[9] = {0x89, sizeof interrupt - 3, 0};
    interrupt[3] = (uint8_t)(1 /* consumer */ | (trigger == AML_EDGE ? 2 : 0));
    interrupt[4] = 1; /* interrupts */
    put_le32(interrupt + 5, gsi);
    aml_bytes(aml, interrupt, sizeof interrupt);
}

void aml_end_resources(struct aml *aml, struct aml_resources begun)
{
    static const uint8_t end_tag[2] = {0x79, 0 /* no checksum */};
    aml_bytes(aml, end_tag, sizeof end_tag);
    size_t length = aml->length - begun.template;
    assert(length <= UINT8_MAX);
    aml->bytes[begun.template - 1] = (uint8_t)length;
    aml_end(aml, begun.buffer);
}
