/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer of ACPI Machine Language (ACPI 6.5, chapter 20), as much as our DSDT needs. Each
 * function appends one term to `out`; terms that hold others take them ready made in `body`. What
 * does not fit is left out, and `full` says so at the end.
 */
#ifndef BOARD_AML_H
#define BOARD_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_MAX_BYTES 8192

struct aml {
    uint8_t bytes[AML_MAX_BYTES];
    size_t length;
    bool full; /* something is missing */
};

/* Names: four characters, "_HID"; with a leading '\' from the root. */
void aml_scope(struct aml *out, const char *name, const struct aml *body);
void aml_device(struct aml *out, const char *name, const struct aml *body);
void aml_method(struct aml *out, const char *name, unsigned arguments, const struct aml *body);
void aml_name_integer(struct aml *out, const char *name, uint32_t value);
void aml_name_string(struct aml *out, const char *name, const char *text);
void aml_name_eisa_id(struct aml *out, const char *name, const char *id); /* "PNP0501" */
void aml_name_package(struct aml *out, const char *name, const uint8_t *values, unsigned count);
/* A name for a buffer of resource descriptors, to which the end tag is added. */
void aml_name_resources(struct aml *out, const char *name, const struct aml *descriptors);
/* An operation region of `bytes` in memory, with one field that covers its first 32 bits. */
void aml_region(struct aml *out, const char *name, uint32_t address, uint32_t bytes,
                const char *field);

/* Statements of a method. */
void aml_store_local0(struct aml *out, const char *name); /* Local0 = name */
void aml_if_local0_and(struct aml *out, uint8_t mask, const struct aml *body);
void aml_notify(struct aml *out, const char *device, uint8_t value);

/* Resource descriptors (§6.4). */
void aml_io(struct aml *out, uint16_t port, uint8_t count);
void aml_irq(struct aml *out, unsigned irq); /* ISA: edge, active high, exclusive */
void aml_memory(struct aml *out, uint32_t base, uint32_t bytes);
void aml_interrupt(struct aml *out, uint32_t gsi); /* edge, active high, exclusive */

#endif
