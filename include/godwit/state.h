/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device state: a device marks every field of its struct, a generator reads the marks with
 * libclang, and one table serves every visitor. docs/state.md is the specification of the marks and
 * of the stream.
 *
 *     struct uart {
 *         GW_SAVED(1) GW_MASK(0x0f) uint8_t interrupt_enable;
 *         GW_SAVED(1) uint8_t count;                     // elements in use of fifo
 *         GW_SAVED(1) GW_COUNT(count) uint8_t fifo[16];  // a count of 17 is refused by name
 *         GW_SAVED(2) GW_SUBSECTION("break") uint8_t break_length; // if uart_break_needed()
 *         GW_HOST struct irq_line irq;                   // never saved
 *         GW_DERIVED(uart_loaded) bool line_raised;      // rebuilt by uart_loaded()
 *     } GW_DEVICE("16550a", 2, 1);                       // name, version, oldest that loads
 *     int uart_loaded(struct uart *uart, struct gw_error *error);
 *     bool uart_break_needed(const struct uart *uart);
 *     extern const struct gw_state_type uart_state_type; // generated
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

/* Each field has one of these. SAVED: integers, bool, enum, parts, arrays of them; since when. */
#define GW_SAVED(since) GW_MARK_("saved:" #since)
#define GW_HOST GW_MARK_("host")
/* int function(struct TAG *, struct gw_error *), after loading; may refuse, may come again. */
#define GW_DERIVED(function) GW_MARK_("derived:" #function)

/* More about a saved field. Values are constant expressions and hold for every element. */
#define GW_MIN(value) GW_MARK_("min:" #value)
#define GW_MAX(value) GW_MARK_("max:" #value)
#define GW_MASK(bits) GW_MARK_("mask:" #bits) /* only these bits; goes without MIN and MAX */
/* The elements in use of this array are given by the earlier field `field`; the array's length is
 * its maximum. Elements past the count are zero after loading. */
#define GW_COUNT(field) GW_MARK_("count:" #field)
/* The same for a pointer: NULL, or room for `maximum` elements from malloc(). The loader frees it
 * and leaves a zeroed allocation of `maximum` elements, `field` of them in use. */
#define GW_ARRAY(field, maximum) GW_MARK_("array:" #field ":" #maximum)
/* Sent only when bool TAG_NAME_needed(const struct TAG *); absent fields become zero. */
#define GW_SUBSECTION(name) GW_MARK_("subsection:" name)
/* void function(struct TAG *), before save, print and hash: brings the field up to date. */
#define GW_SAVING(function) GW_MARK_("saving:" #function)

/* Structs, after the closing brace. A part may be nested; it has no name of its own on the wire. */
#define GW_DEVICE(name, version, minimum) GW_MARK_("device:" name ":" #version ":" #minimum)
#define GW_PART GW_MARK_("part")

#ifdef __cplusplus
extern "C" {
#endif

struct gw_state_type; /* generated: const struct gw_state_type TAG_state_type */

/*
 * One saved thing of a machine: type, instance number, the struct itself. A machine is an array of
 * these in a fixed order; no two have the same type name and instance.
 */
struct gw_state_item {
    const struct gw_state_type *type;
    uint32_t instance;
    void *object;
};

const char *gw_state_type_name(const struct gw_state_type *type);
uint32_t gw_state_type_version(const struct gw_state_type *type);

/* Appends a whole stream with the sections of all items to `out`, which is unchanged on failure. A
 * field outside its own range is refused here too (-EINVAL). Others: -ENOMEM, -ENOBUFS. */
int gw_state_save(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                  struct gw_error *error);

/*
 * Loads a stream made by gw_state_save(), hostile until proven otherwise. Every item must have
 * exactly one section and every section an item. First everything is checked with nothing touched,
 * then assigned, then the `loaded` functions run in order. A refusal before these leaves all
 * objects as they were; after one by a `loaded` function they must be loaded again or thrown away.
 * Errors: -EBADMSG (GW_CODE_CORRUPT or GW_CODE_VERSION), -ENOMEM, or what a `loaded` function says.
 */
int gw_state_load(const struct gw_state_item *items, size_t count, const void *stream,
                  size_t length, struct gw_error *error);

/* As text: one JSON object per call, {"16550a/0": {"interrupt_enable": 5, …}, …}. */
int gw_state_print(const struct gw_state_item *items, size_t count, struct gw_buf *out,
                   struct gw_error *error);

/* XXH64 of the saved stream: equal when the streams are equal. 0 when it cannot be saved. */
uint64_t gw_state_hash(const struct gw_state_item *items, size_t count);

/* The name of the first saved field in which two objects differ ("fifo[3]"), written to `name`
 * (`bytes` long); false when they are equal. */
bool gw_state_compare(const struct gw_state_type *type, const void *one, const void *other,
                      char *name, size_t bytes);

/* Random but valid saved fields, from `seed`; unsaved fields stay, GW_ARRAY pointers are replaced
 * as in loading. No `loaded` function is called. */
void gw_state_random(const struct gw_state_type *type, void *object, uint64_t seed);

/* The schema as JSON text, for tests/golden/ and for OFFER. */
int gw_state_schema(const struct gw_state_item *items, size_t count, struct gw_buf *out);

#ifdef __cplusplus
}
#endif
#endif
