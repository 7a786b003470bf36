/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passt says that it serves by writing its process id where --pid tells: here a pipe, its standard
 * output, by the name it has among the process's own. It may drop root for another user before it
 * opens that, so the pipe is everybody's to write. Who was killed before that was read has closed
 * the pipe, and passt ends writing to it.
 */
#include "net/passt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/pidfd.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/program.h"

#define READY_MS 5000
#define LOOK_MS 3000
#define END_MS 1000
#define ARGUMENTS_MAX 64
#define PATH_BYTES 64

void passt_init(struct passt *passt)
{
    *passt = (struct passt){.pid_fd = -1, .ready_fd = -1, .error_fd = -1};
}

static void close_one(int *fd)
{
    cleanup_close(fd);
    *fd = -1;
}

/* ---- Starting ---- */

/* Both ends of what is between us and the child. */
struct ends {
    int stream[2], ready[2], error[2]; /* ours, the child's; -1: none of these */
};

static void close_ends(struct ends *ends)
{
    for (unsigned i = 0; i < 2; i++) {
        cleanup_close(&ends->stream[i]);
        cleanup_close(&ends->ready[i]);
        cleanup_close(&ends->error[i]);
    }
}

static int open_stream(struct ends *ends)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends->stream) < 0 ||
        fcntl(ends->stream[0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

static int open_ends(struct ends *ends)
{
    if (pipe2(ends->ready, O_CLOEXEC) < 0 || pipe2(ends->error, O_CLOEXEC) < 0 ||
        fchmod(ends->ready[1], 0622) < 0 || fcntl(ends->ready[0], F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(ends->error[0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

/* In a process group of its own: a terminal's signals reach us alone. */
static int spawn_with(const struct ends *ends, char *const *arguments, pid_t *ret_pid)
{
    bool has_stream = ends->stream[1] >= 0;
    const struct program program = {
        .arguments = arguments,
        .files = {PROGRAM_NULL, ends->ready[1] >= 0 ? ends->ready[1] : ends->error[1], ends->error[1],
                  ends->stream[1]}, /* --fd 3 */
        .file_count = has_stream ? 4 : 3,
        .group = PROGRAM_GROUP_OWN};
    return program_start(&program, ret_pid);
}

struct arguments {
    char *at[ARGUMENTS_MAX];
    size_t count;
};

static int add(struct arguments *arguments, char *const *more)
{
    for (; *more; more++) {
        if (arguments->count + 1 == ARGUMENTS_MAX)
            return -E2BIG;
        arguments->at[arguments->count++] = *more;
    }
    arguments->at[arguments->count] = NULL;
    return 0;
}

/* The sockets of a vhost-user back end, where nobody else comes. */
static void name_sockets(const char *folder, char stream[PATH_BYTES], char repair[PATH_BYTES])
{
    snprintf(stream, PATH_BYTES, "%s/net", folder);
    snprintf(repair, PATH_BYTES, "%s/repair", folder);
}

static int spawn(const struct ends *ends, const char *folder, char *const *forwards, pid_t *ret_pid)
{
    static char *const always[] = {
        "passt",
        "-f",
        "-q",
        "-P",
        "/proc/self/fd/1",
        "-a",
        PASST_GUEST_ADDRESS,
        "-n",
        PASST_GUEST_PREFIX,
        "-g",
        PASST_GATEWAY_ADDRESS,
        "-M",
        PASST_GATEWAY_MAC,
        NULL,
    };
    char stream[PATH_BYTES], repair[PATH_BYTES];
    char *const as_stream[] = {"--fd", "3", NULL};
    char *const as_vhost[] = {"--vhost-user", "-1", "-s", stream, "--repair-path", repair, NULL};
    struct arguments arguments = {.count = 0};
    name_sockets(folder, stream, repair);
    int r = add(&arguments, always);
    if (r == 0)
        r = add(&arguments, folder[0] ? as_vhost : as_stream);
    if (r == 0)
        r = add(&arguments, forwards);
    return r < 0 ? r : spawn_with(ends, arguments.at, ret_pid);
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

/* ---- Which one it is ---- */

/* What it prints when it is asked with `option`; an old one does not know some. */
static int ask(char *option, char *text, size_t room)
{
    _cleanup_(close_ends) struct ends ends = {{-1, -1}, {-1, -1}, {-1, -1}};
    char *const arguments[] = {"passt", option, NULL};
    size_t length = 0;
    pid_t pid;
    if (pipe2(ends.error, O_CLOEXEC) < 0)
        return -errno;
    int r = spawn_with(&ends, arguments, &pid);
    if (r < 0)
        return r;
    close_one(&ends.error[1]);
    struct pollfd wait = {ends.error[0], POLLIN, 0};
    while (poll(&wait, 1, LOOK_MS) == 1) {
        char rest[512];
        bool full = length + 1 >= room;
        ssize_t n = read(ends.error[0], full ? rest : text + length,
                         full ? sizeof rest : room - 1 - length);
        if (n <= 0)
            break;
        length += full ? 0 : (size_t)n;
    }
    text[length] = 0;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

/* "passt 0.0~git20250503.587980c-2", or "passt unknown version". */
static void read_version(struct passt_kind *kind, const char *text)
{
    const char *said = strstr(text, "passt ");
    text = said ? said + 6 : text;
    size_t length = strcspn(text, "\n");
    if (length == 0 || strncmp(text, "unknown", 7) == 0)
        snprintf(kind->version, sizeof kind->version, "of a version that it does not tell");
    else
        snprintf(kind->version, sizeof kind->version, "%.*s", (int)length, text);
}

int passt_look(struct passt_kind *ret_kind, struct gw_error *error)
{
    char text[4096];
    struct passt_kind kind = {.way = PASST_STREAM};
    int r = ask("--print-capabilities", text, sizeof text);
    if (r == 0 && strstr(text, "\"type\": \"net\""))
        kind.way = PASST_VHOST_USER;
    if (r == 0)
        r = ask("--version", text, sizeof text);
    if (r < 0)
        return refuse(r, error);
    read_version(&kind, text);
    *ret_kind = kind;
    return 0;
}

/* ---- Its start ---- */

static int make_folder(struct passt *passt)
{
    snprintf(passt->folder, sizeof passt->folder, "/tmp/godwit-passt-XXXXXX");
    if (mkdtemp(passt->folder))
        return 0;
    passt->folder[0] = 0;
    return -errno;
}

/* Nobody finds what is connected any more. */
static void remove_folder(struct passt *passt)
{
    char stream[PATH_BYTES], repair[PATH_BYTES];
    if (!passt->folder[0])
        return;
    name_sockets(passt->folder, stream, repair);
    unlink(stream);
    unlink(repair);
    rmdir(passt->folder);
    passt->folder[0] = 0;
}

int passt_start(struct passt *passt, enum passt_way way, char *const *forwards, int *ret_fd,
                struct gw_error *error)
{
    _cleanup_(close_ends) struct ends ends = {{-1, -1}, {-1, -1}, {-1, -1}};
    int r = open_ends(&ends);
    if (r == 0)
        r = way == PASST_STREAM ? open_stream(&ends) : make_folder(passt);
    passt->started_ns = host_monotonic_ns();
    if (r == 0)
        r = spawn(&ends, passt->folder, forwards, &passt->pid);
    if (r < 0) {
        passt->pid = 0;
        remove_folder(passt);
        return refuse(r, error);
    }
    passt->alone = way != PASST_STREAM;
    passt->pid_fd = pidfd_open(passt->pid, 0); /* close-on-exec */
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

/* ---- Connecting to it ---- */

/* Whoever answers must be the one that was started. */
static int connect_to(const struct passt *passt, const char *path, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t length = sizeof peer;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;
    if (peer.pid != passt->pid)
        return -EPERM;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int passt_connect(struct passt *passt, int *ret_fd)
{
    char stream[PATH_BYTES], repair[PATH_BYTES];
    name_sockets(passt->folder, stream, repair);
    int r = connect_to(passt, stream, ret_fd);
    passt->alone = r < 0;
    return r;
}

int passt_connect_repair(struct passt *passt, int *ret_fd)
{
    char stream[PATH_BYTES], repair[PATH_BYTES];
    name_sockets(passt->folder, stream, repair);
    return connect_to(passt, repair, ret_fd);
}

void passt_hide(struct passt *passt)
{
    remove_folder(passt);
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

void passt_bury(struct passt *passt, char *why, size_t room)
{
    siginfo_t end = {0};
    why[0] = 0;
    if (passt->pid == 0)
        return;
    struct pollfd wait = {passt->pid_fd, POLLIN, 0};
    if (passt->alone)
        kill(passt->pid, SIGTERM);
    if (passt->pid_fd < 0 || poll(&wait, 1, END_MS) != 1)
        kill(passt->pid, SIGKILL);
    while (waitid(P_PID, (id_t)passt->pid, &end, WEXITED) < 0 && errno == EINTR)
        ;
    passt_listen(passt);
    describe(passt, &end, why, room);
    close_one(&passt->pid_fd);
    close_one(&passt->ready_fd);
    close_one(&passt->error_fd);
    remove_folder(passt);
    passt->pid = 0;
}
