/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

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

static const struct machine_kind *kind_for(enum image_architecture architecture)
{
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (kinds[i]->architecture == architecture)
            return kinds[i];
    return NULL;
}

static int choose_by_name(const char *name, const struct machine_kind **ret_kind,
                          struct gw_error *error)
{
    char names[64];
    list_kinds(names, sizeof names);
    *ret_kind = kind_by_name(name);
    return *ret_kind ? 0
                     : gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                                    "this build has no machine '%.64s'; it has %s", name, names);
}

static int choose_by_kernel(const char *path, const struct machine_kind **ret_kind,
                            struct gw_error *error)
{
    enum image_architecture architecture;
    const char *is;
    char names[64];
    int r = image_architecture(path, &architecture, &is, error);
    if (r < 0)
        return r;
    if (architecture == IMAGE_OTHER)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -ENOEXEC,
                            "kernel '%s' is %s; give a riscv64 Image, an x86-64 bzImage, or an ELF "
                            "file with a PVH entry",
                            path, is);
    *ret_kind = kind_for(architecture);
    if (*ret_kind)
        return 0;
    list_kinds(names, sizeof names);
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                        "kernel '%s' is %s, and this build has no machine for it; it has %s", path,
                        is, names);
}

int machine_kind_choose(const struct board_config *config, const struct machine_kind **ret_kind,
                        struct gw_error *error)
{
    if (config->machine)
        return choose_by_name(config->machine, ret_kind, error);
    if (config->kernel && !config->firmware)
        return choose_by_kernel(config->kernel, ret_kind, error);
    *ret_kind = &riscv_virt_kind; /* the one that starts firmware */
    return 0;
}

const struct machine_kind *machine_kind_of_this_host(void)
{
#ifdef GW_HAVE_KVM
    if (access("/dev/kvm", R_OK | W_OK) == 0)
        return &microvm_kind;
#endif
    return &riscv_virt_kind;
}
