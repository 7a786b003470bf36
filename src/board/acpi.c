/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables are written one behind the other, 16 bytes aligned, and point to each other by address:
 * RSDP -> XSDT -> FADT -> DSDT, and XSDT -> MADT.
 *
 * The machine is "hardware reduced": no PM timer, no SCI, no fixed buttons. Power button, power off
 * and reset go through the generic event device.
 */
#include "board/acpi.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "board/aml.h"
#include "board/microvm.h"
#include "device/ged.h"

#define LAPIC_BASE 0xfee00000u
#define IOAPIC_BASE 0xfec00000u
#define HEADER_BYTES 36
#define RSDP_BYTES 36
#define FADT_BYTES 276
#define ADDRESS_BYTES 12 /* generic address structure, §5.2.3.2 */

struct writer {
    uint8_t *bytes;
    size_t length;
};

static uint64_t address_of(const struct writer *writer)
{
    return ACPI_TABLES_BASE + writer->length;
}

static void set_checksum(uint8_t *bytes, size_t length, size_t at)
{
    uint8_t sum = 0;
    bytes[at] = 0;
    for (size_t i = 0; i < length; i++)
        sum += bytes[i];
    bytes[at] = (uint8_t)-sum;
}

/* Adds a table of `length` zeroed bytes with its header (§5.2.6) and returns it. */
static uint8_t *begin_table(struct writer *writer, const char *signature, uint8_t revision,
                            size_t length)
{
    uint8_t *table = writer->bytes + writer->length;
    memcpy(table, signature, 4);
    put_le32(table + 4, (uint32_t)length);
    table[8] = revision;
    memcpy(table + 10, "GODWIT", 6);
    memcpy(table + 16, "MICROVM1", 8);
    put_le32(table + 24, 1);
    memcpy(table + 28, "GDWT", 4);
    put_le32(table + 32, 1);
    return table;
}

static void end_table(struct writer *writer, uint8_t *table)
{
    size_t length = get_le32(table + 4);
    set_checksum(table, length, 9);
    writer->length = (size_t)align_up(writer->length + length, 16);
}

/* ---- DSDT ---- */

static void add_uart(struct aml *out)
{
    struct aml body = {.length = 0}, resources = {.length = 0};
    const struct board_window *window = &microvm_map[MICROVM_UART];
    aml_io(&resources, (uint16_t)window->base, (uint8_t)window->bytes);
    aml_irq(&resources, window->irq);
    aml_name_eisa_id(&body, "_HID", "PNP0501");
    aml_name_integer(&body, "_UID", 0);
    aml_name_integer(&body, "_STA", 0xf);
    aml_name_resources(&body, "_CRS", &resources);
    aml_device(out, "COM1", &body);
}

static void add_slot(struct aml *out, unsigned slot)
{
    struct aml body = {.length = 0}, resources = {.length = 0};
    const struct board_window *window = &microvm_map[MICROVM_VIRTIO + slot];
    char name[] = "VR00";
    name[3] = (char)('0' + slot);
    aml_memory(&resources, (uint32_t)window->base, (uint32_t)window->bytes);
    aml_interrupt(&resources, window->irq);
    aml_name_string(&body, "_HID", "LNRO0005");
    aml_name_integer(&body, "_UID", slot);
    aml_name_integer(&body, "_CCA", 1);
    aml_name_resources(&body, "_CRS", &resources);
    aml_device(out, name, &body);
}

/* §5.6.9: one interrupt, and a method that asks what has happened. */
static void add_events(struct aml *out)
{
    struct aml body = {.length = 0}, resources = {.length = 0}, method = {.length = 0};
    struct aml pressed = {.length = 0}, button = {.length = 0};
    const struct board_window *window = &microvm_map[MICROVM_GED];
    aml_interrupt(&resources, window->irq);
    aml_notify(&pressed, "PWRB", 0x80);
    aml_store_local0(&method, "ESEL");
    aml_if_local0_and(&method, GED_EVENT_POWER_BUTTON, &pressed);
    aml_name_string(&body, "_HID", "ACPI0013");
    aml_name_integer(&body, "_UID", 0);
    aml_name_resources(&body, "_CRS", &resources);
    aml_region(&body, "EREG", (uint32_t)window->base, GED_EVENT_BYTES, "ESEL");
    aml_method(&body, "_EVT", 1, &method);
    aml_device(out, "GED_", &body);
    aml_name_eisa_id(&button, "_HID", "PNP0C0C");
    aml_name_integer(&button, "_UID", 0);
    aml_device(out, "PWRB", &button);
}

