/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/rundir.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/machine-dir.h"
#include "base/machine-name.h"
#include "base/run-dir.h"
#include "vmm/log.h"

#define LOCK_TRIES 10

static int fail_at(struct gw_error *error, const char *what, const char *path, int error_number)
{
    return gw_error_set(error, GW_LAYER_VMM, gw_code_from_errno(error_number), -error_number,
                        "cannot %s '%s': %s", what, path, strerror(error_number));
}

static int no_memory(struct gw_error *error)
{
    return gw_error_set(error, GW_LAYER_VMM, GW_CODE_NO_RESOURCE, -ENOMEM, "out of memory");
}

char *rundir_path(const struct rundir *rundir, const char *file)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", rundir->path, file) < 0 ? NULL : path;
}

/* mkdir -p with mode 0700. */
static int make_directories(const char *path, struct gw_error *error)
{
    _cleanup_free_ char *copy = strdup(path);

    if (!copy)
        return no_memory(error);
    for (char *slash = copy + 1; *slash; slash++) {
        if (*slash != '/')
            continue;
        *slash = 0;
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return run_dir_fail(error, GW_LAYER_VMM, "make", copy, errno);
        *slash = '/';
    }
    if (mkdir(copy, 0700) < 0 && errno != EEXIST)
        return run_dir_fail(error, GW_LAYER_VMM, "make", copy, errno);
    return 0;
}

/* Nobody else may write into the machine's directory. One that was there before is never changed:
 * it may be something else, named by mistake. */
static int check_directory(const char *path, struct gw_error *error)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        return fail_at(error, "use the directory", path, errno);
    if (!S_ISDIR(status.st_mode))
        return fail_at(error, "use the directory", path, ENOTDIR);
    if (status.st_uid != geteuid())
        return gw_error_set(
            error, GW_LAYER_VMM, GW_CODE_DENIED, -EPERM,
            "the directory '%s' belongs to user %u: choose another name or --run-dir", path,
            status.st_uid);
    if (status.st_mode & 022)
        return gw_error_set(
            error, GW_LAYER_VMM, GW_CODE_DENIED, -EPERM,
            "others may write into the directory '%s' (mode %03o): take that right away, or "
            "choose another name or --run-dir",
            path, status.st_mode & 0777);
    return 0;
}

