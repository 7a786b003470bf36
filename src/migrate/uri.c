/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/uri.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"

#define FORMS "tcp:HOST:PORT, unix:PATH, fd:N or exec:COMMAND"

static int refuse(struct gw_error *error, const char *text, const char *why)
{
    return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_INVALID, -EINVAL, "'%.200s' %s", text,
                        why);
}

/* Decimal digits and nothing else, at most `maximum`; -EINVAL. */
static int parse_number(const char *digits, int maximum, int *ret_value)
{
    int value = 0;
    if (*digits == '\0')
        return -EINVAL;
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9' || value > (maximum - (*digits - '0')) / 10)
            return -EINVAL;
        value = value * 10 + (*digits - '0');
    }
    *ret_value = value;
    return 0;
}

static int copy_text(const char *from, size_t length, size_t limit, struct gw_uri *uri)
{
    if (length > limit || length >= sizeof uri->text)
        return -EINVAL;
    memcpy(uri->text, from, length);
    uri->text[length] = '\0';
    return 0;
}

/* Host names are at most 253 characters (RFC 1035 §2.3.4); numeric addresses with a zone are
 * shorter. */
static int parse_host_and_port(const char *text, const char *host, size_t host_length,
                               const char *port, struct gw_uri *uri, struct gw_error *error)
{
    int number;
    if (parse_number(port, UINT16_MAX, &number) < 0)
        return refuse(error, text, "has no valid port; it is a number from 0 to 65535 at the end");
    if (copy_text(host, host_length, 253, uri) < 0)
        return refuse(error, text, "has too long a host name; 253 characters are the limit");
    uri->port = (uint16_t)number;
    return 0;
}

static int parse_tcp(const char *text, const char *rest, struct gw_uri *uri, struct gw_error *error)
{
    if (rest[0] == '[') {
        const char *close = strchr(rest, ']');
        if (!close || close[1] != ':' || !memchr(rest, ':', (size_t)(close - rest)) ||
            memchr(rest + 1, '[', (size_t)(close - rest - 1)))
            return refuse(error, text, "is not complete; write tcp:[IPV6-ADDRESS]:PORT");
        return parse_host_and_port(text, rest + 1, (size_t)(close - rest - 1), close + 2, uri,
                                   error);
    }
    const char *colon = strrchr(rest, ':');
    if (!colon)
        return refuse(error, text, "has no port; write tcp:HOST:PORT");
    if (strcspn(rest, ":[]") < (size_t)(colon - rest))
        return refuse(error, text,
                      "has more than one colon, or brackets; write an IPv6 address as "
                      "tcp:[ADDRESS]:PORT");
    return parse_host_and_port(text, rest, (size_t)(colon - rest), colon + 1, uri, error);
}

static int parse_unix(const char *text, const char *rest, struct gw_uri *uri,
                      struct gw_error *error)
{
    if (*rest == '\0')
        return refuse(error, text, "has no path; write unix:PATH");
    if (copy_text(rest, strlen(rest), sizeof(((struct sockaddr_un *)0)->sun_path) - 1, uri) < 0)
        return refuse(error, text, "is too long; a Unix socket's path has at most 107 bytes");
    return 0;
}

static int parse_fd(const char *text, const char *rest, struct gw_uri *uri, struct gw_error *error)
{
    if (parse_number(rest, INT_MAX, &uri->fd) < 0)
        return refuse(error, text,
                      "names no descriptor; write fd:N with an open descriptor's number");
    return 0;
}

static int parse_exec(const char *text, const char *rest, struct gw_uri *uri,
                      struct gw_error *error)
{
    if (*rest == '\0')
        return refuse(error, text, "has no command; write exec:COMMAND");
    if (copy_text(rest, strlen(rest), SIZE_MAX, uri) < 0)
        return refuse(error, text, "is too long; put the command into a script");
    return 0;
}

static const struct {
    const char *prefix;
    enum gw_uri_kind kind;
    int (*parse)(const char *text, const char *rest, struct gw_uri *uri, struct gw_error *error);
} schemes[] = {
    {"tcp:", GW_URI_TCP, parse_tcp},
    {"unix:", GW_URI_UNIX, parse_unix},
    {"fd:", GW_URI_FD, parse_fd},
    {"exec:", GW_URI_EXEC, parse_exec},
};

int gw_uri_parse(const char *text, struct gw_uri *ret_uri, struct gw_error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        size_t length = strlen(schemes[i].prefix);
        if (strncmp(text, schemes[i].prefix, length) != 0)
            continue;
        struct gw_uri uri = {.kind = schemes[i].kind, .fd = -1};
        int r = schemes[i].parse(text, text + length, &uri, error);
        if (r == 0)
            *ret_uri = uri;
        return r;
    }
    return refuse(error, text, "is not a migration address; write " FORMS);
}

int gw_uri_format(const struct gw_uri *uri, struct gw_buf *out)
{
    switch (uri->kind) {
    case GW_URI_TCP: {
        bool is_ipv6 = strchr(uri->text, ':');
        return gw_buf_printf(out, is_ipv6 ? "tcp:[%s]:%u" : "tcp:%s:%u", uri->text, uri->port);
    }
    case GW_URI_UNIX:
        return gw_buf_printf(out, "unix:%s", uri->text);
    case GW_URI_FD:
        return gw_buf_printf(out, "fd:%d", uri->fd);
    case GW_URI_EXEC:
        return gw_buf_printf(out, "exec:%s", uri->text);
    }
    return -EINVAL;
}
