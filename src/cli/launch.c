/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/machine-dir.h"
#include "base/parse.h"
#include "base/program.h"
#include "cli/machine.h"
#include "cli/viewer.h"

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_CLI, code, number, __VA_ARGS__)

enum { READY_LINE_LIMIT = 4096, ANSWER_LIMIT = 4 << 20 };

void launch_add(struct launch *launch, const char *option, const char *value)
{
    size_t needed = value ? 2 : 1;
    if (launch->count + needed > LAUNCH_MAX_ARGUMENTS) {
        launch->count = LAUNCH_MAX_ARGUMENTS + 1;
        return;
    }
    launch->arguments[launch->count++] = option;
    if (value)
        launch->arguments[launch->count++] = value;
}

/* Before all other options: it is needed to tell that one of them is wrong. */
static void add_first(struct launch *launch, const char *option)
{
    const char **first = &launch->arguments[1];
    size_t others = launch->count - 1;
    launch_add(launch, option, NULL);
    if (launch->count > LAUNCH_MAX_ARGUMENTS)
        return;
    memmove(first + 1, first, others * sizeof *first);
    *first = option;
}

/* godwit-vmm beside this program, else in libexec of the same prefix, else by PATH. */
static void find_vmm(char path[PATH_MAX])
{
    static const char *const beside[] = {"godwit-vmm", "../libexec/godwit-vmm"};
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        self[length] = '\0';
        char *slash = strrchr(self, '/');
        slash[1] = '\0';
        for (size_t i = 0; i < ARRAY_COUNT(beside); i++) {
            int n = snprintf(path, PATH_MAX, "%s%s", self, beside[i]);
            if (n > 0 && n < PATH_MAX && access(path, X_OK) == 0)
                return;
        }
    }
    snprintf(path, PATH_MAX, "godwit-vmm");
}

