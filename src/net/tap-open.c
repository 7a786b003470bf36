/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a tap: how they are opened or taken over, and what the kernel is told of them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "net/tap-internal.h"

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
#define WAITING_MAX 4096u /* frames; more than a queue of an interface usually takes */

/* Newer than the headers of some systems (Linux 6.2). */
#define TAP_USO4 0x20u
#define TAP_USO6 0x40u

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

int tap_apply_offloads(const struct net_tap *tap, unsigned offloads)
{
    return ioctl(tap->fds[0], TUNSETOFFLOAD, (unsigned long)kernel_offloads(offloads)) < 0 ? -errno
                                                                                           : 0;
}

/* A queue that is in the state already gives an error, which is none. */
void tap_enable_queues(const struct net_tap *tap)
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
    if (tap_apply_offloads(tap, NET_CHECKSUM | NET_USO) < 0)
        tap->link.net.offloads &= ~(unsigned)NET_USO;
    (void)tap_apply_offloads(tap, 0);
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
    return tap_apply_offloads(tap, tap->offloads_in);
}

bool tap_is_dead(const struct net_tap *tap)
{
    struct pollfd look = {tap->fds[0], 0, 0};
    return poll(&look, 1, 0) == 1 && look.revents & POLLERR;
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

int tap_tie_again(struct net_tap *tap)
{
    unsigned flags = TAP_FLAGS & ~(tap->has_header ? 0u : IFF_VNET_HDR);
    int r = tie_all(tap, flags | IFF_MULTI_QUEUE);
    if (r == -EINVAL && tap->count == 1)
        r = tie_all(tap, flags);
    return r < 0 ? r : configure(tap);
}

/* ---- Opening ---- */

void tap_set_name(struct net_tap *tap, const char *name)
{
    if (tap->name != name)
        memcpy(tap->name, name, IFNAMSIZ);
    snprintf(tap->link.net.what, sizeof "tap ''" + IFNAMSIZ, "tap '%s'", name);
}

void tap_close(struct net_tap *tap)
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
    tap_set_name(tap, name);
    tap->fds[tap->count++] = TAKE_FD(fd);
    return 0;
}

static int open_queues(struct net_tap *tap, unsigned queues, unsigned flags)
{
    int r = 0;
    for (unsigned i = 0; i < queues && r == 0; i++)
        r = open_file(tap, flags);
    if (r < 0)
        tap_close(tap);
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
    tap_close(tap);
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

int tap_open_named(struct net_tap *tap, unsigned queues, struct gw_error *error)
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

int tap_open(struct net_tap *tap, unsigned queues, struct gw_error *error)
{
    tap_offer_end(TAKE_PTR(tap->offer));
    if (!tap->passed && tap->count != queues)
        tap_close(tap);
    int r = tap->count > 0 ? 0 : tap_open_named(tap, queues, error);
    if (r < 0)
        return r;
    tap->offloads_in = 0;
    tap->queues_in_use = 1;
    r = tap_is_dead(tap) ? 0 : configure(tap);
    if (r == 0)
        return 0;
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(r), r,
                        "%s cannot be set up for frames with headers: %s", tap->link.net.what,
                        strerror(-r));
}

void tap_drop_waiting(const struct net_tap *tap)
{
    uint8_t ignored[64];
    for (unsigned i = 0; i < tap->count; i++)
        for (unsigned n = 0; n < WAITING_MAX; n++)
            if (read(tap->fds[i], ignored, sizeof ignored) < 0)
                break;
}
