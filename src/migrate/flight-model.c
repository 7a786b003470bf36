/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/flight-model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define FORMAT "godwit-flight-log"
#define VERSION 1

enum field_kind {
    FIELD_NUMBER, /* uint64_t */
    FIELD_BOOL,
    FIELD_TEXT,   /* char[size] */
    FIELD_OBJECT, /* a struct described by `fields`; written when *(bool *)present is true */
    FIELD_SERIES, /* struct flight_series of entries of `size` bytes described by `fields` */
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset, size;
    const struct field *fields; /* ends with a NULL name */
    size_t maximum;             /* entries of a series */
    size_t present;             /* offset of an object's presence flag, or ALWAYS */
    bool required;
};

#define ALWAYS SIZE_MAX
#define NUMBER(type, member)                                                                       \
    {                                                                                              \
        .name = #member, .kind = FIELD_NUMBER, .offset = offsetof(type, member)                    \
    }
#define BOOL(type, member)                                                                         \
    {                                                                                              \
        .name = #member, .kind = FIELD_BOOL, .offset = offsetof(type, member)                      \
    }
#define TEXT(type, member)                                                                         \
    {                                                                                              \
        .name = #member, .kind = FIELD_TEXT, .offset = offsetof(type, member),                     \
        .size = sizeof(((type *)0)->member)                                                        \
    }
#define SERIES(member, type, table, limit)                                                         \
    {                                                                                              \
        .name = #member, .kind = FIELD_SERIES, .offset = offsetof(struct gw_flight_log, member),   \
        .size = sizeof(type), .fields = table, .maximum = limit                                    \
    }
#define OBJECT(member, type)                                                                       \
    {                                                                                              \
        .name = #member, .kind = FIELD_OBJECT, .offset = offsetof(struct gw_flight_log, member),   \
        .fields = member##_fields, .present = offsetof(type, present)                              \
    }
#define END                                                                                        \
    {                                                                                              \
        .name = NULL                                                                               \
    }

static const struct field parameters_fields[] = {
    NUMBER(struct flight_parameters, at_ns),
    NUMBER(struct flight_parameters, max_bandwidth),
    NUMBER(struct flight_parameters, downtime_limit_ms),
    NUMBER(struct flight_parameters, deadline_ms),
    NUMBER(struct flight_parameters, peer_timeout_ms),
    BOOL(struct flight_parameters, verify_ram),
    END,
};

static const struct field phases_fields[] = {
    NUMBER(struct flight_phase, at_ns),
    TEXT(struct flight_phase, name),
    END,
};

static const struct field events_fields[] = {
    NUMBER(struct flight_event, at_ns),
    TEXT(struct flight_event, text),
    END,
};

static const struct field rounds_fields[] = {
    NUMBER(struct gw_round, number),          NUMBER(struct gw_round, started_ns),
    NUMBER(struct gw_round, duration_ns),     NUMBER(struct gw_round, dirty_pages),
    NUMBER(struct gw_round, raw_pages),       NUMBER(struct gw_round, zero_pages),
    NUMBER(struct gw_round, skipped_pages),   NUMBER(struct gw_round, wire_bytes),
    NUMBER(struct gw_round, bandwidth),       NUMBER(struct gw_round, dirty_rate),
    NUMBER(struct gw_round, remaining_bytes), END,
};

static const struct field decisions_fields[] = {
    NUMBER(struct flight_decision, at_ns),
    NUMBER(struct flight_decision, last_ns),
    NUMBER(struct flight_decision, count),
    TEXT(struct flight_decision, action),
    TEXT(struct flight_decision, reason),
    NUMBER(struct flight_decision, predicted_us),
    NUMBER(struct flight_decision, bandwidth),
    NUMBER(struct flight_decision, dirty_rate),
    END,
};

static const struct field networks_fields[] = {
    TEXT(struct flight_network, name),           NUMBER(struct flight_network, last_out_ns),
    NUMBER(struct flight_network, first_out_ns), NUMBER(struct flight_network, first_in_ns),
    NUMBER(struct flight_network, waited),       TEXT(struct flight_network, stays),
    END,
};

static const struct field parts_fields[] = {
    NUMBER(struct gw_pause_parts, stop_us),  NUMBER(struct gw_pause_parts, ram_us),
    NUMBER(struct gw_pause_parts, save_us),  NUMBER(struct gw_pause_parts, send_us),
    NUMBER(struct gw_pause_parts, load_us),  NUMBER(struct gw_pause_parts, verify_us),
    NUMBER(struct gw_pause_parts, ready_us), NUMBER(struct gw_pause_parts, commit_us),
    NUMBER(struct gw_pause_parts, start_us), END,
};

