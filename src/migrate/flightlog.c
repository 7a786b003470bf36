/* SPDX-License-Identifier: Apache-2.0 */
/* Recording and writing one flight. The model (flight-model.h) bounds every series, this file the
 * document. */
#include "migrate/flightlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/file.h"
#include "migrate/flight-model.h"

#define WHAT "flight log"
#define MAX_FILES 256

struct flightlog {
    pthread_mutex_t lock; /* protects everything below */
    struct gw_flight_log *log;
    struct gw_flight_log *earlier[GW_FLIGHT_LOG_EARLIER]; /* condensed, oldest first */
    size_t earlier_count;
    bool round_since_decision;
};

static void lock(struct flightlog *log)
{
    pthread_mutex_lock(&log->lock);
}

static void unlock(struct flightlog *log)
{
    pthread_mutex_unlock(&log->lock);
}

static void set_session(struct gw_flight_log *log, const char *session)
{
    if (flight_is_session(session))
        FLIGHT_SET_TEXT(log->session, session);
}

struct flightlog *flightlog_new(bool is_source, const char *session, const char *machine,
                                const char *uri)
{
    struct flightlog *log = calloc(1, sizeof *log);
    struct gw_flight_log *model = calloc(1, sizeof *model);
    if (!log || !model) {
        free(log);
        free(model);
        return NULL;
    }
    char host[128] = "";
    (void)gethostname(host, sizeof host - 1);
    pthread_mutex_init(&log->lock, NULL);
    log->log = model;
    memset(model->session, '0', 32);
    set_session(model, session ? session : "");
    FLIGHT_SET_TEXT(model->role, is_source ? "source" : "destination");
    FLIGHT_SET_TEXT(model->machine, machine);
    FLIGHT_SET_TEXT(model->uri, uri);
    FLIGHT_SET_TEXT(model->host, host);
    FLIGHT_SET_TEXT(model->program, "godwit " GW_VERSION);
    model->started_ms = host_realtime_ns() / 1000000;
    model->number = 1;
    return log;
}

static void free_earlier(struct gw_flight_log **earlier, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gw_flight_log_free(earlier[i]);
}

void flightlog_free(struct flightlog *log)
{
    if (!log)
        return;
    free_earlier(log->earlier, log->earlier_count);
    gw_flight_log_free(log->log);
    pthread_mutex_destroy(&log->lock);
    free(log);
}

/* ---- Recording ---- */

void flightlog_set_started(struct flightlog *log)
{
    lock(log);
    log->log->started_ms = host_realtime_ns() / 1000000;
    unlock(log);
}

void flightlog_set_session(struct flightlog *log, const char *session)
{
    lock(log);
    set_session(log->log, session);
    unlock(log);
}

void flightlog_set_machine(struct flightlog *log, const char *machine, uint64_t ram_bytes)
{
    lock(log);
    FLIGHT_SET_TEXT(log->log->machine, machine);
    log->log->ram_bytes = ram_bytes;
    unlock(log);
}

void flightlog_set_peer(struct flightlog *log, const char *host, bool same_host)
{
    lock(log);
    FLIGHT_SET_TEXT(log->log->peer_host, host);
    log->log->same_host = same_host;
    unlock(log);
}

void flightlog_set_uri(struct flightlog *log, const char *uri)
{
    lock(log);
    FLIGHT_SET_TEXT(log->log->uri, uri);
    unlock(log);
}

void flightlog_add_parameters(struct flightlog *log, uint64_t at_ns,
                              const struct gw_migrate_parameters *parameters)
{
    struct flight_parameters entry = {
        .at_ns = at_ns,
        .max_bandwidth = parameters->max_bandwidth,
        .downtime_limit_ms = parameters->downtime_limit_ms,
        .deadline_ms = parameters->deadline_ms,
        .peer_timeout_ms = parameters->peer_timeout_ms,
        .verify_ram = parameters->verify_ram,
    };
    lock(log);
    (void)flight_series_add(&log->log->parameters, &entry, sizeof entry, FLIGHT_MAX_PARAMETERS);
    unlock(log);
}

