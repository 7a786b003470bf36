/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/program.h"

#define GRACE_MS 2000
#define NAP_NS 5000000

/* In a session of its own: signals reach the whole pipeline, and none of it can stop for a terminal. */
static int spawn_shell(const char *text, int fd, pid_t *ret_pid)
{
    char *const arguments[] = {"sh", "-c", (char *)text, NULL};
    const struct program program = {.path = "/bin/sh",
                                .arguments = arguments,
                                .files = {fd, fd, STDERR_FILENO},
                                .file_count = 3,
                                .group = PROGRAM_SESSION};
    return program_start(&program, ret_pid);
}

int command_start(const char *text, struct command *ret_command, int *ret_fd,
                  struct gw_error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(errno), -errno,
                            "cannot make a socket pair for command '%.200s': %s", text,
                            strerror(errno));
    _cleanup_close_ int ours = pair[0], theirs = pair[1];
    pid_t pid;
    int r = spawn_shell(text, theirs, &pid);
    if (r < 0)
        return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r,
                            "cannot start command '%.200s': %s", text, strerror(-r));
    *ret_command = (struct command){.pid = pid};
    *ret_fd = TAKE_FD(ours);
    return 0;
}

/* True when it has ended or is no child of ours any more (somebody else reaped it). */
static bool reap(struct command *command)
{
    if (command->pid == 0)
        return true;
    pid_t r = waitpid(command->pid, &command->status, WNOHANG);
    if (r == command->pid || (r < 0 && errno != EINTR))
        command->pid = 0;
    return command->pid == 0;
}

bool command_wait(struct command *command, int timeout_ms)
{
    uint64_t until = host_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    while (!reap(command)) {
        if (host_monotonic_ns() >= until)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
    return true;
}

void command_end(struct command *command)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
        if (command_wait(command, GRACE_MS))
            return;
        kill(-command->pid, signals[i]);
    }
    while (!command_wait(command, GRACE_MS))
        kill(-command->pid, SIGKILL);
}

void command_describe(const struct command *command, char *text, size_t bytes)
{
    if (command->pid != 0)
        text[0] = '\0';
    else if (WIFSIGNALED(command->status))
        snprintf(text, bytes, "ended by signal %d", WTERMSIG(command->status));
    else
        snprintf(text, bytes, "ended with exit status %d", WEXITSTATUS(command->status));
}
