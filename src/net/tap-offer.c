/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread serves, not the loop: the loop of a machine that is about to go may be busy with just
 * that, and the other process waits with the guest paused.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "net/tap.h"

#define PATIENCE_MS 500

struct tap_offer {
    int socket_fd, end_fd;
    int fds[NET_MAX_QUEUES]; /* the tap's, not ours */
    unsigned count;
    pthread_t thread;
};

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(NET_MAX_QUEUES * sizeof(int))];
};

static socklen_t fill_address(const char *name, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(ret_address->sun_path + 1, sizeof ret_address->sun_path - 1,
                          "godwit-tap/%s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static bool is_trusted(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

/* ---- Giving ---- */

static void give(const struct tap_offer *offer, int peer_fd)
{
    union control control = {.bytes = {0}};
    uint8_t byte = 1;
    struct iovec iov = {&byte, 1};
    const size_t bytes = offer->count * sizeof(int);
    const struct msghdr message = {.msg_iov = &iov,
                                   .msg_iovlen = 1,
                                   .msg_control = control.bytes,
                                   .msg_controllen = CMSG_SPACE(bytes)};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&control.header), offer->fds, bytes);
    if (is_trusted(peer_fd))
        (void)sendmsg(peer_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void *serve(void *opaque)
{
    struct tap_offer *offer = opaque;
    struct pollfd waits[] = {{offer->end_fd, POLLIN, 0}, {offer->socket_fd, POLLIN, 0}};
    for (;;) {
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (waits[0].revents)
            return NULL;
        _cleanup_close_ int peer_fd = accept4(offer->socket_fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer_fd >= 0)
            give(offer, peer_fd);
    }
}

static int start_thread(struct tap_offer *offer)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&offer->thread, NULL, serve, offer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

struct tap_offer *tap_offer_begin(const char *name, const int *fds, unsigned count)
{
    struct sockaddr_un address;
    socklen_t length = fill_address(name, &address);
    struct tap_offer *offer = calloc(1, sizeof *offer);
    if (!offer)
        return NULL;
    memcpy(offer->fds, fds, count * sizeof *fds);
    offer->count = count;
    offer->socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    offer->end_fd = eventfd(0, EFD_CLOEXEC);
    if (offer->socket_fd >= 0 && offer->end_fd >= 0 &&
        bind(offer->socket_fd, (struct sockaddr *)&address, length) == 0 &&
        listen(offer->socket_fd, 4) == 0 && start_thread(offer) == 0)
        return offer;
    if (offer->socket_fd >= 0)
        close(offer->socket_fd);
    if (offer->end_fd >= 0)
        close(offer->end_fd);
    free(offer);
    return NULL;
}

void tap_offer_end(struct tap_offer *offer)
{
    if (!offer)
        return;
    (void)eventfd_write(offer->end_fd, 1);
    pthread_join(offer->thread, NULL);
    close(offer->socket_fd);
    close(offer->end_fd);
    free(offer);
}

/* ---- Taking ---- */

static int unpack(struct msghdr *message, int *fds)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -ENOENT;
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(header), count * sizeof(int)); /* the control buffer holds no more */
    return (int)count;
}

int tap_offer_take(const char *name, int *fds)
{
    struct sockaddr_un address;
    socklen_t length = fill_address(name, &address);
    const struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
        connect(fd, (struct sockaddr *)&address, length) < 0 || !is_trusted(fd))
        return -ENOENT;
    union control control;
    uint8_t byte;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    return recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == 1 ? unpack(&message, fds) : -ENOENT;
}