static void add_dsdt(struct writer *writer, const struct acpi_config *config)
{
    static const uint8_t sleep_off[] = {GED_SLEEP_TYPE_OFF, 0, 0, 0};
    struct aml devices = {.length = 0}, all = {.length = 0};
    add_uart(&devices);
    for (unsigned slot = 0; slot < MICROVM_SLOTS; slot++)
        if (config->slots & 1u << slot)
            add_slot(&devices, slot);
    add_events(&devices);
    aml_scope(&all, "\\_SB_", &devices);
    aml_name_package(&all, "\\_S5_", sleep_off, sizeof sleep_off);
    uint8_t *table = begin_table(writer, "DSDT", 2, HEADER_BYTES + all.length);
    memcpy(table + HEADER_BYTES, all.bytes, all.length);
    end_table(writer, table);
}

/* ---- FADT ---- */

enum {
    FADT_DSDT = 40,
    FADT_BOOT_FLAGS = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REGISTER = 116,
    FADT_RESET_VALUE = 128,
    FADT_MINOR = 131,
    FADT_X_DSDT = 140,
    FADT_SLEEP_CONTROL = 244,
    FADT_SLEEP_STATUS = 256,
};
#define FLAG_POWER_BUTTON (1u << 4) /* no fixed one, but a device */
#define FLAG_SLEEP_BUTTON (1u << 5)
#define FLAG_RESET_REGISTER (1u << 10)
#define FLAG_HARDWARE_REDUCED (1u << 20)
#define BOOT_NO_VGA (1u << 2)
#define BOOT_NO_RTC (1u << 5)

static void put_register(uint8_t *to, unsigned offset)
{
    to[0] = 0; /* system memory */
    to[1] = 8; /* bits */
    to[3] = 1; /* byte access */
    put_le64(to + 4, microvm_map[MICROVM_GED_REGISTERS].base + offset);
}

static void add_fadt(struct writer *writer, uint64_t dsdt)
{
    uint8_t *table = begin_table(writer, "FACP", 6, FADT_BYTES);
    put_le32(table + FADT_DSDT, (uint32_t)dsdt);
    put_le16(table + FADT_BOOT_FLAGS, BOOT_NO_VGA | BOOT_NO_RTC);
    put_le32(table + FADT_FLAGS,
             FLAG_POWER_BUTTON | FLAG_SLEEP_BUTTON | FLAG_RESET_REGISTER | FLAG_HARDWARE_REDUCED);
    put_register(table + FADT_RESET_REGISTER, GED_RESET);
    table[FADT_RESET_VALUE] = GED_RESET_VALUE;
    table[FADT_MINOR] = 5;
    put_le64(table + FADT_X_DSDT, dsdt);
    put_register(table + FADT_SLEEP_CONTROL, GED_SLEEP_CONTROL);
    put_register(table + FADT_SLEEP_STATUS, GED_SLEEP_STATUS);
    end_table(writer, table);
}

/* ---- MADT ---- */

static void add_madt(struct writer *writer, unsigned cpus)
{
    const size_t lapic_bytes = 8, ioapic_bytes = 12;
    size_t length = HEADER_BYTES + 8 + cpus * lapic_bytes + ioapic_bytes;
    uint8_t *table = begin_table(writer, "APIC", 5, length), *entry = table + HEADER_BYTES + 8;
    put_le32(table + HEADER_BYTES, LAPIC_BASE);
    for (unsigned i = 0; i < cpus; i++, entry += lapic_bytes) {
        entry[0] = 0; /* local APIC */
        entry[1] = (uint8_t)lapic_bytes;
        entry[2] = entry[3] = (uint8_t)i;
        put_le32(entry + 4, 1); /* enabled */
    }
    entry[0] = 1; /* IOAPIC, from GSI 0 */
    entry[1] = (uint8_t)ioapic_bytes;
    put_le32(entry + 4, IOAPIC_BASE);
    end_table(writer, table);
}

/* ---- The roots ---- */

static void add_xsdt(struct writer *writer, uint64_t fadt, uint64_t madt)
{
    uint8_t *table = begin_table(writer, "XSDT", 1, HEADER_BYTES + 16);
    put_le64(table + HEADER_BYTES, fadt);
    put_le64(table + HEADER_BYTES + 8, madt);
    end_table(writer, table);
}

static void put_rsdp(uint8_t *rsdp, uint64_t xsdt)
{
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "GODWIT", 6);
    rsdp[15] = 2;
    put_le32(rsdp + 20, RSDP_BYTES);
    put_le64(rsdp + 24, xsdt);
    set_checksum(rsdp, 20, 8);
    set_checksum(rsdp, RSDP_BYTES, 32);
}

uint8_t *acpi_tables(const struct acpi_config *config, size_t *ret_bytes)
{
    struct writer writer = {.bytes = calloc(1, ACPI_TABLES_BYTES), .length = 48};
    if (!writer.bytes)
        return NULL;
    uint64_t dsdt = address_of(&writer);
    add_dsdt(&writer, config);
    uint64_t fadt = address_of(&writer);
    add_fadt(&writer, dsdt);
    uint64_t madt = address_of(&writer);
    add_madt(&writer, config->cpus);
    put_rsdp(writer.bytes, address_of(&writer));
    add_xsdt(&writer, fadt, madt);
    *ret_bytes = writer.length;
    return writer.bytes;
}
