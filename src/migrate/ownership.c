/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ownership record (docs/protocol.md, Handoff), a file of its own so that people and scripts
 * can read it:
 *
 *     {"version": 1, "state": "released", "epoch": 5, "session": "0123…", "peer": "tcp:host:4444"}
 *
 * What the record says decides whether a guest may run, so a file that is not exactly of this form
 * is an error and never guessed at.
 */
#include <godwit/migrate.h>

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/cleanup.h"
#include "migrate/file.h"

#define VERSION 1
#define MAX_RECORD_BYTES 4096
#define WHAT "ownership record"

static const char *const state_names[] = {
    [GW_OWNER_OWNER] = "owner",       [GW_OWNER_RELEASED] = "released",
    [GW_OWNER_INCOMING] = "incoming", [GW_OWNER_REFUSED] = "refused",
    [GW_OWNER_NOBODY] = "nobody",
};

const char *gw_owner_state_name(enum gw_owner_state state)
{
    return (size_t)state < ARRAY_COUNT(state_names) ? state_names[state] : "unknown";
}

static int state_from_name(const char *name, enum gw_owner_state *ret_state)
{
    for (size_t i = 0; i < ARRAY_COUNT(state_names); i++) {
        if (strcmp(state_names[i], name) == 0) {
            *ret_state = (enum gw_owner_state)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Empty, or 32 lower-case hexadecimal digits. */
static bool is_session(const char *text)
{
    size_t length = strlen(text);
    return length == 0 || (length == 32 && strspn(text, "0123456789abcdef") == 32);
}

static bool is_printable(const char *text, size_t limit)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
    return length < limit;
}

static int refuse(const char *path, const char *why, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                        WHAT
                        " '%s' is damaged: %s; it decides whether the guest may run, so look at "
                        "both hosts before you repair or remove it",
                        path, why);
}

/* The five fields, checked; NULL or what is wrong. */
static const char *decode(const json_t *object, struct gw_ownership *record)
{
    json_int_t version, epoch;
    const char *state, *session, *peer;
    json_error_t json_error;
    if (json_unpack_ex((json_t *)object, &json_error, JSON_STRICT, "{s:I, s:s, s:I, s:s, s:s}",
                       "version", &version, "state", &state, "epoch", &epoch, "session", &session,
                       "peer", &peer) < 0)
        return "it must have exactly the fields version, state, epoch, session and peer";
    if (version != VERSION)
        return "its version is not 1";
    if (state_from_name(state, &record->state) < 0)
        return "its state is unknown";
    if (epoch < 0)
        return "its epoch is negative";
    if (!is_session(session))
        return "its session is not 32 hexadecimal digits";
    if (!is_printable(peer, sizeof record->peer))
        return "its peer is too long or not printable";
    record->epoch = (uint64_t)epoch;
    memcpy(record->session, session, strlen(session) + 1);
    memcpy(record->peer, peer, strlen(peer) + 1);
    return NULL;
}

static void cleanup_json(json_t **value)
{
    json_decref(*value);
}

static void cleanup_buf(struct gw_buf *buf)
{
    gw_buf_fini(buf);
}

int gw_ownership_read(const char *path, struct gw_ownership *ret_record, struct gw_error *error)
{
    _cleanup_(cleanup_buf) struct gw_buf text = {0};
    int r = file_read(path, WHAT, MAX_RECORD_BYTES, &text, error);
    if (r < 0)
        return r;
    json_error_t json_error;
    _cleanup_(cleanup_json) json_t *object = json_loadb(
        text.data ? (char *)text.data : "", text.length, JSON_REJECT_DUPLICATES, &json_error);
    if (!object)
        return refuse(path, json_error.text, error);
    struct gw_ownership record = {0};
    const char *wrong = decode(object, &record);
    if (wrong)
        return refuse(path, wrong, error);
    *ret_record = record;
    return 0;
}

int gw_ownership_write(const char *path, const struct gw_ownership *record, struct gw_error *error)
{
    if ((size_t)record->state >= ARRAY_COUNT(state_names) || record->epoch > INT64_MAX ||
        !is_session(record->session) || !is_printable(record->peer, sizeof record->peer))
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INVALID, -EINVAL,
                            WHAT " for '%s' has a field that cannot be read back", path);
    _cleanup_(cleanup_json) json_t *object =
        json_pack("{s:i, s:s, s:I, s:s, s:s}", "version", VERSION, "state",
                  gw_owner_state_name(record->state), "epoch", (json_int_t)record->epoch, "session",
                  record->session, "peer", record->peer);
    _cleanup_free_ char *text = object ? json_dumps(object, JSON_INDENT(1)) : NULL;
    if (!text)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INVALID, -EINVAL,
                            WHAT " for '%s' cannot be written as JSON", path);
    return file_replace(path, WHAT, text, strlen(text), true, error);
}
