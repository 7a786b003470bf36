/* SPDX-License-Identifier: Apache-2.0 */
/* CPU models as JSON. What is read may come from anybody. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cpu/kvm/cpu-leaves.h"

#define FILE_LIMIT ((size_t)256 << 10)
#define TSC_MAX_KHZ 100000000 /* 100 GHz: beyond any processor */
#define LEAF_NUMBERS 6        /* function, index, four registers */

#define invalid(...) gw_error_set(error, GW_LAYER_CPU, GW_CODE_INVALID, -EINVAL, __VA_ARGS__)

/* ---- Writing ---- */

static json_t *describe_leaf(const struct cpu_leaf *leaf)
{
    json_t *index = leaf->indexed ? json_integer(leaf->index) : json_null();

    return json_pack("[I, o, I, I, I, I]", (json_int_t)leaf->function, index, (json_int_t)leaf->eax,
                     (json_int_t)leaf->ebx, (json_int_t)leaf->ecx, (json_int_t)leaf->edx);
}

json_t *cpu_model_describe(const struct cpu_model *model)
{
    json_t *leaves = json_array(), *description;
    int failed = 0;

    for (unsigned i = 0; i < model->count; i++)
        failed |= json_array_append_new(leaves, describe_leaf(&model->leaf[i]));
    description = json_pack("{s:s, s:I, s:o}", "model", model->name, "tsc_khz",
                            (json_int_t)model->tsc_khz, "cpuid", leaves);
    if (description && model->arch_capabilities)
        failed |= json_object_set_new(description, "arch_capabilities",
                                      json_integer((json_int_t)model->arch_capabilities));
    if (description && model->tsc_scaling)
        failed |= json_object_set_new(description, "tsc_scaling", json_true());
    if (!failed)
        return description;
    json_decref(description);
    return NULL;
}

/* ---- Reading ---- */

static int take_name(const json_t *value, struct cpu_model *model, struct gw_error *error)
{
    const char *name = json_string_value(value);
    size_t length = json_string_length(value);

    if (!name || length < 1 || length >= sizeof model->name ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != length)
        return invalid("a CPU model's \"model\" must be 1 to %d letters, digits and ._-",
                       CPU_MODEL_NAME_BYTES - 1);
    memcpy(model->name, name, length + 1);
    return 0;
}

static int take_tsc(const json_t *value, struct cpu_model *model, struct gw_error *error)
{
    json_int_t khz = json_integer_value(value);

    if (!json_is_integer(value) || khz < 0 || khz > TSC_MAX_KHZ)
        return invalid("a CPU model's \"tsc_khz\" must be a number from 0 to %d", TSC_MAX_KHZ);
    model->tsc_khz = (uint32_t)khz;
    return 0;
}

static int take_scaling(const json_t *value, struct cpu_model *model, struct gw_error *error)
{
    if (!json_is_boolean(value))
        return invalid("a CPU model's \"tsc_scaling\" must be true or false");
    model->tsc_scaling = json_is_true(value);
    return 0;
}

static int take_arch_capabilities(const json_t *value, struct cpu_model *model,
                                  struct gw_error *error)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return invalid("a CPU model's \"arch_capabilities\" must be a number below 2^63");
    model->arch_capabilities = (uint64_t)json_integer_value(value);
    return 0;
}

static int take_leaf(const json_t *value, struct cpu_leaf *ret_leaf)
{
    uint32_t number[LEAF_NUMBERS] = {0};

    if (!json_is_array(value) || json_array_size(value) != LEAF_NUMBERS)
        return -EINVAL;
    for (unsigned i = 0; i < LEAF_NUMBERS; i++) {
        const json_t *one = json_array_get(value, i);
        json_int_t wide = json_integer_value(one);

        if (i == 1 && json_is_null(one))
            continue;
        if (!json_is_integer(one) || wide < 0 || wide > UINT32_MAX)
            return -EINVAL;
        number[i] = (uint32_t)wide;
    }
    *ret_leaf = (struct cpu_leaf){.function = number[0],
                                  .index = number[1],
                                  .indexed = !json_is_null(json_array_get(value, 1)),
                                  .eax = number[2],
                                  .ebx = number[3],
                                  .ecx = number[4],
                                  .edx = number[5]};
    return 0;
}

static bool comes_after(const struct cpu_leaf *leaf, const struct cpu_leaf *before)
{
    if (leaf->function != before->function)
        return leaf->function > before->function;
    return leaf->indexed && before->indexed && leaf->index > before->index;
}

