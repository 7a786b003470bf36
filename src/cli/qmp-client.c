/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/qmp-client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <godwit/buf.h>
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unix-socket.h"

enum {
    ANSWER_TIMEOUT_MS = 10000,
    MESSAGE_LIMIT_BYTES = 16 << 20, /* the deterministic state of a machine as JSON fits */
};

struct qmp_client {
    int fd;
    struct gw_buf input; /* bytes received and not yet parsed: messages end with a newline */
    uint64_t last_id;
};

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_CLI, code, number, __VA_ARGS__)

/* Reads until one whole line is there, and parses it. */
static int receive(struct qmp_client *client, uint64_t deadline_ns, json_t **ret_message,
                   struct gw_error *error)
{
    size_t searched = 0;
    for (;;) {
        uint8_t *end = client->input.length > searched
                           ? memchr(client->input.data + searched, '\n', client->input.length - searched)
                           : NULL;
        if (end) {
            size_t length = (size_t)(end - client->input.data);
            json_error_t where;
            json_t *message = json_loadb((char *)client->input.data, length, 0, &where);
            gw_buf_consume(&client->input, length + 1);
            if (!message)
                return FAIL(GW_CODE_CORRUPT, -EPROTO, "the control socket sent what is not JSON: %s",
                            where.text);
            *ret_message = message;
            return 0;
        }
        searched = client->input.length;
        uint64_t now = host_monotonic_ns();
        struct pollfd wait = {.fd = client->fd, .events = POLLIN};
        if (now >= deadline_ns || poll(&wait, 1, (int)((deadline_ns - now) / 1000000) + 1) == 0)
            return FAIL(GW_CODE_TIMEOUT, -ETIMEDOUT, "the machine's process does not answer");
        uint8_t bytes[65536];
        ssize_t got = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return FAIL(GW_CODE_DISCONNECTED, -ECONNRESET,
                        "the machine's process closed the control socket");
        if (gw_buf_append(&client->input, bytes, (size_t)got) < 0)
            return FAIL(GW_CODE_CORRUPT, -EPROTO, "the control socket sent an endless message");
    }
}

/* One send() of what is left, with `fd` attached unless it is negative. */
static ssize_t send_some(int socket_fd, char *bytes, size_t length, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        control.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    return sendmsg(socket_fd, &message, MSG_NOSIGNAL);
}

static int send_message(struct qmp_client *client, json_t *message, int fd, struct gw_error *error)
{
    _cleanup_free_ char *text = json_dumps(message, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0;
    if (!text)
        return FAIL(GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    text[length++] = '\n'; /* over the NUL: the length counts from here on */
    for (size_t sent = 0; sent < length;) {
        ssize_t put = send_some(client->fd, text + sent, length - sent, sent == 0 ? fd : -1);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return FAIL(GW_CODE_DISCONNECTED, -errno, "the control socket broke: %s", strerror(errno));
        sent += (size_t)put;
    }
    return 0;
}

int qmp_client_open(const char *path, struct qmp_client **ret_client, struct gw_error *error)
{
    int fd = unix_connect(path, error);
    if (fd < 0)
        return fd;
    _cleanup_qmp_ struct qmp_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return FAIL(GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    }
    client->fd = fd;
    client->input.limit = MESSAGE_LIMIT_BYTES;
    json_t *greeting = NULL;
    int r = receive(client, host_monotonic_ns() + ANSWER_TIMEOUT_MS * 1000000ull, &greeting, error);
    if (r < 0)
        return r;
    bool greeted = json_object_get(greeting, "QMP") != NULL;
    json_decref(greeting);
    if (!greeted)
        return FAIL(GW_CODE_CORRUPT, -EPROTO, "'%s' does not speak QMP", path);
    r = qmp_client_call(client, "qmp_capabilities", NULL, NULL, error);
    if (r < 0)
        return r;
    *ret_client = TAKE_PTR(client);
    return 0;
}

void qmp_client_free(struct qmp_client *client)
{
    if (!client)
        return;
    close(client->fd);
    gw_buf_fini(&client->input);
    free(client);
}

/* The answer with our id, past all events. */
static int wait_answer(struct qmp_client *client, json_t **ret_answer, struct gw_error *error)
{
    uint64_t deadline = host_monotonic_ns() + ANSWER_TIMEOUT_MS * 1000000ull;
    for (;;) {
        json_t *message = NULL;
        int r = receive(client, deadline, &message, error);
        if (r < 0)
            return r;
        if ((uint64_t)json_integer_value(json_object_get(message, "id")) == client->last_id) {
            *ret_answer = message;
            return 0;
        }
        json_decref(message);
    }
}

int qmp_client_call(struct qmp_client *client, const char *command, json_t *arguments,
                    json_t **ret_value, struct gw_error *error)
{
    return qmp_client_call_with_fd(client, command, arguments, -1, ret_value, error);
}

int qmp_client_call_with_fd(struct qmp_client *client, const char *command, json_t *arguments, int fd,
                            json_t **ret_value, struct gw_error *error)
{
    json_t *request = json_pack("{s:s, s:I}", "execute", command, "id",
                                (json_int_t)++client->last_id);
    if (arguments)
        json_object_set_new(request, "arguments", arguments);
    int r = send_message(client, request, fd, error);
    json_decref(request);
    json_t *answer = NULL;
    if (r == 0)
        r = wait_answer(client, &answer, error);
    if (r < 0)
        return r;
    const char *refusal = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
    if (refusal)
        r = FAIL(GW_CODE_REFUSED, -EPERM, "%s", refusal);
    else if (ret_value)
        *ret_value = json_incref(json_object_get(answer, "return"));
    json_decref(answer);
    return r;
}
