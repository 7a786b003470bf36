/* SPDX-License-Identifier: Apache-2.0 */
#include <godwit/error.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const layer_names[] = {
    [GW_LAYER_BASE] = "base",       [GW_LAYER_STATE] = "state",     [GW_LAYER_WIRE] = "wire",
    [GW_LAYER_MEMORY] = "memory",   [GW_LAYER_MIGRATE] = "migrate", [GW_LAYER_CPU] = "cpu",
    [GW_LAYER_DEVICE] = "device",   [GW_LAYER_VIRTIO] = "virtio",   [GW_LAYER_BLOCK] = "block",
    [GW_LAYER_NET] = "net",         [GW_LAYER_BOARD] = "board",     [GW_LAYER_VMM] = "vmm",
    [GW_LAYER_CLI] = "cli",
};

static const char *const code_names[] = {
    [GW_CODE_NONE] = "none",
    [GW_CODE_INVALID] = "invalid",
    [GW_CODE_NOT_FOUND] = "not-found",
    [GW_CODE_DENIED] = "denied",
    [GW_CODE_BUSY] = "busy",
    [GW_CODE_NO_RESOURCE] = "no-resource",
    [GW_CODE_UNSUPPORTED] = "unsupported",
    [GW_CODE_VERSION] = "version",
    [GW_CODE_CORRUPT] = "corrupt",
    [GW_CODE_REFUSED] = "refused",
    [GW_CODE_DISCONNECTED] = "disconnected",
    [GW_CODE_TIMEOUT] = "timeout",
    [GW_CODE_CANCELLED] = "cancelled",
    [GW_CODE_BUDGET] = "budget",
    [GW_CODE_STATE] = "state",
    [GW_CODE_IO] = "io",
    [GW_CODE_INTERNAL] = "internal",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int gw_error_set(struct gw_error *error, enum gw_layer layer, enum gw_code code, int negative_errno,
                 const char *format, ...)
{
    if (!error)
        return negative_errno;
    struct gw_error made = {.layer = layer, .code = code};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(made.message, sizeof made.message, format, arguments);
    va_end(arguments);
    *error = made; /* last, so that the old message may be an argument of the new one */
    return negative_errno;
}

void gw_error_prefix(struct gw_error *error, const char *format, ...)
{
    if (!error)
        return;
    char context[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    gw_error_set(error, error->layer, error->code, 0, "%s: %s", context, error->message);
}

static const char *name_of(const char *const *names, size_t count, unsigned index)
{
    return index < count && names[index] ? names[index] : "unknown";
}

static int index_of(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (names[i] && strcmp(names[i], name) == 0)
            return (int)i;
    return -EINVAL;
}

const char *gw_layer_name(enum gw_layer layer)
{
    return name_of(layer_names, COUNT(layer_names), (unsigned)layer);
}

const char *gw_code_name(enum gw_code code)
{
    return name_of(code_names, COUNT(code_names), (unsigned)code);
}

int gw_layer_from_name(const char *name)
{
    return index_of(layer_names, COUNT(layer_names), name);
}

int gw_code_from_name(const char *name)
{
    return index_of(code_names, COUNT(code_names), name);
}

enum gw_code gw_code_from_errno(int error_number)
{
    static const struct {
        int number;
        enum gw_code code;
    } table[] = {
        {EINVAL, GW_CODE_INVALID},          {ENOENT, GW_CODE_NOT_FOUND},
        {EACCES, GW_CODE_DENIED},           {EPERM, GW_CODE_DENIED},
        {EBUSY, GW_CODE_BUSY},              {EADDRINUSE, GW_CODE_BUSY},
        {EAGAIN, GW_CODE_BUSY},             {ENOMEM, GW_CODE_NO_RESOURCE},
        {EMFILE, GW_CODE_NO_RESOURCE},      {ENFILE, GW_CODE_NO_RESOURCE},
        {ENOSPC, GW_CODE_NO_RESOURCE},      {EOPNOTSUPP, GW_CODE_UNSUPPORTED},
        {ECONNREFUSED, GW_CODE_DISCONNECTED}, {ECONNRESET, GW_CODE_DISCONNECTED},
        {EPIPE, GW_CODE_DISCONNECTED},      {ENOTCONN, GW_CODE_DISCONNECTED},
        {ETIMEDOUT, GW_CODE_TIMEOUT},       {ECANCELED, GW_CODE_CANCELLED},
    };
    int positive = error_number < 0 ? -error_number : error_number;
    for (size_t i = 0; i < COUNT(table); i++)
        if (table[i].number == positive)
            return table[i].code;
    return GW_CODE_IO;
}