/* Not when the directory was removed between open and lock. */
static bool is_file(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* -ESTALE when the lock is not that of the name any more. */
static int take_lock(struct rundir *rundir, struct gw_error *error)
{
    _cleanup_free_ char *path = rundir_path(rundir, "lock");
    _cleanup_close_ int dir = machine_dir_open(AT_FDCWD, rundir->path);

    if (!path)
        return no_memory(error);
    rundir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (rundir->lock_fd < 0)
        return fail_at(error, "open", path, errno);
    if (flock(rundir->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return is_file(rundir->lock_fd, path) ? 0 : fail_at(error, "lock", path, ESTALE);
    if (errno != EWOULDBLOCK)
        return fail_at(error, "lock", path, errno);
    return gw_error_set(
        error, GW_LAYER_VMM, GW_CODE_BUSY, -EBUSY,
        "a machine named '%s' is there already (process %ld, directory '%s'): choose "
        "another name, or stop it",
        rundir->name, machine_dir_pid(dir), rundir->path);
}

static void remove_file(const struct rundir *rundir, const char *file)
{
    _cleanup_free_ char *path = rundir_path(rundir, file);

    if (path)
        unlink(path);
}

static int furnish(struct rundir *rundir, struct gw_error *error)
{
    _cleanup_free_ char *flights = rundir_path(rundir, "flights");
    _cleanup_free_ char *pid_path = rundir_path(rundir, "pid");
    _cleanup_close_ int dir = machine_dir_open(AT_FDCWD, rundir->path);
    _cleanup_close_ int flights_fd = -1, pid_fd = -1;

    if (!flights || !pid_path)
        return no_memory(error);
    machine_dir_remove_living(dir);
    rundir->has_past =
        machine_dir_has_record(dir) && !machine_dir_is_unfinished(dir, rundir->lock_fd);
    machine_dir_mark_start(rundir->lock_fd, !rundir->has_past);
    if (mkdir(flights, 0700) < 0 && errno != EEXIST)
        return fail_at(error, "make the directory", flights, errno);
    flights_fd = machine_dir_open(dir, "flights");
    if (flights_fd < 0)
        return fail_at(error, "use the directory", flights, -flights_fd);
    pid_fd = open(pid_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (pid_fd < 0 || dprintf(pid_fd, "%d\n", (int)getpid()) < 0)
        return fail_at(error, "write", pid_path, errno);
    return 0;
}

static void release(struct rundir *rundir)
{
    if (rundir->lock_fd >= 0)
        close(rundir->lock_fd);
    free(rundir->path);
    free(rundir->name);
    *rundir = (struct rundir){.lock_fd = -1};
}

int rundir_open(const char *base, const char *name, struct rundir *ret_rundir,
                struct gw_error *error)
{
    struct rundir rundir = {.lock_fd = -1};
    int r = machine_name_check(name, GW_LAYER_VMM, error);

    if (r < 0)
        return r;
    rundir.name = strdup(name);
    if (!rundir.name || asprintf(&rundir.path, "%s/%s", base, name) < 0) {
        free(rundir.name);
        return no_memory(error);
    }
    r = -ESTALE;
    for (int tries = 0; tries < LOCK_TRIES && r == -ESTALE; tries++) {
        if (rundir.lock_fd >= 0)
            close(TAKE_FD(rundir.lock_fd));
        r = make_directories(rundir.path, error);
        if (r == 0)
            r = check_directory(rundir.path, error);
        if (r == 0)
            r = take_lock(&rundir, error);
    }
    if (r == 0)
        r = furnish(&rundir, error);
    if (r < 0) {
        release(&rundir);
        return r;
    }
    *ret_rundir = rundir;
    return 0;
}

void rundir_begin(const struct rundir *rundir)
{
    machine_dir_mark_start(rundir->lock_fd, false);
    remove_file(rundir, "status.json");
}

void rundir_close(struct rundir *rundir)
{
    _cleanup_close_ int dir = rundir->path ? machine_dir_open(AT_FDCWD, rundir->path) : -1;

    if (dir >= 0) {
        machine_dir_remove_living(dir);
        machine_dir_mark_start(rundir->lock_fd, false); /* what is left there is a record */
    }
    release(rundir);
}

void rundir_abandon(struct rundir *rundir)
{
    _cleanup_close_ int dir = machine_dir_open(AT_FDCWD, rundir->path);

    if (dir >= 0)
        machine_dir_abandon(dir, rundir->path, rundir->has_past);
    release(rundir);
}

/* A file of our own alone, whatever the umask is and whatever has the name. */
static int write_new(const char *path, const json_t *document)
{
    _cleanup_close_ int fd = -1;

    (void)unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 ? -1 : json_dumpfd(document, fd, JSON_INDENT(2));
}

void rundir_write_json(const struct rundir *rundir, const char *file, const json_t *document)
{
    _cleanup_free_ char *path = rundir_path(rundir, file);
    _cleanup_free_ char *temporary = NULL;

    if (!path || asprintf(&temporary, "%s.new", path) < 0)
        return;
    if (write_new(temporary, document) < 0 || rename(temporary, path) < 0)
        log_line("cannot write '%s': %s", path, strerror(errno));
}

int rundir_check_record(const char *name, const char *path, const struct gw_ownership *found,
                        bool receive, struct gw_error *error)
{
    switch (found->state) {
    case GW_OWNER_OWNER:    /* its process was killed, and the guest died with it */
    case GW_OWNER_INCOMING: /* never ran here */
    case GW_OWNER_REFUSED:
    case GW_OWNER_NOBODY:
        return 0;
    case GW_OWNER_RELEASED:
        if (receive)
            return 0;
        return gw_error_set(
            error, GW_LAYER_VMM, GW_CODE_STATE, -EPERM,
            "machine '%s' was given away to %s (epoch %llu) and may run there: receive it "
            "back, or remove '%s' once you know that it runs nowhere",
            name, found->peer[0] ? found->peer : "another process",
            (unsigned long long)found->epoch, path);
    }
    return gw_error_set(error, GW_LAYER_VMM, GW_CODE_CORRUPT, -EBADMSG,
                        "the ownership record '%s' holds no state that is known", path);
}
