/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine is made of, apart from a machine. board_config_from_description() is in board.h.
 */
#ifndef BOARD_CONFIG_H
#define BOARD_CONFIG_H

#include "board/board.h"

int board_config_copy(const struct board_config *from, struct board_config *ret_to); /* -ENOMEM */

/* Refuses, with a sentence, what no machine here can be. Opens nothing. */
int board_config_check(const struct board_config *config, struct gw_error *error);

json_t *board_config_describe(const struct board_config *config); /* for board_describe() */

#endif
