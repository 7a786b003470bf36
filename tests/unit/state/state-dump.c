/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of all-devices.c from the command line, for golden.py:
 *     state-dump schema               the schema of all
 *     state-dump save NAME SEED       the stream of one in a random state
 *     state-dump print NAME FILE      loads a stream and prints the state as JSON
 *     state-dump resave NAME FILE     loads a stream and saves it again
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "device-suite.h"

static int run_schema(struct gw_buf *out, struct gw_error *error)
{
    struct gw_state_item items[256];
    size_t count = 0;
    for (const struct suite_device *device = all_devices; device->type; device++)
        items[count++] = (struct gw_state_item){device->type, 0, NULL};
    return gw_state_schema(items, count, out);
}

static int read_file(const char *path, struct gw_buf *out, struct gw_error *error)
{
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    char piece[4096];
    size_t length;
    if (!file)
        return gw_error_set(error, GW_LAYER_BASE, GW_CODE_IO, -errno, "cannot open %s", path);
    while ((length = fread(piece, 1, sizeof piece, file)) > 0)
        if (gw_buf_append(out, piece, length) < 0)
            return gw_error_set(error, GW_LAYER_BASE, GW_CODE_IO, -EFBIG, "%s is too large", path);
    return 0;
}

static int run_save(const struct suite_device *device, struct gw_state_item *item, const char *seed,
                    struct gw_buf *out, struct gw_error *error)
{
    gw_state_random(item->type, item->object, strtoull(seed, NULL, 10));
    if (device->settle)
        device->settle(item->object);
    return gw_state_save(item, 1, out, error);
}

static int run_load(struct gw_state_item *item, const char *path, struct gw_error *error)
{
    _cleanup_(gw_buf_fini) struct gw_buf stream = {0};
    int r = read_file(path, &stream, error);
    return r < 0 ? r : gw_state_load(item, 1, stream.data, stream.length, error);
}

static int run_on(const struct suite_device *device, const char *verb, const char *argument,
                  struct gw_buf *out, struct gw_error *error)
{
    struct gw_state_item item = {device->type, 0, device->make()};
    int r;
    if (strcmp(verb, "save") == 0)
        r = run_save(device, &item, argument, out, error);
    else
        r = run_load(&item, argument, error);
    if (r == 0 && strcmp(verb, "print") == 0)
        r = gw_state_print(&item, 1, out, error);
    if (r == 0 && strcmp(verb, "resave") == 0)
        r = gw_state_save(&item, 1, out, error);
    device->destroy(item.object);
    return r;
}

static int run(int argc, char **argv, struct gw_buf *out, struct gw_error *error)
{
    if (argc == 2 && strcmp(argv[1], "schema") == 0)
        return run_schema(out, error);
    for (const struct suite_device *device = all_devices; argc == 4 && device->type; device++)
        if (strcmp(argv[2], gw_state_type_name(device->type)) == 0)
            return run_on(device, argv[1], argv[3], out, error);
    return gw_error_set(
        error, GW_LAYER_BASE, GW_CODE_INVALID, -EINVAL,
        "usage: state-dump schema | save NAME SEED | print NAME FILE | resave NAME FILE");
}

int main(int argc, char **argv)
{
    _cleanup_(gw_buf_fini) struct gw_buf out = {0};
    struct gw_error error = {.message = "no memory"};
    if (run(argc, argv, &out, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    return fwrite(out.data, 1, out.length, stdout) != out.length;
}
