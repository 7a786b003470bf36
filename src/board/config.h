/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine is made of, apart from a machine. board_config_from_description() is in board.h.
 */
#ifndef BOARD_CONFIG_H
#define BOARD_CONFIG_H

#include "board/machine.h"

/* With the name of `kind` as its machine. -ENOMEM. */
int board_config_copy(const struct board_config *from, const struct machine_kind *kind,
                      struct board_config *ret_to);

/* Chooses the kind of machine and refuses, with a sentence, what none here can be. Opens nothing
 * but the head of the kernel. */
int board_config_check(const struct board_config *config, const struct machine_kind **ret_kind,
                       struct gw_error *error);

json_t *board_config_describe(const struct board_config *config); /* for board_describe() */

#endif
