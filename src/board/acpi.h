/* SPDX-License-Identifier: Apache-2.0 */
/* The ACPI tables of microvm-1 (ACPI 6.5, chapter 5): RSDP, XSDT, FADT, MADT, DSDT. */
#ifndef BOARD_ACPI_H
#define BOARD_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_BASE 0xe0000 /* where a guest without firmware looks for the RSDP, §5.2.5.1 */
#define ACPI_TABLES_BYTES 0x20000

struct acpi_config {
    unsigned cpus;  /* APIC ids 0 to cpus - 1 */
    unsigned slots; /* virtio-mmio slots that the guest is told of: bit n for slot n */
};

/* The tables for ACPI_TABLES_BASE, the RSDP first, from malloc(); *ret_bytes: at most
 * ACPI_TABLES_BYTES. NULL without memory. */
uint8_t *acpi_tables(const struct acpi_config *config, size_t *ret_bytes);

#endif
