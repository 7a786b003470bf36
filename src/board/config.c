/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/cleanup.h"
#include "base/machine-name.h"
#include "board/boot-images.h"
#include "board/config.h"

#define MEMORY_MIN_BYTES (UINT64_C(1) << 20)
#define MEMORY_MAX_BYTES (UINT64_C(1) << 40)
#define DISK_MAX_BYTES (UINT64_C(1) << 60)
#define SERIAL_MAX 20

static const char *const clock_names[] = {
    [GW_CLOCK_HOST] = "host",
    [GW_CLOCK_INSTRUCTIONS] = "instructions",
};

const char *const board_tracking_names[BOARD_TRACKINGS] = {"auto", "bitmap", "ring"};

void board_config_fini(struct board_config *config)
{
    free(config->machine);
    free(config->cpu_name);
    free((char *)config->backing.path);
    free(config->cpu_model);
    free(config->kernel);
    free(config->firmware);
    free(config->initrd);
    free(config->append);
    for (unsigned i = 0; i < BOARD_MAX_DISKS; i++) {
        free(config->disks[i].path);
        free(config->disks[i].serial);
    }
    for (unsigned i = 0; i < BOARD_MAX_NETS; i++) {
        free(config->nets[i].name);
        free(config->nets[i].back_end);
    }
    *config = (struct board_config){0};
}

static bool copy_string(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return *to || !from;
}

static bool copy_model(struct cpu_model **to, const struct cpu_model *from)
{
    *to = from ? malloc(sizeof **to) : NULL;
    if (*to)
        **to = *from;
    return *to || !from;
}

int board_config_copy(const struct board_config *from, const struct machine_kind *kind,
                      struct board_config *ret_to)
{
    struct board_config to = *from;
    bool ok = copy_string(&to.machine, kind->name);
    ok = copy_string(&to.cpu_name, from->cpu_name) && ok;
    ok = copy_string((char **)&to.backing.path, from->backing.path) && ok;
    ok = copy_model(&to.cpu_model, from->cpu_model) && ok;
    ok = copy_string(&to.kernel, from->kernel) && ok;
    ok = copy_string(&to.firmware, from->firmware) && ok;
    ok = copy_string(&to.initrd, from->initrd) && ok;
    ok = copy_string(&to.append, from->append) && ok;
    for (unsigned i = 0; i < BOARD_MAX_DISKS; i++) {
        bool used = i < from->disk_count;
        ok = copy_string(&to.disks[i].path, used ? from->disks[i].path : NULL) && ok;
        ok = copy_string(&to.disks[i].serial, used ? from->disks[i].serial : NULL) && ok;
    }
    for (unsigned i = 0; i < BOARD_MAX_NETS; i++) {
        bool used = i < from->net_count;
        ok = copy_string(&to.nets[i].name, used ? from->nets[i].name : NULL) && ok;
        ok = copy_string(&to.nets[i].back_end, used ? from->nets[i].back_end : NULL) && ok;
    }
    if (!ok) {
        board_config_fini(&to);
        return -ENOMEM;
    }
    *ret_to = to;
    return 0;
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

static int refuse(struct gw_error *error, const char *sentence)
{
    return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL, "%s", sentence);
}

/* What the kind of machine has room for. */
static int check_kind(const struct board_config *config, const struct machine_kind *kind,
                      struct gw_error *error)
{
    if (config->cpus < 1 || config->cpus > kind->max_cpus)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL, "%s has 1 to %u CPUs",
                            kind->name, kind->max_cpus);
    if (config->boot_bytes && !config->cpu_model != !kind->cpu_models)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            kind->cpu_models ? "the description of a %s needs its cpu"
                                             : "the description of a %s has no cpu",
                            kind->name);
    if (config->cpu_name && !kind->cpu_models)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "%s has no choice of CPU models: leave out --cpu", kind->name);
    if (config->tracking != BOARD_TRACKING_AUTO && !kind->cpu_models && !config->boot_bytes)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "%s has one way to track dirty pages: leave out --dirty-tracking",
                            kind->name);
    if (config->clock == GW_CLOCK_INSTRUCTIONS && !kind->instruction_clock)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "%s has no instruction clock: its CPUs are the host's", kind->name);
    if (config->disk_count > kind->max_disks)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "%s has room for %u disks", kind->name, kind->max_disks);
    if (config->net_count > kind->max_disks - config->disk_count)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "%s has room for %u disks and networks together", kind->name,
                            kind->max_disks);
    return kind->check ? kind->check(config, error) : 0;
}

