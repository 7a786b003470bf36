/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MACHINE_NAME_H
#define BASE_MACHINE_NAME_H

#include <godwit/error.h>

#define MACHINE_NAME_MAX 64 /* characters */

/* The name of a machine is also that of its folder and shown in terminals: 1 to MACHINE_NAME_MAX of
 * letters, digits, '.', '_' and '-', not beginning with '.' or '-'. -EINVAL with a sentence of
 * `layer`. */
int machine_name_check(const char *name, enum gw_layer layer, struct gw_error *error);

#endif
