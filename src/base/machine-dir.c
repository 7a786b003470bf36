/* SPDX-License-Identifier: Apache-2.0 */
#include "base/machine-dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FLIGHTS "flights"
#define LOCK "lock"
#define STARTING "starting\n"
#define FAIL(code, number, ...) gw_error_set(error, GW_LAYER_BASE, code, number, __VA_ARGS__)

static const char *const living_files[] = {"control", "console", "pid"};
/* Those with another ending are what a replacement that was broken off leaves. */
static const char *const kept_files[] = {
    "status.json", "status.json.new", "owner.json", "owner.json.tmp",
    "config.json", "config.json.new", "vmm.log",
};

static void cleanup_closedir(DIR **entries)
{
    if (*entries)
        closedir(*entries);
}

int machine_dir_open(int at, const char *path)
{
    int fd = openat(at, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : errno == ELOOP ? -ENOTDIR : -errno;
}

int machine_dir_open_file(int dir, const char *file)
{
    struct stat status;
    _cleanup_close_ int fd =
        openat(dir, file, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return -errno;
    return S_ISREG(status.st_mode) ? TAKE_FD(fd) : -EINVAL;
}

int machine_dir_read(int dir, const char *file, size_t limit, bool end_only, struct gw_buf *out)
{
    _cleanup_close_ int fd = machine_dir_open_file(dir, file);
    size_t before = out->length;
    struct stat status;
    if (fd < 0)
        return fd;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (end_only && status.st_size > (off_t)limit)
        (void)lseek(fd, -(off_t)limit, SEEK_END);
    for (char bytes[4096];;) { /* the length may be another one by now */
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        bool full = got > 0 && out->length - before + (size_t)got > limit;
        if (got == 0 || (full && end_only))
            return 0;
        int r = got < 0 ? -errno : full ? -EFBIG : gw_buf_append(out, bytes, (size_t)got);
        if (r < 0) {
            out->length = before;
            return r;
        }
    }
}

long machine_dir_pid(int dir)
{
    struct gw_buf text = {0};
    long pid = 0;
    if (machine_dir_read(dir, "pid", 32, false, &text) == 0 && gw_buf_append(&text, "", 1) == 0)
        pid = strtol((char *)text.data, NULL, 10);
    gw_buf_fini(&text);
    return pid > 0 ? pid : 0;
}

static bool has_file(int dir, const char *file)
{
    return faccessat(dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool machine_dir_has_record(int dir)
{
    return has_file(dir, "owner.json") || has_file(dir, "status.json");
}

static bool is_among(const char *const *files, size_t count, const char *file)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(files[i], file) == 0)
            return true;
    return false;
}

static bool is_file_of_machine(const char *file)
{
    return strcmp(file, LOCK) == 0 || is_among(living_files, ARRAY_COUNT(living_files), file) ||
           is_among(kept_files, ARRAY_COUNT(kept_files), file);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length > end_length && strcmp(text + length - end_length, end) == 0;
}

static bool is_log_of_migration(const char *file)
{
    return ends_with(file, ".json") || ends_with(file, ".json.tmp");
}

static bool is_directory(int dir, const char *file)
{
    struct stat status;
    return fstatat(dir, file, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

static DIR *open_entries(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (!entries && fd >= 0)
        close(fd);
    return entries;
}

/* NULL at the end. */
static const char *next_name(DIR *entries)
{
    for (const struct dirent *entry; (entry = readdir(entries));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    return NULL;
}

/* A file of somebody's own would be lost, or be the only one left; so would one that may not be
 * removed. */
static int check_level(int dir, const char *name, bool (*is_ours)(const char *file),
                       const char *path, struct gw_error *error)
{
    _cleanup_(cleanup_closedir) DIR *entries = open_entries(dir, name);
    if (!entries)
        return FAIL(gw_code_from_errno(errno), -errno, "cannot read '%s': %s", path,
                    strerror(errno));
    if (faccessat(dir, name, W_OK | X_OK, AT_EACCESS) < 0)
        return FAIL(gw_code_from_errno(errno), -errno, "cannot remove from '%s': %s", path,
                    strerror(errno));
    for (const char *file; (file = next_name(entries));) {
        bool is_flights = is_ours == is_file_of_machine && strcmp(file, FLIGHTS) == 0;
        bool is_folder = is_directory(dirfd(entries), file);
        if (is_folder ? !is_flights : !is_ours(file))
            return FAIL(
                GW_CODE_STATE, -ENOTEMPTY,
                "directory '%s' holds '%s', which is not the machine's: move it elsewhere first",
                path, file);
    }
    return 0;
}

int machine_dir_check(int dir, const char *path, struct gw_error *error)
{
    _cleanup_free_ char *flights = NULL;
    int r = check_level(dir, ".", is_file_of_machine, path, error);
    if (r < 0 || !has_file(dir, FLIGHTS))
        return r;
    if (asprintf(&flights, "%s/" FLIGHTS, path) < 0)
        flights = NULL;
    return check_level(dir, FLIGHTS, is_log_of_migration, flights ? flights : path, error);
}

/* The first failure is kept in *result. */
static void remove_entry(int dir, const char *name, int flags, int *result)
{
    if (unlinkat(dir, name, flags) < 0 && errno != ENOENT && *result == 0)
        *result = -errno;
}

static void remove_flights(int dir, int *result)
{
    _cleanup_(cleanup_closedir) DIR *entries = open_entries(dir, FLIGHTS);
    for (const char *file; entries && (file = next_name(entries));)
        if (is_log_of_migration(file))
            remove_entry(dirfd(entries), file, 0, result);
    remove_entry(dir, FLIGHTS, AT_REMOVEDIR, result);
}

void machine_dir_remove_living(int dir)
{
    for (size_t i = 0; i < ARRAY_COUNT(living_files); i++)
        unlinkat(dir, living_files[i], 0);
}

int machine_dir_remove(int dir, const char *path, struct gw_error *error)
{
    int r = 0;
    remove_flights(dir, &r);
    for (size_t i = 0; i < ARRAY_COUNT(living_files); i++)
        remove_entry(dir, living_files[i], 0, &r);
    for (size_t i = 0; i < ARRAY_COUNT(kept_files); i++)
        remove_entry(dir, kept_files[i], 0, &r);
    if (r == 0)
        remove_entry(dir, LOCK, 0, &r);
    if (r == 0)
        remove_entry(AT_FDCWD, path, AT_REMOVEDIR, &r);
    if (r < 0)
        return FAIL(gw_code_from_errno(r), r, "cannot remove '%s': %s", path, strerror(-r));
    return 0;
}

void machine_dir_mark_start(int lock_fd, bool begins)
{
    if (ftruncate(lock_fd, 0) == 0 && begins)
        (void)!pwrite(lock_fd, STARTING, sizeof STARTING - 1, 0);
}

bool machine_dir_is_unfinished(int dir, int lock_fd)
{
    char word[sizeof STARTING - 1];
    if (pread(lock_fd, word, sizeof word, 0) == (ssize_t)sizeof word &&
        memcmp(word, STARTING, sizeof word) == 0)
        return true;
    for (size_t i = 0; i < ARRAY_COUNT(kept_files); i++)
        if (has_file(dir, kept_files[i]))
            return false;
    return true;
}

void machine_dir_abandon(int dir, const char *path, bool has_past)
{
    if (!has_past && (unlinkat(dir, FLIGHTS, AT_REMOVEDIR) == 0 || errno == ENOENT))
        (void)machine_dir_remove(dir, path, NULL);
    else
        machine_dir_remove_living(dir);
}
