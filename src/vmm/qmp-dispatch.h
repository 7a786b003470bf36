/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one request to one reply (docs/control.md): parse, look the command up, check its arguments
 * against the table, run it. No I/O and no knowledge of machines, so that tests and the fuzzer
 * drive it.
 */
#ifndef VMM_QMP_DISPATCH_H
#define VMM_QMP_DISPATCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <godwit/error.h>

enum qmp_type { QMP_STR, QMP_INT, QMP_BOOL, QMP_LIST };

/* A command's arguments are an array of these, ended by a NULL name. QMP_INT is never negative. */
struct qmp_argument {
    const char *name;
    enum qmp_type type;
    bool optional;
};

#define QMP_MAX_FDS 16
#define QMP_FD_NAME_BYTES 64

/* What a connection has of its own: one client, one thread. */
struct qmp_session {
    bool negotiated;
    int passed_fd; /* came with the bytes of the present request (SCM_RIGHTS), or -1; owned */
    struct {
        char name[QMP_FD_NAME_BYTES];
        int fd;
    } fds[QMP_MAX_FDS];
    unsigned fd_count;
};

void qmp_session_init(struct qmp_session *session);
void qmp_session_fini(struct qmp_session *session); /* closes its descriptors */

/* The descriptor kept under this name, now the caller's; -ENOENT. */
int qmp_session_take_fd(struct qmp_session *session, const char *name);

struct qmp_dispatch;

struct qmp_call {
    const struct qmp_dispatch *dispatch;
    struct qmp_session *session;
    const json_t *arguments; /* checked against the command's table; an object, perhaps empty */
    void *backend;
};

struct qmp_command {
    const char *name;
    const struct qmp_argument *arguments;
    /* The value of "return", a new reference, or NULL with `error` filled. */
    json_t *(*run)(struct qmp_call *call, struct gw_error *error);
};

struct qmp_dispatch {
    const struct qmp_command *commands;
    size_t count;
    void *backend;
};

/* The reply to one request, a new reference; NULL only without memory. */
json_t *qmp_dispatch(const struct qmp_dispatch *dispatch, struct qmp_session *session,
                     const char *text, size_t length);

json_t *qmp_greeting(void);
/* An event message around `data` (reference stolen, may be NULL). */
json_t *qmp_event_message(const char *name, json_t *data);
/* A GenericError reply without id. */
json_t *qmp_error_message(const struct gw_error *error);

/* Commands that need no machine, for the table. */
json_t *qmp_run_capabilities(struct qmp_call *call, struct gw_error *error);
json_t *qmp_run_query_commands(struct qmp_call *call, struct gw_error *error);
json_t *qmp_run_query_version(struct qmp_call *call, struct gw_error *error);
json_t *qmp_run_getfd(struct qmp_call *call, struct gw_error *error);
json_t *qmp_run_closefd(struct qmp_call *call, struct gw_error *error);

extern const struct qmp_argument qmp_no_arguments[];

#endif