static const struct field pause_fields[] = {
    NUMBER(struct flight_pause, began_ns),
    NUMBER(struct flight_pause, pause_us),
    NUMBER(struct flight_pause, budget_us),
    NUMBER(struct flight_pause, predicted_us),
    NUMBER(struct flight_pause, clock_error_us),
    {.name = "parts",
     .kind = FIELD_OBJECT,
     .offset = offsetof(struct flight_pause, parts),
     .fields = parts_fields,
     .present = ALWAYS},
    END,
};

static const struct field totals_fields[] = {
    NUMBER(struct flight_totals, total_ms),   NUMBER(struct flight_totals, setup_ms),
    NUMBER(struct flight_totals, bytes_sent), NUMBER(struct flight_totals, pages_normal),
    NUMBER(struct flight_totals, pages_zero), END,
};

static const struct field verdict_fields[] = {
    NUMBER(struct flight_verdict, at_ns),
    TEXT(struct flight_verdict, status),
    TEXT(struct flight_verdict, phase),
    TEXT(struct flight_verdict, side),
    TEXT(struct flight_verdict, layer),
    TEXT(struct flight_verdict, code),
    TEXT(struct flight_verdict, sentence),
    TEXT(struct flight_verdict, next),
    END,
};

#define LEFT_OUT(member)                                                                           \
    {                                                                                              \
        .name = #member "_left_out", .kind = FIELD_NUMBER,                                         \
        .offset = offsetof(struct gw_flight_log, member.left_out)                                  \
    }

static const struct field log_fields[] = {
    {.name = "session",
     .kind = FIELD_TEXT,
     .offset = offsetof(struct gw_flight_log, session),
     .size = sizeof(((struct gw_flight_log *)0)->session),
     .required = true},
    {.name = "role",
     .kind = FIELD_TEXT,
     .offset = offsetof(struct gw_flight_log, role),
     .size = sizeof(((struct gw_flight_log *)0)->role),
     .required = true},
    {.name = "started_ms",
     .kind = FIELD_NUMBER,
     .offset = offsetof(struct gw_flight_log, started_ms),
     .required = true},
    NUMBER(struct gw_flight_log, number),
    TEXT(struct gw_flight_log, machine),
    TEXT(struct gw_flight_log, uri),
    TEXT(struct gw_flight_log, host),
    TEXT(struct gw_flight_log, program),
    TEXT(struct gw_flight_log, peer_host),
    TEXT(struct gw_flight_log, peer_program),
    NUMBER(struct gw_flight_log, ram_bytes),
    BOOL(struct gw_flight_log, same_host),
    BOOL(struct gw_flight_log, condensed),
    SERIES(parameters, struct flight_parameters, parameters_fields, FLIGHT_MAX_PARAMETERS),
    SERIES(phases, struct flight_phase, phases_fields, FLIGHT_MAX_PHASES),
    SERIES(events, struct flight_event, events_fields, FLIGHT_MAX_EVENTS),
    LEFT_OUT(events),
    SERIES(rounds, struct gw_round, rounds_fields, FLIGHT_MAX_ROUNDS),
    LEFT_OUT(rounds),
    SERIES(decisions, struct flight_decision, decisions_fields, FLIGHT_MAX_DECISIONS),
    LEFT_OUT(decisions),
    SERIES(networks, struct flight_network, networks_fields, GW_MIGRATE_MAX_NETWORKS),
    OBJECT(pause, struct flight_pause),
    OBJECT(totals, struct flight_totals),
    OBJECT(verdict, struct flight_verdict),
    END,
};

/* ---- Text and series ---- */