/* All that the process writes, up to a limit, as JSON; NULL if it is none. */
static json_t *read_json(int fd, size_t limit)
{
    _cleanup_free_ char *text = malloc(limit);
    size_t length = 0;
    while (text && length < limit) {
        ssize_t got = read(fd, text + length, limit - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    return text ? json_loadb(text, length, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
}

/* What the process answered; its error is ours. */
static int take_answer(json_t *answer, json_t **ret_answer, struct gw_error *error)
{
    json_t *refusal = json_object_get(answer, "error");
    if (!refusal) {
        *ret_answer = answer;
        return 0;
    }
    const char *sentence = json_string_value(json_object_get(refusal, "sentence"));
    int code = gw_code_from_name(json_string_value(json_object_get(refusal, "code")) ?: "");
    FAIL(code < 0 || !sentence ? GW_CODE_INTERNAL : (enum gw_code)code, -EPERM, "%s",
         sentence ? sentence : "godwit-vmm failed without a reason");
    if (error && sentence)
        error->layer = GW_LAYER_VMM;
    json_decref(answer);
    return -EPERM;
}

/* An interrupt ends the process in order, a second one at once. */
static void end_process(pid_t pid, bool *ending)
{
    kill(pid, *ending ? SIGKILL : SIGTERM);
    *ending = true;
}

/* The ready line without its newline, which is where it ends, whoever else has the pipe; NULL when
 * the process ended before. `signals` are the user's. */
static char *read_ready_line(int fd, int signals, pid_t pid, bool *ret_interrupted)
{
    _cleanup_free_ char *line = calloc(1, READY_LINE_LIMIT);
    size_t length = 0;
    while (line && length < READY_LINE_LIMIT - 1) {
        struct pollfd wait[] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        struct signalfd_siginfo info;
        if (poll(wait, ARRAY_COUNT(wait), -1) < 0 && errno != EINTR)
            return NULL;
        if (wait[1].revents && read(signals, &info, sizeof info) == sizeof info)
            end_process(pid, ret_interrupted);
        if (!wait[0].revents)
            continue;
        ssize_t got = read(fd, line + length, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return NULL;
        if (line[length] == '\n') {
            line[length] = '\0';
            return TAKE_PTR(line);
        }
        length++;
    }
    return NULL;
}

/* The process's answer; when it ended without one, or the user does not want it, that is the error.
 */
static int await_ready(int fd, int signals, pid_t pid, json_t **ret_ready, struct gw_error *error)
{
    bool interrupted = false;
    _cleanup_free_ char *line = read_ready_line(fd, signals, pid, &interrupted);
    if (interrupted)
        return FAIL(GW_CODE_CANCELLED, -EINTR, "interrupted: the machine was not started");
    json_t *ready = line ? json_loads(line, 0, NULL) : NULL;
    if (!ready)
        return FAIL(GW_CODE_DISCONNECTED, -EPIPE, "godwit-vmm ended before the machine was set up");
    return take_answer(ready, ret_ready, error);
}

/* NULL without it. */
static const char *value_of(const struct launch *launch, const char *option)
{
    const char *value = NULL;
    for (size_t i = 0; i + 1 < launch->count; i++)
        if (strcmp(launch->arguments[i], option) == 0)
            value = launch->arguments[i + 1];
    return value;
}

/* Where the descriptor of an fd: address goes: to the process, under its number. */
static int name_descriptor(const struct launch *launch, struct program *program,
                           struct gw_error *error)
{
    const char *uri = value_of(launch, "--incoming") ?: "";
    uint64_t number;
    if (strncmp(uri, "fd:", 3) != 0 || parse_number(uri + 3, INT32_MAX, &number) < 0)
        return 0;
    int flags = fcntl((int)number, F_GETFD);
    if (flags < 0 || flags & FD_CLOEXEC) /* what we open ourselves is close-on-exec */
        return FAIL(GW_CODE_INVALID, -EBADF, "descriptor %d of '%s' is not open in this process",
                    (int)number, uri);
    if (number < program->file_count)
        program->files[number] = (int)number;
    else
        program->kept[1] = (int)number;
    return 0;
}

static int spawn_vmm(struct launch *launch, struct program *program, pid_t *ret_pid,
                     struct gw_error *error)
{
    char path[PATH_MAX];
    if (launch->count > LAUNCH_MAX_ARGUMENTS)
        return FAIL(GW_CODE_INVALID, -E2BIG, "too many options");
    launch->arguments[launch->count] = NULL;
    find_vmm(path);
    program->path = path;
    program->arguments = (char *const *)launch->arguments;
    int r = program_start(program, ret_pid);
    if (r < 0)
        return gw_error_set(
            error, GW_LAYER_BASE, gw_code_from_errno(r), r,
            "cannot start '%s': %s; it belongs beside the godwit program or in PATH", path,
            strerror(-r));
    return 0;
}

/* Until it is gone: an interrupt meanwhile makes it quicker. */
static void wait_end(pid_t pid, int signals)
{
    _cleanup_close_ int pid_fd = pidfd_open(pid, 0);
    struct pollfd wait[] = {{.fd = pid_fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    while (pid_fd >= 0 &&
           (poll(wait, ARRAY_COUNT(wait), -1) < 0 ? errno == EINTR : !wait[0].revents)) {
        struct signalfd_siginfo info;
        if (wait[1].revents && read(signals, &info, sizeof info) == sizeof info)
            kill(pid, SIGKILL);
    }
    waitpid(pid, NULL, 0);
}

/* What a process leaves that was killed before its machine was set up. One that ended by itself has
 * cleaned up already. */
static void clean_up(const struct cli *cli, const struct launch *launch)
{
    const char *name = value_of(launch, "--name");
    _cleanup_free_ char *path = name ? machine_path(cli, name, NULL) : NULL;
    _cleanup_close_ int dir = path ? machine_open(cli, name, NULL) : -1;
    _cleanup_close_ int lock =
        dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0 && machine_has_lock(cli, name, lock))
        machine_dir_abandon(dir, path, !machine_dir_is_unfinished(dir, lock));
}

int launch_start(const struct cli *cli, struct launch *launch, pid_t *ret_pid, json_t **ret_ready,
                 struct gw_error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return FAIL(GW_CODE_NO_RESOURCE, -errno, "cannot make a pipe: %s", strerror(errno));
    _cleanup_close_ int ready = ends[0], theirs = ends[1];
    _cleanup_close_ int signals = viewer_open_signals();
    struct program program = {.files = {PROGRAM_NULL, PROGRAM_NULL, PROGRAM_NULL},
                              .file_count = 3,
                              .kept = {theirs},
                              .group = PROGRAM_SESSION};
    snprintf(launch->ready_option, sizeof launch->ready_option, "--ready-fd=%d", theirs);
    add_first(launch, launch->ready_option);
    pid_t pid;
    int r = name_descriptor(launch, &program, error);
    if (r == 0)
        r = spawn_vmm(launch, &program, &pid, error);
    if (r < 0)
        return r;
    close(TAKE_FD(theirs));
    r = await_ready(ready, signals, pid, ret_ready, error);
    if (r < 0) {
        wait_end(pid, signals);
        clean_up(cli, launch);
        return r;
    }
    *ret_pid = pid;
    return 0;
}

int launch_ask(struct launch *launch, json_t **ret_answer, struct gw_error *error)
{
    int ends[2], wait_status;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return FAIL(GW_CODE_NO_RESOURCE, -errno, "cannot make a pipe: %s", strerror(errno));
    _cleanup_close_ int in = ends[0], out = ends[1];
    struct program program = {.files = {PROGRAM_NULL, out, STDERR_FILENO}, .file_count = 3};
    pid_t pid;
    int r = spawn_vmm(launch, &program, &pid, error);
    if (r < 0)
        return r;
    close(TAKE_FD(out));
    json_t *answer = read_json(in, ANSWER_LIMIT);
    if (waitpid(pid, &wait_status, 0) == pid && WIFSIGNALED(wait_status)) {
        json_decref(answer);
        return FAIL(GW_CODE_INTERNAL, -EPIPE, "godwit-vmm was killed by signal %d",
                    WTERMSIG(wait_status));
    }
    if (!answer)
        return FAIL(GW_CODE_INTERNAL, -EPIPE, "godwit-vmm gave no answer");
    return take_answer(answer, ret_answer, error);
}

/* What the ended process left behind, as a sentence and an exit code. */
static int last_words(const struct cli *cli, const char *name, int wait_status)
{
    json_t *status = machine_file(cli, name, "status.json");
    const char *sentence = json_string_value(json_object_get(status, "verdict"));
    const char *moved_to = machine_moved_to(status);
    if (WIFSIGNALED(wait_status))
        cli_say("machine '%s': its process was killed by signal %d", name, WTERMSIG(wait_status));
    else if (moved_to)
        cli_say("machine '%s' has moved to %s (this terminal is free again)", name, moved_to);
    else if (sentence)
        cli_say("machine '%s': %s", name, sentence);
    json_decref(status);
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0 ? EXIT_DONE : EXIT_FAILED;
}

int launch_attend(const struct cli *cli, const char *name, pid_t pid, enum viewer_kind kind)
{
    struct gw_error error;
    enum viewer_end end;
    int r = viewer_run(cli, name, kind, &end, &error);
    int wait_status;
    if (r < 0) { /* a machine that ended at once has no console any more */
        if (waitpid(pid, &wait_status, WNOHANG) == pid)
            return last_words(cli, name, wait_status);
        return cli_fail(&error);
    }
    if (end == VIEWER_LEFT) {
        cli_say("machine '%s' goes on; 'godwit console %s' comes back, 'godwit stop %s' ends it",
                name, name, name);
        return EXIT_DONE;
    }
    if (end == VIEWER_INTERRUPTED)
        kill(pid, SIGTERM); /* godwit-vmm ends in order */
    if (waitpid(pid, &wait_status, 0) < 0)
        return EXIT_FAILED;
    return last_words(cli, name, wait_status);
}
