/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptors that a client has passed: kept by name until used, closed or the client is gone.
 */
#include "vmm/qmp-dispatch.h"

#include <string.h>

#include "base/cleanup.h"

void qmp_session_init(struct qmp_session *session)
{
    *session = (struct qmp_session){.passed_fd = -1};
}

void qmp_session_fini(struct qmp_session *session)
{
    for (unsigned i = 0; i < session->fd_count; i++)
        close(session->fds[i].fd);
    if (session->passed_fd >= 0)
        close(session->passed_fd);
    qmp_session_init(session);
}

int qmp_session_take_fd(struct qmp_session *session, const char *name)
{
    for (unsigned i = 0; i < session->fd_count; i++) {
        int fd = session->fds[i].fd;

        if (strcmp(session->fds[i].name, name) != 0)
            continue;
        session->fds[i] = session->fds[--session->fd_count];
        return fd;
    }
    return -ENOENT;
}

json_t *qmp_run_getfd(struct qmp_call *call, struct gw_error *error)
{
    struct qmp_session *session = call->session;
    const char *name = json_string_value(json_object_get(call->arguments, "fdname"));
    _cleanup_close_ int fd = TAKE_FD(session->passed_fd);
    int old;

    if (fd < 0) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EBADF,
                     "No file descriptor came with the request (SCM_RIGHTS)");
        return NULL;
    }
    if (!name[0] || (name[0] >= '0' && name[0] <= '9') || strlen(name) >= QMP_FD_NAME_BYTES) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_INVALID, -EINVAL,
                     "Parameter 'fdname' must be 1 to %d bytes and not begin with a digit",
                     QMP_FD_NAME_BYTES - 1);
        return NULL;
    }
    old = qmp_session_take_fd(session, name);
    if (old >= 0)
        close(old);
    if (session->fd_count == QMP_MAX_FDS) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOSPC,
                     "This connection already keeps %d descriptors: use or close one first",
                     QMP_MAX_FDS);
        return NULL;
    }
    memcpy(session->fds[session->fd_count].name, name, strlen(name) + 1);
    session->fds[session->fd_count++].fd = TAKE_FD(fd);
    return json_object();
}

json_t *qmp_run_closefd(struct qmp_call *call, struct gw_error *error)
{
    const char *name = json_string_value(json_object_get(call->arguments, "fdname"));
    int fd = qmp_session_take_fd(call->session, name);

    if (fd < 0) {
        gw_error_set(error, GW_LAYER_VMM, GW_CODE_NOT_FOUND, -ENOENT,
                     "File descriptor named '%.64s' not found", name);
        return NULL;
    }
    close(fd);
    return json_object();
}
