/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network of the user's own through passt, which needs no rights on the host: it takes the
 * guest's frames over a stream (framed as QEMU's) and makes ordinary sockets of its connections.
 *
 *   starting --- passt serves ---> connected
 *      ^                               |
 *      +-- later, after growing times -+-- passt has ended, or broke the framing
 *
 * Those sockets are passt's. A passt on this stream has no way to hand them to another process
 * (newer ones can, over vhost-user alone), so open connections end when the guest moves; what the
 * guest opens afterwards works, for address, gateway and its MAC are the same everywhere.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "net/backend.h"
#include "net/passt.h"
#include "net/peer.h"

#define FORWARDS_MAX 16u

enum { TAG_READY = PEER_TAG + 1, TAG_ENDED, TAG_SAID };

struct net_user {
    struct net_peer peer; /* first */
    /* set once */
    char *forwards[2 * FORWARDS_MAX + 1]; /* arguments of passt, owned */
    unsigned forward_arguments;
    /* under the link's lock */
    struct passt passt;
    int stream_fd; /* of a passt that does not serve yet; -1: none */
};

static struct net_user *from_link(struct net_link *link)
{
    return container_of(link, struct net_user, peer.link);
}

static struct net_user *from_net(struct net *net)
{
    return container_of(net, struct net_user, peer.link.net);
}

/* ---- passt comes and goes ---- */

static int start(struct net_user *user, struct gw_error *error)
{
    struct net_link *link = &user->peer.link;
    int r = passt_start(&user->passt, user->forwards, &user->stream_fd, error);
    if (r < 0)
        return r;
    link_watch(link, user->passt.ready_fd, TAG_READY, EPOLLIN);
    link_watch(link, user->passt.pid_fd, TAG_ENDED, EPOLLIN);
    link_watch(link, user->passt.error_fd, TAG_SAID, EPOLLIN);
    return 0;
}

/* Closes everything; `why` says how passt ended. */
static void stop(struct net_user *user, char *why, size_t room)
{
    struct net_link *link = &user->peer.link;
    if (user->stream_fd >= 0)
        close(TAKE_FD(user->stream_fd));
    peer_close(&user->peer);
    if (user->passt.pid != 0) {
        link_unwatch(link, user->passt.ready_fd);
        link_unwatch(link, user->passt.pid_fd);
        link_unwatch(link, user->passt.error_fd);
    }
    passt_bury(&user->passt, why, room);
}

static void served(struct net_user *user)
{
    link_unwatch(&user->peer.link, user->passt.ready_fd);
    peer_connected(&user->peer, TAKE_FD(user->stream_fd));
}

/* `fault`: what it was ended for; NULL: it ended by itself. */
static void mourn(struct net_user *user, const char *fault)
{
    struct net_link *link = &user->peer.link;
    char why[256];
    stop(user, why, sizeof why);
    link_is_down(link, "%s; it is started again", fault ? fault : why);
    link_retry(link);
}

static void retry(struct net_link *link)
{
    struct net_user *user = from_link(link);
    struct gw_error error;
    if (user->passt.pid != 0)
        return;
    if (start(user, &error) < 0) {
        link_is_down(link, "%s", error.message);
        link_retry(link);
    }
}

static void ready(struct net_link *link, unsigned tag, uint32_t events)
{
    struct net_user *user = from_link(link);
    switch (tag) {
    case TAG_SAID:
        passt_listen(&user->passt);
        if (events & EPOLLHUP)
            link_unwatch(link, user->passt.error_fd);
        break;
    case TAG_READY:
        if (user->stream_fd >= 0 && passt_is_ready(&user->passt) > 0)
            served(user);
        else
            mourn(user, NULL);
        break;
    case PEER_TAG:
        if (!peer_ready(&user->peer, events))
            mourn(user, user->peer.broken ? user->peer.fault : NULL);
        break;
    default:
        mourn(user, NULL);
    }
}

/* ---- Operations ---- */

