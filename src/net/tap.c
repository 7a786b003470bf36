/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tap: an interface of the host whose other end is here.
 *
 * The files stay open from the first acquire to the end, also while the network is not held: frames
 * that come then wait in them, as many as the interface's queue is long, and the interface with its
 * place in a bridge stays. A destination on the same host takes over these very files
 * (tap-offer.c); one on another host has an interface of its own, and ours is closed with us. An
 * interface that was made here goes with its last file. That other destination opens its files
 * before the machine comes, for a bridge may take its time until it forwards to a port; what they
 * get until then is thrown away.
 *
 * When somebody removes the interface, the files stay and are dead (reads and polls fail). They can
 * be tied to an interface again, and are, as soon as one of the name is there.
 *
 * The state that the threads of the queues see: the files, which never change while it is held, and
 * link_up. Without it nothing is read or written, so that nobody meets a file whose header has not
 * its right length yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "net/backend.h"
#include "net/tap-internal.h"

#define PIECES_MAX 1024u /* UIO_MAXIOV */
#define RUNNING_MS 2000u /* as long is waited for the kernel's word */
#define OFFLOADS_ALWAYS (NET_CHECKSUM | NET_TSO4 | NET_TSO6 | NET_ECN)

enum { TAG_FILE = 1, TAG_INTERFACES };

/* ---- Up and down ---- */

static void show_queues(struct net_tap *tap, bool up)
{
    for (unsigned i = 0; i < tap->link.net.queues; i++)
        if (up && i < tap->queues_in_use)
            link_show(&tap->link, i, tap->fds[i]);
        else
            link_hide(&tap->link, i);
}

static void set_gone(struct net_tap *tap)
{
    if (tap->gone)
        return;
    tap->gone = true;
    link_unwatch(&tap->link, tap->fds[0]);
    link_is_down(&tap->link, "the interface was removed; the link comes back when there is an "
                             "interface of that name again");
    show_queues(tap, false);
    link_retry_reset(&tap->link);
    link_retry(&tap->link);
}

/* Looks what has become of the interface. */
static void look(struct net_tap *tap)
{
    bool up = tap->link.net.link_up;
    if (tap_is_dead(tap)) {
        set_gone(tap);
    } else if (tap->is_local && !interface_is_up(tap->name)) {
        link_is_down(&tap->link, "the interface is down; 'ip link set %s up' mends it", tap->name);
        show_queues(tap, false);
    } else {
        link_is_up(&tap->link);
        if (!up)
            show_queues(tap, true);
    }
}

/* Ties the files to the new interface of the name. */
static void retry(struct net_link *link)
{
    struct net_tap *tap = tap_from_link(link);
    if (!tap->gone)
        return;
    int r = interface_exists(tap->name) ? tap_tie_again(tap) : -ENODEV;
    if (r < 0) {
        link_retry(link);
        return;
    }
    tap->gone = false;
    tap_enable_queues(tap);
    link_watch(link, tap->fds[0], TAG_FILE, 0); /* errors come unasked */
    look(tap);
}

static void ready(struct net_link *link, unsigned tag, uint32_t events)
{
    struct net_tap *tap = tap_from_link(link);
    if (tag == TAG_INTERFACES)
        interface_watch_clear(tap->watch_fd);
    if (tap->gone)
        retry(link);
    else
        look(tap);
}

/* ---- Operations ---- */

/* The kernel tells a bridge of a carrier some time after it is there, on a busy host a second
 * later. Until then the bridge drops all that comes from here, announcements as well. */
static void wait_until_running(const struct net_tap *tap)
{
    const struct timespec step = {.tv_nsec = 1000000};
    for (unsigned ms = 0; ms < RUNNING_MS && interface_is_up(tap->name); ms++) {
        if (interface_is_running(tap->name))
            return;
        nanosleep(&step, NULL);
    }
}

static int tap_preopen(struct net *net, unsigned queues, struct gw_error *error)
{
    struct net_tap *tap = tap_from_net(net);
    if (tap->count > 0)
        return 0;
    int r = tap_open_named(tap, queues, error);
    if (r == -EBUSY)
        return 0;
    tap->is_fresh = r == 0;
    if (tap->is_fresh) {
        net->mtu = interface_mtu(tap->name);
        wait_until_running(tap);
    }
    return r;
}

