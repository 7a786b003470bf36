/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network of the user's own through passt, which needs no rights on the host: it takes the
 * guest's frames and makes ordinary sockets of its connections.
 *
 *   starting --- passt serves ---> connected
 *      ^                               |
 *      +-- later, after growing times -+-- passt has ended, or broke the rules
 *
 * Those sockets are passt's, and how they come along when the guest moves is its affair. One that
 * is a vhost-user back end writes them down and ends (user-connections.c), and the one of another
 * process opens them again, where both sides may set TCP_REPAIR. One that serves a stream (framed
 * as QEMU's) alone cannot: there open connections end, and what the guest opens afterwards works,
 * for address, gateway and its MAC are the same everywhere.
 *
 * For a machine that is to come passt is started early, so that this is no part of the pause. On
 * the host where the machine still is its forwarded ports are in use until then; it is started once
 * more when the machine has been given up there.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/backend.h"
#include "net/user-internal.h"

enum { TAG_READY = PEER_TAG + 1, TAG_ENDED, TAG_SAID, TAG_VHOST };

static struct net_user *from_link(struct net_link *link)
{
    return container_of(link, struct net_user, peer.link);
}

/* ---- What is installed ---- */

void user_say_whether_they_follow(struct net_user *user)
{
    struct net *net = &user->peer.link.net;
    net->follows = false;
    if (!user_uses_vhost(user))
        snprintf(
            net->stays, sizeof net->stays,
            "the passt here (%s) hands none over; from 2025_05_03 on, as in Debian 13, it does",
            user->kind.version);
    else if (user->vhost.user.fd >= 0 && !user->vhost.can_migrate)
        snprintf(net->stays, sizeof net->stays, "the passt here (%s) does not write its state down",
                 user->kind.version);
    else if (!user->may_repair)
        snprintf(net->stays, sizeof net->stays, "%s", user->may_not);
    else
        net->follows = true;
}

static int look(struct net_user *user, struct gw_error *error)
{
    if (user->looked)
        return 0;
    int r = passt_look(&user->kind, error);
    if (r < 0)
        return r;
    if (user_uses_vhost(user) && !user->has_vhost) {
        r = vhost_net_init(&user->vhost);
        if (r < 0)
            return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(r), r,
                                "--net user: no memory to share with passt: %s", strerror(-r));
        user->has_vhost = true;
    }
    user->may_repair = repair_find_right(&user->helper, user->may_not, sizeof user->may_not) == 0;
    user->looked = true;
    user_say_whether_they_follow(user);
    return 0;
}

/* ---- passt comes and goes ---- */

static int start(struct net_user *user, char *const *forwards, struct gw_error *error)
{
    return passt_start(&user->passt, user->kind.way, forwards, &user->stream_fd, error);
}

/* It has said that it serves. */
static int connect_vhost(struct net_user *user)
{
    int fd = -1, r;
    if (!user_uses_vhost(user))
        return 0;
    user->vhost.fault[0] = 0;
    r = passt_connect(&user->passt, &fd);
    return r < 0 ? r : vhost_net_connect(&user->vhost, fd);
}

static void watch(struct net_user *user, bool until_ready)
{
    struct net_link *link = &user->peer.link;
    if (until_ready)
        link_watch(link, user->passt.ready_fd, TAG_READY, EPOLLIN);
    link_watch(link, user->passt.pid_fd, TAG_ENDED, EPOLLIN);
    link_watch(link, user->passt.error_fd, TAG_SAID, EPOLLIN);
}

void user_stop(struct net_user *user, char *why, size_t room)
{
    struct net_link *link = &user->peer.link;
    if (user->stream_fd >= 0)
        close(TAKE_FD(user->stream_fd));
    if (user->repair_fd >= 0)
        close(TAKE_FD(user->repair_fd));
    peer_close(&user->peer);
    if (user->has_vhost && user->vhost.user.fd >= 0) {
        link_unwatch(link, user->vhost.user.fd);
        link_hide(link, 0);
        (void)eventfd_write(user->vhost.call_fd, 1); /* wakes who polls it */
        vhost_net_close(&user->vhost);
    }
    if (user->passt.pid != 0) {
        link_unwatch(link, user->passt.ready_fd);
        link_unwatch(link, user->passt.pid_fd);
        link_unwatch(link, user->passt.error_fd);
    }
    passt_bury(&user->passt, why, room);
}

