/* SPDX-License-Identifier: Apache-2.0 */
#include "board/board-time.h"

void board_time_saving(struct board_time *time)
{
    time->now_ns = clock_now_ns(&time->clock);
}

int board_time_loaded(struct board_time *time, struct gw_error *error)
{
    clock_set_ns(&time->clock, time->now_ns);
    return 0;
}