static void watch(struct net_tap *tap)
{
    tap->watch_fd = tap->is_local ? interface_watch() : -1;
    if (tap->watch_fd >= 0)
        link_watch(&tap->link, tap->watch_fd, TAG_INTERFACES, EPOLLIN);
    link_watch(&tap->link, tap->fds[0], TAG_FILE, 0);
}

static int tap_acquire(struct net *net, struct gw_error *error)
{
    struct net_tap *tap = tap_from_net(net);
    int r = tap_open(tap, net->queues, error);
    if (r == 0)
        r = link_open(&tap->link, net->queues, error);
    if (r < 0)
        return r;
    if (tap->is_local)
        net->mtu = interface_mtu(tap->name);
    if (tap->is_fresh)
        tap_drop_waiting(tap);
    tap->is_fresh = false;
    pthread_mutex_lock(&tap->link.lock);
    tap->gone = false;
    tap_enable_queues(tap);
    watch(tap);
    look(tap);
    pthread_mutex_unlock(&tap->link.lock);
    return 0;
}

static void tap_release(struct net *net)
{
    struct net_tap *tap = tap_from_net(net);
    pthread_mutex_lock(&tap->link.lock);
    if (!tap->gone)
        link_unwatch(&tap->link, tap->fds[0]);
    if (tap->watch_fd >= 0) {
        link_unwatch(&tap->link, tap->watch_fd);
        close(TAKE_FD(tap->watch_fd));
    }
    tap->gone = false;
    pthread_mutex_unlock(&tap->link.lock);
    link_close(&tap->link);
    if (tap_is_dead(tap) && !tap->passed)
        tap_close(tap);
    else if (tap->has_header)
        tap->offer = tap_offer_begin(tap->name, tap->fds, tap->count);
}

static int tap_set_offloads(struct net *net, unsigned offloads)
{
    struct net_tap *tap = tap_from_net(net);
    if (offloads & ~net->offloads)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&tap->link.lock);
    tap->offloads_in = offloads;
    int r = tap->gone || !tap->has_header ? 0 : tap_apply_offloads(tap, offloads);
    pthread_mutex_unlock(&tap->link.lock);
    return r;
}

static int tap_set_queues(struct net *net, unsigned queues)
{
    struct net_tap *tap = tap_from_net(net);
    if (queues == 0 || queues > net->queues)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&tap->link.lock);
    tap->queues_in_use = queues;
    if (!tap->gone)
        tap_enable_queues(tap);
    show_queues(tap, net->link_up);
    pthread_mutex_unlock(&tap->link.lock);
    return 0;
}

static ssize_t tap_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    const struct net_tap *tap = tap_from_net(net);
    struct iovec pieces[PIECES_MAX];
    size_t bytes;
    if (!net->link_up)
        return -ENETDOWN;
    if (!tap->has_header) {
        int used = iov_without(iov, count, NET_HEADER_BYTES, pieces, PIECES_MAX, &bytes);
        if (used < 0)
            return used;
        iov = pieces;
        count = (unsigned)used;
    }
    return writev(tap->fds[queue], iov, (int)count) < 0 ? -errno : 0;
}

/* The kernel cuts a frame that is too long and does not say so; a byte more than the caller has
 * room for tells. */
static ssize_t tap_receive(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    const struct net_tap *tap = tap_from_net(net);
    struct iovec pieces[PIECES_MAX];
    size_t skip = tap->has_header ? 0 : NET_HEADER_BYTES, room;
    uint8_t more;
    if (!net->link_up)
        return -EAGAIN;
    int used = iov_without(iov, count, skip, pieces, PIECES_MAX - 1, &room);
    if (used < 0)
        return used;
    pieces[used] = (struct iovec){&more, 1};
    ssize_t n = readv(tap->fds[queue], pieces, used + 1);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if ((size_t)n > room)
        return -EMSGSIZE;
    if (skip > 0 && !iov_put(iov, count, 0, net_plain_header, skip))
        return -EMSGSIZE;
    return n + (ssize_t)skip;
}

static void tap_free(struct net *net)
{
    struct net_tap *tap = tap_from_net(net);
    tap_offer_end(TAKE_PTR(tap->offer));
    tap_close(tap);
    link_fini(&tap->link);
    free(tap);
}

static const struct net_ops tap_ops = {
    .name = "tap",
    .preopen = tap_preopen,
    .acquire = tap_acquire,
    .release = tap_release,
    .attach = link_attach,
    .detach = link_detach,
    .set_offloads = tap_set_offloads,
    .set_queues = tap_set_queues,
    .send = tap_send,
    .receive = tap_receive,
    .free = tap_free,
};
static const struct link_hooks tap_hooks = {.ready = ready, .retry = retry};

