/* SPDX-License-Identifier: Apache-2.0 */
#include "../patience.h"
#include "pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <godwit/flight-log.h>

#include "migrate/flight-model.h"

void pair_init(struct pair *pair, uint64_t pages, uint64_t filled)
{
    *pair = (struct pair){0};
    /* As /run is: in memory. Ownership records are synced within the pause. */
    snprintf(pair->directory, sizeof pair->directory, "%s/godwit-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(pair->directory));
    snprintf(pair->from_owner, sizeof pair->from_owner, "%s/from.owner", pair->directory);
    snprintf(pair->to_owner, sizeof pair->to_owner, "%s/to.owner", pair->directory);
    snprintf(pair->from_log, sizeof pair->from_log, "%s/from.log", pair->directory);
    snprintf(pair->to_log, sizeof pair->to_log, "%s/to.log", pair->directory);
    pair->from = fake_vmm_new(pages, filled);
    pair->to = fake_vmm_new_empty();
    pair->source_config = (struct gw_source_config){
        .ops = &fake_source_ops,
        .vm = pair->from,
        .memory = pair->from->memory,
        .tracker = gw_bytemap_tracker_interface(pair->from->tracker),
        .name = "fake",
        .ownership_path = pair->from_owner,
        .log_directory = pair->from_log,
    };
    gw_migrate_parameters_default(&pair->source_config.parameters);
    pair->source_config.parameters.verify_ram = true;
    pair->destination_config = (struct gw_destination_config){
        .ops = &fake_destination_ops,
        .vm = pair->to,
        .ownership_path = pair->to_owner,
        .log_directory = pair->to_log,
    };
    gw_migrate_parameters_default(&pair->destination_config.parameters);
    fake_vmm_run(pair->from);
}

static void remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char inner[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) < 0)
            remove_tree(inner);
    }
    if (directory)
        closedir(directory);
    rmdir(path);
}

void pair_fini(struct pair *pair)
{
    gw_source_free(pair->source);
    gw_destination_free(pair->destination);
    fake_vmm_free(pair->from);
    fake_vmm_free(pair->to);
    remove_tree(pair->directory);
}

void pair_listen(struct pair *pair, const char *listen)
{
    struct gw_error error = {0};
    if (strcmp(listen, "unix:") == 0)
        snprintf(pair->listen, sizeof pair->listen, "unix:%s/socket", pair->directory);
    else
        snprintf(pair->listen, sizeof pair->listen, "%s", listen);
    pair->destination_config.uri = pair->listen;
    if (gw_destination_start(&pair->destination_config, &pair->destination, &error) < 0)
        fail_msg("%s", error.message);
}

void pair_send(struct pair *pair, const char *uri)
{
    struct gw_error error = {0};
    snprintf(pair->connect, sizeof pair->connect, "%s",
             uri ? uri : gw_destination_uri(pair->destination));
    pair->source_config.uri = pair->connect;
    if (gw_source_start(&pair->source_config, &pair->source, &error) < 0)
        fail_msg("%s", error.message);
}

void pair_wait_source(struct pair *pair)
{
    if (gw_source_wait(pair->source, patience_ms()) != 0) {
        struct gw_migrate_info info = pair_source_info(pair);
        fail_msg("the source hangs in '%s' (%s)", gw_migrate_status_name(info.status),
                 info.decision);
    }
}

void pair_wait_destination(struct pair *pair)
{
    if (gw_destination_wait(pair->destination, patience_ms()) != 0)
        fail_msg("the destination hangs in '%s'",
                 gw_migrate_status_name(pair_destination_info(pair).status));
}

void pair_wait(struct pair *pair)
{
    pair_wait_source(pair);
    pair_wait_destination(pair);
}

void pair_wait_status(struct pair *pair, enum gw_migrate_status status)
{
    for (uint64_t end_ns = patience_end_ns(); host_monotonic_ns() < end_ns; usleep(1000)) {
        enum gw_migrate_status now = pair_source_info(pair).status;
        if (now == status)
            return;
        if (now == GW_MIGRATE_FAILED || now == GW_MIGRATE_COMPLETED)
            break;
    }
    struct gw_migrate_info info = pair_source_info(pair);
    fail_msg("the source is '%s', not '%s': %s", gw_migrate_status_name(info.status),
             gw_migrate_status_name(status), info.error.message);
}

struct gw_migrate_info pair_source_info(struct pair *pair)
{
    struct gw_migrate_info info;
    gw_source_info(pair->source, &info);
    return info;
}

struct gw_migrate_info pair_destination_info(struct pair *pair)
{
    struct gw_migrate_info info;
    gw_destination_info(pair->destination, &info);
    return info;
}

struct gw_ownership pair_record(const char *path)
{
    struct gw_ownership record = {.state = GW_OWNER_NOBODY};
    struct gw_error error;
    if (gw_ownership_read(path, &record, &error) < 0)
        record.epoch = 0;
    return record;
}

void pair_assert_moved(struct pair *pair)
{
    struct gw_migrate_info source = pair_source_info(pair);
    struct gw_migrate_info destination = pair_destination_info(pair);
    assert_string_equal(source.error.message, "");
    assert_string_equal(destination.error.message, "");
    assert_int_equal(source.status, GW_MIGRATE_COMPLETED);
    assert_int_equal(destination.status, GW_MIGRATE_COMPLETED);
    assert_string_equal(source.session, destination.session);
    assert_false(pair->from->running);
    assert_int_equal(pair->to->starts, 1);
    assert_int_equal(pair->to->wrong_pages, 0);
    assert_false(source.owner);
    assert_true(destination.owner);
    struct gw_ownership released = pair_record(pair->from_owner);
    struct gw_ownership owned = pair_record(pair->to_owner);
    assert_int_equal(released.state, GW_OWNER_RELEASED);
    assert_int_equal(owned.state, GW_OWNER_OWNER);
    assert_int_equal(released.epoch, owned.epoch);
    assert_string_equal(released.session, source.session);
    assert_true(pair->from->left && pair->from->saved_left);
    assert_int_equal(pair->from->leaves, source.failed_switches + 1);
}

void pair_assert_stayed(struct pair *pair, uint64_t epoch)
{
    struct gw_migrate_info info = pair_source_info(pair);
    assert_true(info.status == GW_MIGRATE_FAILED || info.status == GW_MIGRATE_CANCELLED);
    assert_true(info.error.message[0] != '\0');
    assert_true(info.owner);
    assert_int_equal(info.epoch, epoch);
    assert_true(pair->from->running);
    assert_false(pair->to->running);
    assert_int_equal(pair->to->starts, 0);
    assert_int_equal(pair->from->releases, pair->from->reacquires);
    assert_false(pair->from->left);
}

void pair_assert_ended_on(const char *directory, const char *side)
{
    struct gw_flight_log_entry *entries = NULL;
    struct gw_flight_log *log = NULL;
    size_t count = 0, bad = 0;
    char path[256];
    assert_int_equal(gw_flight_log_list(directory, &entries, &count, &bad, NULL), 0);
    assert_int_equal(count, 1);
    snprintf(path, sizeof path, "%s/%s", directory, entries[0].file);
    assert_int_equal(gw_flight_log_load(path, &log, NULL), 0);
    assert_string_equal(log->verdict.side, side);
    gw_flight_log_free(log);
    free(entries);
}