void flightlog_add_phase(struct flightlog *log, uint64_t at_ns, const char *phase)
{
    struct flight_phase entry = {.at_ns = at_ns};
    FLIGHT_SET_TEXT(entry.name, phase);
    lock(log);
    (void)flight_series_add(&log->log->phases, &entry, sizeof entry, FLIGHT_MAX_PHASES);
    unlock(log);
}

void flightlog_add_event(struct flightlog *log, uint64_t at_ns, const char *sentence)
{
    struct flight_event entry = {.at_ns = at_ns};
    FLIGHT_SET_TEXT(entry.text, sentence);
    lock(log);
    (void)flight_series_add(&log->log->events, &entry, sizeof entry, FLIGHT_MAX_EVENTS);
    unlock(log);
}

void flightlog_add_round(struct flightlog *log, const struct gw_round *round)
{
    lock(log);
    (void)flight_series_add(&log->log->rounds, round, sizeof *round, FLIGHT_MAX_ROUNDS);
    log->round_since_decision = true;
    unlock(log);
}

static void fill_decision(struct flight_decision *entry, uint64_t at_ns,
                          const struct policy_decision *decision)
{
    entry->last_ns = at_ns;
    entry->count++;
    FLIGHT_SET_TEXT(entry->reason, decision->reason);
    entry->predicted_us =
        decision->predicted_pause_us == UINT64_MAX ? 0 : decision->predicted_pause_us;
    entry->bandwidth = decision->bandwidth;
    entry->dirty_rate = decision->dirty_rate;
}

void flightlog_add_decision(struct flightlog *log, uint64_t at_ns,
                            const struct policy_decision *decision)
{
    const char *action = policy_action_name(decision->action);
    lock(log);
    struct flight_series *series = &log->log->decisions;
    struct flight_decision *last =
        series->count > 0 ? (struct flight_decision *)series->entries + series->count - 1 : NULL;
    if (last && !log->round_since_decision && strcmp(last->action, action) == 0) {
        fill_decision(last, at_ns, decision);
    } else {
        struct flight_decision entry = {.at_ns = at_ns};
        FLIGHT_SET_TEXT(entry.action, action);
        fill_decision(&entry, at_ns, decision);
        (void)flight_series_add(series, &entry, sizeof entry, FLIGHT_MAX_DECISIONS);
    }
    log->round_since_decision = false;
    unlock(log);
}

void flightlog_set_pause(struct flightlog *log, uint64_t began_ns, uint64_t pause_us,
                         const struct gw_pause_parts *parts, uint64_t budget_us,
                         uint64_t predicted_us, uint64_t clock_error_us)
{
    lock(log);
    log->log->pause = (struct flight_pause){
        .present = true,
        .began_ns = began_ns,
        .pause_us = pause_us,
        .budget_us = budget_us,
        .predicted_us = predicted_us == UINT64_MAX ? 0 : predicted_us,
        .clock_error_us = clock_error_us,
        .parts = *parts,
    };
    unlock(log);
}

/* From a wall clock to the time since the migration began. */
static uint64_t since_begin(uint64_t when_ns, uint64_t wall_ns, uint64_t at_ns)
{
    return when_ns && when_ns <= wall_ns && wall_ns - when_ns < at_ns ? at_ns - (wall_ns - when_ns)
                                                                      : 0;
}