static int begin_service(struct net_user *user)
{
    struct net_link *link = &user->peer.link;
    link_unwatch(link, user->passt.ready_fd);
    if (!user_uses_vhost(user))
        return peer_connected(&user->peer, TAKE_FD(user->stream_fd));
    int r = passt_connect_repair(&user->passt, &user->repair_fd);
    passt_hide(&user->passt);
    if (r == 0)
        r = vhost_net_start(&user->vhost);
    if (r < 0)
        return r;
    link_watch(link, user->vhost.user.fd, TAG_VHOST, EPOLLRDHUP | EPOLLHUP);
    link_show(link, 0, user->vhost.call_fd);
    link_retry_reset(link);
    link_is_up(link);
    user_say_whether_they_follow(user);
    return 0;
}

void user_mourn(struct net_user *user, const char *fault)
{
    struct net_link *link = &user->peer.link;
    char why[256], kept[256];
    snprintf(kept, sizeof kept, "%s", fault ? fault : "");
    user_stop(user, why, sizeof why);
    link_is_down(link, "%s; it is started again", fault ? kept : why);
    link_retry(link);
}

static const char *fault_of(const struct net_user *user)
{
    return user->has_vhost && user->vhost.fault[0] ? user->vhost.fault : NULL;
}

static void retry(struct net_link *link)
{
    struct net_user *user = from_link(link);
    struct gw_error error;
    if (user->passt.pid != 0)
        return;
    if (start(user, user->forwards.arguments, &error) < 0) {
        link_is_down(link, "%s", error.message);
        link_retry(link);
    } else {
        watch(user, true);
    }
}

static void take_ready(struct net_user *user)
{
    int r = passt_is_ready(&user->passt);
    if (r > 0)
        r = connect_vhost(user);
    if (r >= 0)
        r = begin_service(user);
    if (r < 0)
        user_mourn(user, fault_of(user));
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
        take_ready(user);
        break;
    case PEER_TAG:
        if (!peer_ready(&user->peer, events))
            user_mourn(user, user->peer.broken ? user->peer.fault : NULL);
        break;
    default:
        user_mourn(user, fault_of(user));
    }
}

/* ---- Launching ---- */

static int refuse_launch(struct net_user *user, int r, struct gw_error *error)
{
    char why[256], fault[sizeof user->vhost.fault] = "";
    if (fault_of(user))
        snprintf(fault, sizeof fault, "%s", user->vhost.fault);
    user_stop(user, why, sizeof why);
    if (r == -ETIMEDOUT)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_TIMEOUT, r,
                            "--net user: passt does not begin to serve");
    return gw_error_set(error, GW_LAYER_NET, GW_CODE_UNSUPPORTED, -ECHILD, "--net user: %s",
                        fault[0] ? fault : why);
}

static int launch(struct net_user *user, char *const *forwards, struct gw_error *error)
{
    int r = start(user, forwards, error);
    if (r < 0)
        return r;
    r = passt_wait_ready(&user->passt);
    if (r > 0)
        r = connect_vhost(user);
    return r < 0 ? refuse_launch(user, r, error) : 0;
}

int user_launch(struct net_user *user, struct gw_error *error)
{
    return launch(user, user->forwards.arguments, error);
}

/* How long a launch takes, by one that forwards nothing. */
static uint64_t measure_launch(struct net_user *user)
{
    char *const nothing[] = {NULL};
    char why[256];
    struct gw_error ignored;
    uint64_t began_ns = host_monotonic_ns();
    if (launch(user, nothing, &ignored) < 0)
        return 0;
    uint64_t took_ns = host_monotonic_ns() - began_ns;
    user_stop(user, why, sizeof why);
    return took_ns / 1000;
}

/* One that was launched early may have ended since. */
static bool is_launched(struct net_user *user)
{
    char why[256];
    struct pollfd ended = {user->passt.pid_fd, POLLIN, 0};
    if (user->passt.pid == 0)
        return false;
    if (poll(&ended, 1, 0) == 0)
        return true;
    user_stop(user, why, sizeof why);
    return false;
}

static void say_lost(struct net_user *user, const char *lost)
{
    struct net_link *link = &user->peer.link;
    if (lost[0])
        snprintf(link->why, sizeof link->why,
                 "%s: the link is up, but the connections that were open have ended, because %s",
                 link->net.what, lost);
}

