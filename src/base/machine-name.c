/* SPDX-License-Identifier: Apache-2.0 */
#include "base/machine-name.h"

#include <errno.h>
#include <string.h>

int machine_name_check(const char *name, enum gw_layer layer, struct gw_error *error)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strlen(name);
    if (length >= 1 && length <= MACHINE_NAME_MAX && strspn(name, allowed) == length &&
        name[0] != '.' && name[0] != '-')
        return 0;
    return gw_error_set(
        error, layer, GW_CODE_INVALID, -EINVAL,
        "'%.80s' is no machine name: use 1 to %d of letters, digits, '.', '_' and '-', "
        "not beginning with '.' or '-'",
        name, MACHINE_NAME_MAX);
}
