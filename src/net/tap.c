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
#include "net/link.h"
#include "net/tap.h"

#define PIECES_MAX 1024u /* UIO_MAXIOV */
#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
#define WAITING_MAX 4096u /* frames; more than a queue of an interface usually takes */
#define RUNNING_MS 2000u   /* as long is waited for the kernel's word */
#define NAME_TEMPLATE "godwit%d"
#define OFFLOADS_ALWAYS (NET_CHECKSUM | NET_TSO4 | NET_TSO6 | NET_ECN)

/* Newer than the headers of some systems (Linux 6.2). */
#define TAP_USO4 0x20u
#define TAP_USO6 0x40u

enum { TAG_FILE = 1, TAG_INTERFACES };

struct net_tap {
    struct net_link link; /* first */
    /* set once */
    bool passed;     /* by descriptor */
    bool has_header; /* always, unless it was passed without */
    /* changes only in acquire */
    char name[IFNAMSIZ]; /* NAME_TEMPLATE until the kernel has chosen */
    int fds[NET_MAX_QUEUES];
    unsigned count; /* of them; 0: not open */
    bool is_fresh;  /* opened by preopen, and what waits is not for the guest */
    bool is_local;  /* the interface is in our network namespace */
    struct tap_offer *offer;
    /* under the link's lock */
    bool gone;    /* the interface was removed */
    int watch_fd; /* of interfaces; -1: none */
    unsigned offloads_in, queues_in_use;
};

static struct net_tap *from_link(struct net_link *link)
{
    return container_of(link, struct net_tap, link);
}

static struct net_tap *from_net(struct net *net)
{
    return container_of(net, struct net_tap, link.net);
}

/* ---- The kernel's side of a file ---- */

