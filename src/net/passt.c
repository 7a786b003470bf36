/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passt says that it serves by writing its process id where --pid tells: here a pipe, by the name
 * it has among the process's own descriptors. It drops root for another user before it opens that,
 * so the pipe is everybody's to write.
 */
#include "net/passt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"

#define READY_MS 5000
#define END_MS 1000
#define ARGUMENTS_MAX 64

/* Numbers in the child. */
enum { CHILD_STREAM = 3, CHILD_READY = 4, CHILD_FIRST_FREE = 10 };

extern char **environ;

void passt_init(struct passt *passt)
{
    *passt = (struct passt){.pid_fd = -1, .ready_fd = -1, .error_fd = -1};
}

/* ---- Starting ---- */

/* Both ends of what is between us and the child; the child's are out of the way of its numbers. */
struct ends {
    int stream[2], ready[2], error[2]; /* ours, the child's */
};

static void close_ends(struct ends *ends)
{
    for (unsigned i = 0; i < 2; i++) {
        cleanup_close(&ends->stream[i]);
        cleanup_close(&ends->ready[i]);
        cleanup_close(&ends->error[i]);
    }
}

static int move_up(int *fd)
{
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_FIRST_FREE);
    if (moved < 0)
        return -errno;
    close(*fd);
    *fd = moved;
    return 0;
}

static int open_ends(struct ends *ends)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends->stream) < 0 ||
        pipe2(ends->ready, O_CLOEXEC) < 0 || pipe2(ends->error, O_CLOEXEC) < 0 ||
        fchmod(ends->ready[1], 0622) < 0 || fcntl(ends->stream[0], F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(ends->ready[0], F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(ends->error[0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    int r = move_up(&ends->stream[1]);
    if (r == 0)
        r = move_up(&ends->ready[1]);
    return r < 0 ? r : move_up(&ends->error[1]);
}

/* In a process group of its own, so that a terminal's signals reach us alone. */
static int spawn_with(const struct ends *ends, char *const *arguments, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&files, STDIN_FILENO, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, ends->error[1], STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&files, ends->stream[1], CHILD_STREAM);
    posix_spawn_file_actions_adddup2(&files, ends->ready[1], CHILD_READY);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int r = posix_spawnp(ret_pid, arguments[0], &files, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return -r;
}

static int spawn(const struct ends *ends, char *const *forwards, pid_t *ret_pid)
{
    static char *const fixed[] = {
        "passt",
        "-f",
        "-q",
        "--fd",
        "3",
        "-P",
        "/proc/self/fd/4",
        "-a",
        PASST_GUEST_ADDRESS,
        "-n",
        PASST_GUEST_PREFIX,
        "-g",
        PASST_GATEWAY_ADDRESS,
        "-M",
        PASST_GATEWAY_MAC,
    };
    char *arguments[ARGUMENTS_MAX];
    size_t count = ARRAY_COUNT(fixed);
    memcpy(arguments, fixed, sizeof fixed);
    for (; *forwards; forwards++) {
        if (count + 1 == ARGUMENTS_MAX)
            return -E2BIG;
        arguments[count++] = *forwards;
    }
    arguments[count] = NULL;
    return spawn_with(ends, arguments, ret_pid);
}

static int refuse(int r, struct gw_error *error)
{
    if (r == -ENOENT)
        return gw_error_set(error, GW_LAYER_NET, GW_CODE_NOT_FOUND, r,
                            "--net user needs the program passt, which is not installed: install "
                            "the package passt");
    return gw_error_set(error, GW_LAYER_NET, gw_code_from_errno(r), r,
                        "--net user: passt cannot be started: %s", strerror(-r));
}

int passt_find(struct gw_error *error)
{
    const char *folder = getenv("PATH");
    while (folder && *folder) {
        char path[512];
        size_t length = strcspn(folder, ":");
        snprintf(path, sizeof path, "%.*s/passt", (int)length, folder);
        if (access(path, X_OK) == 0)
            return 0;
        folder += length + (folder[length] != 0);
    }
    return refuse(-ENOENT, error);
}

int passt_start(struct passt *passt, char *const *forwards, int *ret_fd, struct gw_error *error)
{
    _cleanup_(close_ends) struct ends ends = {{-1, -1}, {-1, -1}, {-1, -1}};
    int r = open_ends(&ends);
    if (r == 0)
        r = spawn(&ends, forwards, &passt->pid);
    if (r < 0) {
        passt->pid = 0;
        return refuse(r, error);
    }
    passt->pid_fd = (int)syscall(SYS_pidfd_open, passt->pid, 0); /* close-on-exec */
    passt->ready_fd = TAKE_FD(ends.ready[0]);
    passt->error_fd = TAKE_FD(ends.error[0]);
    passt->last_line[0] = 0;
    *ret_fd = TAKE_FD(ends.stream[0]);
    return 0;
}

int passt_is_ready(struct passt *passt)
{
    char byte;
    ssize_t n = read(passt->ready_fd, &byte, 1);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -ECHILD;
    return n == 1 ? 1 : -ECHILD;
}

int passt_wait_ready(struct passt *passt)
{
    struct pollfd wait = {passt->ready_fd, POLLIN, 0};
    int n = poll(&wait, 1, READY_MS);
    if (n == 0)
        return -ETIMEDOUT;
    return n < 0 ? -errno : passt_is_ready(passt);
}

/* ---- Ending ---- */

/* What passt also says, which is not why it ends. */
static bool is_aside(const char *line)
{
    static const char *const asides[] = {"Failed to send ", "Don't run as root"};
    for (size_t i = 0; i < ARRAY_COUNT(asides); i++)
        if (strncmp(line, asides[i], strlen(asides[i])) == 0)
            return true;
    return false;
}

static void keep_line(struct passt *passt, const char *line, size_t bytes)
{
    if (bytes == 0 || is_aside(line))
        return;
    snprintf(passt->last_line, sizeof passt->last_line, "%.*s", (int)bytes, line);
    for (char *at = passt->last_line; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
}

void passt_listen(struct passt *passt)
{
    char text[4097];
    ssize_t n;
    while (passt->error_fd >= 0 && (n = read(passt->error_fd, text, sizeof text - 1)) > 0) {
        text[n] = 0;
        for (char *line = text; *line;) {
            size_t bytes = strcspn(line, "\n");
            keep_line(passt, line, bytes);
            line += bytes + (line[bytes] != 0);
        }
    }
}

static void describe(const struct passt *passt, const siginfo_t *end, char *why, size_t room)
{
    if (end->si_code != CLD_EXITED)
        snprintf(why, room, "passt was ended by signal %d (%s)", end->si_status,
                 strsignal(end->si_status));
    else if (passt->last_line[0])
        snprintf(why, room, "passt ended: %s", passt->last_line);
    else
        snprintf(why, room, "passt ended with status %d", end->si_status);
}

static void close_one(int *fd)
{
    cleanup_close(fd);
    *fd = -1;
}

void passt_bury(struct passt *passt, char *why, size_t room)
{
    siginfo_t end = {0};
    why[0] = 0;
    if (passt->pid == 0)
        return;
    struct pollfd wait = {passt->pid_fd, POLLIN, 0};
    if (passt->pid_fd < 0 || poll(&wait, 1, END_MS) != 1)
        kill(passt->pid, SIGKILL);
    while (waitid(P_PID, (id_t)passt->pid, &end, WEXITED) < 0 && errno == EINTR)
        ;
    passt_listen(passt);
    describe(passt, &end, why, room);
    close_one(&passt->pid_fd);
    close_one(&passt->ready_fd);
    close_one(&passt->error_fd);
    passt->pid = 0;
}
