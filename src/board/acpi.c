/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables are written one behind the other, 16 bytes aligned, and point to each other by address:
 * RSDP -> XSDT -> FADT -> DSDT, and XSDT -> MADT.
 *
 * The machine is "hardware reduced": no PM timer, no SCI, no fixed buttons. Power button, power off
 * and reset go through the generic event device.
 */
#include "board/acpi.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "board/aml.h"
#include "board/microvm.h"
#include "device/ged.h"

#define LAPIC_BASE 0xfee00000u
#define IOAPIC_BASE 0xfec00000u
#define OEM_ID "GODWIT"
#define OEM_TABLE_ID "MICROVM1"

enum { HEADER_BYTES = 36, RSDP_BYTES = 36, RSDP_V1_BYTES = 20, FADT_BYTES = 276, TABLES = 2 };

/* The tables so far. */
struct writer {
    uint8_t *bytes;
    size_t length;
};

static uint8_t checksum(const uint8_t *bytes, size_t length)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

/* Adds a table with its header (§5.2.6) and `content` behind it; returns its address. */
static uint64_t add_table(struct writer *writer, const char *signature, uint8_t revision,
                          const uint8_t *content, size_t content_bytes)
{
    uint8_t *table = writer->bytes + writer->length;
    size_t length = HEADER_BYTES + content_bytes;
    assert(length + 16 <= ACPI_TABLES_BYTES - writer->length);
    memcpy(table, signature, 4);
    put_le32(table + 4, (uint32_t)length);
    table[8] = revision;
    memcpy(table + 10, OEM_ID, 6);
    memcpy(table + 16, OEM_TABLE_ID, 8);
    put_le32(table + 24, 1);
    memcpy(table + 28, "GDWT", 4);
    put_le32(table + 32, 1);
    memcpy(table + HEADER_BYTES, content, content_bytes);
    table[9] = checksum(table, length);
    uint64_t address = ACPI_TABLES_BASE + writer->length;
    writer->length = align_up(writer->length + length, 16);
    return address;
}

/* ---- DSDT ---- */

static void add_uart(struct aml *aml)
{
    const struct board_window *window = &microvm_map[MICROVM_UART];
    size_t device = aml_begin_device(aml, "COM1");
    aml_define(aml, "_HID");
    aml_eisa_id(aml, "PNP0501");
    aml_define_integer(aml, "_UID", 0);
    struct aml_resources resources = aml_begin_resources(aml);
    aml_resource_ports(aml, (uint16_t)window->base, (uint8_t)window->bytes);
    aml_resource_isa_irq(aml, window->irq);
    aml_end_resources(aml, resources);
    aml_end(aml, device);
}

static void add_power_button(struct aml *aml)
{
    size_t device = aml_begin_device(aml, "PWRB");
    aml_define(aml, "_HID");
    aml_eisa_id(aml, "PNP0C0C");
    aml_define_integer(aml, "_UID", 0);
    aml_end(aml, device);
}

static void add_vmclock(struct aml *aml)
{
    size_t device = aml_begin_device(aml, "VCLK");
    aml_define(aml, "_HID");
    aml_string(aml, "AMZNC10C");
    aml_define(aml, "_CID");
    aml_string(aml, "VMCLOCK");
    aml_define(aml, "_DDN");
    aml_string(aml, "VMCLOCK");
    struct aml_resources resources = aml_begin_resources(aml);
    aml_resource_memory32(aml, MICROVM_VMCLOCK_BASE, VMCLOCK_BYTES);
    aml_end_resources(aml, resources);
    aml_end(aml, device);
}

