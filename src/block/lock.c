/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk locks are open file description locks: they belong to the open file, not to the process, so
 * two disks of one machine exclude each other too, and they end when the descriptor is closed or
 * its owner dies. The kernel does not tell who holds such a lock (F_OFD_GETLK gives pid -1), so the
 * sentence for the user comes from /proc: the process that has the file open with a lock on that
 * descriptor.
 */
#include "block/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

static void cleanup_closedir(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

/* A line that begins with "lock:" in the descriptor's fdinfo. */
static bool descriptor_has_lock(const char *process, const char *descriptor)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%.16s/fdinfo/%.16s", process, descriptor);
    _cleanup_fclose_ FILE *info = fopen(path, "re");
    while (info && fgets(line, sizeof line, info))
        if (strncmp(line, "lock:", 5) == 0)
            return true;
    return false;
}

static bool process_holds(const char *process, const struct stat *wanted)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.16s/fd", process);
    _cleanup_(cleanup_closedir) DIR *directory = opendir(path);
    const struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        struct stat status;
        if (fstatat(dirfd(directory), entry->d_name, &status, 0) == 0 &&
            status.st_dev == wanted->st_dev && status.st_ino == wanted->st_ino &&
            descriptor_has_lock(process, entry->d_name))
            return true;
    }
    return false;
}

static void read_process_name(const char *process, char *name, int bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%.16s/comm", process);
    _cleanup_fclose_ FILE *comm = fopen(path, "re");
    if (!comm || !fgets(name, bytes, comm))
        name[0] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

/* "process 123 (qemu)", "this process", or "another process" where nothing can be seen. */
static void describe_holder(int fd, char *text, size_t bytes)
{
    char own[16], name[64];
    struct stat wanted;
    snprintf(own, sizeof own, "%d", getpid());
    snprintf(text, bytes, "another process");
    _cleanup_(cleanup_closedir) DIR *processes = opendir("/proc");
    if (!processes || fstat(fd, &wanted) < 0)
        return;
    const struct dirent *entry;
    while ((entry = readdir(processes))) {
        if (!isdigit((unsigned char)entry->d_name[0]) || !process_holds(entry->d_name, &wanted))
            continue;
        read_process_name(entry->d_name, name, sizeof name);
        if (strcmp(entry->d_name, own) == 0)
            snprintf(text, bytes, "this process");
        else
            snprintf(text, bytes, "process %.16s (%s)", entry->d_name, name);
        return;
    }
}

/* Before close(), which alone does not end the lock as long as somebody else has the open file: a
 * child that has not called exec() yet, or io_uring, which lets go of a file some time after the
 * last completion. */
void file_unlock(int fd)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    (void)fcntl(fd, F_OFD_SETLK, &lock);
}

int file_lock(int fd, const char *path, bool exclusive, struct gw_error *error)
{
    struct flock lock = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_UNSUPPORTED, -errno,
                            "disk '%s' cannot be locked on this file system: %s", path,
                            strerror(errno));
    char holder[128];
    describe_holder(fd, holder, sizeof holder);
    return gw_error_set(error, GW_LAYER_BLOCK, GW_CODE_BUSY, -EBUSY,
                        "disk '%s' is in use by %s; stop that first or use another disk%s", path,
                        holder, exclusive ? "" : " (it is being written)");
}