static int tie(int fd, const char *name, unsigned flags, char ret_name[IFNAMSIZ])
{
    struct ifreq request = {.ifr_flags = (short)flags};
    memcpy(request.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return -errno;
    memcpy(ret_name, request.ifr_name, IFNAMSIZ);
    ret_name[IFNAMSIZ - 1] = 0;
    return 0;
}

static unsigned kernel_offloads(unsigned offloads)
{
    unsigned flags = 0;
    if (!(offloads & NET_CHECKSUM))
        return 0;
    flags |= TUN_F_CSUM;
    flags |= offloads & NET_TSO4 ? TUN_F_TSO4 : 0;
    flags |= offloads & NET_TSO6 ? TUN_F_TSO6 : 0;
    flags |= offloads & NET_ECN && flags & (TUN_F_TSO4 | TUN_F_TSO6) ? TUN_F_TSO_ECN : 0;
    flags |= offloads & NET_USO ? TAP_USO4 | TAP_USO6 : 0;
    return flags;
}

static int apply_offloads(const struct net_tap *tap, unsigned offloads)
{
    return ioctl(tap->fds[0], TUNSETOFFLOAD, (unsigned long)kernel_offloads(offloads)) < 0 ? -errno
                                                                                           : 0;
}

/* A queue that is in the state already gives an error, which is none. */
static void enable_queues(const struct net_tap *tap)
{
    for (unsigned i = 0; tap->count > 1 && i < tap->count; i++) {
        struct ifreq request = {.ifr_flags =
                                    i < tap->queues_in_use ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
        (void)ioctl(tap->fds[i], TUNSETQUEUE, &request);
    }
}

/* What the kernel turns out not to know is not offered. Only for an interface that nobody's guest
 * uses: it is told of all for the moment, and what comes then is not for every driver. */
static void try_offloads(struct net_tap *tap)
{
    if (apply_offloads(tap, NET_CHECKSUM | NET_USO) < 0)
        tap->link.net.offloads &= ~(unsigned)NET_USO;
    (void)apply_offloads(tap, 0);
}

/* The header's form; the offloads that the guest takes. */
static int configure(struct net_tap *tap)
{
    int bytes = NET_HEADER_BYTES, little = 1;
    if (!tap->has_header)
        return 0;
    if (ioctl(tap->fds[0], TUNSETVNETHDRSZ, &bytes) < 0 ||
        ioctl(tap->fds[0], TUNSETVNETLE, &little) < 0)
        return -errno;
    return apply_offloads(tap, tap->offloads_in);
}

/* ---- Up and down ---- */

static void show_queues(struct net_tap *tap, bool up)
{
    for (unsigned i = 0; i < tap->link.net.queues; i++)
        if (up && i < tap->queues_in_use)
            link_show(&tap->link, i, tap->fds[i]);
        else
            link_hide(&tap->link, i);
}

static bool is_dead(int fd)
{
    struct pollfd look = {fd, 0, 0};
    return poll(&look, 1, 0) == 1 && look.revents & POLLERR;
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
    if (is_dead(tap->fds[0])) {
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

static int tie_all(struct net_tap *tap, unsigned flags)
{
    char name[IFNAMSIZ];
    for (unsigned i = 0; i < tap->count; i++) {
        int r = tie(tap->fds[i], tap->name, flags, name);
        if (r < 0 && r != -EEXIST) /* tied already by an earlier attempt */
            return r;
    }
    return 0;
}

/* Ties the files to the new interface of the name. */
static void retry(struct net_link *link)
{
    struct net_tap *tap = from_link(link);
    unsigned flags = TAP_FLAGS & ~(tap->has_header ? 0u : IFF_VNET_HDR);
    if (!tap->gone)
        return;
    int r = -ENODEV;
    if (interface_exists(tap->name)) {
        r = tie_all(tap, flags | IFF_MULTI_QUEUE);
        if (r == -EINVAL && tap->count == 1)
            r = tie_all(tap, flags);
        if (r == 0)
            r = configure(tap);
    }
    if (r < 0) {
        link_retry(link);
        return;
    }
    tap->gone = false;
    enable_queues(tap);
    link_watch(link, tap->fds[0], TAG_FILE, 0); /* errors come unasked */
    look(tap);
}

static void ready(struct net_link *link, unsigned tag, uint32_t events)
{
    struct net_tap *tap = from_link(link);
    if (tag == TAG_INTERFACES)
        interface_watch_clear(tap->watch_fd);
    if (tap->gone)
        retry(link);
    else
        look(tap);
}

/* ---- Opening ---- */

static void set_name(struct net_tap *tap, const char *name)
{
    if (tap->name != name)
        memcpy(tap->name, name, IFNAMSIZ);
    snprintf(tap->link.net.what, sizeof "tap ''" + IFNAMSIZ, "tap '%s'", name);
}

static void close_files(struct net_tap *tap)
{
    for (unsigned i = 0; i < tap->count; i++)
        close(tap->fds[i]);
    tap->count = 0;
}

static int refuse_device(int number, struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(number), -number,
                        "/dev/net/tun cannot be opened: %s%s", strerror(number),
                        number == ENOENT || number == ENODEV
                            ? "; the kernel's module tun is missing ('modprobe tun')"
                            : "; this user needs read and write access to it");
}

static int refuse(const struct net_tap *tap, bool existed, unsigned queues, int number,
                  struct gw_error *error)
{
    const char *what = tap->link.net.what, *name = tap->name;
    if (existed && !interface_is_tap(name))
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_INVALID, -EINVAL,
                            "%s: the interface of that name is no tap; name another", what);
    if (number == EPERM && !existed)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NOT_FOUND, -ENOENT,
                            "%s: there is no such interface, and this user may not make one; make "
                            "it once as root: ip tuntap add %s mode tap user %u%s",
                            what, strchr(name, '%') ? "NAME" : name, (unsigned)geteuid(),
                            queues > 1 ? " multi_queue" : "");
    if (number == EPERM)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_DENIED, -EPERM,
                            "%s belongs to another user; make it anew for this one: ip tuntap add "
                            "%s mode tap user %u",
                            what, name, (unsigned)geteuid());
    if (number == EBUSY)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_BUSY, -EBUSY,
                            "%s is in use by another process; end that one or name another tap",
                            what);
    if (number == EINVAL && existed && queues > 1)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_UNSUPPORTED, -EOPNOTSUPP,
                            "%s has one queue, but %u are wanted; make it with: ip "
                            "tuntap add %s mode tap multi_queue",
                            what, queues, name);
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(number), -number,
                        "%s cannot be opened: %s", what, strerror(number));
}

/* One more file of the interface; fds and count grow. */
static int open_file(struct net_tap *tap, unsigned flags)
{
    char name[IFNAMSIZ];
    _cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = tie(fd, tap->name, flags, name);
    if (r < 0)
        return r;
    set_name(tap, name);
    tap->fds[tap->count++] = TAKE_FD(fd);
    return 0;
}

static int open_queues(struct net_tap *tap, unsigned queues, unsigned flags)
{
    int r = 0;
    for (unsigned i = 0; i < queues && r == 0; i++)
        r = open_file(tap, flags);
    if (r < 0)
        close_files(tap);
    else
        try_offloads(tap);
    return r;
}

/* A queue that is not in use tells no name, so that one of them must do for all. */
static bool are_files_of(const int *fds, unsigned count, const char *name)
{
    struct ifreq answer = {0};
    struct stat first, other;
    if (fstat(fds[0], &first) < 0 || ioctl(fds[0], TUNGETIFF, &answer) < 0)
        return false;
    for (unsigned i = 1; i < count; i++)
        if (fstat(fds[i], &other) < 0 || other.st_rdev != first.st_rdev)
            return false;
    return strcmp(answer.ifr_name, name) == 0 && answer.ifr_flags & IFF_VNET_HDR;
}