void flightlog_set_networks(struct flightlog *log, uint64_t at_ns,
                            const struct gw_network_times *networks, unsigned count)
{
    uint64_t wall_ns = host_realtime_ns();
    lock(log);
    struct flight_series *series = &log->log->networks;
    series->count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct flight_network entry = {
            .last_out_ns = since_begin(networks[i].last_out_ns, wall_ns, at_ns),
            .first_out_ns = since_begin(networks[i].first_out_ns, wall_ns, at_ns),
            .first_in_ns = since_begin(networks[i].first_in_ns, wall_ns, at_ns),
            .waited = networks[i].waited,
        };
        FLIGHT_SET_TEXT(entry.name, networks[i].name);
        FLIGHT_SET_TEXT(entry.stays, networks[i].stays);
        flight_series_add(series, &entry, sizeof entry, GW_MIGRATE_MAX_NETWORKS);
    }
    unlock(log);
}

static const char *verdict_status(enum gw_migrate_status status)
{
    return status == GW_MIGRATE_COMPLETED   ? "completed"
           : status == GW_MIGRATE_CANCELLED ? "cancelled"
                                            : "failed";
}

void flightlog_set_verdict(struct flightlog *log, uint64_t at_ns, enum gw_migrate_status status,
                           const char *phase, const char *failed_side, const struct gw_error *error,
                           const char *what_next)
{
    struct flight_verdict verdict = {.present = true, .at_ns = at_ns};
    FLIGHT_SET_TEXT(verdict.status, verdict_status(status));
    FLIGHT_SET_TEXT(verdict.phase, phase);
    FLIGHT_SET_TEXT(verdict.side, failed_side);
    FLIGHT_SET_TEXT(verdict.next, what_next);
    if (error && error->code != GW_CODE_NONE) {
        FLIGHT_SET_TEXT(verdict.layer, gw_layer_name(error->layer));
        FLIGHT_SET_TEXT(verdict.code, gw_code_name(error->code));
        FLIGHT_SET_TEXT(verdict.sentence, error->message);
    }
    lock(log);
    log->log->verdict = verdict;
    unlock(log);
}

void flightlog_set_totals(struct flightlog *log, const struct gw_migrate_info *info)
{
    lock(log);
    log->log->totals = (struct flight_totals){
        .present = true,
        .total_ms = info->total_ms,
        .setup_ms = info->setup_ms,
        .bytes_sent = info->bytes_sent,
        .pages_normal = info->pages_normal,
        .pages_zero = info->pages_zero,
    };
    unlock(log);
}

/* ---- Other documents ---- */

/* Takes over `earlier`. The flight's number counts on from the highest one. */
static void take_earlier(struct flightlog *log, struct gw_flight_log **earlier, size_t count,
                         uint64_t highest)
{
    lock(log);
    free_earlier(log->earlier, log->earlier_count);
    memcpy(log->earlier, earlier, count * sizeof *earlier);
    log->earlier_count = count;
    log->log->number = (highest < FLIGHT_MAX_NUMBER ? highest : FLIGHT_MAX_NUMBER - 1) + 1;
    unlock(log);
}

static struct gw_flight_log *load_condensed(const char *directory, const char *file)
{
    _cleanup_free_ char *path = NULL;
    struct gw_flight_log *whole = NULL;
    if (asprintf(&path, "%s/%s", directory, file) < 0) {
        path = NULL;
        return NULL;
    }
    if (gw_flight_log_load(path, &whole, NULL) < 0)
        return NULL;
    struct gw_flight_log *condensed = flight_condense(whole);
    gw_flight_log_free(whole);
    return condensed;
}

void flightlog_inherit(struct flightlog *log, const char *directory)
{
    struct gw_flight_log_entry *entries = NULL;
    struct gw_flight_log *found[GW_FLIGHT_LOG_EARLIER], *earlier[GW_FLIGHT_LOG_EARLIER];
    size_t entry_count = 0, bad, count = 0;
    uint64_t highest = 0;
    if (gw_flight_log_list(directory, &entries, &entry_count, &bad, NULL) < 0)
        return;
    for (size_t i = entry_count; i-- > 0 && count < GW_FLIGHT_LOG_EARLIER;) {
        if (strcmp(entries[i].summary.status, "completed") != 0)
            continue;
        struct gw_flight_log *one = load_condensed(directory, entries[i].file);
        if (!one)
            continue;
        highest = one->number > highest ? one->number : highest;
        found[count++] = one;
    }
    for (size_t i = 0; i < count; i++)
        earlier[i] = found[count - 1 - i];
    free(entries);
    take_earlier(log, earlier, count, highest);
}

