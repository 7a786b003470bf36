/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

static int fail(struct gw_error *error, const char *what, const char *doing, const char *path)
{
    int r = -errno;
    return gw_error_set(error, GW_LAYER_MIGRATE, gw_code_from_errno(r), r, "cannot %s %s '%s': %s",
                        doing, what, path, strerror(-r));
}

/* Reads until the end or until one byte more than allowed; the length at the time of open() is not
 * trusted. */
static int read_all(int fd, size_t limit, struct gw_buf *out)
{
    char bytes[4096];
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        total += (size_t)n;
        if (total > limit)
            return -EFBIG;
        int r = gw_buf_append(out, bytes, (size_t)n);
        if (r < 0)
            return r;
    }
}

int file_read(const char *path, const char *what, size_t limit, struct gw_buf *out,
              struct gw_error *error)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return fail(error, what, "read", path);
    if (!S_ISREG(status.st_mode))
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                            "%s '%s' is not a regular file", what, path);
    size_t before = out->length;
    int r = read_all(fd, limit, out);
    if (r == 0)
        return 0;
    out->length = before;
    if (r == -EFBIG)
        return gw_error_set(error, GW_LAYER_MIGRATE, GW_CODE_CORRUPT, -EINVAL,
                            "%s '%s' is larger than %zu bytes", what, path, limit);
    errno = -r;
    return fail(error, what, "read", path);
}

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

static int sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *folder = slash == path ? strdup("/")
                                  : slash       ? strndup(path, (size_t)(slash - path))
                                                : strdup(".");
    if (!folder) {
        errno = ENOMEM;
        return -1;
    }
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

static int write_temporary(const char *path, const void *bytes, size_t length, bool durable)
{
    (void)unlink(path); /* of a replacement that was broken off, or whatever it is */
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, bytes, length) < 0)
        return -1;
    return durable ? fsync(fd) : 0;
}

int file_replace(const char *path, const char *what, const void *bytes, size_t length, bool durable,
                 struct gw_error *error)
{
    _cleanup_free_ char *temporary = NULL;
    if (asprintf(&temporary, "%s.tmp", path) < 0) {
        temporary = NULL;
        errno = ENOMEM;
        return fail(error, what, "write", path);
    }
    if (write_temporary(temporary, bytes, length, durable) < 0 || rename(temporary, path) < 0) {
        int r = fail(error, what, "write", path);
        (void)unlink(temporary);
        return r;
    }
    return durable && sync_folder_of(path) < 0 ? fail(error, what, "sync", path) : 0;
}
