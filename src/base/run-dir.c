/* SPDX-License-Identifier: Apache-2.0 */
#include "base/run-dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *run_dir_default(void)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char *path = NULL;
    if (!runtime || !runtime[0])
        return strdup("/run/godwit");
    return asprintf(&path, "%s/godwit", runtime) < 0 ? NULL : path;
}

int run_dir_fail(struct gw_error *error, enum gw_layer layer, const char *verb, const char *path,
                 int error_number)
{
    return gw_error_set(error, layer, gw_code_from_errno(error_number), -error_number,
                        "cannot %s the run directory '%s': %s; choose another one with "
                        "--run-dir DIR, or set XDG_RUNTIME_DIR",
                        verb, path, strerror(error_number));
}