/* ---- Networks ---- */

static const uint8_t no_mac[BOARD_MAC_BYTES];

/* Six bytes of two hexadecimal digits each, with a colon between them. */
int board_parse_mac(const char *text, uint8_t ret_mac[BOARD_MAC_BYTES])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    for (unsigned i = 0; i < 3 * BOARD_MAC_BYTES; i++) {
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        char separator = i + 1 < 3 * BOARD_MAC_BYTES ? ':' : 0;
        if (i % 3 == 2 ? text[i] != separator : !digit)
            return -EINVAL;
        if (i % 3 < 2)
            ret_mac[i / 3] = (uint8_t)(ret_mac[i / 3] << 4 | (unsigned)(digit - digits) % 16);
    }
    return 0;
}

static bool has_mac(const struct board_net *net)
{
    return memcmp(net->mac, no_mac, sizeof no_mac) != 0;
}

static int check_net(const struct board_net *net, bool settled, struct gw_error *error)
{
    if (settled && (!net->name || !has_mac(net) || net->queues == 0))
        return refuse(error, "a network in a description has a name, an address and queues");
    if (net->name && machine_name_check(net->name, GW_LAYER_BOARD, NULL) < 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "'%.80s' is no name of a network: use letters, digits, '.', '_' and "
                            "'-', not beginning with '.' or '-'",
                            net->name);
    if (net->mac[0] & 1)
        return refuse(error, "the address of a network card cannot be that of a group: its first "
                             "byte must be even");
    if (net->queues > VIRTIO_NET_MAX_PAIRS)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "a network has 1 to %u queues", VIRTIO_NET_MAX_PAIRS);
    if (net->mtu && (net->mtu < NET_MTU_MIN || net->mtu > NET_MTU_MAX))
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "the MTU of a network is %u to %u", NET_MTU_MIN, NET_MTU_MAX);
    return 0;
}

static int check_twins(const struct board_net *one, const struct board_net *other,
                       struct gw_error *error)
{
    if (one->name && other->name && strcmp(one->name, other->name) == 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "two networks have the name '%s'", one->name);
    if (has_mac(one) && memcmp(one->mac, other->mac, sizeof one->mac) == 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, -EINVAL,
                            "two network cards have the address " BOARD_MAC_FORMAT,
                            BOARD_MAC_ARGUMENTS(one->mac));
    return 0;
}

static int check_nets(const struct board_config *config, struct gw_error *error)
{
    int r = 0;
    if (config->net_count && config->clock == GW_CLOCK_INSTRUCTIONS)
        return refuse(error, "a machine with the instruction clock has no network: what arrives "
                             "from outside would make each run another one");
    for (unsigned i = 0; r == 0 && i < config->net_count; i++) {
        r = check_net(&config->nets[i], config->boot_bytes, error);
        for (unsigned other = 0; r == 0 && other < i; other++)
            r = check_twins(&config->nets[i], &config->nets[other], error);
    }
    return r;
}

static int check_disks(const struct board_config *config, struct gw_error *error)
{
    for (unsigned i = 0; i < config->disk_count; i++) {
        const struct board_disk *disk = &config->disks[i];
        if (disk->serial && (strlen(disk->serial) > SERIAL_MAX || !is_printable(disk->serial)))
            return refuse(error, "a disk's serial has at most 20 characters, all printable ASCII");
        if (disk->size_bytes % 512 || disk->size_bytes > DISK_MAX_BYTES)
            return refuse(error, "a disk's size must be whole sectors of 512 bytes");
    }
    return 0;
}

