/* SPDX-License-Identifier: Apache-2.0 */
/* The run directory, which holds one directory a machine: the default, and what is said when it
 * cannot be used. */
#ifndef BASE_RUN_DIR_H
#define BASE_RUN_DIR_H

#include <godwit/error.h>

/* $XDG_RUNTIME_DIR/godwit, else /run/godwit; from malloc, NULL without memory. */
char *run_dir_default(void);

/* "cannot VERB the run directory 'PATH': …", with the ways out. Returns -error_number. */
int run_dir_fail(struct gw_error *error, enum gw_layer layer, const char *verb, const char *path,
                 int error_number);

#endif
