/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 1024

static int log_fd = -1; /* set once, before there are threads */

void log_open(const char *path)
{
    struct stat status;

    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (log_fd >= 0 && (fstat(log_fd, &status) < 0 || !S_ISREG(status.st_mode))) {
        close(log_fd);
        log_fd = -1;
    }
}

void log_line(const char *format, ...)
{
    char text[LINE_BYTES], stamp[32];
    struct timespec now;
    struct tm local;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "godwit-vmm: %s\n", text);
    if (log_fd < 0)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(stamp, sizeof stamp, "%F %T", &local);
    dprintf(log_fd, "%s.%03ld %s\n", stamp, now.tv_nsec / 1000000, text);
}
