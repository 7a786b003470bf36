/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer of ACPI machine language (ACPI 6.5 §20), of as much as a small DSDT needs. Whatever has
 * a length is begun and ended: aml_end() puts the length where aml_begin() left off. The program
 * writes only what it knows to fit, so running out of room is a bug here and asserted.
 */
#ifndef BOARD_AML_H
#define BOARD_AML_H

#include <stddef.h>
#include <stdint.h>

#define AML_MAX_BYTES 4096

struct aml {
    uint8_t bytes[AML_MAX_BYTES];
    size_t length;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t length);
void aml_byte(struct aml *aml, uint8_t byte);
/* One segment, four characters; a root path begins with '\'. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* A compressed EISA identifier, "PNP0501" (§19.3.4). */
void aml_eisa_id(struct aml *aml, const char *id);

/* Name (name, …): what is written next is the value. */
void aml_define(struct aml *aml, const char *name);
void aml_define_integer(struct aml *aml, const char *name, uint64_t value);

/* Objects that end with aml_end(); what is begun is to be handed to it. */
size_t aml_begin_scope(struct aml *aml, const char *name);
size_t aml_begin_device(struct aml *aml, const char *name);
/* Serialized, so that what it has begun is not entered again. */
size_t aml_begin_method(struct aml *aml, const char *name, unsigned arguments);
size_t aml_begin_package(struct aml *aml, uint8_t elements);
/* Field of `region`: dword accesses, no lock, bits not written are zero. */
size_t aml_begin_dword_field(struct aml *aml, const char *region);
void aml_field_element(struct aml *aml, const char *name, uint8_t bits);
/* If (local & mask) */
size_t aml_begin_if_bits(struct aml *aml, unsigned local, uint64_t mask);
void aml_end(struct aml *aml, size_t begun);

/* OperationRegion (name, SystemMemory, base, bytes) */
void aml_memory_region(struct aml *aml, const char *name, uint64_t base, uint64_t bytes);
/* Local<n> = name */
void aml_store_to_local(struct aml *aml, const char *name, unsigned local);
void aml_notify(struct aml *aml, const char *object, uint64_t value);

/* Name (_CRS, ResourceTemplate () {…}) and what may stand in it (§6.4). */
struct aml_resources {
    size_t buffer, template;
};
enum aml_trigger { AML_LEVEL, AML_EDGE }; /* both active high, exclusive */
struct aml_resources aml_begin_resources(struct aml *aml);
void aml_resource_ports(struct aml *aml, uint16_t base, uint8_t count);
void aml_resource_isa_irq(struct aml *aml, unsigned irq); /* edge, as on ISA */
void aml_resource_memory32(struct aml *aml, uint32_t base, uint32_t bytes);
void aml_resource_interrupt(struct aml *aml, uint32_t gsi, enum aml_trigger trigger);
void aml_end_resources(struct aml *aml, struct aml_resources begun);

#endif