static int acquire_locked(struct net_user *user, struct gw_error *error)
{
    char why[256];
    int r = start(user, error);
    if (r < 0)
        return r;
    r = passt_wait_ready(&user->passt);
    if (r > 0) {
        served(user);
        return 0;
    }
    stop(user, why, sizeof why);
    if (r == -ETIMEDOUT)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_TIMEOUT, -ETIMEDOUT,
                            "--net user: passt does not begin to serve");
    return gw_error_set(error, GW_LAYER_NET, GW_CODE_UNSUPPORTED, -ECHILD, "--net user: %s", why);
}

static int user_preopen(struct net *net, unsigned queues, struct gw_error *error)
{
    return passt_find(error);
}

static int user_acquire(struct net *net, struct gw_error *error)
{
    struct net_user *user = from_net(net);
    int r = link_open(&user->peer.link, net->queues, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&user->peer.link.lock);
    r = acquire_locked(user, error);
    pthread_mutex_unlock(&user->peer.link.lock);
    if (r < 0)
        link_close(&user->peer.link);
    return r;
}

static void user_release(struct net *net)
{
    struct net_user *user = from_net(net);
    char why[256];
    pthread_mutex_lock(&user->peer.link.lock);
    stop(user, why, sizeof why);
    pthread_mutex_unlock(&user->peer.link.lock);
    link_close(&user->peer.link);
}

static void user_free(struct net *net)
{
    struct net_user *user = from_net(net);
    peer_fini(&user->peer);
    link_fini(&user->peer.link);
    for (unsigned i = 0; i < user->forward_arguments; i++)
        free(user->forwards[i]);
    free(user);
}

static const struct net_ops user_ops = {
    .name = "user",
    .preopen = user_preopen,
    .acquire = user_acquire,
    .release = user_release,
    .attach = link_attach,
    .detach = link_detach,
    .send = peer_send,
    .receive = peer_receive,
    .free = user_free,
};
static const struct link_hooks user_hooks = {.ready = ready, .retry = retry};

/* ---- What is forwarded ---- */

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

static int add_argument(struct net_user *user, const char *text, struct gw_error *error)
{
    char *copy = strdup(text);
    if (!copy)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    user->forwards[user->forward_arguments++] = copy;
    return 0;
}

static int add_forward(struct net_user *user, const char *option, const char *text,
                       struct gw_error *error)
{
    _cleanup_free_ char *copy = strdup(text);
    if (!copy || !is_forward(copy))
        return net_invalid("--net user: '%s' is not [ADDRESS/]PORT[:GUESTPORT]", text);
    if (user->forward_arguments == 2 * FORWARDS_MAX)
        return net_invalid("--net user: at most %u ports are forwarded", FORWARDS_MAX);
    int r = add_argument(user, option, error);
    return r < 0 ? r : add_argument(user, text, error);
}

static int add_option(struct net_user *user, const char *text, struct gw_error *error)
{
    if (strncmp(text, "tcp=", 4) == 0)
        return add_forward(user, "-t", text + 4, error);
    if (strncmp(text, "udp=", 4) == 0)
        return add_forward(user, "-u", text + 4, error);
    return net_invalid("--net user: '%s' is not tcp=[ADDRESS/]PORT[:GUESTPORT] or udp=… alike",
                       text);
}

static int add_options(struct net_user *user, const char *text, struct gw_error *error)
{
    int r = 0;
    while (r == 0 && text && *text) {
        _cleanup_free_ char *part = parse_part(&text);
        r = part ? add_option(user, part, error) : -ENOMEM;
    }
    return r;
}

int net_user_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    struct net_user *user = calloc(1, sizeof *user);
    if (!user)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    passt_init(&user->passt);
    user->stream_fd = -1;
    snprintf(user->peer.link.net.stays, sizeof user->peer.link.net.stays,
             "they are sockets of passt's, which hands none over to another process");
    int r =
        link_init(&user->peer.link, &user_ops, &user_hooks, strdup("user network (passt)"), error);
    if (r == 0)
        r = peer_init(&user->peer, error);
    if (r == 0)
        r = add_options(user, text, error);
    if (r < 0) {
        user_free(&user->peer.link.net);
        return r;
    }
    *ret_net = &user->peer.link.net;
    return 0;
}