static int decode_earlier(const json_t *array, struct gw_flight_log **earlier, size_t *count,
                          uint64_t *highest, struct gw_error *error)
{
    if (!json_is_array(array) || json_array_size(array) > GW_FLIGHT_LOG_EARLIER)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                            "the earlier flights are no array of at most %d",
                            GW_FLIGHT_LOG_EARLIER);
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct gw_flight_log *whole = NULL;
        int r = flight_decode(json_array_get(array, i), &whole, error);
        if (r < 0)
            return r;
        earlier[*count] = flight_condense(whole);
        gw_flight_log_free(whole);
        if (!earlier[*count])
            return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                                "no memory for the earlier flights");
        if (earlier[*count]->number > *highest)
            *highest = earlier[*count]->number;
        ++*count;
    }
    return 0;
}

static json_t *load_json(const void *json, size_t length, size_t limit, const char *what,
                         struct gw_error *error)
{
    json_error_t json_error = {0};
    if (length > limit) {
        (void)gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                           "%s of %zu bytes is over the limit of %zu", what, length, limit);
        return NULL;
    }
    json_t *value = json_loadb(json, length, JSON_REJECT_DUPLICATES, &json_error);
    if (!value)
        (void)gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                           "%s is no JSON: %s at line %d", what, json_error.text, json_error.line);
    return value;
}

int flightlog_set_earlier(struct flightlog *log, const void *json, size_t length,
                          struct gw_error *error)
{
    struct gw_flight_log *earlier[GW_FLIGHT_LOG_EARLIER];
    size_t count = 0;
    uint64_t highest = 0;
    if (length == 0)
        return 0;
    json_t *array =
        load_json(json, length, FLIGHTLOG_EARLIER_BYTES, "the list of earlier flights", error);
    if (!array)
        return -EINVAL;
    int r = decode_earlier(array, earlier, &count, &highest, error);
    json_decref(array);
    if (r < 0)
        free_earlier(earlier, count);
    else
        take_earlier(log, earlier, count, highest);
    return r;
}

int flightlog_set_other_side(struct flightlog *log, const void *json, size_t length,
                             struct gw_error *error)
{
    struct gw_flight_log *whole = NULL;
    json_t *document =
        load_json(json, length, GW_FLIGHT_LOG_MAX_BYTES, "the other side's flight log", error);
    if (!document)
        return -EINVAL;
    int r = flight_decode(document, &whole, error);
    json_decref(document);
    if (r < 0)
        return r;
    struct gw_flight_log *condensed = flight_condense(whole);
    gw_flight_log_free(whole);
    if (!condensed)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory for the other side's flight log");
    lock(log);
    if (strcmp(condensed->session, log->log->session) != 0) {
        r = gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                         "the other side's flight log is of another session");
    } else {
        if (!log->log->peer_host[0])
            FLIGHT_SET_TEXT(log->log->peer_host, condensed->host);
        FLIGHT_SET_TEXT(log->log->peer_program, condensed->program);
        gw_flight_log_free(log->log->other_side);
        log->log->other_side = TAKE_PTR(condensed);
    }
    unlock(log);
    gw_flight_log_free(condensed);
    return r;
}

/* ---- Writing ---- */

static char *dump(const struct gw_flight_log *log)
{
    json_t *document = flight_encode(log);
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    return text;
}

static char *dump_condensed(const struct gw_flight_log *log)
{
    struct gw_flight_log *condensed = flight_condense(log);
    char *text = condensed ? dump(condensed) : NULL;
    gw_flight_log_free(condensed);
    return text;
}