static int take_leaves(const json_t *value, struct cpu_model *model, struct gw_error *error)
{
    size_t count = json_array_size(value);

    if (!json_is_array(value) || count < 1 || count > CPU_MODEL_MAX_LEAVES)
        return invalid("a CPU model's \"cpuid\" must be a list of 1 to %d leaves",
                       CPU_MODEL_MAX_LEAVES);
    for (size_t i = 0; i < count; i++) {
        if (take_leaf(json_array_get(value, i), &model->leaf[i]) < 0)
            return invalid("entry %zu of a CPU model's \"cpuid\" is not [function, index or null, "
                           "eax, ebx, ecx, edx]",
                           i);
        if (i > 0 && !comes_after(&model->leaf[i], &model->leaf[i - 1]))
            return invalid("entry %zu of a CPU model's \"cpuid\", leaf 0x%x.%u, is out of order or "
                           "there twice",
                           i, model->leaf[i].function, model->leaf[i].index);
    }
    model->count = (unsigned)count;
    return 0;
}

static const struct {
    const char *name;
    bool required;
    int (*take)(const json_t *value, struct cpu_model *model, struct gw_error *error);
} keys[] = {
    {"model", true, take_name},           {"tsc_khz", true, take_tsc},
    {"tsc_scaling", false, take_scaling}, {"arch_capabilities", false, take_arch_capabilities},
    {"cpuid", true, take_leaves},
};

/* 0, or the sentence about a member that nobody knows. */
static int check_members(const json_t *description, struct gw_error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)description, name, value)
    {
        bool known = false;

        for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
            known |= strcmp(name, keys[i].name) == 0;
        if (!known)
            return invalid("a CPU model has no \"%.64s\"", name);
    }
    return 0;
}

int cpu_model_from_description(const json_t *description, struct cpu_model *ret_model,
                               struct gw_error *error)
{
    struct cpu_model model = {0};

    if (!json_is_object(description))
        return invalid("a CPU model must be a JSON object");
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        const json_t *value = json_object_get(description, keys[i].name);

        if (!value && keys[i].required)
            return invalid("a CPU model's \"%s\" is missing", keys[i].name);
        if (value && keys[i].take(value, &model, error) < 0)
            return -EINVAL;
    }
    if (check_members(description, error) < 0)
        return -EINVAL;
    *ret_model = model;
    return 0;
}

/* ---- Files ---- */

/* All of a file that is not longer than the limit; the caller frees it. */
static int read_file(const char *path, char **ret_text, size_t *ret_length, struct gw_error *error)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    _cleanup_free_ char *text = malloc(FILE_LIMIT + 1);
    size_t length = 0;
    ssize_t got = 1;

    if (!text)
        return gw_error_set(error, GW_LAYER_CPU, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    while (fd >= 0 && got > 0 && length <= FILE_LIMIT) {
        got = read(fd, text + length, FILE_LIMIT + 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    if (fd < 0 || got < 0)
        return gw_error_set(error, GW_LAYER_CPU, gw_code_from_errno(errno), -errno,
                            "cannot read the CPU model '%s': %s", path, strerror(errno));
    if (length > FILE_LIMIT)
        return invalid("'%s' is too long for a CPU model", path);
    *ret_text = TAKE_PTR(text);
    *ret_length = length;
    return 0;
}

/* The model in what a file holds: a saved answer of `godwit cpu`, or the model itself. */
static int take_file(const char *path, const json_t *json, struct cpu_model *ret_model,
                     struct gw_error *error)
{
    const json_t *inside = json_object_get(json, "host_model");
    int r;

    if (!inside && json_object_get(json, "kvm"))
        return invalid("'%s' was made on a host without a KVM that can be used, which can give no "
                       "CPU model",
                       path);
    r = cpu_model_from_description(inside ? inside : json, ret_model, error);
    if (r < 0)
        gw_error_prefix(error, "'%s'", path);
    return r;
}

int cpu_model_read(const char *path, struct cpu_model *ret_model, struct gw_error *error)
{
    _cleanup_free_ char *text = NULL;
    json_error_t where;
    size_t length = 0;
    json_t *json;
    int r = read_file(path, &text, &length, error);

    if (r < 0)
        return r;
    json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return invalid("'%s' is not JSON: %s in line %d", path, where.text, where.line);
    r = take_file(path, json, ret_model, error);
    json_decref(json);
    return r;
}