bool flight_is_session(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

/* Bytes of the UTF-8 character at `at` (RFC 3629 §4), or 0 when it is none. */
static size_t character_bytes(const unsigned char *at)
{
    size_t bytes = *at < 0x80                  ? 1
                   : *at >= 0xc2 && *at < 0xe0 ? 2
                   : *at >= 0xe0 && *at < 0xf0 ? 3
                   : *at >= 0xf0 && *at < 0xf5 ? 4
                                               : 0;
    for (size_t i = 1; i < bytes; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && bytes == 3 && at[1] < 0xa0) ||
                    (at[0] == 0xf0 && bytes == 4 && at[1] < 0x90);
    bool no_character = (at[0] == 0xed && bytes == 3 && at[1] >= 0xa0) ||
                        (at[0] == 0xf4 && bytes == 4 && at[1] >= 0x90);
    return overlong || no_character ? 0 : bytes;
}

static bool is_control(unsigned char byte)
{
    return byte < ' ' || byte == 0x7f;
}

void flight_set_text(char *field, size_t bytes, const char *text)
{
    size_t used = 0;
    const unsigned char *at = (const unsigned char *)(text ? text : "");
    while (*at) {
        size_t length = character_bytes(at);
        if (used + (length ? length : 1) >= bytes)
            break;
        if (length == 0 || is_control(*at)) {
            field[used++] = '?';
            at++;
            continue;
        }
        memcpy(field + used, at, length);
        used += length;
        at += length;
    }
    field[used] = '\0';
}

static bool grow(struct flight_series *series, size_t entry_bytes, size_t maximum)
{
    size_t capacity = series->capacity ? series->capacity * 2 : 16;
    if (capacity > maximum)
        capacity = maximum;
    void *entries = realloc(series->entries, capacity * entry_bytes);
    if (!entries)
        return false;
    series->entries = entries;
    series->capacity = capacity;
    return true;
}

bool flight_series_add(struct flight_series *series, const void *entry, size_t entry_bytes,
                       size_t maximum)
{
    char *entries = series->entries;
    if (series->count == maximum) { /* the first quarter stays, then the latest */
        size_t drop = maximum / 4;
        memmove(entries + drop * entry_bytes, entries + (drop + 1) * entry_bytes,
                (maximum - drop - 1) * entry_bytes);
        series->count--;
        series->left_out++;
    } else if (series->count == series->capacity && !grow(series, entry_bytes, maximum)) {
        series->left_out++;
        return false;
    }
    entries = series->entries;
    memcpy(entries + series->count++ * entry_bytes, entry, entry_bytes);
    return true;
}

void gw_flight_log_free(struct gw_flight_log *log)
{
    if (!log)
        return;
    free(log->parameters.entries);
    free(log->phases.entries);
    free(log->events.entries);
    free(log->rounds.entries);
    free(log->decisions.entries);
    free(log->networks.entries);
    gw_flight_log_free(log->other_side);
    free(log);
}

/* ---- Writing ---- */

static json_t *encode_fields(const struct field *fields, const char *base);

static json_t *encode_series(const struct field *field, const struct flight_series *series)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < series->count; i++) {
        const char *entry = (const char *)series->entries + i * field->size;
        if (json_array_append_new(array, encode_fields(field->fields, entry)) < 0) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static json_t *encode_field(const struct field *field, const char *base)
{
    const char *at = base + field->offset;
    uint64_t number;
    switch (field->kind) {
    case FIELD_NUMBER:
        memcpy(&number, at, sizeof number);
        return json_integer((json_int_t)(number < FLIGHT_MAX_NUMBER ? number : FLIGHT_MAX_NUMBER));
    case FIELD_BOOL:
        return json_boolean(*(const bool *)at);
    case FIELD_TEXT:
        return json_string(at);
    case FIELD_OBJECT:
        return encode_fields(field->fields, at);
    case FIELD_SERIES:
        return encode_series(field, (const struct flight_series *)(const void *)at);
    }
    return NULL;
}

static bool is_absent(const struct field *field, const char *base)
{
    return field->kind == FIELD_OBJECT && field->present != ALWAYS &&
           !*(const bool *)(base + field->offset + field->present);
}

static json_t *encode_fields(const struct field *fields, const char *base)
{
    json_t *object = json_object();
    for (const struct field *field = fields; object && field->name; field++) {
        if (is_absent(field, base))
            continue;
        if (json_object_set_new(object, field->name, encode_field(field, base)) < 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

json_t *flight_encode(const struct gw_flight_log *log)
{
    json_t *fields = encode_fields(log_fields, (const char *)log);
    json_t *document = json_pack("{s:s, s:i}", "format", FORMAT, "version", VERSION);
    json_t *other = log->other_side ? flight_encode(log->other_side) : NULL;
    bool good =
        fields && document && json_object_update(document, fields) == 0 &&
        (!log->other_side || (other && json_object_set(document, "other_side", other) == 0));
    json_decref(fields);
    json_decref(other);
    if (good)
        return document;
    json_decref(document);
    return NULL;
}

/* ---- Reading ---- */

static int refuse(struct gw_error *error, const char *name, const char *why)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                        "flight log: field '%s' %s", name, why);
}

static int decode_fields(const json_t *object, const struct field *fields, char *base,
                         struct gw_error *error);

static int decode_number(const json_t *value, const struct field *field, char *at,
                         struct gw_error *error)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > FLIGHT_MAX_NUMBER)
        return refuse(error, field->name, "is no integer from 0 to 2^53");
    uint64_t number = (uint64_t)json_integer_value(value);
    memcpy(at, &number, sizeof number);
    return 0;
}

