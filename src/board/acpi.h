/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of microvm-1 (ACPI 6.5, chapter 5; hardware-reduced, §3.11.1): RSDP, XSDT, FADT,
 * MADT, and a DSDT with the serial port, the generic event device, the power button and the
 * virtio-mmio slots that have a device. Empty slots are not told of: a driver would find nothing.
 *
 * Interrupts: the IOAPIC's 24 pins are GSI 0 to 23. The serial port's line is edge triggered as on
 * ISA. The event device's is level triggered, so that what happened before its driver was there is
 * found by it. Those of virtio slots are edge triggered, since each cause is injected as one edge.
 */
#ifndef BOARD_ACPI_H
#define BOARD_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_BASE 0xe0000 /* where a guest without firmware looks for the RSDP, §5.2.5.1 */
#define ACPI_TABLES_BYTES 0x20000

struct acpi_config {
    unsigned cpus;  /* APIC ids 0 to cpus - 1; at most MICROVM_MAX_CPUS */
    unsigned slots; /* virtio-mmio slots that the guest is told of: bit n for slot n */
    bool vmclock;
};

/* The tables for ACPI_TABLES_BASE, the RSDP first, from malloc(); *ret_bytes: at most
 * ACPI_TABLES_BYTES. NULL without memory. */
uint8_t *acpi_tables(const struct acpi_config *config, size_t *ret_bytes);

#endif
