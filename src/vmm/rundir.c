/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/rundir.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
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
    _cleanup_free_ char *pid_path = rundir_path(rundir, "pid");
    _cleanup_fclose_ FILE *pid_file = NULL;
    long pid = 0;

    if (!path || !pid_path)
        return no_memory(error);
    rundir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (rundir->lock_fd < 0)
        return fail_at(error, "open", path, errno);
    if (flock(rundir->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return is_file(rundir->lock_fd, path) ? 0 : fail_at(error, "lock", path, ESTALE);
    if (errno != EWOULDBLOCK)
        return fail_at(error, "lock", path, errno);
    pid_file = fopen(pid_path, "re");
    if (!pid_file || fscanf(pid_file, "%ld", &pid) != 1)
        pid = 0;
    return gw_error_set(
        error, GW_LAYER_VMM, GW_CODE_BUSY, -EBUSY,
        "a machine named '%s' is there already (process %ld, directory '%s'): choose "
        "another name, or stop it",
        rundir->name, pid, rundir->path);
}

static const char *const living_files[] = {"control", "console", "pid"};
static const char *const kept_files[] = {"status.json", "owner.json", "config.json", "vmm.log"};

static void remove_file(const struct rundir *rundir, const char *file)
{
    _cleanup_free_ char *path = rundir_path(rundir, file);

    if (path)
        unlink(path);
}

static void remove_living_files(const struct rundir *rundir)
{
    for (size_t i = 0; i < ARRAY_COUNT(living_files); i++)
        remove_file(rundir, living_files[i]);
}

static bool has_file(const struct rundir *rundir, const char *file)
{
    _cleanup_free_ char *path = rundir_path(rundir, file);

    return path && access(path, F_OK) == 0;
}

static int furnish(struct rundir *rundir, struct gw_error *error)
{
    _cleanup_free_ char *flights = rundir_path(rundir, "flights");
    _cleanup_free_ char *pid_path = rundir_path(rundir, "pid");
    _cleanup_close_ int pid_fd = -1;

    if (!flights || !pid_path)
        return no_memory(error);
    remove_living_files(rundir);
    rundir->has_past = has_file(rundir, "owner.json") || has_file(rundir, "status.json");
    if (mkdir(flights, 0700) < 0 && errno != EEXIST)
        return fail_at(error, "make the directory", flights, errno);
    pid_fd = open(pid_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
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
    remove_file(rundir, "status.json");
}

void rundir_close(struct rundir *rundir)
{
    if (rundir->path)
        remove_living_files(rundir);
    release(rundir);
}

void rundir_abandon(struct rundir *rundir)
{
    _cleanup_free_ char *flights = rundir_path(rundir, "flights");

    if (!rundir->has_past && flights && (rmdir(flights) == 0 || errno == ENOENT)) {
        for (size_t i = 0; i < ARRAY_COUNT(kept_files); i++)
            remove_file(rundir, kept_files[i]);
        remove_living_files(rundir);
        remove_file(rundir, "lock");
        rmdir(rundir->path);
    }
    rundir_close(rundir);
}

void rundir_write_json(const struct rundir *rundir, const char *file, const json_t *document)
{
    _cleanup_free_ char *path = rundir_path(rundir, file);
    _cleanup_free_ char *temporary = NULL;

    if (!path || asprintf(&temporary, "%s.new", path) < 0)
        return;
    if (json_dump_file(document, temporary, JSON_INDENT(2)) < 0 || rename(temporary, path) < 0)
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