/* The files that another process of this host keeps for whoever takes over. */
static int take_over(struct net_tap *tap, unsigned queues)
{
    int count = tap_offer_take(tap->name, tap->fds);
    if (count <= 0)
        return -EBUSY;
    tap->count = (unsigned)count;
    if (tap->count == queues && are_files_of(tap->fds, tap->count, tap->name))
        return 0;
    close_files(tap);
    return -EBUSY;
}

/* A tap with several queues lets any process add one, so the kernel does not keep two machines from
 * having it. */
static int open_or_take(struct net_tap *tap, bool existed, unsigned queues)
{
    unsigned flags = TAP_FLAGS | (queues > 1 ? IFF_MULTI_QUEUE : 0);
    if (existed && !interface_is_tap(tap->name))
        return -EINVAL;
    if (existed && take_over(tap, queues) == 0)
        return 0;
    if (existed && interface_has_carrier(tap->name))
        return -EBUSY;
    int r = open_queues(tap, queues, flags);
    if (r == -EINVAL && existed && queues == 1)
        r = open_queues(tap, queues, flags | IFF_MULTI_QUEUE);
    return r;
}

static int open_named(struct net_tap *tap, unsigned queues, struct gw_error *error)
{
    bool existed = interface_exists(tap->name);
    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        return refuse_device(errno, error);
    int r = open_or_take(tap, existed, queues);
    if (r < 0)
        return refuse(tap, existed, queues, -r, error);
    tap->is_local = true;
    if (!existed)
        (void)interface_set_up(tap->name);
    return 0;
}

static int open_tap(struct net_tap *tap, unsigned queues, struct gw_error *error)
{
    tap_offer_end(TAKE_PTR(tap->offer));
    if (!tap->passed && tap->count != queues)
        close_files(tap);
    int r = tap->count > 0 ? 0 : open_named(tap, queues, error);
    if (r < 0)
        return r;
    tap->offloads_in = 0;
    tap->queues_in_use = 1;
    r = is_dead(tap->fds[0]) ? 0 : configure(tap);
    if (r == 0)
        return 0;
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(r), r,
                        "%s cannot be set up for frames with headers: %s", tap->link.net.what,
                        strerror(-r));
}

/* What a switch has sent to everybody since the file was opened, which may be long ago. */
static void drop_waiting(const struct net_tap *tap)
{
    uint8_t ignored[64];
    for (unsigned i = 0; i < tap->count; i++)
        for (unsigned n = 0; n < WAITING_MAX; n++)
            if (read(tap->fds[i], ignored, sizeof ignored) < 0)
                break;
}

/* ---- Operations ---- */

/* The kernel tells a bridge of a carrier some time after it is there, on a busy host a second later.
 * Until then the bridge drops all that comes from here, announcements as well. */
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
    struct net_tap *tap = from_net(net);
    if (tap->count > 0)
        return 0;
    int r = open_named(tap, queues, error);
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
    struct net_tap *tap = from_net(net);
    int r = open_tap(tap, net->queues, error);
    if (r == 0)
        r = link_open(&tap->link, net->queues, error);
    if (r < 0)
        return r;
    if (tap->is_local)
        net->mtu = interface_mtu(tap->name);
    if (tap->is_fresh)
        drop_waiting(tap);
    tap->is_fresh = false;
    pthread_mutex_lock(&tap->link.lock);
    tap->gone = false;
    enable_queues(tap);
    watch(tap);
    look(tap);
    pthread_mutex_unlock(&tap->link.lock);
    return 0;
}

static void tap_release(struct net *net)
{
    struct net_tap *tap = from_net(net);
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
    if (is_dead(tap->fds[0]) && !tap->passed)
        close_files(tap);
    else if (tap->has_header)
        tap->offer = tap_offer_begin(tap->name, tap->fds, tap->count);
}

static int tap_set_offloads(struct net *net, unsigned offloads)
{
    struct net_tap *tap = from_net(net);
    if (offloads & ~net->offloads)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&tap->link.lock);
    tap->offloads_in = offloads;
    int r = tap->gone || !tap->has_header ? 0 : apply_offloads(tap, offloads);
    pthread_mutex_unlock(&tap->link.lock);
    return r;
}

static int tap_set_queues(struct net *net, unsigned queues)
{
    struct net_tap *tap = from_net(net);
    if (queues == 0 || queues > net->queues)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&tap->link.lock);
    tap->queues_in_use = queues;
    if (!tap->gone)
        enable_queues(tap);
    show_queues(tap, net->link_up);
    pthread_mutex_unlock(&tap->link.lock);
    return 0;
}

static ssize_t tap_send(struct net *net, unsigned queue, const struct iovec *iov, unsigned count)
{
    const struct net_tap *tap = from_net(net);
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
    const struct net_tap *tap = from_net(net);
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
    struct net_tap *tap = from_net(net);
    tap_offer_end(TAKE_PTR(tap->offer));
    close_files(tap);
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
    set_name(tap, answer.ifr_name);
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
    set_name(tap, name);
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
