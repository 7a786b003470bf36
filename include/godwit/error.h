/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error convention: a function that can fail returns 0 or a negative errno and takes a
 * struct gw_error last. Out-parameters are touched only on success. The error names the layer that
 * failed, a bounded code that programs may branch on, and one sentence for a person.
 */
#ifndef GODWIT_ERROR_H
#define GODWIT_ERROR_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

enum gw_layer {
    GW_LAYER_BASE,
    GW_LAYER_STATE,
    GW_LAYER_WIRE,
    GW_LAYER_MEMORY,
    GW_LAYER_MIGRATE,
    GW_LAYER_CPU,
    GW_LAYER_DEVICE,
    GW_LAYER_VIRTIO,
    GW_LAYER_BLOCK,
    GW_LAYER_NET,
    GW_LAYER_BOARD,
    GW_LAYER_VMM,
    GW_LAYER_CLI,
};

enum gw_code {
    GW_CODE_NONE,
    GW_CODE_INVALID,      /* an argument or a setting is wrong; the sentence names it */
    GW_CODE_NOT_FOUND,    /* a file, a machine, a device does not exist */
    GW_CODE_DENIED,       /* the operating system says no */
    GW_CODE_BUSY,         /* locked or in use by somebody else */
    GW_CODE_NO_RESOURCE,  /* out of memory, descriptors, disk space */
    GW_CODE_UNSUPPORTED,  /* understood, but this build or host cannot do it */
    GW_CODE_VERSION,      /* the two sides speak no common version */
    GW_CODE_CORRUPT,      /* a stream, file or state is damaged or not ours */
    GW_CODE_REFUSED,      /* the peer declined, in its own words */
    GW_CODE_DISCONNECTED, /* the peer closed or the link broke */
    GW_CODE_TIMEOUT,      /* the peer or an operation gave no sign in time */
    GW_CODE_CANCELLED,    /* somebody asked for it */
    GW_CODE_BUDGET,       /* the pause budget could not be kept */
    GW_CODE_STATE,        /* not possible in the present state (for instance: already running) */
    GW_CODE_IO,           /* a read or write failed */
    GW_CODE_INTERNAL,     /* our own mistake */
};

struct gw_error {
    enum gw_layer layer;
    enum gw_code code;
    char message[512]; /* one sentence, no newline, NUL-terminated */
};

/*
 * Fills `error` (may be NULL) and returns `negative_errno`, so that a failing path is one statement:
 *     return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_BUSY, -EBUSY, "disk '%s' is locked", path);
 */
int gw_error_set(struct gw_error *error, enum gw_layer layer, enum gw_code code, int negative_errno,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Puts "context: " before the sentence that is already in `error`; the rest stays. */
void gw_error_prefix(struct gw_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bounded lower-case names ("migrate", "refused"); never NULL. The inverse returns -EINVAL if unknown. */
const char *gw_layer_name(enum gw_layer layer);
const char *gw_code_name(enum gw_code code);
int gw_code_from_name(const char *name);
int gw_layer_from_name(const char *name);

/* The code that fits an errno that the operating system gave (positive or negative). */
enum gw_code gw_code_from_errno(int error_number);

#ifdef __cplusplus
}
#endif
#endif
