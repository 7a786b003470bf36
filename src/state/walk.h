/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the devices' own functions over a struct and its parts in use. */
#ifndef STATE_WALK_H
#define STATE_WALK_H

#include "state/table.h"

/* GW_SAVING functions, outer structs first. */
void state_run_saving(const struct state_layout *layout, void *object);

/* GW_DERIVED functions, inner parts first; stops at the first refusal. */
int state_run_loaded(const struct state_layout *layout, void *object, struct gw_error *error);

#endif
