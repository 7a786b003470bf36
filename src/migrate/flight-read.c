/* SPDX-License-Identifier: Apache-2.0 */
/* Reading flight logs: parsing, loading, listing. */
#include <godwit/flight-log.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "migrate/file.h"
#include "migrate/flight-model.h"

#define MAX_LISTED 4096

static void cleanup_buf(struct gw_buf *buf)
{
    gw_buf_fini(buf);
}

int gw_flight_log_parse(const void *text, size_t length, struct gw_flight_log **ret_log,
                        struct gw_error *error)
{
    json_error_t json_error = {0};
    if (length > GW_FLIGHT_LOG_MAX_BYTES)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                            "a flight log of %zu bytes is over the limit of %zu", length,
                            GW_FLIGHT_LOG_MAX_BYTES);
    json_t *document = json_loadb(length ? text : "", length, JSON_REJECT_DUPLICATES, &json_error);
    if (!document)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                            "this is not a migration log: %s at line %d", json_error.text,
                            json_error.line);
    int r = flight_decode(document, ret_log, error);
    json_decref(document);
    return r;
}

int gw_flight_log_load(const char *path, struct gw_flight_log **ret_log, struct gw_error *error)
{
    _cleanup_(cleanup_buf) struct gw_buf text = {0};
    int r = file_read(path, "flight log", GW_FLIGHT_LOG_MAX_BYTES, &text, error);
    if (r < 0)
        return r;
    r = gw_flight_log_parse(text.data, text.length, ret_log, error);
    if (r < 0)
        gw_error_prefix(error, "'%s'", path);
    return r;
}

void gw_flight_log_summarise(const struct gw_flight_log *log,
                             struct gw_flight_log_summary *ret_summary)
{
    const struct gw_flight_log *teller = flight_teller(log);
    struct gw_flight_log_summary summary = {
        .is_source = strcmp(log->role, "source") == 0,
        .started_ms = log->started_ms,
        .total_ms = log->totals.present ? log->totals.total_ms : log->verdict.at_ns / 1000000,
        .pause_us = log->pause.pause_us,
        .wire_bytes = teller->totals.bytes_sent,
        .rounds = teller->rounds.count + teller->rounds.left_out,
    };
    FLIGHT_SET_TEXT(summary.session, log->session);
    FLIGHT_SET_TEXT(summary.machine, log->machine);
    FLIGHT_SET_TEXT(summary.peer, log->peer_host[0] ? log->peer_host : log->uri);
    FLIGHT_SET_TEXT(summary.status, log->verdict.present ? log->verdict.status : "active");
    FLIGHT_SET_TEXT(summary.sentence, log->verdict.sentence);
    *ret_summary = summary;
}

static int add_entry(const char *directory, const char *name, struct gw_flight_log_entry *entry)
{
    _cleanup_free_ char *path = NULL;
    struct gw_flight_log *log = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    int r = gw_flight_log_load(path, &log, NULL);
    if (r < 0)
        return r;
    snprintf(entry->file, sizeof entry->file, "%s", name);
    gw_flight_log_summarise(log, &entry->summary);
    gw_flight_log_free(log);
    return 0;
}

static bool is_candidate(const char *name)
{
    size_t length = strlen(name);
    return length > 5 && length < sizeof(((struct gw_flight_log_entry *)0)->file) &&
           strcmp(name + length - 5, ".json") == 0;
}

static int read_entries(DIR *folder, const char *directory, struct gw_flight_log_entry **entries,
                        size_t *count, size_t *bad)
{
    size_t room = 0;
    for (const struct dirent *item; *count < MAX_LISTED && (item = readdir(folder));) {
        if (!is_candidate(item->d_name))
            continue;
        if (*count == room) {
            room = room ? room * 2 : 32;
            struct gw_flight_log_entry *grown = reallocarray(*entries, room, sizeof **entries);
            if (!grown)
                return -ENOMEM;
            *entries = grown;
        }
        if (add_entry(directory, item->d_name, &(*entries)[*count]) < 0)
            ++*bad;
        else
            ++*count;
    }
    return 0;
}

static int compare_entries(const void *left, const void *right)
{
    const struct gw_flight_log_entry *one = left, *other = right;
    if (one->summary.started_ms != other->summary.started_ms)
        return one->summary.started_ms < other->summary.started_ms ? -1 : 1;
    return strcmp(one->file, other->file);
}

int gw_flight_log_list(const char *directory, struct gw_flight_log_entry **ret_entries,
                       size_t *ret_count, size_t *ret_bad, struct gw_error *error)
{
    struct gw_flight_log_entry *entries = NULL;
    size_t count = 0, bad = 0;
    _cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (folder)
        (void)TAKE_FD(fd);
    else if (errno != ENOENT)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(errno), -errno,
                            "cannot read the flight logs in '%s': %s", directory, strerror(errno));
    int r = folder ? read_entries(folder, directory, &entries, &count, &bad) : 0;
    if (folder)
        closedir(folder);
    if (r < 0) {
        free(entries);
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, r,
                            "no memory to list the flight logs in '%s'", directory);
    }
    if (count > 0)
        qsort(entries, count, sizeof *entries, compare_entries);
    *ret_entries = entries;
    *ret_count = count;
    *ret_bad = bad;
    return 0;
}
