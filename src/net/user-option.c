/* SPDX-License-Identifier: Apache-2.0 */
#include "net/user-option.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "net/backend.h"

static bool is_port(const char *text)
{
    uint64_t port;
    return parse_number(text, UINT16_MAX, &port) == 0 && port > 0;
}

static bool is_address(const char *text)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

/* [ADDRESS/]PORT[:GUESTPORT]; `text` is cut into its parts. */
static bool is_forward(char *text)
{
    char *slash = strchr(text, '/'), *ports = slash ? slash + 1 : text;
    char *colon = strchr(ports, ':');
    if (slash)
        *slash = 0;
    if (colon)
        *colon = 0;
    return (!slash || is_address(text)) && is_port(ports) && (!colon || is_port(colon + 1));
}

static int add_argument(struct forwards *forwards, const char *text, struct gw_error *error)
{
    char *copy = strdup(text);
    if (!copy)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    forwards->arguments[forwards->count++] = copy;
    return 0;
}

static int add_forward(struct forwards *forwards, const char *option, const char *text,
                       struct gw_error *error)
{
    _cleanup_free_ char *copy = strdup(text);
    if (!copy || !is_forward(copy))
        return net_invalid("--net user: '%s' is not [ADDRESS/]PORT[:GUESTPORT]", text);
    if (forwards->count == 2 * FORWARDS_MAX)
        return net_invalid("--net user: at most %u ports are forwarded", FORWARDS_MAX);
    int r = add_argument(forwards, option, error);
    return r < 0 ? r : add_argument(forwards, text, error);
}

static int add_option(struct forwards *forwards, const char *text, struct gw_error *error)
{
    if (strncmp(text, "tcp=", 4) == 0)
        return add_forward(forwards, "-t", text + 4, error);
    if (strncmp(text, "udp=", 4) == 0)
        return add_forward(forwards, "-u", text + 4, error);
    return net_invalid("--net user: '%s' is not tcp=[ADDRESS/]PORT[:GUESTPORT] or udp=… alike",
                       text);
}

int forwards_read(struct forwards *forwards, const char *text, struct gw_error *error)
{
    int r = 0;
    while (r == 0 && text && *text) {
        _cleanup_free_ char *part = parse_part(&text);
        r = part ? add_option(forwards, part, error) : -ENOMEM;
    }
    return r;
}

void forwards_fini(struct forwards *forwards)
{
    for (unsigned i = 0; i < forwards->count; i++)
        free(forwards->arguments[i]);
}