static int decode_text(const json_t *value, const struct field *field, char *at,
                       struct gw_error *error)
{
    if (!json_is_string(value) || json_string_length(value) >= field->size)
        return refuse(error, field->name, "is no text, or too long");
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    for (size_t i = 0; i < length; i++)
        if (is_control((unsigned char)text[i]))
            return refuse(error, field->name, "holds a control character");
    memcpy(at, text, length + 1);
    return 0;
}

static int decode_series(const json_t *value, const struct field *field, char *at,
                         struct gw_error *error)
{
    struct flight_series *series = (struct flight_series *)(void *)at;
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count > field->maximum)
        return refuse(error, field->name, "is no array, or too long");
    if (count == 0)
        return 0;
    series->entries = calloc(count, field->size);
    if (!series->entries)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory to read a flight log");
    series->count = series->capacity = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(value, i);
        if (!json_is_object(entry))
            return refuse(error, field->name, "holds something that is no object");
        int r =
            decode_fields(entry, field->fields, (char *)series->entries + i * field->size, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int decode_field(const json_t *value, const struct field *field, char *base,
                        struct gw_error *error)
{
    char *at = base + field->offset;
    switch (field->kind) {
    case FIELD_NUMBER:
        return decode_number(value, field, at, error);
    case FIELD_BOOL:
        if (!json_is_boolean(value))
            return refuse(error, field->name, "is neither true nor false");
        *(bool *)at = json_is_true(value);
        return 0;
    case FIELD_TEXT:
        return decode_text(value, field, at, error);
    case FIELD_OBJECT:
        if (!json_is_object(value))
            return refuse(error, field->name, "is no object");
        if (field->present != ALWAYS)
            *(bool *)(at + field->present) = true;
        return decode_fields(value, field->fields, at, error);
    case FIELD_SERIES:
        return decode_series(value, field, at, error);
    }
    return -EINVAL;
}

static int decode_fields(const json_t *object, const struct field *fields, char *base,
                         struct gw_error *error)
{
    for (const struct field *field = fields; field->name; field++) {
        const json_t *value = json_object_get(object, field->name);
        if (!value && field->required)
            return refuse(error, field->name, "is missing");
        int r = value ? decode_field(value, field, base, error) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_kind(const json_t *document, struct gw_error *error)
{
    const char *format = json_string_value(json_object_get(document, "format"));
    if (!format || strcmp(format, FORMAT) != 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                            "this is not a migration log: it lacks the format '" FORMAT "'");
    const json_t *version = json_object_get(document, "version");
    if (!json_is_integer(version) || json_integer_value(version) != VERSION)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_VERSION, -EINVAL,
                            "flight log: this program reads version %d only", VERSION);
    return 0;
}

static int decode_side(const json_t *document, struct gw_flight_log *log, struct gw_error *error)
{
    int r = check_kind(document, error);
    if (r == 0)
        r = decode_fields(document, log_fields, (char *)log, error);
    if (r < 0)
        return r;
    if (!flight_is_session(log->session))
        return refuse(error, "session", "is not 32 hexadecimal digits");
    if (strcmp(log->role, "source") != 0 && strcmp(log->role, "destination") != 0)
        return refuse(error, "role", "is neither source nor destination");
    return 0;
}

static int decode_other_side(const json_t *document, struct gw_flight_log *log,
                             struct gw_error *error)
{
    const json_t *other = json_object_get(document, "other_side");
    if (!other)
        return 0;
    log->other_side = calloc(1, sizeof *log->other_side);
    if (!log->other_side)
        return -ENOMEM;
    int r = decode_side(other, log->other_side, error);
    if (r == 0 && strcmp(log->other_side->session, log->session) != 0)
        return refuse(error, "other_side", "is of another session");
    return r;
}

int flight_decode(const json_t *document, struct gw_flight_log **ret_log, struct gw_error *error)
{
    struct gw_flight_log *log = calloc(1, sizeof *log);
    if (!log)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_NO_RESOURCE, -ENOMEM,
                            "no memory to read a flight log");
    int r = decode_side(document, log, error);
    if (r == 0)
        r = decode_other_side(document, log, error);
    if (r < 0) {
        gw_flight_log_free(log);
        return r;
    }
    *ret_log = log;
    return 0;
}

/* ---- Telling ---- */

const struct gw_flight_log *flight_teller(const struct gw_flight_log *log)
{
    const struct gw_flight_log *other = log->other_side;
    return other && strcmp(other->role, "source") == 0 ? other : log;
}

const struct flight_network *flight_find_network(const struct gw_flight_log *log, const char *name)
{
    const struct flight_network *networks = log->networks.entries;
    for (size_t i = 0; i < log->networks.count; i++)
        if (strcmp(networks[i].name, name) == 0)
            return &networks[i];
    return NULL;
}

uint64_t flight_pause_ends_ns(const struct flight_pause *pause)
{
    return pause->began_ns + pause->pause_us * 1000;
}

/* ---- Condensing ---- */

/* `keep` entries of a series: the last ones, or an even choice that includes the first and the
 * last. */
static bool copy_series(struct flight_series *to, const struct flight_series *from,
                        size_t entry_bytes, size_t keep, bool evenly)
{
    size_t count = from->count < keep ? from->count : keep;
    to->left_out = from->left_out + (from->count - count);
    for (size_t i = 0; i < count; i++) {
        size_t index =
            evenly && count > 1 ? i * (from->count - 1) / (count - 1) : from->count - count + i;
        if (!flight_series_add(to, (const char *)from->entries + index * entry_bytes, entry_bytes,
                               keep))
            return false;
    }
    return true;
}

/* On the clock of whoever tells the flight. */
static uint64_t on_clock(uint64_t at_ns, const struct gw_flight_log *log,
                         const struct gw_flight_log *teller)
{
    uint64_t ran_ns = flight_pause_ends_ns(&log->pause);
    return at_ns > ran_ns ? at_ns - ran_ns + flight_pause_ends_ns(&teller->pause) : 0;
}

/* What both sides saw. */
static bool copy_networks(struct flight_series *to, const struct gw_flight_log *log,
                          const struct gw_flight_log *teller)
{
    const struct flight_network *networks = log->networks.entries;
    bool good = true;
    for (size_t i = 0; i < log->networks.count; i++) {
        struct flight_network entry = networks[i];
        const struct flight_network *told = flight_find_network(teller, entry.name);
        if (teller != log) {
            entry.last_out_ns = told ? told->last_out_ns : 0;
            FLIGHT_SET_TEXT(entry.stays, told ? told->stays : "");
            entry.first_out_ns = on_clock(entry.first_out_ns, log, teller);
            entry.first_in_ns = on_clock(entry.first_in_ns, log, teller);
        }
        good &= flight_series_add(to, &entry, sizeof entry, GW_MIGRATE_MAX_NETWORKS);
    }
    return good;
}

/* Without the other side, but with its figures where they tell the flight. */
struct gw_flight_log *flight_condense(const struct gw_flight_log *log)
{
    const struct gw_flight_log *teller = flight_teller(log);
    struct gw_flight_log *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *log;
    copy->condensed = true;
    copy->other_side = NULL;
    copy->totals = teller->totals;
    copy->pause = teller->pause;
    copy->verdict.at_ns = teller->verdict.at_ns;
    copy->parameters = copy->phases = copy->events = copy->rounds = copy->decisions =
        copy->networks = (struct flight_series){0};
    if (copy_series(&copy->parameters, &teller->parameters, sizeof(struct flight_parameters), 4,
                    false) &&
        copy_series(&copy->phases, &teller->phases, sizeof(struct flight_phase), 16, false) &&
        copy_series(&copy->events, &teller->events, sizeof(struct flight_event), 8, false) &&
        copy_series(&copy->rounds, &teller->rounds, sizeof(struct gw_round), 32, true) &&
        copy_series(&copy->decisions, &teller->decisions, sizeof(struct flight_decision), 8,
                    false) &&
        copy_networks(&copy->networks, log, teller))
        return copy;
    gw_flight_log_free(copy);
    return NULL;
}