/* What has happened is read, which acknowledges it, and told to who is concerned (§5.6.9). */
static void add_event_method(struct aml *aml, bool vmclock)
{
    const uint64_t pressed = 0x80; /* §4.8.3.2.2.2 */
    const uint64_t updated = 0x80; /* UAPI.13, discovery via ACPI */
    size_t method = aml_begin_method(aml, "_EVT", 1);
    aml_store_to_local(aml, "ESEL", 0);
    size_t condition = aml_begin_if_bits(aml, 0, GED_EVENT_POWER_BUTTON);
    aml_notify(aml, "PWRB", pressed);
    aml_end(aml, condition);
    if (vmclock) {
        condition = aml_begin_if_bits(aml, 0, GED_EVENT_VMCLOCK);
        aml_notify(aml, "VCLK", updated);
        aml_end(aml, condition);
    }
    aml_end(aml, method);
}

static void add_event_device(struct aml *aml, bool vmclock)
{
    const struct board_window *window = &microvm_map[MICROVM_GED];
    size_t device = aml_begin_device(aml, "GED_");
    aml_define(aml, "_HID");
    aml_string(aml, "ACPI0013");
    aml_define_integer(aml, "_UID", 0);
    struct aml_resources resources = aml_begin_resources(aml);
    aml_resource_interrupt(aml, window->irq, AML_LEVEL);
    aml_end_resources(aml, resources);
    aml_memory_region(aml, "EREG", window->base, window->bytes);
    size_t field = aml_begin_dword_field(aml, "EREG");
    aml_field_element(aml, "ESEL", 32);
    aml_end(aml, field);
    add_event_method(aml, vmclock);
    aml_end(aml, device);
}

static void add_slot(struct aml *aml, unsigned slot)
{
    const struct board_window *window = &microvm_map[MICROVM_VIRTIO + slot];
    char name[16];
    snprintf(name, sizeof name, "VR%02u", slot);
    size_t device = aml_begin_device(aml, name);
    aml_define(aml, "_HID");
    aml_string(aml, "LNRO0005");
    aml_define_integer(aml, "_UID", slot);
    aml_define_integer(aml, "_CCA", 1);
    struct aml_resources resources = aml_begin_resources(aml);
    aml_resource_memory32(aml, (uint32_t)window->base, (uint32_t)window->bytes);
    aml_resource_interrupt(aml, window->irq, AML_EDGE);
    aml_end_resources(aml, resources);
    aml_end(aml, device);
}

/* The value that off is asked for with (§7.4.2.6). */
static void add_off_state(struct aml *aml)
{
    aml_define(aml, "_S5_");
    size_t package = aml_begin_package(aml, 4);
    aml_integer(aml, GED_SLEEP_TYPE_OFF);
    for (unsigned i = 1; i < 4; i++)
        aml_integer(aml, 0);
    aml_end(aml, package);
}

static uint64_t add_dsdt(struct writer *writer, const struct acpi_config *config)
{
    struct aml aml = {.length = 0};
    add_off_state(&aml);
    size_t scope = aml_begin_scope(&aml, "_SB_");
    add_uart(&aml);
    add_power_button(&aml);
    if (config->vmclock)
        add_vmclock(&aml);
    add_event_device(&aml, config->vmclock);
    for (unsigned slot = 0; slot < MICROVM_SLOTS; slot++)
        if (config->slots >> slot & 1)
            add_slot(&aml, slot);
    aml_end(&aml, scope);
    return add_table(writer, "DSDT", 2 /* integers have 64 bits */, aml.bytes, aml.length);
}

/* ---- FADT (§5.2.9) ---- */

enum {
    BOOT_ISA_DEVICES = 1 << 0, /* the serial port */
    BOOT_NO_VGA = 1 << 2,
    BOOT_NO_CMOS_CLOCK = 1 << 5,
    FLAG_WBINVD = 1 << 0,
    FLAG_NO_FIXED_POWER_BUTTON = 1 << 4,
    FLAG_NO_FIXED_SLEEP_BUTTON = 1 << 5,
    FLAG_RESET_REGISTER = 1 << 10,
    FLAG_HARDWARE_REDUCED = 1 << 20,
    PROFILE_ENTERPRISE_SERVER = 4,
};

/* A byte of memory as a generic address (§5.2.3.2). */
static void put_register(uint8_t *at, uint64_t address)
{
    at[0] = 0; /* system memory */
    at[1] = 8; /* bits */
    at[2] = 0;
    at[3] = 1; /* byte access */
    put_le64(at + 4, address);
}

