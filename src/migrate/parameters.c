/* SPDX-License-Identifier: Apache-2.0 */
/* The defaults of a migration and the names of its states. */
#include <godwit/migrate.h>

#include "base/cleanup.h"

void gw_migrate_parameters_default(struct gw_migrate_parameters *parameters)
{
    *parameters = (struct gw_migrate_parameters){.downtime_limit_ms = 100, .peer_timeout_ms = 5000};
}

const char *gw_migrate_status_name(enum gw_migrate_status status)
{
    static const char *const names[] = {
        [GW_MIGRATE_NONE] = "none",           [GW_MIGRATE_SETUP] = "setup",
        [GW_MIGRATE_ACTIVE] = "active",       [GW_MIGRATE_DEVICE] = "device",
        [GW_MIGRATE_COMMITTING] = "committing", [GW_MIGRATE_COMPLETED] = "completed",
        [GW_MIGRATE_FAILED] = "failed",       [GW_MIGRATE_CANCELLING] = "cancelling",
        [GW_MIGRATE_CANCELLED] = "cancelled",
    };
    return (unsigned)status < ARRAY_COUNT(names) ? names[status] : "unknown";
}