int board_config_check(const struct board_config *config, const struct machine_kind **ret_kind,
                       struct gw_error *error)
{
    int r = machine_kind_choose(config, ret_kind, error);
    if (r < 0)
        return r;
    if (config->memory_bytes < MEMORY_MIN_BYTES || config->memory_bytes > MEMORY_MAX_BYTES ||
        config->memory_bytes % GW_PAGE_BYTES)
        return refuse(error, "memory must be from 1M to 1T, in whole pages of 4 KiB");
    if (config->clock != GW_CLOCK_HOST && config->clock != GW_CLOCK_INSTRUCTIONS)
        return refuse(error, "the clock must be 'host' or 'instructions'");
    if (config->clock == GW_CLOCK_INSTRUCTIONS && config->cpus != 1)
        return refuse(error, "the instruction clock needs a machine with one CPU");
    if (config->clock == GW_CLOCK_INSTRUCTIONS && config->vmclock)
        return refuse(error, "a machine with the instruction clock has no VMClock: a run that "
                             "moves must be equal to one that does not");
    if (config->boot_bytes % GW_PAGE_BYTES || config->boot_bytes > BOOT_REGION_MAX_BYTES)
        return refuse(error, "the boot region must be whole pages, at most 1 GiB");
    r = check_kind(config, *ret_kind, error);
    if (r == 0)
        r = check_disks(config, error);
    return r < 0 ? r : check_nets(config, error);
}

/* ---- Writing a description ---- */

static json_t *describe_disk(const struct board_disk *disk)
{
    json_t *json = json_pack("{s:I, s:b, s:s*}", "size", (json_int_t)disk->size_bytes, "read_only",
                             disk->read_only, "serial", disk->serial);
    json_t *hint = json && disk->path ? json_string(disk->path) : NULL; /* NULL: not UTF-8 */
    if (hint)
        json_object_set_new(json, "path_hint", hint);
    return json;
}

static json_t *describe_nets(const struct board_config *config)
{
    json_t *nets = json_array();
    for (unsigned i = 0; i < config->net_count; i++) {
        const struct board_net *net = &config->nets[i];
        char mac[BOARD_MAC_TEXT];
        snprintf(mac, sizeof mac, BOARD_MAC_FORMAT, BOARD_MAC_ARGUMENTS(net->mac));
        json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", net->name, "mac", mac,
                                 "queues", (json_int_t)net->queues, "mtu", (json_int_t)net->mtu,
                                 "features", (json_int_t)net->features);
        if (json_array_append_new(nets, json) < 0) {
            json_decref(nets);
            return NULL;
        }
    }
    return nets;
}