int user_serve(struct net_user *user, struct gw_error *error)
{
    char lost[256], why[256];
    int r = user_open_connections(user, lost, sizeof lost);
    if (r < 0) {
        user_stop(user, why, sizeof why);
        r = user_launch(user, error);
        if (r < 0)
            return r;
    }
    watch(user, false);
    r = begin_service(user);
    if (r < 0)
        return refuse_launch(user, r, error);
    say_lost(user, lost);
    return 0;
}

/* ---- Operations ---- */

/* A port that is in use may be the source's still. */
static int user_preopen(struct net *net, unsigned queues, struct gw_error *error)
{
    struct net_user *user = user_from_net(net);
    struct gw_error ignored;
    int r = look(user, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&user->peer.link.lock);
    if (!is_launched(user) && user_launch(user, &ignored) < 0)
        net->acquire_us = measure_launch(user);
    pthread_mutex_unlock(&user->peer.link.lock);
    return 0;
}

static int acquire_locked(struct net_user *user, struct gw_error *error)
{
    int r = look(user, error);
    if (r == 0 && !is_launched(user))
        r = user_launch(user, error);
    return r < 0 ? r : user_serve(user, error);
}

static int user_acquire(struct net *net, struct gw_error *error)
{
    struct net_user *user = user_from_net(net);
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
    struct net_user *user = user_from_net(net);
    char why[256];
    pthread_mutex_lock(&user->peer.link.lock);
    user_stop(user, why, sizeof why);
    pthread_mutex_unlock(&user->peer.link.lock);
    link_close(&user->peer.link);
}

/* What is found wrong is noted, and the loop closes. */
static ssize_t end_if_broken(struct net_user *user, ssize_t r)
{
    if (user->vhost.fault[0] && user->vhost.user.fd >= 0)
        shutdown(user->vhost.user.fd, SHUT_RDWR);
    return r;
}

static ssize_t user_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    struct net_user *user = user_from_net(net);
    if (!user_uses_vhost(user))
        return peer_send(net, queue, iov, count);
    pthread_mutex_lock(&user->peer.link.lock);
    ssize_t r = end_if_broken(user, vhost_net_send(&user->vhost, iov, count));
    pthread_mutex_unlock(&user->peer.link.lock);
    return r;
}

static ssize_t user_receive(struct net *net, unsigned queue, const struct iovec *iov,
                            unsigned count)
{
    struct net_user *user = user_from_net(net);
    if (!user_uses_vhost(user))
        return peer_receive(net, queue, iov, count);
    pthread_mutex_lock(&user->peer.link.lock);
    ssize_t r = end_if_broken(user, vhost_net_receive(&user->vhost, iov, count));
    pthread_mutex_unlock(&user->peer.link.lock);
    return r;
}

static void user_free(struct net *net)
{
    struct net_user *user = user_from_net(net);
    char why[256];
    user_stop(user, why, sizeof why); /* one that was launched early */
    repair_keep_free(user->keep);
    repair_helper_end(&user->helper);
    gw_buf_fini(&user->packed);
    if (user->has_vhost)
        vhost_net_fini(&user->vhost);
    peer_fini(&user->peer);
    link_fini(&user->peer.link);
    forwards_fini(&user->forwards);
    free(user);
}

static const struct net_ops user_ops = {
    .name = "user",
    .preopen = user_preopen,
    .acquire = user_acquire,
    .pack = user_pack,
    .unpack = user_unpack,
    .packed = user_packed,
    .give_packed = user_give_packed,
    .release = user_release,
    .attach = link_attach,
    .detach = link_detach,
    .send = user_send,
    .receive = user_receive,
    .free = user_free,
};
static const struct link_hooks user_hooks = {.ready = ready, .retry = retry};

int net_user_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    struct net_user *user = calloc(1, sizeof *user);
    if (!user)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    passt_init(&user->passt);
    user->stream_fd = user->repair_fd = user->repair.fd = -1;
    user->packed.limit = NET_PACKED_MAX_BYTES;
    snprintf(user->peer.link.net.stays, sizeof user->peer.link.net.stays,
             "they are sockets of a passt's that has not been started yet");
    int r =
        link_init(&user->peer.link, &user_ops, &user_hooks, strdup("user network (passt)"), error);
    if (r == 0)
        r = peer_init(&user->peer, error);
    if (r == 0)
        r = forwards_read(&user->forwards, text, error);
    if (r < 0) {
        user_free(&user->peer.link.net);
        return r;
    }
    *ret_net = &user->peer.link.net;
    return 0;
}
