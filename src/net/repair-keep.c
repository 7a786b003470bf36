/* SPDX-License-Identifier: Apache-2.0 */
/* A thread serves those who ask, as for a tap (net/tap-offer.c): the loop may be busy with the very
 * machine, and who asks waits with the guest paused. */
#include "net/repair-keep.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/cleanup.h"

#define PATIENCE_MS 500

struct repair_keep {
    /* set once */
    uint8_t token[REPAIR_TOKEN_BYTES];
    int socket_fd, end_fd;
    pthread_t thread;
    bool has_thread;
    /* under the lock */
    pthread_mutex_t lock;
    int sockets[REPAIR_MAX_SOCKETS];
    unsigned count;
};

static socklen_t fill_address(const uint8_t token[REPAIR_TOKEN_BYTES],
                              struct sockaddr_un *ret_address)
{
    static const char prefix[] = "godwit-user/";
    char *to = ret_address->sun_path + 1;
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to, prefix, sizeof prefix - 1);
    to += sizeof prefix - 1;
    for (unsigned i = 0; i < REPAIR_TOKEN_BYTES; i++, to += 2)
        snprintf(to, 3, "%02x", token[i]);
    return (socklen_t)(to - (char *)ret_address);
}

static bool is_trusted(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

/* ---- Keeping ---- */

unsigned repair_keep_add(struct repair_keep *keep, const int *sockets, unsigned count)
{
    pthread_mutex_lock(&keep->lock);
    unsigned room = REPAIR_MAX_SOCKETS - keep->count, taken = count < room ? count : room;
    memcpy(keep->sockets + keep->count, sockets + (count - taken), taken * sizeof *sockets);
    keep->count += taken;
    pthread_mutex_unlock(&keep->lock);
    return taken;
}

void repair_drop(struct repair_keep *keep)
{
    pthread_mutex_lock(&keep->lock);
    while (keep->count > 0)
        close(keep->sockets[--keep->count]);
    pthread_mutex_unlock(&keep->lock);
}

const uint8_t *repair_keep_token(const struct repair_keep *keep)
{
    return keep->token;
}

/* The end of the connection is the answer. */
static void *serve(void *opaque)
{
    struct repair_keep *keep = opaque;
    struct pollfd waits[] = {{keep->end_fd, POLLIN, 0}, {keep->socket_fd, POLLIN, 0}};
    for (;;) {
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (waits[0].revents)
            return NULL;
        _cleanup_close_ int peer_fd = accept4(keep->socket_fd, NULL, NULL, SOCK_CLOEXEC);
        if (peer_fd >= 0 && is_trusted(peer_fd))
            repair_drop(keep);
    }
}

static bool start_thread(struct repair_keep *keep)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    keep->has_thread = pthread_create(&keep->thread, NULL, serve, keep) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return keep->has_thread;
}

/* A descriptor for each connection: as many as the process may have at all. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

struct repair_keep *repair_keep_new(void)
{
    struct sockaddr_un address;
    struct repair_keep *keep = calloc(1, sizeof *keep);
    if (!keep)
        return NULL;
    raise_limit();
    pthread_mutex_init(&keep->lock, NULL);
    keep->socket_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    keep->end_fd = eventfd(0, EFD_CLOEXEC);
    bool known = getrandom(keep->token, sizeof keep->token, 0) == sizeof keep->token;
    socklen_t length = fill_address(keep->token, &address);
    if (known && keep->socket_fd >= 0 && keep->end_fd >= 0 &&
        bind(keep->socket_fd, (struct sockaddr *)&address, length) == 0 &&
        listen(keep->socket_fd, 4) == 0 && start_thread(keep))
        return keep;
    repair_keep_free(keep);
    return NULL;
}

void repair_keep_free(struct repair_keep *keep)
{
    if (!keep)
        return;
    if (keep->has_thread) {
        (void)eventfd_write(keep->end_fd, 1);
        pthread_join(keep->thread, NULL);
    }
    cleanup_close(&keep->socket_fd);
    cleanup_close(&keep->end_fd);
    repair_drop(keep);
    pthread_mutex_destroy(&keep->lock);
    free(keep);
}

/* ---- Asking ---- */

void repair_keep_ask(const uint8_t token[REPAIR_TOKEN_BYTES])
{
    struct sockaddr_un address;
    socklen_t length = fill_address(token, &address);
    const struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    char nothing;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0 ||
        connect(fd, (struct sockaddr *)&address, length) < 0)
        return;
    (void)recv(fd, &nothing, 1, 0);
}
