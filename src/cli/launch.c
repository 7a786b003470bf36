/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "cli/machine.h"
#include "cli/viewer.h"

#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_CLI, code, number, __VA_ARGS__)

enum { READY_LINE_LIMIT = 4096, ANSWER_LIMIT = 4 << 20 };

#define CANNOT_START                                                                               \
    "{\"error\": {\"layer\": \"cli\", \"code\": \"not-found\", \"sentence\": \"cannot start "           \
    "godwit-vmm: %s; it belongs beside the godwit program or in PATH\"}}\n"

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

/* In the child: nothing here may allocate. */
static void become_vmm(const char *path, char *const *arguments, int ready)
{
    setsid();
    signal(SIGPIPE, SIG_DFL);
    fcntl(ready, F_SETFD, 0);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    execvp(path, arguments);
    dprintf(ready, CANNOT_START, strerror(errno));
    _exit(127);
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
    FAIL(code < 0 ? GW_CODE_INTERNAL : (enum gw_code)code, -EPERM, "%s",
         sentence ? sentence : "godwit-vmm failed without a reason");
    if (error)
        error->layer = GW_LAYER_VMM;
    json_decref(answer);
    return -EPERM;
}

/* One JSON line from the process; an early end is an error. */
static int read_ready(int fd, json_t **ret_ready, struct gw_error *error)
{
    json_t *ready = read_json(fd, READY_LINE_LIMIT);
    if (!ready)
        return FAIL(GW_CODE_DISCONNECTED, -EPIPE, "godwit-vmm ended before the machine was set up");
    return take_answer(ready, ret_ready, error);
}

int launch_start(const struct cli *cli, struct launch *launch, pid_t *ret_pid, json_t **ret_ready,
                 struct gw_error *error)
{
    char path[PATH_MAX], ready_option[32];
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return FAIL(GW_CODE_NO_RESOURCE, -errno, "cannot make a pipe: %s", strerror(errno));
    _cleanup_close_ int ready = ends[0];
    snprintf(ready_option, sizeof ready_option, "--ready-fd=%d", ends[1]);
    add_first(launch, ready_option);
    if (launch->count > LAUNCH_MAX_ARGUMENTS) {
        close(ends[1]);
        return FAIL(GW_CODE_INVALID, -E2BIG, "too many options");
    }
    launch->arguments[launch->count] = NULL;
    find_vmm(path);
    pid_t pid = fork();
    if (pid == 0)
        become_vmm(path, (char *const *)launch->arguments, ends[1]);
    close(ends[1]);
    if (pid < 0)
        return FAIL(GW_CODE_NO_RESOURCE, -errno, "cannot start a process: %s", strerror(errno));
    int r = read_ready(ready, ret_ready, error);
    if (r < 0) {
        waitpid(pid, NULL, 0);
        return r;
    }
    *ret_pid = pid;
    return 0;
}

/* In the child: what is said on standard error stays visible. */
static void become_answerer(const char *path, char *const *arguments, int out)
{
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execvp(path, arguments);
    dprintf(out, CANNOT_START, strerror(errno));
    _exit(127);
}

int launch_ask(struct launch *launch, json_t **ret_answer, struct gw_error *error)
{
    char path[PATH_MAX];
    int ends[2], wait_status;
    if (launch->count > LAUNCH_MAX_ARGUMENTS)
        return FAIL(GW_CODE_INVALID, -E2BIG, "too many options");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return FAIL(GW_CODE_NO_RESOURCE, -errno, "cannot make a pipe: %s", strerror(errno));
    _cleanup_close_ int in = ends[0];
    launch->arguments[launch->count] = NULL;
    find_vmm(path);
    pid_t pid = fork();
    if (pid == 0)
        become_answerer(path, (char *const *)launch->arguments, ends[1]);
    close(ends[1]);
    if (pid < 0)
        return FAIL(GW_CODE_NO_RESOURCE, -errno, "cannot start a process: %s", strerror(errno));
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
    if (WIFSIGNALED(wait_status))
        cli_say("machine '%s': its process was killed by signal %d", name, WTERMSIG(wait_status));
    else if (sentence)
        cli_say("machine '%s': %s", name, sentence);
    json_decref(status);
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0 ? EXIT_DONE : EXIT_FAILED;
}

int launch_attend(const struct cli *cli, const char *name, pid_t pid, bool show_console)
{
    struct gw_error error;
    enum viewer_end end;
    if (show_console && isatty(STDIN_FILENO))
        cli_say("console of '%s'; Ctrl-] leaves it", name);
    int r = viewer_run(cli, name, show_console, &end, &error);
    int wait_status;
    if (r < 0) { /* a machine that ended at once has no console any more */
        if (waitpid(pid, &wait_status, WNOHANG) == pid)
            return last_words(cli, name, wait_status);
        return cli_fail(&error);
    }
    if (end == VIEWER_LEFT) {
        fputc('\n', stderr);
        cli_say("machine '%s' goes on; 'godwit console %s' comes back, 'godwit stop %s' ends it", name,
                name, name);
        return EXIT_DONE;
    }
    if (end == VIEWER_INTERRUPTED)
        kill(pid, SIGTERM); /* godwit-vmm ends in order */
    if (waitpid(pid, &wait_status, 0) < 0)
        return EXIT_FAILED;
    return last_words(cli, name, wait_status);
}
