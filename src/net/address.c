/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/unix-socket.h"
#include "net/backend.h"

int address_parse_path(const char *path, struct net_address *ret_address, struct gw_error *error)
{
    if (!path[0])
        return net_invalid("--net socket: a path is missing");
    ret_address->bytes = sizeof ret_address->un;
    return unix_address(path, &ret_address->un, error);
}

/* ---- Hosts and ports ---- */

/* Copies up to `stop` or the end; *at moves behind `stop`, to NULL at the end. */
static char *take_until(const char **at, char stop)
{
    const char *end = strchrnul(*at, stop);
    char *part = strndup(*at, (size_t)(end - *at));
    *at = *end ? end + 1 : NULL;
    return part;
}

static char *take_host(const char **at)
{
    if (**at != '[')
        return take_until(at, ':');
    (*at)++;
    char *host = take_until(at, ']');
    if (*at)
        *at = **at == ':' ? *at + 1 : NULL;
    return host;
}

static int resolve(const char *host, const char *port, int socket_type,
                   struct net_address *ret_address, struct gw_error *error)
{
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = socket_type,
                                   .ai_flags = AI_NUMERICSERV | (host[0] ? 0 : AI_PASSIVE)};
    int r = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (r != 0)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NOT_FOUND, -ENOENT,
                            "--net socket: the host '%s' is not known: %s", host, gai_strerror(r));
    ret_address->bytes = found->ai_addrlen;
    memcpy(&ret_address->any, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

int address_parse_host(const char **at, int socket_type, struct net_address *ret_address,
                       struct gw_error *error)
{
    const char *begin = *at;
    _cleanup_free_ char *host = take_host(at);
    _cleanup_free_ char *port = *at ? take_until(at, ':') : strdup("");
    uint64_t number;
    if (!host || !port)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    if (parse_number(port, UINT16_MAX, &number) < 0 || number == 0)
        return net_invalid("--net socket: '%s' is not HOST:PORT with a port from 1 to 65535 (an "
                           "IPv6 address stands in brackets)",
                           begin);
    return resolve(host, port, socket_type, ret_address, error);
}

int address_parse_stream(const char *text, struct net_address *ret_address, struct gw_error *error)
{
    if (strncmp(text, "unix:", 5) == 0)
        return address_parse_path(text + 5, ret_address, error);
    if (strncmp(text, "tcp:", 4) != 0)
        return net_invalid("--net socket: '%s' is not unix:PATH or tcp:HOST:PORT", text);
    const char *at = text + 4;
    int r = address_parse_host(&at, SOCK_STREAM, ret_address, error);
    return r < 0 || !at ? r : net_invalid("--net socket: '%s' does not belong there", at);
}

void address_text(const struct net_address *address, char text[ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "";
    switch (address->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->in4.sin_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(address->in4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &address->in6.sin6_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT_BYTES, "[%s]:%u", host, ntohs(address->in6.sin6_port));
        break;
    default:
        snprintf(text, ADDRESS_TEXT_BYTES, "%s", address->un.sun_path);
    }
}

/* ---- Binding ---- */

/* A socket file where nobody listens is what a process that died has left. */
static bool is_abandoned(const struct net_address *address, int socket_type)
{
    struct stat found;
    if (lstat(address->un.sun_path, &found) < 0 || !S_ISSOCK(found.st_mode))
        return false;
    _cleanup_close_ int fd = socket(AF_UNIX, socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && connect(fd, &address->any, address->bytes) < 0 && errno == ECONNREFUSED;
}

static int refuse(const struct net_address *address, int number, struct gw_error *error)
{
    char text[ADDRESS_TEXT_BYTES];
    address_text(address, text);
    if (number == EADDRINUSE)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_BUSY, -EBUSY,
                            "--net socket: '%s' is in use by another process; end that one or "
                            "choose another address",
                            text);
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(number), -number,
                        "--net socket: '%s' cannot be opened: %s", text, strerror(number));
}

int address_bind(const struct net_address *address, int socket_type, int *ret_fd,
                 struct gw_error *error)
{
    const int yes = 1;
    int family = address->any.sa_family;
    _cleanup_close_ int fd = socket(family, socket_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return refuse(address, errno, error);
    if (family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    else if (is_abandoned(address, socket_type))
        unlink(address->un.sun_path);
    if (bind(fd, &address->any, address->bytes) < 0)
        return refuse(address, errno, error);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

void address_remove(const struct net_address *address)
{
    if (address->any.sa_family == AF_UNIX)
        unlink(address->un.sun_path);
}
