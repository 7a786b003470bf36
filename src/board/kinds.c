/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "board/image-file.h"
#include "board/machine.h"

static const struct machine_kind *const kinds[] = {
    &riscv_virt_kind,
#ifdef GW_HAVE_KVM
    &microvm_kind,
#endif
};

/* "riscv-virt-1 and microvm-1" */
static void list_kinds(char *text, size_t bytes)
{
    size_t length = 0;
    for (size_t i = 0; i < ARRAY_COUNT(kinds) && length < bytes; i++)
        length += (size_t)snprintf(text + length, bytes - length, "%s%s", i ? " and " : "",
                                   kinds[i]->name);
}

static const struct machine_kind *kind_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (strcmp(name, kinds[i]->name) == 0 || strcmp(name, kinds[i]->short_name) == 0)
            return kinds[i];
    return NULL;
}

int machine_kind_choose(const struct board_config *config, const struct machine_kind **ret_kind,
                        struct gw_error *error)
{
    enum image_architecture architecture = IMAGE_RISCV64;
    char names[64];
    if (config->machine) {
        *ret_kind = kind_by_name(config->machine);
    } else {
        if (config->kernel && !config->firmware) {
            int r = image_architecture(config->kernel, &architecture, error);
            if (r < 0)
                return r;
        }
        *ret_kind = NULL;
        for (size_t i = 0; !*ret_kind && i < ARRAY_COUNT(kinds); i++)
            if (kinds[i]->architecture == architecture)
                *ret_kind = kinds[i];
    }
    if (*ret_kind)
        return 0;
    list_kinds(names, sizeof names);
    if (!config->machine)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                            "kernel '%s' is for a machine that this build does not have; it has %s",
                            config->kernel, names);
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "this build has no machine '%.64s'; it has %s", config->machine, names);
}
