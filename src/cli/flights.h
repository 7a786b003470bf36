/* SPDX-License-Identifier: Apache-2.0 */
/* The flight logs in a machine's directory. They are read from the files, so they outlive its process. */
#ifndef CLI_FLIGHTS_H
#define CLI_FLIGHTS_H

#include <godwit/flight-log.h>
#include "cli/cli.h"

/* All logs of the machine, oldest first; says how many files were no logs. *ret_entries is freed with free(). */
int flights_list(const struct cli *cli, const char *name, struct gw_flight_log_entry **ret_entries,
                 size_t *ret_count, struct gw_error *error);

/* The log whose session begins with `session` (NULL: the newest). NOT_FOUND or INVALID (several fit). */
int flights_load(const struct cli *cli, const char *name, const char *session,
                 struct gw_flight_log **ret_log, struct gw_error *error);

#endif
