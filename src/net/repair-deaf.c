/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that hear nothing: what arrives is dropped before TCP sees it, and nobody answers. */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/repair-keep.h"

static int drop_all(int fd)
{
    struct sock_filter instruction[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    const struct sock_fprog program = {1, instruction};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0 ? -errno : 0;
}

/* As RFC 5082 has it, which is for everybody. A socket of IPv6 has both: IPv4 may come to it. */
static int set_least_ttl(int fd, int ttl)
{
    int r = setsockopt(fd, IPPROTO_IP, IP_MINTTL, &ttl, sizeof ttl);
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, &ttl, sizeof ttl) == 0)
        r = 0;
    return r < 0 ? -errno : 0;
}

/* Some kernels attach filters for the privileged alone. Then what was sent with a TTL of 255 and
 * has passed no router is still heard; Linux, the BSDs, macOS and Windows send TCP with 64 or 128.
 */
int repair_deafen(int fd)
{
    int r = drop_all(fd);
    return r == -EPERM ? set_least_ttl(fd, 255) : r;
}

void repair_undeafen(int fd)
{
    const int none = 0;
    setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none);
    (void)set_least_ttl(fd, 0);
}
