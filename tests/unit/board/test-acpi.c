/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables: what ACPICA's compiler makes of them. Each table is disassembled by iasl and
 * compiled again without a word, and what comes out is the table that went in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "board/acpi.h"

#include "../shell-word.h"

static char directory[64];
static uint8_t *tables;
static size_t tables_bytes;

static int set_up(void **state)
{
    strcpy(directory, "/tmp/godwit-acpi-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    free(tables);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    return system(command);
}

static void build_config(const struct acpi_config *config)
{
    free(tables);
    tables = acpi_tables(config, &tables_bytes);
    assert_non_null(tables);
}

static void build(unsigned cpus, unsigned slots)
{
    build_config(&(struct acpi_config){.cpus = cpus, .slots = slots});
}

static void build_with_vmclock(void)
{
    build_config(&(struct acpi_config){.cpus = 1, .slots = 1, .vmclock = true});
}

/* A table by its guest address, if it lies within what was built. */
static const uint8_t *table_at(uint64_t address)
{
    assert_true(address >= ACPI_TABLES_BASE && address + 36 <= ACPI_TABLES_BASE + tables_bytes);
    const uint8_t *table = tables + (address - ACPI_TABLES_BASE);
    assert_true(get_le32(table + 4) <= ACPI_TABLES_BASE + tables_bytes - address);
    return table;
}

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    uint8_t total = 0;
    while (length--)
        total = (uint8_t)(total + *bytes++);
    return total;
}

/* A table as a guest finds it: from the RSDP through the XSDT, the DSDT through the FADT. */
static const uint8_t *find_table(const char *signature)
{
    const uint8_t *xsdt = table_at(get_le64(tables + 24));
    if (strcmp(signature, "XSDT") == 0)
        return xsdt;
    for (uint32_t at = 36; at < get_le32(xsdt + 4); at += 8) {
        const uint8_t *table = table_at(get_le64(xsdt + at));
        if (memcmp(table, signature, 4) == 0)
            return table;
        if (memcmp(table, "FACP", 4) == 0 && strcmp(signature, "DSDT") == 0)
            return table_at(get_le64(table + 140));
    }
    fail_msg("no %s", signature);
    return NULL;
}

/* The path of a file of the test's directory. */
static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static size_t read_file(const char *name, char *text, size_t capacity)
{
    FILE *file = fopen(path_of(name), "r");
    assert_non_null(file);
    size_t length = fread(text, 1, capacity - 1, file);
    fclose(file);
    text[length] = 0;
    return length;
}

/* Runs iasl in the directory; -we makes warnings errors. */
static void run_iasl(const char *arguments)
{
    static char said[8192];
    char command[4096], word[2048];
    const char *iasl = getenv("GODWIT_TEST_IASL");
    snprintf(command, sizeof command, "cd '%s' && %s -we %s >log 2>&1", directory,
             shell_word(word, sizeof word, iasl ? iasl : "iasl"), arguments);
    if (system(command) != 0) {
        read_file("log", said, sizeof said);
        fail_msg("iasl %s: %s", arguments, said);
    }
}

/* The source that the disassembler finds in the table, good until the next call. */
static const char *disassemble(const char *signature)
{
    static char source[1 << 16];
    const uint8_t *table = find_table(signature);
    FILE *file = fopen(path_of("table.dat"), "w");
    assert_int_equal(fwrite(table, 1, get_le32(table + 4), file), get_le32(table + 4));
    fclose(file);
    run_iasl("-d table.dat");
    read_file("table.dsl", source, sizeof source);
    return source;
}

/* What the compiler writes about itself in the header does not count. */
static void blank_compiler(uint8_t *table)
{
    table[9] = 0;
    memset(table + 28, 0, 8);
}

static void check_round_trip(const char *signature)
{
    static uint8_t again[ACPI_TABLES_BYTES], before[ACPI_TABLES_BYTES];
    const uint8_t *table = find_table(signature);
    uint32_t length = get_le32(table + 4);
    disassemble(signature);
    run_iasl("-p again table.dsl");
    assert_int_equal(read_file("again.aml", (char *)again, sizeof again), length);
    memcpy(before, table, length);
    blank_compiler(before);
    blank_compiler(again);
    assert_memory_equal(before, again, length);
}

static void says(const char *source, const char *text)
{
    if (!strstr(source, text))
        fail_msg("no \"%s\" in %s", text, source);
}

static unsigned count(const char *source, const char *text)
{
    unsigned found = 0;
    for (const char *at = source; (at = strstr(at, text)); at += strlen(text))
        found++;
    return found;
}

static void tables_survive_the_compiler(void **state)
{
    static const unsigned cpus[] = {1, 2, 64}, slots[] = {0x01, 0x03, 0xff};
    static const char *const signatures[] = {"XSDT", "FACP", "APIC", "DSDT"};
    for (unsigned i = 0; i < 3; i++) {
        build(cpus[i], slots[i]);
        for (unsigned s = 0; s < 4; s++)
            check_round_trip(signatures[s]);
    }
    build_with_vmclock();
    check_round_trip("DSDT");
}