/* The document, condensed in the unlikely case that it would not be read again. */
static char *dump_bounded(const struct gw_flight_log *log)
{
    char *text = dump(log);
    if (!text || strlen(text) <= GW_FLIGHT_LOG_MAX_BYTES)
        return text;
    free(text);
    return dump_condensed(log);
}

static int append_text(struct gw_buf *out, char *text)
{
    int r = text ? gw_buf_append(out, text, strlen(text)) : -ENOMEM;
    free(text);
    return r;
}

int flightlog_serialise(struct flightlog *log, struct gw_buf *out)
{
    lock(log);
    char *text = dump_bounded(log->log);
    unlock(log);
    return append_text(out, text);
}

int flightlog_format_condensed(struct flightlog *log, struct gw_buf *out)
{
    lock(log);
    char *text = dump_condensed(log->log);
    unlock(log);
    return append_text(out, text);
}

static json_t *encode_earlier(const struct flightlog *log, size_t from)
{
    json_t *array = json_array();
    for (size_t i = from; array && i < log->earlier_count; i++) {
        if (json_array_append_new(array, flight_encode(log->earlier[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

int flightlog_format_earlier(struct flightlog *log, struct gw_buf *out)
{
    char *text = NULL;
    lock(log);
    for (size_t from = 0; from <= log->earlier_count; from++) {
        json_t *array = encode_earlier(log, from);
        free(text);
        text = array ? json_dumps(array, JSON_COMPACT) : NULL;
        json_decref(array);
        if (!text || strlen(text) <= FLIGHTLOG_EARLIER_BYTES)
            break;
    }
    unlock(log);
    return append_text(out, text);
}

static int write_document(const char *directory, const struct gw_flight_log *log, bool replace,
                          struct gw_error *error)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/%s.json", directory, log->session) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    if (!replace && access(path, F_OK) == 0)
        return 0;
    _cleanup_free_ char *text = dump_bounded(log);
    if (!text)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory to write " WHAT " '%s'", path);
    return file_replace(path, WHAT, text, strlen(text), false, error);
}

static bool is_document(const char *name)
{
    return strlen(name) == 37 && strspn(name, "0123456789abcdef") == 32 &&
           strcmp(name + 32, ".json") == 0;
}

/* The document that was written longest ago, and how many there are. */
static size_t find_oldest(DIR *directory, char *name, size_t bytes)
{
    size_t count = 0;
    struct timespec oldest = {0};
    rewinddir(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        struct stat status;
        if (!is_document(entry->d_name) ||
            fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        bool older =
            status.st_mtim.tv_sec < oldest.tv_sec ||
            (status.st_mtim.tv_sec == oldest.tv_sec && status.st_mtim.tv_nsec < oldest.tv_nsec);
        if (count++ == 0 || older) {
            oldest = status.st_mtim;
            snprintf(name, bytes, "%s", entry->d_name);
        }
    }
    return count;
}

static void remove_oldest(const char *path)
{
    char name[40];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (!directory)
        return;
    (void)TAKE_FD(fd);
    while (find_oldest(directory, name, sizeof name) > MAX_FILES)
        if (unlinkat(dirfd(directory), name, 0) < 0)
            break;
    closedir(directory);
}

static int write_all(const struct flightlog *log, const char *directory, struct gw_error *error)
{
    bool arrived = strcmp(log->log->role, "destination") == 0 &&
                   strcmp(log->log->verdict.status, "completed") == 0;
    for (size_t i = 0; arrived && i < log->earlier_count; i++)
        (void)write_document(directory, log->earlier[i], false, NULL);
    return write_document(directory, log->log, true, error);
}

int flightlog_write(struct flightlog *log, const char *directory, struct gw_error *error)
{
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(errno), -errno,
                            "cannot make the folder of flight logs '%s': %s", directory,
                            strerror(errno));
    lock(log);
    int r = write_all(log, directory, error);
    unlock(log);
    remove_oldest(directory);
    return r;
}
