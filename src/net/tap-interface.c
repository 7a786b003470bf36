/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "net/tap.h"

bool interface_name_is_valid(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < IFNAMSIZ && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strcspn(name, "/:%\" \t\n\v\f\r") == length;
}

static int query(const char *name, unsigned long request, struct ifreq *ret_answer)
{
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* any kind will do */
    if (fd < 0)
        return -errno;
    memcpy(ret_answer->ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    return ioctl(fd, request, ret_answer) < 0 ? -errno : 0;
}

bool interface_exists(const char *name)
{
    struct ifreq answer = {0};
    return query(name, SIOCGIFINDEX, &answer) == 0;
}

unsigned interface_mtu(const char *name)
{
    struct ifreq answer = {0};
    if (query(name, SIOCGIFMTU, &answer) < 0 || answer.ifr_mtu < 0)
        return 0;
    return (unsigned)answer.ifr_mtu;
}

bool interface_is_up(const char *name)
{
    struct ifreq answer = {0};
    return query(name, SIOCGIFFLAGS, &answer) == 0 && answer.ifr_flags & IFF_UP;
}

bool interface_is_running(const char *name)
{
    struct ifreq answer = {0};
    return query(name, SIOCGIFFLAGS, &answer) == 0 && answer.ifr_flags & IFF_RUNNING;
}

bool interface_is_tap(const char *name)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq answer = {.ifr_data = (void *)&info};
    return query(name, SIOCETHTOOL, &answer) == 0 && strcmp(info.driver, "tun") == 0 &&
           strcmp(info.bus_info, "tap") == 0;
}

bool interface_has_carrier(const char *name)
{
    struct ethtool_value value = {.cmd = ETHTOOL_GLINK};
    struct ifreq answer = {.ifr_data = (void *)&value};
    return query(name, SIOCETHTOOL, &answer) == 0 && value.data != 0;
}

int interface_set_up(const char *name)
{
    struct ifreq answer = {0};
    int r = query(name, SIOCGIFFLAGS, &answer);
    if (r < 0)
        return r;
    answer.ifr_flags |= IFF_UP;
    return query(name, SIOCSIFFLAGS, &answer);
}

bool interface_is_of(const char *name, int fd)
{
    struct ifreq here = {0}, there = {0};
    return query(name, SIOCGIFHWADDR, &here) == 0 && ioctl(fd, SIOCGIFHWADDR, &there) == 0 &&
           memcmp(here.ifr_hwaddr.sa_data, there.ifr_hwaddr.sa_data, NET_MAC_BYTES) == 0;
}

int interface_watch(void)
{
    const struct sockaddr_nl links = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    _cleanup_close_ int fd =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&links, sizeof links) < 0)
        return -errno;
    return TAKE_FD(fd);
}

/* What changed is looked up afterwards, so an overrun (ENOBUFS) costs nothing. */
void interface_watch_clear(int watch_fd)
{
    char ignored[256];
    for (unsigned i = 0; i < 64; i++)
        if (recv(watch_fd, ignored, sizeof ignored, MSG_DONTWAIT) < 0 && errno == EAGAIN)
            return;
}
