/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flights.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/machine.h"

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_BASE, code, number, __VA_ARGS__)

int flights_list(const struct cli *cli, const char *name, struct gw_flight_log_entry **ret_entries,
                 size_t *ret_count, struct gw_error *error)
{
    size_t bad = 0;
    int r = machine_check(cli, name, error);
    if (r < 0)
        return r;
    _cleanup_free_ char *directory = machine_path(cli, name, "flights");
    r = gw_flight_log_list(directory, ret_entries, ret_count, &bad, error);
    if (r == 0 && bad > 0)
        cli_say("%zu file%s in %s %s no migration log%s and left out", bad, bad == 1 ? "" : "s", directory,
                bad == 1 ? "is" : "are", bad == 1 ? "" : "s");
    return r;
}

/* Index of the one entry that fits, or a negative errno. */
static int choose(const struct gw_flight_log_entry *entries, size_t count, const char *name,
                  const char *session, struct gw_error *error)
{
    int found = -1;
    if (count == 0)
        return FAIL(GW_CODE_NOT_FOUND, -ENOENT, "machine '%s' has never migrated: there is no migration log", name);
    if (!session)
        return (int)count - 1;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(entries[i].summary.session, session, strlen(session)) != 0)
            continue;
        if (found >= 0)
            return FAIL(GW_CODE_INVALID, -EINVAL,
                        "more than one migration of '%s' begins with '%s'; write more of it", name, session);
        found = (int)i;
    }
    if (found < 0)
        return FAIL(GW_CODE_NOT_FOUND, -ENOENT,
                    "no migration of '%s' begins with '%s'; 'godwit log %s' lists them", name, session, name);
    return found;
}

int flights_load(const struct cli *cli, const char *name, const char *session,
                 struct gw_flight_log **ret_log, struct gw_error *error)
{
    _cleanup_free_ struct gw_flight_log_entry *entries = NULL;
    size_t count = 0;
    int r = flights_list(cli, name, &entries, &count, error);
    if (r < 0)
        return r;
    int index = choose(entries, count, name, session, error);
    if (index < 0)
        return index;
    char file[sizeof "flights/" + sizeof entries->file];
    snprintf(file, sizeof file, "flights/%s", entries[index].file);
    _cleanup_free_ char *path = machine_path(cli, name, file);
    return gw_flight_log_load(path, ret_log, error);
}