/* Offsets as the specification has them: of the whole table. */
static uint64_t add_fadt(struct writer *writer, uint64_t dsdt)
{
    uint64_t registers = microvm_map[MICROVM_GED_REGISTERS].base;
    uint8_t table[FADT_BYTES] = {0};
    put_le32(table + 40, (uint32_t)dsdt);
    table[45] = PROFILE_ENTERPRISE_SERVER;
    put_le16(table + 109, BOOT_ISA_DEVICES | BOOT_NO_VGA | BOOT_NO_CMOS_CLOCK);
    put_le32(table + 112, FLAG_WBINVD | FLAG_NO_FIXED_POWER_BUTTON | FLAG_NO_FIXED_SLEEP_BUTTON |
                              FLAG_RESET_REGISTER | FLAG_HARDWARE_REDUCED);
    put_register(table + 116, registers + GED_RESET);
    table[128] = GED_RESET_VALUE;
    table[131] = 5; /* minor revision */
    put_le64(table + 140, dsdt);
    put_register(table + 244, registers + GED_SLEEP_CONTROL);
    put_register(table + 256, registers + GED_SLEEP_STATUS);
    memcpy(table + 268, "godwit", 6);
    return add_table(writer, "FACP", 6, table + HEADER_BYTES, sizeof table - HEADER_BYTES);
}

/* ---- MADT (§5.2.12) ---- */

/* There are no 8259s to speak of. */
static uint64_t add_madt(struct writer *writer, unsigned cpus)
{
    const uint8_t active_high_level = 0x0d;
    unsigned events = microvm_map[MICROVM_GED].irq;
    uint8_t table[8 + 8 * MICROVM_MAX_CPUS + 12 + 10 + 6] = {0}, *at = table + 8;
    assert(cpus <= MICROVM_MAX_CPUS);
    put_le32(table, LAPIC_BASE);
    for (unsigned i = 0; i < cpus; i++, at += 8)
        memcpy(at, (uint8_t[]){0, 8, (uint8_t)i, (uint8_t)i, 1 /* enabled */, 0, 0, 0}, 8);
    memcpy(at, (uint8_t[]){1, 12, 0 /* id */, 0}, 4);
    put_le32(at + 4, IOAPIC_BASE);
    put_le32(at + 8, 0); /* its first GSI */
    at += 12;
    memcpy(at, (uint8_t[]){2, 10, 0 /* ISA */, (uint8_t)events}, 4);
    put_le32(at + 4, events);
    put_le16(at + 8, active_high_level);
    at += 10;
    memcpy(at, (uint8_t[]){4, 6, 0xff /* every CPU */, 0, 0, 1 /* LINT1 is NMI */}, 6);
    at += 6;
    return add_table(writer, "APIC", 5, table, (size_t)(at - table));
}

/* ---- The whole ---- */

static void put_rsdp(uint8_t *rsdp, uint64_t xsdt)
{
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, OEM_ID, 6);
    rsdp[15] = 2; /* revision */
    put_le32(rsdp + 20, RSDP_BYTES);
    put_le64(rsdp + 24, xsdt);
    rsdp[8] = checksum(rsdp, RSDP_V1_BYTES);
    rsdp[32] = checksum(rsdp, RSDP_BYTES);
}

uint8_t *acpi_tables(const struct acpi_config *config, size_t *ret_bytes)
{
    struct writer writer = {.bytes = calloc(1, ACPI_TABLES_BYTES),
                            .length = align_up(RSDP_BYTES, 16)};
    uint8_t tables[TABLES * 8];
    if (!writer.bytes)
        return NULL;
    put_le64(tables, add_fadt(&writer, add_dsdt(&writer, config)));
    put_le64(tables + 8, add_madt(&writer, config->cpus));
    put_rsdp(writer.bytes, add_table(&writer, "XSDT", 1, tables, sizeof tables));
    *ret_bytes = writer.length;
    return writer.bytes;
}