json_t *board_config_describe(const struct board_config *config)
{
    json_t *disks = json_array();
    for (unsigned i = 0; i < config->disk_count; i++)
        if (json_array_append_new(disks, describe_disk(&config->disks[i])) < 0) {
            json_decref(disks);
            return NULL;
        }
    json_t *json = json_pack("{s:s, s:I, s:I, s:s, s:I, s:o}", "machine", config->machine, "memory",
                             (json_int_t)config->memory_bytes, "cpus", (json_int_t)config->cpus,
                             "clock", clock_names[config->clock], "boot_bytes",
                             (json_int_t)config->boot_bytes, "disks", disks);
    if (json && config->cpu_model &&
        (json_object_set_new(json, "cpu", cpu_model_describe(config->cpu_model)) < 0 ||
         json_object_set_new(json, "linux", json_boolean(config->linux_kernel)) < 0)) {
        json_decref(json);
        return NULL;
    }
    if (json && config->net_count && json_object_set_new(json, "nets", describe_nets(config)) < 0) {
        json_decref(json);
        return NULL;
    }
    if (json && config->vmclock && json_object_set_new(json, "vmclock", json_true()) < 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* ---- Reading one: a table of keys, each known key once, nothing else ---- */

struct key {
    const char *name;
    json_type type;
    bool required;
    int (*take)(const json_t *value, void *to);
};

static int take_size(const json_t *value, void *to)
{
    json_int_t number = json_integer_value(value);
    if (number < 0)
        return -ERANGE;
    *(uint64_t *)to = (uint64_t)number;
    return 0;
}

static int take_text(const json_t *value, char **to)
{
    if (json_string_length(value) != strlen(json_string_value(value)) ||
        json_string_length(value) > 4096)
        return -ERANGE;
    *to = strdup(json_string_value(value));
    return *to ? 0 : -ENOMEM;
}

static int take_machine(const json_t *value, void *to)
{
    return take_text(value, &((struct board_config *)to)->machine);
}

static int take_memory(const json_t *value, void *to)
{
    return take_size(value, &((struct board_config *)to)->memory_bytes);
}

static int take_cpus(const json_t *value, void *to)
{
    json_int_t cpus = json_integer_value(value);
    if (cpus < 1 || cpus > BOARD_MAX_CPUS)
        return -ERANGE;
    ((struct board_config *)to)->cpus = (unsigned)cpus;
    return 0;
}

static int take_clock(const json_t *value, void *to)
{
    for (unsigned i = 0; i < ARRAY_COUNT(clock_names); i++)
        if (strcmp(json_string_value(value), clock_names[i]) == 0) {
            ((struct board_config *)to)->clock = (enum clock_mode)i;
            return 0;
        }
    return -ERANGE;
}

static int take_boot_bytes(const json_t *value, void *to)
{
    return take_size(value, &((struct board_config *)to)->boot_bytes);
}

static int take_linux(const json_t *value, void *to)
{
    ((struct board_config *)to)->linux_kernel = json_is_true(value);
    return 0;
}

static int take_vmclock(const json_t *value, void *to)
{
    ((struct board_config *)to)->vmclock = json_is_true(value);
    return 0;
}

static int take_cpu(const json_t *value, void *to)
{
    struct board_config *config = to;
    config->cpu_model = malloc(sizeof *config->cpu_model);
    return config->cpu_model ? cpu_model_from_description(value, config->cpu_model, NULL) : -ENOMEM;
}

static int take_disk_size(const json_t *value, void *to)
{
    return take_size(value, &((struct board_disk *)to)->size_bytes);
}

static int take_read_only(const json_t *value, void *to)
{
    ((struct board_disk *)to)->read_only = json_is_true(value);
    return 0;
}

static int take_serial(const json_t *value, void *to)
{
    return take_text(value, &((struct board_disk *)to)->serial);
}

/* Only the caller's policy may follow it: it names a file of this host by a peer's word. */
static int ignore(const json_t *value, void *to)
{
    return 0;
}

static int take_net_name(const json_t *value, void *to)
{
    return take_text(value, &((struct board_net *)to)->name);
}

static int take_mac(const json_t *value, void *to)
{
    return board_parse_mac(json_string_value(value), ((struct board_net *)to)->mac);
}

static int take_up_to(const json_t *value, unsigned maximum, unsigned *to)
{
    json_int_t number = json_integer_value(value);
    if (number < 0 || number > maximum)
        return -ERANGE;
    *to = (unsigned)number;
    return 0;
}

static int take_queues(const json_t *value, void *to)
{
    return take_up_to(value, VIRTIO_NET_MAX_PAIRS, &((struct board_net *)to)->queues);
}

static int take_mtu(const json_t *value, void *to)
{
    return take_up_to(value, NET_MTU_MAX, &((struct board_net *)to)->mtu);
}

static int take_features(const json_t *value, void *to)
{
    json_int_t number = json_integer_value(value);
    if (number < 0)
        return -ERANGE;
    ((struct board_net *)to)->features = (uint64_t)number;
    return 0;
}

static int take_disks(const json_t *value, void *to);
static int take_nets(const json_t *value, void *to);

static const struct key machine_keys[] = {
    {"machine", JSON_STRING, true, take_machine},
    {"memory", JSON_INTEGER, true, take_memory},
    {"cpus", JSON_INTEGER, true, take_cpus},
    {"clock", JSON_STRING, true, take_clock},
    {"boot_bytes", JSON_INTEGER, true, take_boot_bytes},
    {"cpu", JSON_OBJECT, false, take_cpu},
    {"linux", JSON_TRUE, false, take_linux},
    {"disks", JSON_ARRAY, true, take_disks},
    {"nets", JSON_ARRAY, false, take_nets},
    {"vmclock", JSON_TRUE, false, take_vmclock},
};

static const struct key disk_keys[] = {
    {"size", JSON_INTEGER, true, take_disk_size},
    {"read_only", JSON_TRUE, true, take_read_only}, /* JSON_TRUE stands for both booleans */
    {"serial", JSON_STRING, false, take_serial},
    {"path_hint", JSON_STRING, false, ignore},
};

static const struct key net_keys[] = {
    {"name", JSON_STRING, true, take_net_name},      {"mac", JSON_STRING, true, take_mac},
    {"queues", JSON_INTEGER, true, take_queues},     {"mtu", JSON_INTEGER, true, take_mtu},
    {"features", JSON_INTEGER, true, take_features},
};

/* Writes the name of the offending key to `bad` (64 bytes). */
static int take_object(const json_t *object, const struct key *keys, size_t count, void *to,
                       char *bad)
{
    size_t seen = 0;
    bad[0] = 0;
    if (!json_is_object(object))
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(object, keys[i].name);
        bool right_type = value && (json_typeof(value) == keys[i].type ||
                                    (keys[i].type == JSON_TRUE && json_is_false(value)));
        int r = 0;
        if (value ? !right_type : keys[i].required)
            r = -EINVAL;
        else if (value)
            r = keys[i].take(value, to);
        if (r < 0) {
            if (!bad[0])
                snprintf(bad, 64, "%s", keys[i].name);
            return r;
        }
        seen += value != NULL;
    }
    if (seen != json_object_size(object)) {
        snprintf(bad, 64, "a key that this release does not know");
        return -EINVAL;
    }
    return 0;
}

static int take_disks(const json_t *value, void *to)
{
    struct board_config *config = to;
    char bad[64];
    if (json_array_size(value) > BOARD_MAX_DISKS)
        return -ERANGE;
    for (size_t i = 0; i < json_array_size(value); i++) {
        config->disk_count++;
        int r = take_object(json_array_get(value, i), disk_keys, ARRAY_COUNT(disk_keys),
                            &config->disks[i], bad);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_nets(const json_t *value, void *to)
{
    struct board_config *config = to;
    char bad[64];
    if (json_array_size(value) > BOARD_MAX_NETS)
        return -ERANGE;
    for (size_t i = 0; i < json_array_size(value); i++) {
        config->net_count++;
        int r = take_object(json_array_get(value, i), net_keys, ARRAY_COUNT(net_keys),
                            &config->nets[i], bad);
        if (r < 0)
            return r;
    }
    return 0;
}

int board_config_from_description(const json_t *description, struct board_config *ret_config,
                                  struct gw_error *error)
{
    _cleanup_(board_config_fini) struct board_config config = {0};
    char bad[64];
    int r = take_object(description, machine_keys, ARRAY_COUNT(machine_keys), &config, bad);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_BOARD, GW_CODE_INVALID, r,
                            "the machine description is wrong or incomplete: %s",
                            bad[0] ? bad : "not an object");
    const struct machine_kind *kind;
    r = board_config_check(&config, &kind, error);
    if (r < 0)
        return r;
    *ret_config = config;
    config = (struct board_config){0};
    return 0;
}
