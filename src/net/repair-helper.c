/* SPDX-License-Identifier: Apache-2.0 */
/* A passt-repair(1): it connects to a socket of ours, as it would to passt's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/program.h"
#include "net/repair-keep.h"

#define CONNECT_MS 500

struct place {
    char folder[32], path[48];
    int fd;
};

static int open_place(struct place *place)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(place->folder, sizeof place->folder, "/tmp/godwit-repair-XXXXXX");
    if (!mkdtemp(place->folder))
        return -errno;
    snprintf(place->path, sizeof place->path, "%s/repair", place->folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", place->path);
    place->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (place->fd < 0 || bind(place->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(place->fd, 1) < 0)
        return -errno;
    return 0;
}

static void close_place(struct place *place)
{
    cleanup_close(&place->fd);
    unlink(place->path);
    rmdir(place->folder);
}

/* It prints for people what is told here in words of our own. */
static int spawn(char *path, pid_t *ret_pid)
{
    char *const arguments[] = {"passt-repair", path, NULL};
    const struct program program = {.arguments = arguments,
                                .files = {PROGRAM_NULL, PROGRAM_NULL, PROGRAM_NULL},
                                .file_count = 3,
                                .group = PROGRAM_GROUP_OWN};
    return program_start(&program, ret_pid);
}

static int await(const struct place *place, pid_t pid, int *ret_fd)
{
    _cleanup_close_ int pid_fd = pidfd_open(pid, 0);
    struct pollfd wait[] = {{place->fd, POLLIN, 0}, {pid_fd, POLLIN, 0}};
    if (poll(wait, 2, CONNECT_MS) < 1)
        return -ETIMEDOUT;
    if (!wait[0].revents)
        return -ECHILD;
    *ret_fd = accept4(place->fd, NULL, NULL, SOCK_CLOEXEC);
    return *ret_fd < 0 ? -errno : 0;
}

static bool waits_for_orders(const struct repair_helper *helper)
{
    char byte;
    return helper->pid > 0 && recv(helper->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           errno == EAGAIN;
}

int repair_helper_start(struct repair_helper *helper)
{
    struct place place = {.fd = -1};
    if (waits_for_orders(helper))
        return 0;
    repair_helper_end(helper);
    helper->fd = -1;
    int r = open_place(&place);
    if (r == 0)
        r = spawn(place.path, &helper->pid);
    if (r < 0)
        helper->pid = 0;
    if (r == 0)
        r = await(&place, helper->pid, &helper->fd);
    close_place(&place);
    if (r < 0)
        repair_helper_end(helper);
    return r;
}

void repair_helper_end(struct repair_helper *helper)
{
    if (helper->pid == 0)
        return;
    if (helper->fd >= 0)
        close(TAKE_FD(helper->fd));
    kill(helper->pid, SIGKILL); /* it has nothing to bring to an end */
    while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    helper->pid = 0;
}
