/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "board/machine.h"

const struct machine_kind *const machine_kinds[] = {&riscv_virt_kind};

int machine_kind_choose(const struct board_config *config, const struct machine_kind **ret_kind,
                        struct gw_error *error)
{
    *ret_kind = machine_kinds[0];
    if (!config->machine)
        return 0;
    for (size_t i = 0; i < ARRAY_COUNT(machine_kinds); i++) {
        *ret_kind = machine_kinds[i];
        if (strcmp(config->machine, (*ret_kind)->name) == 0 ||
            strcmp(config->machine, (*ret_kind)->short_name) == 0)
            return 0;
    }
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "this build has no machine '%.64s'; it has riscv-virt-1", config->machine);
}