static void sums_of_all_tables_are_zero(void **state)
{
    static const char *const signatures[] = {"XSDT", "FACP", "APIC", "DSDT"};
    build(64, 0xff);
    assert_int_equal(sum(tables, 20), 0);
    assert_int_equal(sum(tables, 36), 0);
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *table = find_table(signatures[i]);
        assert_int_equal(sum(table, get_le32(table + 4)), 0);
    }
}

static void pointer_is_found_by_a_search(void **state)
{
    build(1, 1);
    assert_memory_equal(tables, "RSD PTR ", 8);
    assert_int_equal(ACPI_TABLES_BASE % 16, 0);
    assert_true(ACPI_TABLES_BASE >= 0xe0000 && ACPI_TABLES_BASE + tables_bytes <= 0x100000);
}

static void fadt_has_no_fixed_hardware(void **state)
{
    build(1, 1);
    const char *source = disassemble("FACP");
    says(source, "Hardware Reduced (V5) : 1");
    says(source, "Reset Register Supported (V2) : 1");
    says(source, "Value to cause reset : 42");
    says(source, "Address : 00000000FEA00202"); /* reset */
    says(source, "Address : 00000000FEA00200"); /* sleep control */
    says(source, "Address : 00000000FEA00201"); /* sleep status */
    says(source, "CMOS RTC Not Present (V5) : 1");
}

static void madt_has_every_cpu(void **state)
{
    build(64, 1);
    const char *source = disassemble("APIC");
    assert_int_equal(count(source, "[Processor Local APIC]"), 64);
    assert_int_equal(count(source, "Processor Enabled : 1"), 64);
    says(source, "Local Apic ID : 3F");
    says(source, "Address : FEC00000");
    build(1, 1);
    assert_int_equal(count(disassemble("APIC"), "[Processor Local APIC]"), 1);
}

static void madt_overrides_the_event_interrupt(void **state)
{
    build(1, 1);
    const char *source = disassemble("APIC");
    assert_int_equal(count(source, "[Interrupt Source Override]"), 1);
    says(source, "Source : 09");
    says(source, "Interrupt : 00000009");
    says(source, "Polarity : 1");
    says(source, "Trigger Mode : 3"); /* level */
}

static void dsdt_shows_only_slots_in_use(void **state)
{
    build(1, 0x05);
    const char *source = disassemble("DSDT");
    assert_int_equal(count(source, "LNRO0005"), 2);
    says(source, "0xFEB00000,         // Address Base");
    says(source, "0xFEB00400,         // Address Base");
    assert_int_equal(count(source, "ResourceConsumer, Edge, ActiveHigh, Exclusive"), 2);
    says(source, "0x00000012,");
}

static void dsdt_powers_off_with_what_the_device_expects(void **state)
{
    build(1, 1);
    const char *source = disassemble("DSDT");
    says(source, "Name (_S5, Package (0x04)");
    says(source, "0x05, \n");
    says(source, "Notify (PWRB, 0x80)");
    says(source, "OperationRegion (EREG, SystemMemory, 0xFEA00000, 0x04)");
    says(source, "ResourceConsumer, Level, ActiveHigh, Exclusive");
}

static void dsdt_shows_the_vmclock_and_tells_it_of_its_event(void **state)
{
    build_with_vmclock();
    const char *source = disassemble("DSDT");
    says(source, "Device (VCLK)");
    says(source, "Name (_HID, \"AMZNC10C\")");
    says(source, "Name (_CID, \"VMCLOCK\")");
    says(source, "0xFEFFB000,         // Address Base");
    says(source, "0x00001000,         // Address Length");
    says(source, "If ((Local0 & 0x0100))");
    says(source, "Notify (VCLK, 0x80)");
}

static void dsdt_without_a_vmclock_does_not_name_it(void **state)
{
    build(1, 0xff);
    assert_int_equal(count(disassemble("DSDT"), "VCLK"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_survive_the_compiler),
        cmocka_unit_test(sums_of_all_tables_are_zero),
        cmocka_unit_test(pointer_is_found_by_a_search),
        cmocka_unit_test(fadt_has_no_fixed_hardware),
        cmocka_unit_test(madt_has_every_cpu),
        cmocka_unit_test(madt_overrides_the_event_interrupt),
        cmocka_unit_test(dsdt_shows_only_slots_in_use),
        cmocka_unit_test(dsdt_shows_the_vmclock_and_tells_it_of_its_event),
        cmocka_unit_test(dsdt_without_a_vmclock_does_not_name_it),
        cmocka_unit_test(dsdt_powers_off_with_what_the_device_expects),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