/* ---- Making ---- */

/* What can be said before there is an interface to try it with: since Linux 6.2. */
static bool kernel_has_uso(void)
{
    struct utsname system;
    unsigned major, minor;
    return uname(&system) == 0 && sscanf(system.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 2));
}

static int use_passed(struct net_tap *tap, const int *fds, unsigned count, struct gw_error *error)
{
    struct ifreq answer = {0};
    for (unsigned i = 0; i < count; i++) {
        int flags = fcntl(fds[i], F_GETFL);
        if (flags < 0 || ioctl(fds[i], TUNGETIFF, &answer) < 0 || !(answer.ifr_flags & IFF_TAP))
            return net_invalid("--net tap: descriptor %d is not that of a tap", fds[i]);
        if (!(answer.ifr_flags & IFF_NO_PI))
            return net_invalid("--net tap: descriptor %d was opened without IFF_NO_PI", fds[i]);
        if (fcntl(fds[i], F_SETFL, flags | O_NONBLOCK) < 0 ||
            fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
            return net_invalid("--net tap: descriptor %d: %s", fds[i], strerror(errno));
    }
    memcpy(tap->fds, fds, count * sizeof *fds);
    tap->count = tap->link.net.queues_max = count;
    tap->passed = true;
    tap->has_header = answer.ifr_flags & IFF_VNET_HDR;
    answer.ifr_name[IFNAMSIZ - 1] = 0;
    tap->is_local = interface_is_of(answer.ifr_name, fds[0]);
    tap_set_name(tap, answer.ifr_name);
    return 0;
}

/* "3" or "3:4:5" */
static int parse_descriptors(const char *text, int *fds, unsigned *ret_count,
                             struct gw_error *error)
{
    _cleanup_free_ char *copy = strdup(text);
    uint64_t number;
    char *save = NULL;
    *ret_count = 0;
    if (!copy)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    for (char *part = strtok_r(copy, ":", &save); part; part = strtok_r(NULL, ":", &save)) {
        if (parse_number(part, INT32_MAX, &number) < 0 || *ret_count == NET_MAX_QUEUES)
            return net_invalid("--net tap: 'fd=%s' is not fd=N, or fd=N:N for up to %u queues",
                               text, NET_MAX_QUEUES);
        fds[(*ret_count)++] = (int)number;
    }
    return *ret_count > 0 ? 0 : net_invalid("--net tap: 'fd=' needs a descriptor's number");
}

static int use_text(struct net_tap *tap, const char *text, struct gw_error *error)
{
    char name[IFNAMSIZ] = NAME_TEMPLATE;
    int fds[NET_MAX_QUEUES];
    unsigned count;
    if (strncmp(text, "fd=", 3) == 0) {
        int r = parse_descriptors(text + 3, fds, &count, error);
        return r < 0 ? r : use_passed(tap, fds, count, error);
    }
    if (text[0] && !interface_name_is_valid(text))
        return net_invalid("--net tap: '%s' cannot be the name of an interface (1 to %d "
                           "characters, no space, '/', ':' or '%%')",
                           text, IFNAMSIZ - 1);
    if (text[0])
        memcpy(name, text, strlen(text) + 1);
    tap_set_name(tap, name);
    tap->has_header = true;
    tap->link.net.queues_max = NET_MAX_QUEUES;
    return 0;
}

int net_tap_new(const char *text, struct net **ret_net, struct gw_error *error)
{
    struct net_tap *tap = calloc(1, sizeof *tap);
    if (!tap)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
    tap->watch_fd = -1;
    int r =
        link_init(&tap->link, &tap_ops, &tap_hooks, calloc(1, sizeof "tap ''" + IFNAMSIZ), error);
    if (r == 0)
        r = use_text(tap, text, error);
    if (r < 0) {
        tap_free(&tap->link.net);
        return r;
    }
    tap->link.net.follows = true;
    if (tap->has_header)
        tap->link.net.offloads = OFFLOADS_ALWAYS | (kernel_has_uso() ? NET_USO : 0);
    if (!tap->passed || tap->is_local)
        tap->link.net.mtu = interface_mtu(tap->name);
    *ret_net = &tap->link.net;
    return 0;
}
