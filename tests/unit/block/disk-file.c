/* SPDX-License-Identifier: Apache-2.0 */
#include "disk-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[256];

void disk_directory_make(void)
{
    const char *base = getenv("TMPDIR");
    if (base && access(base, W_OK | X_OK) < 0)
        base = NULL;
    snprintf(directory, sizeof directory, "%s/godwit-block-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(directory) || chmod(directory, 0755) < 0)
        abort();
}

void disk_directory_remove(void)
{
    DIR *entries = opendir(directory);
    const struct dirent *entry;
    while (entries && (entry = readdir(entries)))
        if (entry->d_name[0] != '.' && unlink(disk_path(entry->d_name)) < 0)
            rmdir(disk_path(entry->d_name));
    if (entries)
        closedir(entries);
    rmdir(directory);
}

const char *disk_path(const char *name)
{
    static char paths[8][600];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

const char *disk_make(const char *name, uint64_t bytes)
{
    const char *path = disk_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        abort();
    for (uint64_t at = 0; at < bytes; at += 512) {
        uint8_t sector[512];
        memset(sector, (int)(at / 512), sizeof sector);
        size_t piece = bytes - at < 512 ? bytes - at : 512;
        if (write(fd, sector, piece) != (ssize_t)piece)
            abort();
    }
    close(fd);
    return path;
}

struct block *disk_open(const char *path, bool read_only, enum block_engine engine)
{
    const struct block_file_config config = {
        .path = path, .read_only = read_only, .engine = engine};
    struct block *block = NULL;
    struct gw_error error;
    if (block_file_new(&config, &block, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    return block;
}
