/* SPDX-License-Identifier: Apache-2.0 */
/* For a build without the migration engine: machines run, and say that they cannot move. */
#include <errno.h>

#include <godwit/migrate.h>

static int refuse(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_UNSUPPORTED, -ENOTSUP,
                        "this build has no migration engine");
}

void gw_migrate_parameters_default(struct gw_migrate_parameters *parameters)
{
    *parameters =
        (struct gw_migrate_parameters){.downtime_limit_ms = 100, .peer_timeout_ms = 5000};
}

const char *gw_migrate_status_name(enum gw_migrate_status status)
{
    return "none";
}

int gw_source_start(const struct gw_source_config *config, struct gw_source **ret_source,
                    struct gw_error *error)
{
    return refuse(error);
}

int gw_destination_start(const struct gw_destination_config *config,
                         struct gw_destination **ret_destination, struct gw_error *error)
{
    return refuse(error);
}

void gw_source_set_parameters(struct gw_source *source, const struct gw_migrate_parameters *parameters)
{
}

void gw_source_cancel(struct gw_source *source)
{
}

void gw_source_info(struct gw_source *source, struct gw_migrate_info *ret_info)
{
}

int gw_source_wait(struct gw_source *source, int timeout_ms)
{
    return 0;
}

void gw_source_free(struct gw_source *source)
{
}

const char *gw_destination_uri(struct gw_destination *destination)
{
    return "";
}

void gw_destination_cancel(struct gw_destination *destination)
{
}

void gw_destination_info(struct gw_destination *destination, struct gw_migrate_info *ret_info)
{
}

int gw_destination_wait(struct gw_destination *destination, int timeout_ms)
{
    return 0;
}

void gw_destination_free(struct gw_destination *destination)
{
}
