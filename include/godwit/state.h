/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state: a device marks every field of its struct, a generator reads the marks with libclang, and
 * one table serves every visitor. docs/state.md is the specification of the marks and of the stream.
 *
 *     struct uart {
 *         GW_SAVED(1) GW_MAX(15) uint8_t interrupt_enable;
 *         GW_SAVED(1) uint8_t count;                          // elements in use of fifo
 *         GW_SAVED(1) GW_COUNT(count) uint8_t fifo[16];       // count > 16 is refused by name
 *         GW_SAVED(2) GW_SUBSECTION("break") uint32_t break_length; // sent only when uart_break_needed()
 *         GW_HOST struct irq_line *irq;                       // never saved
 *         GW_DERIVED(uart_loaded) bool line_raised;           // rebuilt by uart_loaded()
 *     } GW_DEVICE("16550a", 2, 1);                            // name, version, oldest version that loads
 *
 * The marks expand to nothing except under the generator.
 */
#ifndef GODWIT_STATE_H
#define GODWIT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <godwit/buf.h>
#include <godwit/error.h>

#ifdef GW_STATE_GENERATOR
#define GW_MARK_(text) __attribute__((annotate("gw:" text)))
#else
#define GW_MARK_(text)
#endif

/* Fields. SAVED: integers, bool, enum, nested marked structs, and arrays of them; since which version. */
#define GW_SAVED(since) GW_MARK_("saved:" #since)
#define GW_HOST GW_MARK_("host")
#define GW_DERIVED(function) GW_MARK_("derived:" #function)
#define GW_MIN(value) GW_MARK_("min:" #value)
#define GW_MAX(value) GW_MARK_("max:" #value)
#define GW_MASK(bits) GW_MARK_("mask:" #bits) /* only these bits may be set */
/* The elements in use of this array are given by the earlier field `field`; the array's length is the
 * maximum. Elements past the count are zero after loading. For a pointer field: GW_ARRAY below. */
#define GW_COUNT(field) GW_MARK_("count:" #field)
/* A pointer to `maximum` elements at most, allocated by the device, `field` in use. */
#define GW_ARRAY(field, maximum) GW_MARK_("array:" #field ":" #maximum)
#define GW_SUBSECTION(name) GW_MARK_("subsection:" name)
/* Structs. A nested part has no name of its own on the wire. */
#define GW_DEVICE(name, version, minimum) GW_MARK_("device:" name ":" #version ":" #minimum)
#define GW_PART GW_MARK_("part")

#ifdef __cplusplus
extern "C" {
#endif

struct gw_state_type; /* generated: extern const struct gw_state_type NAME_state_type; */

/*
 * One saved thing of a machine: type, instance number, the struct itself. A machine is an array of these
 * in a fixed order. Hooks are the device's own; all may be NULL.
 */
struct gw_state_item {
    const struct gw_state_type *type;
    uint32_t instance;
    void *object;
};

const char *gw_state_type_name(const struct gw_state_type *type);
uint32_t gw_state_type_version(const struct gw_state_type *type);

/* Appends the sections of all items to `out` (docs/state.md). */
int gw_state_save(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                  struct gw_error *error);

/*
 * Loads a stream made by gw_state_save(), hostile until proven otherwise. Every item must have exactly one
 * section and every section an item. First everything is decoded and checked into scratch copies, then
 * assigned, then the `loaded` functions run in order: a refusal before that leaves all objects untouched.
 */
int gw_state_load(const struct gw_state_item *items, size_t count, const void *stream,
                  size_t length, struct gw_error *error);

/* As text: one JSON object per call, {"16550a/0": {"interrupt_enable": 5, …}, …}. */
int gw_state_print(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                   struct gw_error *error);

/* Hash of all saved fields (XXH64), equal exactly when the saved streams are equal. */
uint64_t gw_state_hash(const struct gw_state_item *items, size_t count);

/* The name of the first saved field in which two objects differ ("fifo[3]"), written to `name`
 * (`bytes` long); false when they are equal. */
bool gw_state_compare(const struct gw_state_type *type, const void *one, const void *other,
                      char *name, size_t bytes);

/* Random but valid saved fields, from `seed`; unsaved fields stay. */
void gw_state_random(const struct gw_state_type *type, void *object, uint64_t seed);

/* The schema as JSON text, for tests/golden/ and for OFFER. */
int gw_state_schema(const struct gw_state_item *items, size_t count, struct gw_buf *out);

#ifdef __cplusplus
}
#endif
#endif
